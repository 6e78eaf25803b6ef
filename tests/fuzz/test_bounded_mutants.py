"""Mutants of every kind of file that a person can give, each read in a process of limited memory and time.

The slow test makes 2,000: no unforeseen exception, none over 2 GB, none over a minute.
"""

import io
import json
import os
import resource
import time
import warnings
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import START
from hostile import hostile, saved
from media import write_clip
from mutants import mutate
from places import CONFIGS, ROOT
from test_fuzz_parsers import KINDS as PARSED

from apt_lightning.common.errors import AptError, ClipError
from apt_lightning.common.traits import TRAITS

SECONDS, BYTES = 60, 2 * 2**30
FILMS = {
    "mp4": {},
    "mkv": {"audio_codec": "flac"},
    "webm": {"codec": "libvpx", "audio_codec": "libopus", "sample_rate": 48000},
    "avi": {"codec": "mpeg4", "audio_codec": "mp3", "b_frames": 0},
    "ts": {},
    "flv": {},
    "opus": {"count": 0, "audio_codec": "libopus", "sample_rate": 48000},
    "wav": {"count": 0, "audio_codec": "pcm_s16le"},
}
SUBTITLES = (
    "1\n00:00:01,000 --> 00:00:02,000\n<i>ANNA: Well, 3 &amp; 4.</i>\n\n2\n00:00:03,000 --> 00:00:04,500\n- I see.\n"
)


def film(root, suffix):
    from apt_lightning.data.media.extract import extract_clip
    from apt_lightning.data.media.extraction import ExtractionSettings

    found = extract_clip(root / f"clip.{suffix}", "clip", ExtractionSettings())
    assert found.functionals is None or np.isfinite(found.functionals).all()


def parsed(root, name):
    PARSED[name][0](root / "data" / name)


def checkpoint(root):
    from apt_lightning.stages.load import load

    load(str(root / "best.ckpt"))


def exported(root):
    from apt_lightning.stages.load import load

    load(str(root))


def store(root):
    from apt_lightning.data.store.reader import Store
    from apt_lightning.data.store.sequences import feature_sets

    found = Store.open(root)
    assert found.present.shape == (len(found.clips), len(found.modalities))
    for name, kind in found.kinds.items():
        if kind in ("functionals", "vector"):
            assert len(found.vectors(name)) == len(found.clips)
    assert all(isinstance(frame, bytes) for i in range(len(found)) for frame in found.frames(i))
    assert isinstance(found.text_source, dict) and found.n_frames >= 0 and len(found.frame_size) == 2
    assert not found.synthetic and len(feature_sets(root)) <= 1
    found.damaged()


def predictions(root):
    from apt_lightning.evaluation.predictions import read_predictions

    found = read_predictions(root / "predictions_test.csv")
    assert np.isfinite(found.predicted).all() and all(isinstance(name, str) for name in [*found.clips, *found.sources])


def theirs(root, name):
    from apt_lightning.evaluation.external.match import read_submission
    from apt_lightning.evaluation.external.reference import read_reference

    read_submission(root / name, read_reference(root / "labels.csv"))


def features(root, name):
    from apt_lightning.data.store.precomputed import read_array

    read_array(root / name, None)


def transcripts(root, name):
    from apt_lightning.data.text.transcripts import read_transcripts

    read_transcripts(str(root / name), ["a.mp4"])


def settings(root, name):
    """A run's own files, and what a person writes for it."""
    from apt_lightning.data.collection.folds import read_folds
    from apt_lightning.data.collection.name_lists import read_names
    from apt_lightning.evaluation.leaderboard.entries import read_entry
    from apt_lightning.experiments.plan import run_units
    from apt_lightning.experiments.report.training import _epochs
    from apt_lightning.experiments.run_settings import read_settings
    from apt_lightning.experiments.sweep.search_space import read_search
    from apt_lightning.training.callbacks import best_epoch
    from apt_lightning.training.run_folder import settings_of

    match name:
        case "run.json":
            found = read_settings(root)
            assert all(isinstance(seed, int) for seed in found.seeds) and run_units(found.modalities)
        case "folds.json":
            read_folds(root / name).splits(["a", "b", "c", "d"], 1)
        case "names.txt":
            read_names(root / name, {"a.mp4", "b.mp4"})
        case "metrics.csv":
            _epochs(root / name)
            best_epoch(root, "val/accuracy", "max")
        case "config.yaml":
            settings_of(root, "fit")
        case "sweep.yaml":
            read_search(root / name).space()
        case "entry.json":
            read_entry(root / name)


def command(root):
    """A YAML of the user's, through the command line; it ends at the store that is not there, if not before."""
    from apt_lightning.cli import main

    with redirect_stderr(io.StringIO()) as error, redirect_stdout(io.StringIO()):
        main(["fit", f"--config={root / 'mine.yaml'}", f"--data.store={root / 'none'}", f"--run_dir={root / 'run'}"])
    if "--debug" in error.getvalue() or "Traceback" in error.getvalue():
        raise RuntimeError(error.getvalue())


READERS = {
    **{f"clip.{suffix}": partial(film, suffix=suffix) for suffix in FILMS},
    **{name: partial(parsed, name=name) for name in PARSED},
    "best.ckpt": checkpoint,
    "exported": exported,
    "store": store,
    "predictions": predictions,
    **{f"theirs.{s}": partial(theirs, name=f"theirs.{s}") for s in ("csv", "json", "npz", "parquet")},
    **{name: partial(features, name=name) for name in ("features.npz", "features.csv")},
    **{name: partial(transcripts, name=name) for name in ("a.srt", "a.vtt", "words.csv", "words.txt")},
    **{
        name: partial(settings, name=name)
        for name in ("run.json", "folds.json", "names.txt", "metrics.csv", "config.yaml", "sweep.yaml", "entry.json")
    },
    "mine.yaml": command,
}
HELD = ("labels.csv",)
"""Files that are not damaged."""
MANY = 2000


@pytest.fixture(scope="module")
def seeds(tmp_path_factory, feature_run):
    """Kind to files, each by its path below a folder."""
    from apt_lightning.stages.export.export import export

    folder = tmp_path_factory.mktemp("seeds")
    found = {}
    for suffix, how in FILMS.items():
        path = write_clip(folder / f"clip.{suffix}", **{"count": 12, "size": (64, 48)} | how)
        found[path.name] = [{path.name: path.read_bytes()}]
    for name, (_, files) in PARSED.items():
        found[name] = [{f"data/{name}": data} for data in files]
    run = feature_run / "seed42"
    found["best.ckpt"] = [
        {"best.ckpt": (run / stage / "best.ckpt").read_bytes()} for stage in ("stage1_audio", "stage4")
    ]
    export(run / "stage1_audio" / "best.ckpt", folder / "exported")
    found["exported"] = [files_of(folder / "exported")]
    found["store"] = [files_of(feature_run.parent / "store", "frozen")]
    table = (run / "stage4" / "predictions_test.csv").read_bytes()
    found["predictions"] = [
        {"predictions_test.csv": table, "statistics.json": (run / "stage4/statistics.json").read_bytes()}
    ]
    rng = np.random.default_rng(0)
    names = [f"{i}.mp4" for i in range(8)]
    values = rng.uniform(0.3, 0.7, (8, 5)).round(3)
    lines = [
        ",".join(["clip", *TRAITS]),
        *(",".join([n, *map(str, row)]) for n, row in zip(names, values, strict=True)),
    ]
    text = "\n".join(lines).encode()
    labels = {"labels.csv": text}
    np.savez(folder / "a.npz", names=names, predictions=values, features=values)
    table_of = {"clip": names, **{trait: values[:, i].tolist() for i, trait in enumerate(TRAITS)}}
    found["theirs.csv"] = [labels | {"theirs.csv": text}]
    found["theirs.json"] = [labels | {"theirs.json": json.dumps(table_of).encode()}]
    found["theirs.npz"] = [labels | {"theirs.npz": (folder / "a.npz").read_bytes()}]
    try:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table(table_of), folder / "a.parquet")
        found["theirs.parquet"] = [labels | {"theirs.parquet": (folder / "a.parquet").read_bytes()}]
    except ImportError:
        pass
    found["features.npz"] = [{"features.npz": (folder / "a.npz").read_bytes()}]
    found["features.csv"] = [{"features.csv": text}]
    found["a.srt"] = [{"a.srt": SUBTITLES.encode()}]
    found["a.vtt"] = [{"a.vtt": b"WEBVTT\n\nNOTE x\n\n" + SUBTITLES.replace(",", ".").encode()}]
    found["words.csv"] = [{"words.csv": b'clip,transcript\na.mp4,"hello, you"\n'}]
    found["words.txt"] = [{"words.txt": "we are happy here\u2026\n".encode()}]
    groups = [["a", "b"], ["c"], ["d"]]
    for name, data in {
        "run.json": (feature_run / "run.json").read_bytes(),
        "folds.json": json.dumps({"format": "apt-lightning folds 1", "seed": 0, "groups": groups}).encode(),
        "names.txt": b"# leave out\na.mp4\nb.mp4\n",
        "metrics.csv": (run / "stage4" / "metrics.csv").read_bytes(),
        "config.yaml": (run / "stage4" / "config.yaml").read_bytes(),
        "sweep.yaml": (CONFIGS / "sweeps" / "stage3.yaml").read_bytes(),
        "entry.json": (ROOT / "leaderboard" / "systems" / "visual.json").read_bytes(),
    }.items():
        found[name] = [{name: data}]
    found["mine.yaml"] = [{"mine.yaml": (CONFIGS / "stage1_audio.yaml").read_bytes()}]
    return found


def files_of(folder, *without):
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    names = [path.relative_to(folder) for path in paths]
    return {str(name): (folder / name).read_bytes() for name in names if name.parts[0] not in without}


def serve(folder, kinds, first, output):
    """Read mutants from number ``first`` on, and write down a line for each as it begins and as it ends."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, taken + BYTES))
    os.chdir(folder)
    with open(output, "a", buffering=1) as lines:
        for number, kind in list(enumerate(kinds))[first:]:
            print(number, "begun", file=lines)
            start = time.monotonic()
            try:
                READERS[kind](Path(folder, str(number)))
                result = "read"
            except (AptError, ClipError, OSError) as error:
                text = str(error)
                result = (
                    "refused"
                    if 5 < len(text) < 3000 and "\n" not in text
                    else f"unclear {type(error).__name__}: {text}"
                )
            except BaseException as error:
                result = f"unforeseen {type(error).__name__}: {error}"
            print(number, "ended", round(time.monotonic() - start, 3), " ".join(result.split())[:300], file=lines)


def bounded(folder, kinds):
    """What became of each mutant, and how long it took."""
    output = folder / "results.txt"
    results = {}
    first = 0
    while first < len(kinds):
        output.write_text("")
        process = START.Process(target=serve, args=(str(folder), kinds, first, str(output)))
        process.start()
        seen, since = "", time.monotonic()
        while process.is_alive():
            process.join(0.2)
            text = output.read_text()
            if text != seen:
                seen, since = text, time.monotonic()
            elif time.monotonic() - since > SECONDS + 30 * (not text):  # the process, too, has to start
                process.kill()
                process.join()
        ended = [line.split(" ", 3) for line in output.read_text().splitlines() if " ended " in line]
        results |= {int(number): (float(seconds), result) for number, _, seconds, result in ended}
        first = max([first - 1, *map(int, (number for number, *_ in ended))]) + 1
        if first < len(kinds):
            results[first] = (time.monotonic() - since, f"the process ended with {process.exitcode}")
            first += 1
    return results


def attack(seeds, folder, number):
    """Make mutants of all kinds in turn, and the hostile checkpoints; counts by what became of them."""
    rng = np.random.default_rng(20240506)
    names = [kind for kind in READERS if kind in seeds]
    kinds = []
    for i in range(number):
        kind = names[i % len(names)]
        seed = seeds[kind][i // len(names) % len(seeds[kind])]
        damaged = sorted(set(seed) - set(HELD))
        damaged = damaged[int(rng.integers(len(damaged)))]
        write(folder / str(i), {name: mutate(data, rng) if name == damaged else data for name, data in seed.items()})
        kinds.append(kind)
    good = torch.load(write(folder / "good", seeds["best.ckpt"][0]) / "best.ckpt", weights_only=True)
    evil = hostile(good)
    assert len(evil) >= 30
    for data, _ in evil.values():
        write(folder / str(len(kinds)), {"best.ckpt": data})
        kinds.append("best.ckpt")
    write(folder / str(len(kinds)), {"best.ckpt": saved(good)})  # the last, which is whole, is read
    kinds.append("best.ckpt")
    results = bounded(folder, kinds)
    assert sorted(results) == list(range(len(kinds))) and results[len(kinds) - 1][1] == "read"
    wrong = [f"{i} {kinds[i]} ({results[i][0]:.1f} s): {results[i][1]}" for i in results
             if results[i][1] not in ("read", "refused") or results[i][0] > SECONDS]  # fmt: skip
    counts = Counter(result for _, result in results.values())
    print(f"{len(kinds)} mutants of {len(names)} kinds: {dict(counts)}; slowest {max(results.values())[0]:.1f} s")
    return counts, wrong


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def test_some_mutants_of_every_kind(seeds, tmp_path):
    counts, wrong = attack(seeds, tmp_path, 3 * len(READERS))
    assert not wrong
    assert counts["refused"] > 50


@pytest.mark.slow
def test_two_thousand_mutants_of_every_kind(seeds, tmp_path):
    counts, wrong = attack(seeds, tmp_path, MANY)
    assert not wrong
    assert counts["refused"] > MANY / 4
