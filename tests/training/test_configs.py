"""Every YAML in configs is instantiated and used: stages train two batches, runs and overlays fit what they name."""

import shutil

import pytest
import yaml
from feature_sets import put_set
from places import CONFIGS, OVERLAY, QUICK

from apt_lightning.cli import main
from apt_lightning.data.store.reader import Store
from apt_lightning.experiments.plan import Unit, run_units
from apt_lightning.experiments.run_settings import RunSettings
from apt_lightning.stages.checkpoint import read_stage

STAGES = sorted(CONFIGS.glob("*.yaml"))
JOINT = Unit("joint", "joint", "all nets in one training", needs={"start_ckpt": "stage4"})
FEATURES = Unit("stage1_features", "stage1_features", "stage 1 on pretrained features")
"""No parts of `apt run`."""


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_stage_trains_two_batches(path, chain, store_dir, tmp_path):
    base = chain / "seed42"
    if path.stem == FEATURES.name:
        store_dir = shutil.copytree(store_dir, tmp_path / "store")
        put_set(Store.open(store_dir), "visual", "dinov2")
    flags = next(unit for unit in (*run_units(), JOINT, FEATURES) if unit.name == path.stem).inputs(base)
    flags += [f"--data.store={store_dir}", f"--run_dir={tmp_path}", *QUICK]
    files = [f"--config={file}" for file in (path, OVERLAY / path.name) if file.is_file()]
    assert main(["fit", *files, *flags, "--trainer.limit_val_batches=2"]) == 0
    assert (tmp_path / "best.ckpt").is_file() and (tmp_path / "last.ckpt").is_file()


def test_the_units_of_a_run_use_every_stage():
    assert {unit.config for unit in (*run_units(), JOINT, FEATURES)} == {path.stem for path in STAGES}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("runs/*.yaml")), ids=lambda path: path.stem)
def test_run_configs_are_settings(path):
    settings = RunSettings(**yaml.safe_load(path.read_text()))
    assert (CONFIGS.parent / settings.stages).is_dir()
    assert settings.overlay is None or (CONFIGS.parent / settings.overlay).is_dir()


OVERLAYS = sorted(CONFIGS.glob("overlays/*/*.yaml"))
ENCODERS = [path for path in OVERLAYS if path.parent.name != "demo"]


def name_of(path):
    return f"{path.parent.name}/{path.stem}"


def under(overlay):
    """The YAML that an overlay lies over: that of a modality without one of its own is stage 1 of audio."""
    own = CONFIGS / overlay.name
    return own if own.is_file() else CONFIGS / "stage1_audio.yaml"


@pytest.mark.parametrize("path", ENCODERS, ids=name_of)
def test_overlays_of_encoders_train_two_batches(path, store_dir, tmp_path):
    """On sets of the name that the overlay asks for, as `apt run --overlay` joins the two files."""
    store = shutil.copytree(store_dir, tmp_path / "store")
    modality = path.stem.removeprefix("stage1_")
    (name,) = yaml.safe_load(path.read_text())["model"]["init_args"]["features"]
    put_set(Store.open(store), modality, name)
    flags = [f"--data.store={store}", f"--run_dir={tmp_path}", f"--model.modality={modality}", *QUICK]
    assert main(["fit", f"--config={under(path)}", f"--config={path}", *flags]) == 0
    read = read_stage(tmp_path / "best.ckpt").networks["encoders"][modality]
    assert [one["name"] for one in read["sets"]] == [name]
    command = path.read_text().splitlines()[0]
    assert f"apt encode STORE {modality} " in command and f"--name {name}`" in command


@pytest.mark.parametrize("path", OVERLAYS, ids=name_of)
def test_overlays_hold_only_what_differs(path):
    names = STAGES if path.stem == "all" else [under(path)]

    def leaves(tree, prefix=()):
        if not isinstance(tree, dict):
            return {prefix: tree}
        return {k: v for key, value in tree.items() for k, v in leaves(value, (*prefix, key)).items()}

    for stage in names:
        base = leaves(yaml.safe_load(stage.read_text()))
        assert all(base.get(key) != value for key, value in leaves(yaml.safe_load(path.read_text())).items())
