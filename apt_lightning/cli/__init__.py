"""The ``apt`` command: finds the sub-command and imports only what it needs."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from apt_lightning.common.configs import NO_STAGE, find_config_options
from apt_lightning.common.console import never_fail_on_characters, output, say
from apt_lightning.common.errors import AptError, UsageError
from apt_lightning.common.usage import explain, nearest, plain_words
from apt_lightning.common.version import __version__

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

COMMANDS = {
    "demo": "the whole method on synthetic clips; goes on where it stopped",
    "synthesize": "write a synthetic set: drawn faces, synthesised speech",
    "prepare": "turn clips into one feature store; goes on where it stopped",
    "doctor": "open every clip and name each fault",
    "encode": "run a pretrained encoder over the clips of a store; resumable",
    "features": "put features made elsewhere into a store",
    "audit": "check a data set for leaks, placeholder labels and duplicates",
    "fit": "train one stage from a YAML",
    "validate": "evaluate a stage on the validation split",
    "test": "evaluate a stage on the test split",
    "predict": "write the predictions of a stage for any clips of a store",
    "run": "train all stages in order, for seeds and folds; resumable",
    "score": "five traits for your own videos",
    "serve": "a page on this machine that scores a video dropped into it",
    "export": "a trained model for others: safetensors, model card, ONNX",
    "evaluate": "judge anyone's file of predictions, from the labels alone",
    "compare": "paired, source-clustered comparison of two runs",
    "ablate": "modalities, embeddings, anchors, losses and seeds in one table",
    "sweep": "search stage 3's hyperparameters without an account",
    "leaderboard": "compute the leaderboard's page, or check an entry",
    "report": "one self-contained HTML page about one or more runs",
    "card": "card of a store (Croissant), or of a run with a checklist",
    "configs": "write out the YAML files that come with the package, to be changed",
    "completion": "print a script that completes commands and options in bash or zsh",
}
LIGHTNING = ("fit", "validate", "test", "predict")
"""Commands that LightningCLI parses itself."""

NAME_A_STAGE = ("--config", "-c", "--model", "--model.class_path", "--ckpt_path", "--print_config", "--help", "-h")
"""Options one of which `fit` needs."""

GO_ON = ("demo", "synthesize", "prepare", "encode", "fit", "run", "ablate", "sweep")
"""Commands that keep what they have done; `fit` is told where by `--ckpt_path=last`."""

FILES = ("json", "output", "report", "quarantine")
"""Options of commands, each of which is a file."""

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT."""


def usage() -> str:
    """Text of ``apt --help``."""
    lines = "\n".join(f"  {name:<11} {text}" for name, text in COMMANDS.items())
    return (
        "usage: apt COMMAND [options]     (also: apt-lightning, python -m apt_lightning)\n\n"
        "Apparent personality traits from video, voice and words (arXiv 2405.03846).\n"
        f"Apparent, not actual, personality; not for hiring or ranking people.\n\n{lines}\n\n"
        "`apt COMMAND --help` lists a command's options. `--debug` shows the traceback of\nan error, "
        "`--quiet` no progress; `COLUMNS` sets the width of tables."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``apt`` command line.

    Args:
        argv: Words after ``apt``; those of the process if not given.

    Returns:
        Exit status: 0 done, 1 something asked for was not done, 2 a usage or input error, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    never_fail_on_characters()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of a HOME that cannot be written, and goes on
    if not words or words[0] in ("-h", "--help", "help"):
        say(usage())
        return 0
    if words[0] == "--version":
        say(f"apt-lightning {__version__}")
        return 0
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with output(words) as rest:
            return dispatch(rest)
    except BrokenPipeError:  # the reader, `head` for example, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        if debug:
            raise
        again = f"apt {words[0]}" + (" --ckpt_path=last" if words[0] == "fit" else "")
        then = "goes on where it stopped" if words[0] in GO_ON else "begins anew, since it keeps nothing half done"
        say(f"\napt: interrupted; `{again}` with the same options {then}", error=True)
        return INTERRUPTED
    except (AptError, OSError, MemoryError) as error:
        if debug:
            raise
        text = " ".join(_told(error).split()) or type(error).__name__
        say(f"apt: error: {text}", error=True)
        return 2
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split())
        say(f"apt: error: {type(error).__name__}: {text}; `--debug` shows where", error=True)
        return 2


def _told(error: Exception) -> str:
    """What an error says; the system's own names the file and what is wrong with it."""
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    match error:
        case FileExistsError() | NotADirectoryError():
            what = "is a file where a folder is needed; give another place"
        case IsADirectoryError():
            what = "is a folder where a file is needed; give a file"
        case FileNotFoundError():
            what = "is not there; give a file or folder that is"
        case _:
            what = f"cannot be used: {error.strerror}"
    return f"{error.filename} {what}"


def dispatch(words: list[str]) -> int:
    """Run one command.

    Args:
        words: The command and its options.

    Returns:
        Exit status, as of :func:`main`, which turns what is raised here into one line.
    """
    name, rest = words[0], find_config_options(words[1:])
    if name not in COMMANDS:
        from difflib import get_close_matches

        close = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean `apt {close[0]}`?" if close else "`apt --help` lists them."
        say(f"apt: error: no command {name!r}; {hint}", error=True)
        return 2
    if name in LIGHTNING:
        if name == "fit" and not any(nearest(word.partition("=")[0], NAME_A_STAGE) for word in rest):
            raise UsageError(NO_STAGE)  # at once: Lightning's import takes seconds
        from apt_lightning.training.fit import run_lightning

        return run_lightning([name, *rest])
    module, parser = command_parser(name)
    try:
        args = parser.parse_args(plain_words(rest, parser._actions))
    except SystemExit as stop:  # argparse's way to end after --help
        return int(stop.code or 0)
    except ArgumentError as error:
        raise UsageError(explain(error.message, f"apt {name}", parser._option_string_actions)) from error
    for option in FILES:
        path = args.get(option)
        if isinstance(path, str) and os.path.isdir(path):  # now, and not after the work
            raise UsageError(f"`--{option}` is {path}, a folder; give a file")
    return int(module.run(args))


def command_parser(name: str) -> tuple[ModuleType, ArgumentParser]:
    """Module and parser of a command that is none of :data:`LIGHTNING`."""
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    module = importlib.import_module(f"apt_lightning.cli.{name}")
    parser = jsonargparse.ArgumentParser(
        prog=f"apt {name}",
        description=f"{module.__doc__}\n",
        formatter_class=jsonargparse.DefaultHelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return module, parser
