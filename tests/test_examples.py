"""The examples run, one after the other in an empty folder; the notebook holds their code."""

import re
import subprocess
import sys

import pytest
from notebook import EXAMPLES, FILE, SCRIPTS, notebook


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_runs(name, folder):
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], cwd=folder, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    match name:
        case "train":
            assert all(f"{stage} {{'test/" in done.stdout for stage in ("stage1_audio", "stage2", "stage3", "stage4"))
        case "own_embeddings":
            assert "('audio', 'visual', 'text', 'gait')" in done.stdout and "audio and gait: 0." in done.stdout
        case "score":
            assert (folder / "shares.png").read_bytes().startswith(b"\x89PNG")


def test_the_notebook_is_the_scripts():
    assert FILE.read_text(encoding="utf-8") == notebook(), "run tests/helpers/notebook.py"


def test_the_python_of_the_readme_runs(chain, store_dir, clips_dir, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (EXAMPLES.parent / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "demo").mkdir()
    for name, folder in (("data", clips_dir), ("store", store_dir), ("run", chain)):
        (tmp_path / "demo" / name).symlink_to(folder)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'traits': {'extraversion': 0." in done.stdout
