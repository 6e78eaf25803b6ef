"""The wheel, outside the repository: it holds each YAML once, and the demo runs from it and goes on after a stop."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from places import CONFIGS, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("configs", "apt_lightning"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def apt(wheel, tmp_path_factory):
    """Run `apt` of the wheel, unpacked where no clone is near, in a folder."""
    site = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(site)
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}

    def run(folder, *words):
        command = [sys.executable, "-m", "apt_lightning", *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.slow
def test_wheel_holds_each_yaml_once(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    found = sorted(name for name in names if name.endswith(".yaml"))
    here = [file.relative_to(CONFIGS).as_posix() for file in CONFIGS.rglob("*.yaml")]
    assert found == sorted(f"apt_lightning/configs/{name}" for name in here)
    assert not [name for name in names if name.startswith(("tests", "bench", "studies"))]


@pytest.mark.slow
def test_demo_runs_from_the_wheel_and_goes_on(apt, tmp_path):
    status, out, error = apt(tmp_path, "demo", "--clips", "60", "--seed", "3", "--out", "little")
    assert status == 0, error[-3000:]
    assert "2 of 2 clips scored" in out and (tmp_path / "little" / "run" / "report.html").is_file()
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "little" / "run").rglob("*.ckpt")}
    (tmp_path / "little" / "run" / "seed42" / "stage4" / "done.json").unlink()
    status, out, error = apt(tmp_path, "demo", "--clips", "60", "--seed", "3", "--out", "little")
    assert status == 0, error[-3000:]
    assert out.count(": complete") == 8 and "stage4: going on" in out
    assert all(file.stat().st_mtime_ns == when for file, when in made.items() if "stage4" not in file.parts)
    assert [file.name for file in tmp_path.iterdir()] == ["little"]
