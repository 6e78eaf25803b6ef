"""`apt ablate --features`: every row is what its files say, beside the neighbours on the same features."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from feature_sets import put_set
from places import QUICK

from apt_lightning.cli import main
from apt_lightning.data.store.content import read_content
from apt_lightning.data.store.reader import Store
from apt_lightning.evaluation.predictions import read_predictions
from apt_lightning.experiments.feature_ablation import feature_plan
from apt_lightning.experiments.results import plain_features
from apt_lightning.experiments.run_folder import RunFolder
from apt_lightning.experiments.run_settings import read_settings
from apt_lightning.experiments.runner import plan
from apt_lightning.stages.checkpoint import read_stage


@pytest.fixture(scope="module")
def ablated(store_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablated")
    store = Store.open(shutil.copytree(store_dir, folder / "store"))
    put_set(store, "audio", "one")
    put_set(store, "audio", "two", layers=1, dim=3, lacking=(0, 1))
    put_set(store, "face", "look", lacking=(3,))
    ablate(folder)
    return folder


def ablate(folder, *more):
    words = [f"--store={folder / 'store'}", f"--out={folder / 'run'}", "--modalities=[audio,text,face]"]
    assert main(["ablate", "--features", *words, f"--options={QUICK}", *more]) == 0


def lines(folder):
    with (folder / "run" / "ablation_features.csv").open() as stream:
        return {(line["group"], line["title"]): line for line in csv.DictReader(stream)}


def test_every_row_is_what_its_files_say(ablated, capsys):
    found = lines(ablated)
    assert list(found) == [
        *(("audio", title) for title in ("as run", "one", "two", "all sets")),
        ("text", "as run"),
        *(("face", title) for title in ("as run", "look")),
        *(("joined (stage 2)", title) for title in ("as run", "all sets", "all but audio one", "all but audio two")),
        ("joined (stage 2)", "all but face look"),
    ]
    for line in found.values():
        table = read_predictions(ablated / "run" / "seed42" / line["unit"] / "predictions_test.csv")
        errors = np.abs(table.predicted - table.true).mean(axis=1)
        assert float(line["test"]) == pytest.approx(1 - errors.mean())
        for name, kept in (("seen sources", table.seen_source), ("unseen sources", ~table.seen_source)):
            assert float(line[name]) == pytest.approx(1 - errors[kept].mean())
    one, all_sets = (float(found["audio", title]["test"]) for title in ("one", "all sets"))
    assert float(found["audio", "one"]["difference from all sets"]) == pytest.approx(one - all_sets)
    assert found["audio", "all sets"]["difference from all sets"] == ""
    details = json.loads((ablated / "run" / "ablation_features.json").read_text())["features"]
    assert [row["title"] for row in details] == [title for _, title in found]


def test_rows_read_the_sets_they_name(ablated):
    def read(unit):
        encoders = read_stage(ablated / "run" / "seed42" / unit / "best.ckpt").networks["encoders"]
        return {m: [one["name"] for one in about.get("sets", ())] for m, about in encoders.items()}

    assert read("stage1_audio-all-sets") == {"audio": ["one", "two"]}
    assert read("stage2-all-sets") == {"audio": ["one", "two"], "text": [], "face": ["look"]}
    assert read("stage2-no-audio-one") == {"audio": ["two"], "text": [], "face": ["look"]}
    assert read("stage2-no-face-look") == {"audio": ["one", "two"], "text": []}
    assert lines(ablated)["joined (stage 2)", "all but face look"]["reads"] == "audio/one audio/two text"


def test_neighbours_are_those_of_the_same_features(ablated):
    """One nearest neighbour by hand: the rate at which it is of the clip's own source."""
    store = Store.open(ablated / "store")
    found = store.feature_set("audio", "one")
    means = np.array(
        [found.values[a:b].mean(axis=0, dtype=float).ravel() for a, b in found.spans([c.name for c in store.clips])]
    )
    used = [i for i, clip in enumerate(store.clips) if clip.status != "left out"]
    train = [i for i in used if store.clips[i].split == "train"]
    scaled = (means - means[train].mean(axis=0)) / means[train].std(axis=0)
    sources = np.array([clip.source for clip in store.clips])
    test = [i for i in used if store.clips[i].split == "test" and sources[i] in sources[train]]
    nearest = [train[int(np.argmin(((scaled[train] - scaled[i]) ** 2).sum(axis=1)))] for i in test]
    expected = (sources[nearest] == sources[test]).mean()
    line = lines(ablated)["audio", "one"]
    assert float(line["same source"]) == pytest.approx(expected)
    assert 0.5 < float(line["neighbours test"]) < 1


def test_another_content_of_a_set_trains_what_reads_it_anew(ablated):
    settings = replace(read_settings(ablated / "run"), modalities=["audio", "text", "face"])
    units, _, _ = feature_plan(settings.modalities, {"audio": ["one", "two"], "face": ["look"]})

    def keys():
        return {job.unit.name: job.key for job in plan(settings, units, Store.open(settings.store))}

    before = keys()
    put_set(Store.open(ablated / "store"), "face", "look", dim=4)
    changed = {unit for unit, key in keys().items() if key != before[unit]}
    reads = (
        "stage1_face",
        "stage1_face-look",
        "stage2",
        "stage2-all-sets",
        "stage2-no-audio-one",
        "stage2-no-audio-two",
    )
    assert changed == set(reads)


def test_three_sets_are_each_left_out():
    _, parts, _ = feature_plan(["visual"], {"visual": ["a", "b", "c"]})
    titles = ["as run", "a", "b", "c", "all sets", "all but a", "all but b", "all but c"]
    assert [part.variant.title for part in parts] == titles
    assert parts[5].blocks == (("visual", "b"), ("visual", "c"))


def test_a_store_without_sets_is_told(store_dir, tmp_path, capsys):
    assert main(["ablate", "--features", f"--store={store_dir}", f"--out={tmp_path}"]) == 2
    assert "`apt encode` makes some" in capsys.readouterr().err


def test_baselines_of_a_run_read_what_its_stages_read(ablated, tmp_path):
    store = Store.open(ablated / "store")
    config = {"model": {"class_path": "ModalityModule", "init_args": {"features": ["one", "two"]}}}
    (tmp_path / "seed1" / "stage1_audio").mkdir(parents=True)
    (tmp_path / "seed1" / "stage1_audio" / "config.yaml").write_text(json.dumps(config))
    found = plain_features(RunFolder(tmp_path), store, ["text", "audio"])
    assert list(found) == ["text", "audio"]
    np.testing.assert_array_equal(found["text"], read_content(store).features["text"])
    values = store.feature_set("audio", "one")
    first, end = values.offsets[4:6]
    mean = values.values[first:end].astype(np.float64).mean(axis=0).ravel()
    np.testing.assert_allclose(found["audio"][4, : mean.size], mean)
    assert found["audio"].shape == (len(store), 2 * 6 + 3) and np.isnan(found["audio"][0, 12:]).all()
