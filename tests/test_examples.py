"""The examples run, one after the other in an empty folder; the notebook holds their code."""

import re
import runpy

import lightning.pytorch
import pytest
from notebook import EXAMPLES, FILE, SCRIPTS, notebook

import apt_lightning
from apt_lightning.data.synthetic import synthesize


class Brief(lightning.pytorch.Trainer):
    """A Trainer that stops after two batches of the first epoch, whatever it is told."""

    def __init__(self, max_epochs, **settings):
        super().__init__(max_epochs=1, limit_train_batches=2, **settings)


def few(folder, n_clips, **settings):
    """A smaller set than is asked for."""
    synthesize(folder, 24, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_runs(name, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(lightning.pytorch, "Trainer", Brief)
    monkeypatch.setattr(apt_lightning, "synthesize", few)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    shown = capsys.readouterr().out
    match name:
        case "train":
            assert all(f"{stage} {{'test/" in shown for stage in ("stage1_audio", "stage2", "stage3", "stage4"))
        case "own_embeddings":
            assert "('audio', 'visual', 'text', 'gait')" in shown and "audio and gait: 0." in shown
        case "score":
            assert (folder / "shares.png").read_bytes().startswith(b"\x89PNG")


def test_the_notebook_is_the_scripts():
    assert FILE.read_text(encoding="utf-8") == notebook(), "run tests/helpers/notebook.py"


def test_the_python_of_the_readme_runs(chain, store_dir, clips_dir, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (EXAMPLES.parent / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "demo").mkdir()
    for name, folder in (("data", clips_dir), ("store", store_dir), ("run", chain)):
        (tmp_path / "demo" / name).symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert "'traits': {'extraversion': 0." in capsys.readouterr().out
