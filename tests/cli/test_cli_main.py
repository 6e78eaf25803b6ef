"""The entry point: fast answers without heavy imports, one-line errors, exit statuses."""

import subprocess
import sys

import pytest

from apt_lightning import __version__
from apt_lightning.cli import COMMANDS, LIGHTNING, command_parser, main
from apt_lightning.common.errors import CheckpointError


def run(*words):
    return subprocess.run([sys.executable, "-m", "apt_lightning", *words], capture_output=True, text=True)


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(word):
    code = (
        "import sys; from apt_lightning.cli import main; status = main([sys.argv[1]]);"
        "heavy = {'torch', 'lightning', 'numpy', 'jsonargparse', 'av'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, word], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS) or __version__ in done.stdout


def test_unknown_command_is_one_line_with_a_suggestion():
    done = run("scor")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "apt score" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_fits_80_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([command, "--help"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert lines[0].startswith(f"usage: apt {command} ")
    assert not [line for line in lines if len(line) > 80]


def test_an_error_is_one_line_and_debug_shows_where(tmp_path, capsys):
    words = ["score", "x.mp4", "--checkpoint", str(tmp_path / "none.ckpt")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("apt: error: no checkpoint") and error.count("\n") == 1
    with pytest.raises(CheckpointError):
        main([*words, "--debug"])


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in LIGHTNING])
def test_what_is_said_after_ctrl_c(command, monkeypatch, capsys):
    """Commands whose help says that they go on are said to go on; the others begin anew."""
    module, _ = command_parser(command)

    def interrupted(words):
        raise KeyboardInterrupt

    monkeypatch.setattr("apt_lightning.cli.dispatch", interrupted)
    assert main([command]) == 130
    told = capsys.readouterr().err
    goes_on = any(
        word in COMMANDS[command] + module.__doc__ for word in ("goes on", "resumable", "takes over", "uses what")
    )
    goes_on |= command in ("synthesize", "sweep")
    assert told.strip().endswith(
        "goes on where it stopped" if goes_on else "begins anew, since it keeps nothing half done"
    )


def test_wrong_option_is_a_usage_error(capsys):
    assert main(["score", "x.mp4", "--no_such_option"]) == 2
