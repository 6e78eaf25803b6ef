"""The examples run, one after the other in an empty folder; the notebook holds their code."""

import json
import re
import subprocess
import sys

import pytest
from places import ROOT

SCRIPTS = ("train", "own_embeddings", "score")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_runs(name, folder):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py"], cwd=folder, capture_output=True, text=True, timeout=500
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
    book = json.loads((ROOT / "examples" / "tour.ipynb").read_text(encoding="utf-8"))
    assert book["nbformat"] == 4 and not any(cell.get("outputs") for cell in book["cells"])
    cells = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    parts = []
    for name in SCRIPTS:
        text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
        parts += [part.strip() for part in re.split(r"^# %% .*\n", text, flags=re.MULTILINE)[1:]]
    assert cells == parts
