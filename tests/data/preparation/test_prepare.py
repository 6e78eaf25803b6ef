"""Preparation: only what is missing, whatever kills it, whoever shares the work."""

import contextlib
import csv
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
from fake_extract import write_clip
from fake_sets import OPTIONS, content, done, make_set
from places import CLIPS, HELPERS

from apt_lightning.cli import main
from apt_lightning.common.errors import DataError, StoreError, UsageError
from apt_lightning.common.files import locked, write_csv
from apt_lightning.common.names import name_form
from apt_lightning.data.media.extraction import ExtractionSettings
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.preparation.share import Options
from apt_lightning.data.store.reader import Store
from apt_lightning.data.store.rows import newest_rows

SCRIPT = """
import sys
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.preparation.share import Options
print(prepare(sys.argv[1], sys.argv[2], Options(extract="fake_extract:extract", workers=2)))
"""


@pytest.fixture(autouse=True)
def _fake_extract_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    return make_set(tmp_path / "data", [{"sleep": 0.005}] * 12)


def test_second_run_does_only_what_changed(data, tmp_path):
    store = tmp_path / "store"
    assert prepare(data, store, OPTIONS) == 0
    before = {file: file.stat().st_mtime_ns for file in store.rglob("*") if file.is_file() and file.suffix != ".lock"}
    assert prepare(data, store, OPTIONS) == 0
    after = {file: file.stat().st_mtime_ns for file in store.rglob("*") if file.is_file() and file.suffix != ".lock"}
    assert before == after
    first = content(store)
    write_clip(data.parent / "clip0003.json", seed=1234)
    prepare(data, store, OPTIONS)
    assert done(store) == {f"clip{i:04d}.json": 2 if i == 3 else 1 for i in range(12)}
    assert content(store) != first


def test_other_settings_make_other_rows(data, tmp_path):
    store = tmp_path / "store"
    prepare(data, store, OPTIONS)
    first = content(store)[0]
    prepare(data, store, Options(ExtractionSettings(n_frames=4), extract=OPTIONS.extract))
    assert set(done(store).values()) == {2} and content(store)[0] != first
    prepare(data, store, OPTIONS)
    assert set(done(store).values()) == {2} and content(store)[0] == first


def test_clips_that_come_and_go(data, tmp_path):
    store = tmp_path / "store"
    prepare(data, store, OPTIONS)
    text = data.read_text()
    data.write_text("\n".join(text.splitlines()[:-2]) + "\n")
    prepare(data, store, OPTIONS)
    assert len(Store.open(store)) == 10
    data.write_text(text)
    prepare(data, store, OPTIONS)
    assert len(Store.open(store)) == 12 and set(done(store).values()) == {1}
    (data.parent / "clip0000.json").unlink()
    prepare(data, store, OPTIONS)
    gone = Store.open(store).clips[0]
    assert gone.status == "left out" and [fault.code for fault in gone.faults] == ["missing-file"]


def test_quarantine_opens_nothing_and_counts(data, tmp_path, capsys):
    write_clip(data.parent / "clip0002.json", do="hang")
    (tmp_path / "list.txt").write_text("# comment\n\nclip0002.json\nstranger.mp4\n")
    options = Options(extract=OPTIONS.extract, quarantine=str(tmp_path / "list.txt"), seconds=20)
    prepare(data, tmp_path / "store", options)
    clip = Store.open(tmp_path / "store").clips[2]
    assert clip.status == "left out" and [fault.code for fault in clip.faults] == ["quarantined"]
    assert "1 names of" in capsys.readouterr().out


def test_retry(data, tmp_path):
    write_clip(data.parent / "clip0002.json", do="hang")
    options = Options(extract=OPTIONS.extract, seconds=1.0)
    prepare(data, tmp_path / "store", options)
    assert [fault.code for fault in Store.open(tmp_path / "store").clips[2].faults] == ["timeout"]
    stat = (data.parent / "clip0002.json").stat()
    size = stat.st_size
    (data.parent / "clip0002.json").write_text('{"do": "ok"}'.ljust(size))
    os.utime(data.parent / "clip0002.json", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    prepare(data, tmp_path / "store", options)
    assert Store.open(tmp_path / "store").clips[2].status == "left out"
    prepare(data, tmp_path / "store", Options(extract=OPTIONS.extract, retry=True))
    assert Store.open(tmp_path / "store").clips[2].status == "ok"


def test_nan_never_enters(tmp_path):
    data = make_set(tmp_path, [{"do": "nan"}, {}])
    prepare(data, tmp_path / "store", OPTIONS)
    store = Store.open(tmp_path / "store")
    assert [clip.status for clip in store.clips] == ["left out", "ok"] and np.isfinite(store.vectors("audio")).all()


def test_duplicates_and_unknown_words(tmp_path):
    data = make_set(tmp_path, [{}, {}, {}], ["one two", "12 34", "three one"])
    (tmp_path / "clip0002.json").write_bytes((tmp_path / "clip0000.json").read_bytes())
    (tmp_path / "glove.txt").write_text("one 1 2 3\nother 4 5 6\n")
    data.write_text(data.read_text().replace("12 34", "unheard words"))
    prepare(
        data,
        tmp_path / "store",
        Options(extract=OPTIONS.extract, vectors=str(tmp_path / "glove.txt"), max_tokens=3),
    )
    store = Store.open(tmp_path / "store")
    assert [[fault.code for fault in clip.faults] for clip in store.clips] == [
        [],
        ["no-known-word"],
        ["duplicate-content"],
    ]
    assert store.text.words == ["one"] and store.text.vectors.tolist() == [[0] * 3, [0] * 3, [1, 2, 3]]
    assert store.text.ids.tolist() == [[2, 1, 0], [1, 1, 0], [1, 2, 0]]
    assert store.present[:, 2].tolist() == [True, False, True]


def test_without_vectors_only_transcripts_without_a_word_are_said_to_have_none(tmp_path):
    """Whether a word is known is up to the model that predicts: the store must not say that it is not."""
    data = make_set(tmp_path, [{}, {}], ["hello there", "12 34"])
    data.write_text(data.read_text().replace("train", "unlabelled").replace(",0.5,0.5,0.5,0.5,", ",,,,,"))
    prepare(data, tmp_path / "store", OPTIONS)
    store = Store.open(tmp_path / "store")
    assert not store.text.words
    codes = [[fault.code for fault in clip.faults if fault.code != "label-missing"] for clip in store.clips]
    assert [("no-known-word" in found) for found in codes] == [False, True]


def test_every_name_is_prepared_under_its_form(tmp_path):
    names = [b"caf\xe9.json", b"a\nb.json", b" x.json"]
    (tmp_path / "data").mkdir()
    for seed, name in enumerate(names):
        write_clip(tmp_path / "data" / os.fsdecode(name), seed=seed)
    forms = [name_form(os.fsdecode(name)) for name in names]
    write_csv(tmp_path / "data" / "clips.csv", ["clip"], [[form] for form in forms])
    prepare(tmp_path / "data" / "clips.csv", tmp_path / "store", OPTIONS)
    content(tmp_path / "store")
    store = Store.open(tmp_path / "store")
    assert [clip.name for clip in store.clips] == forms and store.present[:, 0].all()


def test_refuses_a_folder_of_other_things(data, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("x")
    with pytest.raises(UsageError, match=r"holds chapter1\.tex"):
        prepare(data, tmp_path / "thesis", OPTIONS)
    with pytest.raises(DataError, match="does not exist"):
        prepare(tmp_path / "nothing", tmp_path / "store", OPTIONS)
    assert not (tmp_path / "store").exists()


def test_full_disk_is_one_line_and_goes_on(data, tmp_path):
    """A real limit on file size, met in a worker's write."""
    store = tmp_path / "store"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))  # noqa: E731
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, data, store],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert "StoreError: cannot write" in run.stderr and "goes on where it stopped" in run.stderr
    assert not list(store.rglob("*.part"))
    assert prepare(data, store, OPTIONS) == 0
    assert set(done(store).values()) == {1}
    content(store)


def one_clip_lasts(data):
    """Have the first clip of all take longer than any test, so that a preparation does not end by itself."""
    write_clip(next(iter(sorted(data.parent.glob("clip*.json")))), sleep=1000)


def wait_for_a_row(store, process):
    """Return when a row is committed: whoever wrote it holds the locks, and goes on while a clip lasts."""
    while not any(file.stat().st_size for file in store.glob("shards/*/rows.jsonl")):
        assert process.poll() is None, "it ended before it had done a clip"
        time.sleep(0.02)


def test_two_runs_at_once_are_refused(data, tmp_path):
    one_clip_lasts(data)
    first = subprocess.Popen([sys.executable, "-c", SCRIPT, data, tmp_path / "store"], stderr=subprocess.DEVNULL)
    wait_for_a_row(tmp_path / "store", first)
    with pytest.raises(StoreError, match="another process is writing"):
        prepare(data, tmp_path / "store", OPTIONS)
    first.kill()
    first.wait()


def test_ctrl_c_ends_cleanly(data, tmp_path):
    one_clip_lasts(data)
    code = (
        f"import sys; from apt_lightning.cli import main; import apt_lightning.data.preparation.pool as p\n"
        f"import apt_lightning.cli.doctor as d\nfrom dataclasses import replace\ninner = d.options_of\n"
        f"import apt_lightning.cli.prepare as q\n"
        f"q.options_of = lambda *a, **k: replace(inner(*a, **k), extract='fake_extract:extract')\n"
        f"sys.exit(main(['prepare', {str(data)!r}, {str(tmp_path / 'store')!r}]))"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    wait_for_a_row(tmp_path / "store", run)
    workers = psutil.Process(run.pid).children()
    run.send_signal(signal.SIGINT)
    errors = run.communicate(timeout=120)[1]
    assert run.returncode == 130 and "goes on where it stopped" in errors and "Traceback" not in errors
    assert not psutil.wait_procs(workers, timeout=60)[1]
    write_clip(data.parent / "clip0000.json", seed=0)
    prepare(data, tmp_path / "store", OPTIONS)
    content(tmp_path / "store")


def kill_at_random(data, store, rng, seconds):
    """Start a preparation, kill it after a random time; returns whether it had finished."""
    run = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, data, store], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(rng.uniform(0, seconds))
    try:
        workers = psutil.Process(run.pid).children()
    except psutil.NoSuchProcess:
        workers = []
    target = run.pid if not workers or rng.random() < 0.8 else workers[0].pid
    with contextlib.suppress(ProcessLookupError):
        os.kill(target, signal.SIGKILL)
    if target != run.pid:
        run.wait(60)
    finished = run.wait() == 0
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    return finished


def check_kills(tmp_path, data, kills, seed, seconds):
    prepare(data, tmp_path / "undisturbed", OPTIONS)
    expected_content = content(tmp_path / "undisturbed")
    rng = np.random.default_rng(seed)
    done_kills = rounds = 0
    while done_kills < kills:
        store = tmp_path / f"killed{rounds}"
        rounds += 1
        for _ in range(6):
            done_kills += 1
            if kill_at_random(data, store, rng, seconds):
                break
        assert prepare(data, store, OPTIONS) == 0
        assert content(store) == expected_content
        rows = done(store)
        assert len(rows) == 12 and max(rows.values()) <= 2  # twice only if its worker was killed after the commit
        assert len(newest_rows(store, Store.open(store).manifest["key"])) == 12
        assert not list(store.rglob("*.part"))


def test_few_random_kills(data, tmp_path):
    check_kills(tmp_path, data, kills=6, seed=1, seconds=0.9)


@pytest.mark.slow
def test_two_hundred_random_kills(data, tmp_path):
    check_kills(tmp_path, data, kills=200, seed=2, seconds=1.2)


def test_other_settings_wait_for_a_run_in_progress(data, tmp_path):
    prepare(data, tmp_path / "store", OPTIONS)
    manifest = (tmp_path / "store" / "manifest.json").read_bytes()
    with locked(tmp_path / "store" / "use.lock", shared=True):
        with pytest.raises(StoreError, match="another process is writing"):
            prepare(data, tmp_path / "store", replace(OPTIONS, extraction=ExtractionSettings(n_frames=4)))
        assert prepare(data, tmp_path / "store", OPTIONS) == 0
    assert (tmp_path / "store" / "manifest.json").read_bytes() == manifest


@pytest.mark.skipif(not CLIPS.exists(), reason="the shared clips are not here")
def test_command_on_the_shared_clips(tmp_path, capsys):
    """Every talking and every damaged clip: a row or a reason, and the counts add up."""
    assert main(["prepare", str(CLIPS), str(tmp_path / "store")]) == 1
    printed = capsys.readouterr().out
    store = Store.open(tmp_path / "store")
    status = {clip.name: clip.status for clip in store.clips}
    assert len(store) == 14
    assert status["odd_truncated.mp4"] == "left out"
    assert np.isfinite(store.vectors("audio")).all() and store.vectors("audio").shape == (14, 88)
    counts = [sum(value == what for value in status.values()) for what in ("ok", "degraded", "left out")]
    assert f"14 clips given = {counts[0]} ok + {counts[1]} degraded + {counts[2]} left out" in printed
    with open(store.path / "faults.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["clip"] for row in rows} >= {name for name, value in status.items() if value != "ok"}
    for i, clip in enumerate(store.clips):
        if clip.name.startswith("grid"):
            assert store.present[i, :2].all() and len(store.frames(i)) == 6
