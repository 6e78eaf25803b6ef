"""What Lightning says on the console, and how its interruptions reach the command line."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities.exceptions import SIGTERMException


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` where Lightning ends the process after Ctrl-C or SIGTERM.

    Lightning turns Ctrl-C into ``exit(1)``, and SIGTERM, which schedulers send, into an exit without a status at the
    end of a step.
    """
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
        "Checkpoint directory .* exists and is not empty",
        "The dirpath has changed from",  # another run folder than the checkpoint's may be written
        "The given NumPy array is not writable",  # memory-mapped, and never written
        "You are using `torch.load` with `weights_only=False`",
        ".*isinstance\\(treespec, LeafSpec\\).*",  # torch pytree, from Lightning
    ):
        warnings.filterwarnings("ignore", message=message)
