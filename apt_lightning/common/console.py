"""What is said on the console: by us, with nothing foreign printed raw, and by Lightning; and its interruptions."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from apt_lightning.common.names import ERRORS, shown


def say(text: str = "", error: bool = False) -> None:
    """Print lines; what strangers wrote in them is printed as :func:`~apt_lightning.common.names.shown` writes it.

    Every line of this program goes through here, so that no name can move the cursor or forge another line.

    Args:
        text: One or more lines.
        error: Print to the standard error.
    """
    lines = "\n".join(map(shown, text.split("\n")))
    print(lines, file=sys.stderr if error else sys.stdout, flush=True)


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
        "There is a wandb run already in progress",  # the agent's, in a trial of a sweep
        "Checkpoint directory .* exists and is not empty",
        "The dirpath has changed from",  # another run folder than the checkpoint's may be written
        "The given NumPy array is not writable",  # memory-mapped, and never written
        "You are using `torch.load` with `weights_only=False`",
        ".*isinstance\\(treespec, LeafSpec\\).*",  # torch pytree, from Lightning
    ):
        warnings.filterwarnings("ignore", message=message)
