"""`apt run` keeps what is finished: another training in its place is refused, or asked for."""

import json

import pytest
from places import CONFIGS, QUICK
from shared import copy_of

from apt_lightning.cli import main
from apt_lightning.experiments.results import read_run


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.fixture
def finished(feature_run, tmp_path):
    """A copy of a finished run and the words of a command on it."""
    own = copy_of(feature_run.parent, tmp_path / "features")
    return own / "run", ["run", f"--store={own / 'store'}", f"--out={own / 'run'}", f"--stages={CONFIGS}"]


@pytest.mark.parametrize("folds", [None, 3])
def test_a_run_opens_its_store_once(folds, store_dir, tmp_path, monkeypatch):
    from apt_lightning.data.store.reader import Store
    from apt_lightning.experiments import runner
    from apt_lightning.experiments.run_settings import RunSettings

    opened = []
    monkeypatch.setattr(Store, "open", lambda path, given=Store.open: opened.append(path) or given(path))
    monkeypatch.setattr(runner, "complete", lambda *_: None)
    runner.run(RunSettings(store=str(store_dir), out=str(tmp_path / "run"), folds=folds))
    assert opened == [str(store_dir)]


def test_a_run_does_not_go_into_a_store(store_dir, capsys):
    before = files(store_dir)
    assert main(["run", f"--store={store_dir}", f"--out={store_dir}"]) == 2
    assert "a feature store; give the run a folder of its own" in capsys.readouterr().err
    assert files(store_dir) == before


def test_baselines_of_a_run_read_its_own_modalities(finished):
    out, (_, store, *_) = finished
    settings = json.loads((out / "run.json").read_text())
    changed = {"modalities": ["audio"], "store": store.removeprefix("--store=")}
    (out / "run.json").write_text(json.dumps({**settings, **changed}))
    found = read_run(out)
    assert "neighbours, audio" in found.floors and "neighbours, text" not in found.systems


@pytest.mark.parametrize("command", ["run", "ablate"])
def test_other_settings_destroy_nothing_unless_asked(command, finished, capsys):
    out, words = finished
    before = files(out)
    other = [command, *words[1:], f"--options={json.dumps([*QUICK, '--data.seed=5'])}"]
    assert main(other) == 2
    error = capsys.readouterr().err
    assert str(out / "seed42" / "stage1_audio") in error and "--overwrite=true" in error and "--out" in error
    assert files(out) == before
    if command == "run":
        assert main([*other, "--overwrite=true", "--modalities=[audio]"]) == 0
        after = files(out)
        changed = {path.parent.name for path in before if after.get(path) != before[path]}
        assert {"stage1_audio", "stage4"} <= changed and not changed & {"stage1_visual", "stage1_text"}


def test_what_a_person_trained_there_is_kept_too(finished, capsys):
    out, words = finished
    for name in ("started.json", "done.json"):
        (out / "seed42" / "stage2" / name).unlink()
    before = files(out)
    assert main([*words, f"--options={json.dumps(QUICK)}"]) == 2
    assert "stage2 holds a model" in capsys.readouterr().err
    assert files(out) == before


def test_another_number_of_folds_is_another_run(finished, tmp_path, capsys):
    _, words = finished
    out = tmp_path / "folds"
    words = [*words, f"--out={out}", f"--options={json.dumps(QUICK)}", "--modalities=[audio]"]
    assert main([*words, "--folds=3", "--share=1/3"]) == 0
    before = files(out)
    assert main([*words, "--folds=4", "--share=1/4"]) == 2
    assert "--overwrite=true" in capsys.readouterr().err
    assert files(out) == before
