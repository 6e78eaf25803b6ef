"""Preparation by many processes: a Lightning ``predict`` in which each does its share of the clips."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import closing

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from typing_extensions import override

from apt_lightning.common.console import interruptible, quiet
from apt_lightning.common.processes import die_with
from apt_lightning.data.preparation.pool import Result


class IndependentStrategy(DDPStrategy):
    """Ranks and launchers of DDP without its process group.

    Processes that share nothing but a file system need not meet: none waits for one that is late or dead, and
    a collective of a run of many hours could only time out.
    """

    @override
    def setup_distributed(self) -> None:
        self.set_world_ranks()

    @override
    def setup(self, trainer: Trainer) -> None:
        # DDP's own goes on to send the weights to all ranks; there are none.
        assert self.accelerator is not None
        self.accelerator.setup(trainer)


class PreparationModule(LightningModule):
    """A module without parameters; a batch is the status of one clip that a decoding process has committed.

    Pictures and functionals go from those processes straight to the store, so that nothing is left to a step but
    to stop the run when the scheduler asks for it.
    """

    @override
    def predict_step(self, status: str) -> str:
        if self.trainer.received_sigterm:
            raise SIGTERMException
        return status


def predict_share(share: Callable[[int, int], Generator[Result, None, None]], devices: int, num_nodes: int) -> None:
    """Do this process's share of the clips, see :func:`apt_lightning.data.preparation.share.extract`.

    Rank and number are those of Lightning's cluster environments (torchrun, SLURM, LSF, ...). Without a launcher,
    Lightning starts the other processes of this machine by the same command; such a process ends here, and the one
    that started it waits for it.

    Args:
        share: Does a share, of its number and the number of shares.
        devices: Processes a machine, as given to the launcher.
        num_nodes: Machines, as given to the launcher.

    Raises:
        ValueError: If they are not what the launcher was given.
        KeyboardInterrupt: If Ctrl-C or SIGTERM ended the run.
    """
    quiet()
    trainer = Trainer(
        accelerator="cpu",  # decoding and openSMILE
        devices=devices,
        num_nodes=num_nodes,
        strategy=(strategy := IndependentStrategy()),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    started_here = isinstance(strategy.cluster_environment, LightningEnvironment) and trainer.local_rank > 0
    if started_here:
        die_with(os.getppid())
    results = share(trainer.global_rank, trainer.world_size)
    with interruptible(), closing(results):
        statuses = (result.status for result in results)
        trainer.predict(PreparationModule(), dataloaders=statuses, return_predictions=False)
        for process in getattr(strategy.launcher, "procs", []):
            process.wait()
    if started_here:
        sys.exit()
