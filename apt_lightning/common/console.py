"""What is said on the console: by us, with nothing foreign printed raw, and by Lightning; and its interruptions."""

from __future__ import annotations

import datetime
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from apt_lightning.common.names import ERRORS, shown
from apt_lightning.common.tables import fit
from apt_lightning.common.version import __version__

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")

QUIET, JSON, LOG = "APT_QUIET", "APT_JSON", "APT_LOG"
"""Variables of the environment, so that the processes that a command starts heed them: no progress; nothing but JSON; a
log file."""
LOG_FILE = "log.txt"
"""In a run folder: what was said, with the time; a run that goes on appends to it."""


def say(text: str = "", error: bool = False, progress: bool = False) -> None:
    """Print lines; what strangers wrote in them is printed as :func:`~apt_lightning.common.names.shown` writes it.

    Every line of this program goes through here, so that no name can move the cursor or forge another line, and no
    table is wider than the terminal. A log file gets the lines as they were given.

    Args:
        text: One or more lines.
        error: Print to the standard error.
        progress: What a command is doing, not what it was asked for; ``--quiet`` leaves it out.
    """
    lines = "\n".join(map(shown, text.split("\n")))
    if log := os.environ.get(LOG):
        with open(log, "a", encoding="utf-8", errors=ERRORS) as file:
            file.write(f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S} {lines}\n")
    if error or not (os.environ.get(JSON) or (progress and os.environ.get(QUIET))):
        stream = sys.stderr if error else sys.stdout
        print(fit(lines, prose=stream.isatty()), file=stream, flush=True)


def add_json(parser: Any) -> None:
    """Declare ``--json`` of a command that reports; see :func:`say_json`."""
    parser.add_argument(
        "--json", metavar="FILE", help="also write what was found to this file; - prints it, and no table"
    )


def say_json(path: str | None, content: Mapping[str, object], level: float | None = None) -> None:
    """Write what a command found for machines, with what its metrics mean.

    Args:
        path: File to write, ``-`` to print, None for nothing.
        content: Plain data.
        level: Nominal coverage of the intervals in it.
    """
    from apt_lightning.common.files import write_json
    from apt_lightning.common.traits import STABILITY

    about = {"version": __version__, "unit": "labels, scores and errors on the scale 0 to 1", "neuroticism": STABILITY}
    whole = {"about": about | ({} if level is None else {"level": level}), **content}
    if path == "-":
        os.environ.pop(JSON, None)
        say(json.dumps(whole, indent=1))
    elif path is not None:
        write_json(path, whole)


@contextmanager
def output(words: Sequence[str]) -> Iterator[list[str]]:
    """Heed what a command line says of the output: ``--quiet`` for no progress, ``--json -`` for nothing but JSON.

    Bars are never shown where the standard error is no terminal, for they redraw a line.

    Args:
        words: Of the command line; those without ``--quiet`` are given back.
    """
    quiet, alone = "--quiet" in words, "--json=-" in words or ("--json", "-") in pairwise(words)
    if quiet or not sys.stderr.isatty():
        os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported; children inherit it
    wanted = [variable for variable, on in ((QUIET, quiet), (JSON, alone)) if on]
    os.environ.update(dict.fromkeys(wanted, "1"))
    try:
        yield [word for word in words if word != "--quiet"]
    finally:
        for variable in wanted:
            os.environ.pop(variable, None)


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append to a file, with the time, every line that is said within, by processes started within too.

    An error before anything is said leaves no file.

    Args:
        path: The file; its folder is made if absent.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    before = os.environ.get(LOG)
    os.environ[LOG] = str(path.resolve())
    try:
        yield
    except BaseException as error:
        if path.is_file():
            with open(path, "a", encoding="utf-8", errors=ERRORS) as file:
                file.write(f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S} {type(error).__name__}: {error}\n")
        raise
    finally:
        os.environ.pop(LOG)
        if before is not None:
            os.environ[LOG] = before


def bar(total: int | None, what: str, unit: str, hidden: bool = False, **settings: Any) -> tqdm:
    """A bar for a terminal: none in a file or pipe, with ``--quiet``, or where there is nothing to do.

    Args:
        total: How much there is to do; None if nobody knows.
        what: Name of the work.
        unit: What is counted.
        hidden: Show none, as in all processes but one.
        settings: Others of tqdm.
    """
    from tqdm import tqdm

    hidden = hidden or total == 0 or QUIET in os.environ
    return tqdm(total=total, desc=what, unit=unit, disable=True if hidden else None, **settings)


def progress(items: Sequence[T], what: str, unit: str) -> Iterator[T]:
    """Go through items with a :func:`bar` that goes away at the end.

    Args:
        items: What is gone through.
        what: Name of the work.
        unit: What is counted.
    """
    with bar(len(items), what, unit, leave=False) as shown:
        for item in items:
            yield item
            shown.update()


def never_fail_on_characters() -> None:
    """Have standard output and error write as escapes what the terminal's encoding cannot hold."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` where Lightning ends the process after Ctrl-C or SIGTERM.

    Lightning turns Ctrl-C into ``exit(1)``, and SIGTERM, which schedulers send, into an exit without a status at the
    end of a step.
    """
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    try:
        yield
    except SystemExit as stop:
        if isinstance(stop, SIGTERMException) or isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def quiet() -> None:
    """Drop notices of Lightning that are expected here; each is named."""
    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators.cuda",
        "lightning.fabric.utilities.seed",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "LightningCLI's args parameter is intended",  # our entry point passes the words itself
        "The '.*dataloader' does not have many workers",  # only frames need workers
        "Found .* module.* in eval mode at the start of training",  # frozen parts are
        "The number of training batches .* is smaller than the logging interval",  # we log once an epoch
        "There is a wandb run already in progress",  # the agent's, in a trial of a sweep
        "Checkpoint directory .* exists and is not empty",
        "The dirpath has changed from",  # another run folder than the checkpoint's may be written
        "The given NumPy array is not writable",  # memory-mapped, and never written
        "You are using `torch.load` with `weights_only=False`",
        ".*isinstance\\(treespec, LeafSpec\\).*",  # torch pytree, from Lightning
    ):
        warnings.filterwarnings("ignore", message=message)
