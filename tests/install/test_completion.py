"""Shell completion, asked of bash itself."""

import contextlib
import shutil
import subprocess

import pytest

from apt_lightning.cli import COMMANDS, main

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
$(complete -p apt-lightning | sed 's/.*-F \\([^ ]*\\).*/\\1/') apt "${COMP_WORDS[COMP_CWORD]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    file = tmp_path_factory.mktemp("completion") / "apt.bash"
    with file.open("w") as stream, contextlib.redirect_stdout(stream):
        assert main(["completion", "bash"]) == 0
    assert file.stat().st_size < 200_000
    return file


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_choices_and_files(script, tmp_path):
    (tmp_path / "mine.yaml").touch()

    def ask(*words):
        command = ["bash", "-c", ASK, "bash", script, "apt", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout.split()

    assert set(ask("")) >= set(COMMANDS)
    assert ask("synthesize", "--s") == ["--sources", "--seed", "--seconds", "--shared"]
    assert ask("prepare", "--decoder", "p") == ["pyav"]
    assert ask("run", "--ov") == ["--overlay", "--overwrite"]
    assert ask("fit", "--model.marg") == ["--model.margin"]
    assert ask("test", "--data.ba") == ["--data.batch_size"]
    assert ask("fit", "--config", "mi") == ["mine.yaml"]


def test_zsh_script_serves_both_names_of_the_command(capsys):
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef apt apt-lightning\n")
