"""YAMLs that come with the package: found by name, the user's own first, and written out to be changed."""

import subprocess
import sys

from places import CONFIGS

from apt_lightning.cli import main
from apt_lightning.common.configs import find_config


def test_own_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("stage3.yaml").samefile(CONFIGS / "stage3.yaml")
    assert find_config("configs/overlays/demo").samefile(CONFIGS / "overlays" / "demo")
    (tmp_path / "stage3.yaml").touch()
    assert find_config("stage3.yaml").absolute() == tmp_path / "stage3.yaml"


def test_configs_are_written_whole_and_never_over_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["configs", "configs"]) == 0
    written = {file.relative_to(tmp_path / "configs"): file.read_bytes() for file in tmp_path.rglob("*.yaml")}
    assert written == {file.relative_to(CONFIGS): file.read_bytes() for file in CONFIGS.rglob("*.yaml")}
    (tmp_path / "configs" / "stage3.yaml").write_text("changed: true\n")
    assert main(["configs", "configs"]) == 2
    assert (tmp_path / "configs" / "stage3.yaml").read_text() == "changed: true\n"
    assert "is not empty" in capsys.readouterr().err


def test_run_finds_its_yaml_outside_a_clone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--config", "runs/demo.yaml"]) == 2
    assert "no feature store at demo/store" in capsys.readouterr().err
    assert main(["run", "--config", "runs/none.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "runs/demo.yaml" in error and "apt configs" in error


def test_a_flag_before_the_file_counts_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in (["--store=mine", "--config=runs/demo.yaml"], ["--config", "runs/demo.yaml", "--store", "mine"]):
        assert main(["run", *words]) == 2
        assert "no feature store at mine" in capsys.readouterr().err
    assert main(["fit", "--data.store=mine", "--config=stage1_audio.yaml", "--trainer.accelerator=cpu"]) == 2
    assert "no feature store at mine" in capsys.readouterr().err


def test_missing_gensim_and_decord_are_one_line(tmp_path):
    code = (
        "import sys; sys.modules['gensim'] = None; sys.modules['gensim.models'] = None;"
        "import importlib.util as u; real = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'decord' else real(name, *a);"
        "from apt_lightning.cli import main; sys.exit(main(sys.argv[1:]))"
    )

    def run(*words):
        done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    assert "3.14" in run("demo") and not list(tmp_path.iterdir())
    assert "x86-64 only" in run("prepare", "data", "store", "--decoder", "decord")
