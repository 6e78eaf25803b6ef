"""A modality that the package has never heard of goes through all stages, tables and charts."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from places import CONFIGS, OVERLAY, QUICK

from apt_lightning.cli import main
from apt_lightning.common.errors import UsageError
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.store.precomputed import put_features
from apt_lightning.data.store.reader import Store
from apt_lightning.experiments.plan import initials, run_units
from apt_lightning.experiments.results import read_run
from apt_lightning.experiments.run_settings import RunSettings, with_modalities
from apt_lightning.experiments.runner import plan
from apt_lightning.stages.load import load
from apt_lightning.stages.scorer import Scorer


@pytest.fixture(scope="module")
def run_of_four(feature_run, tmp_path_factory):
    """Scent beside the three: a store of its own, and a run of all its modalities."""
    folder = tmp_path_factory.mktemp("four")
    clips = [clip.name for clip in Store.open(feature_run.parent / "store").clips]
    with (folder / "clips.csv").open("w") as stream:
        stream.write((feature_run.parent / "clips.csv").read_text())
    store = folder / "store"
    assert main(["prepare", str(folder / "clips.csv"), str(store)]) == 1  # there are no media
    rng = np.random.default_rng(0)
    for modality, size in (("audio", 88), ("visual", 20), ("text", 16), ("scent", 7)):
        np.savez(folder / f"{modality}.npz", features=rng.normal(size=(len(clips), size)), names=np.array(clips))
        assert main(["features", str(store), modality, str(folder / f"{modality}.npz")]) == 0
    words = [f"--store={store}", f"--out={folder / 'run'}", f"--stages={CONFIGS}", f"--overlay={OVERLAY}"]
    assert main(["run", *words, f"--options={QUICK}"]) == 0
    return folder


def test_every_stage_reads_all_four(run_of_four):
    four = ("audio", "visual", "text", "scent")
    assert Store.open(run_of_four / "store").modalities == four
    base = run_of_four / "run" / "seed42"
    for stage in ("stage2", "stage3", "stage4"):
        assert load(base / stage / "best.ckpt").modalities == four
    assert load(base / "stage1_scent" / "best.ckpt").encoder.low.shape == (7,)
    final = load(base / "stage4" / "best.ckpt").network
    assert final.layers[0].in_features == 512 + 4 * 128


def test_tables_have_every_pair(run_of_four):
    systems = list(read_run(run_of_four / "run").systems)
    assert {"scent", "A+S", "V+S", "T+S", "A+V+T+S baseline (stage 2)"} <= set(systems)


def test_the_retrieval_of_stage_3_has_every_pair(run_of_four):
    with (run_of_four / "run" / "seed42" / "stage3" / "retrieval_test.csv").open() as stream:
        pairs = {(line["query"], line["answer"]) for line in csv.DictReader(stream)}
    assert ("scent", "audio") in pairs and len({query for query, _ in pairs}) >= 4


def test_the_report_shows_what_scent_adds(run_of_four):
    assert main(["report", str(run_of_four / "run")]) == 0
    (page,) = (run_of_four / "run").glob("*.html")
    text = page.read_text(encoding="utf-8")
    assert "over traits: audio" in text and "scent 0." in text


def test_a_modality_of_features_made_elsewhere_is_named_when_a_clip_is_scored(run_of_four, clips_dir):
    scorer = Scorer(str(run_of_four / "run" / "seed42" / "stage4" / "best.ckpt"))
    features = scorer.features(None, None)
    assert not features.present.any()
    assert "no scent: the model was trained on scent features made elsewhere" in features.notes


def test_a_run_may_leave_modalities_out(run_of_four):
    out = run_of_four / "two"
    words = [f"--store={run_of_four / 'store'}", f"--out={out}", f"--stages={CONFIGS}", f"--overlay={OVERLAY}"]
    assert main(["run", *words, f"--options={QUICK}", "--modalities=[scent,text]"]) == 0
    assert {folder.name for folder in (out / "seed42").iterdir() if folder.is_dir()} == {
        unit.name for unit in run_units(["scent", "text"])
    }
    assert load(out / "seed42" / "stage4" / "best.ckpt").modalities == ("scent", "text")
    assert main(["run", *words, "--modalities=[scent,taste]"]) == 2


def test_names_that_share_an_initial_are_written_out():
    assert initials(["text", "tone"]) == {"text": "text", "tone": "tone"}
    names = [unit.name for unit in run_units(["audio", "text", "tone"])]
    assert len(names) == len(set(names)) and "stage2_text_tone" in names and "stage2_a_tone" in names


@pytest.mark.parametrize("name", ["Scent", "9th", "a-b", "a.b", "../x", "x" * 33, ""])
def test_a_name_must_fit_into_flags_and_files(name, run_of_four, capsys):
    assert main(["features", str(run_of_four / "store"), "--", name, str(run_of_four / "scent.npz")]) == 2
    assert "a letter first" in capsys.readouterr().err


def test_a_modality_that_no_clip_has_is_left_out_by_itself(feature_run, run_of_four, tmp_path):
    prepare(feature_run.parent / "clips.csv", tmp_path / "store")
    put_features(Store.open(tmp_path / "store"), "audio", str(run_of_four / "audio.npz"))
    put_features(Store.open(tmp_path / "store"), "scent", str(run_of_four / "scent.npz"))
    settings = RunSettings(store=str(tmp_path / "store"), out=str(tmp_path / "run"))
    store = Store.open(settings.store)
    assert with_modalities(settings, store).modalities == ["audio", "scent"]  # no media and no transcripts are there
    assert with_modalities(replace(settings, modalities=["text"]), store).modalities == ["text"]


def test_a_folder_of_one_stage_takes_the_others_from_the_package(run_of_four, tmp_path):
    own = tmp_path / "stages"
    own.mkdir()
    (own / "stage1_scent.yaml").write_text((CONFIGS / "stage1_audio.yaml").read_text())
    settings = RunSettings(store=str(run_of_four / "store"), out=str(tmp_path / "run"), stages=str(own))
    store = Store.open(settings.store)
    jobs = {job.unit.name: job.arguments for job in plan(settings, run_units(["audio", "scent"]), store)}
    assert f"--config={own / 'stage1_scent.yaml'}" in jobs["stage1_scent"]
    assert any(word.endswith("configs/stage1_audio.yaml") for word in jobs["stage1_audio"])
    for other in ({"stages": "nowhere"}, {"overlay": "nowhere"}):
        with pytest.raises(UsageError, match=f"no folder nowhere; `--{next(iter(other))}`"):
            list(plan(replace(settings, **other), run_units(["audio"]), store))
