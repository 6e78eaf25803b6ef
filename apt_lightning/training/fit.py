"""``apt fit``, ``validate``, ``test`` and ``predict``: Lightning's own command line over our stages."""

from __future__ import annotations

import os
from argparse import ArgumentError
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast

import torch
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from typing_extensions import override

from apt_lightning.common.configs import NO_STAGE
from apt_lightning.common.console import LOG, LOG_FILE, add_json, interruptible, logged, quiet, say
from apt_lightning.common.errors import AptError, CheckpointError, UsageError
from apt_lightning.common.processes import limit_threads
from apt_lightning.common.usage import explain, plain_words
from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
from apt_lightning.stages.base import BaseModule
from apt_lightning.stages.checkpoint import StageFile, read_stage
from apt_lightning.stages.final import FinalModule
from apt_lightning.stages.find import find_checkpoint
from apt_lightning.stages.fusion import FusionModule
from apt_lightning.stages.joint import JointModule
from apt_lightning.stages.modality import ModalityModule
from apt_lightning.stages.names import LAST
from apt_lightning.stages.siamese import SiameseModule
from apt_lightning.training.callbacks import AtomicCheckpointIO, EpochTable, ResumePoint, TrainingBar, best_checkpoint
from apt_lightning.training.contradictions import import_class, model_class
from apt_lightning.training.loggers import close, make_loggers
from apt_lightning.training.options import CHECKPOINT_HELP, TRAINER_COMMANDS, TRAINER_DEFAULTS, add_options, heading
from apt_lightning.training.passes import finish, write_pass
from apt_lightning.training.precision import best_precision
from apt_lightning.training.run_folder import check_free, check_pass, held, is_dry_run, settings_of
from apt_lightning.training.saved_config import LoggedConfig
from apt_lightning.training.stage_settings import stage_lists, stage_options

__all__ = ["AptCLI", "FinalModule", "FusionModule", "JointModule", "ModalityModule", "SiameseModule", "run_lightning"]


class AptCLI(LightningCLI):
    """Lightning's command line with a run folder, early stopping and checkpoints in it."""

    def __init__(self, args: ArgsType = None, run: bool = True) -> None:
        self._command = args[0] if isinstance(args, list) and args else None
        super().__init__(
            BaseModule,
            FirstImpressionsDataModule,
            subclass_mode_model=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # it has checkpoints name what is imported
            seed_everything_default=42,
            save_config_callback=LoggedConfig,
            trainer_defaults=TRAINER_DEFAULTS,
            parser_kwargs={name: heading(name) for name in TRAINER_COMMANDS} if run else None,
            args=args,
            run=run,
        )

    @override
    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        return super().init_parser(exit_on_error=False, allow_abbrev=False, **kwargs)

    @staticmethod
    @override
    def subcommands() -> dict[str, set[str]]:
        return {
            name: {"model", "dataloaders", "datamodule", "train_dataloaders", "val_dataloaders"}
            for name in TRAINER_COMMANDS
        }

    @override
    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        if self._command not in (None, subcommand):
            return self.init_parser(**kwargs)  # what the other commands take would cost a second
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        actions: Any = parser._option_string_actions
        actions["--ckpt_path"].container.title = "Checkpoint"
        for option, text in CHECKPOINT_HELP.items():
            actions[option].help = text  # Lightning's own names what is not so here
        if subcommand in ("validate", "test"):
            parser.add_argument("--all", action="store_true", help="Print all tables, not only those of the metrics.")
            add_json(parser)
        return parser

    @override
    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER_DEFAULTS.items()})
        parser.add_lightning_class_args(BaseModule, "model", subclass_mode=True, required=False)
        parser.add_lightning_class_args(FirstImpressionsDataModule, "data")
        parser.set_defaults({"data.store": "data/store"})  # as in all stage YAMLs; `--ckpt_path` needs none

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        add_options(parser)

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        command, *words = cast("list[str]", args)
        words = plain_words(words, self._subcommand_parsers[command]._actions, stage_lists())
        config = self._parse([command, *words])
        before = settings_of(Path(config.ckpt_path).parent, command) if config.ckpt_path else None
        if before:  # what is not given now is as it was in the training
            config = self._parse([command, f"--config={before}", *words])
        self._file: StageFile | None = None
        if config.ckpt_path is None:
            if config.model is None:
                raise UsageError(NO_STAGE)
            return
        if not Path(config.ckpt_path).exists():
            raise CheckpointError(
                f"no checkpoint at {config.ckpt_path}; train the stage first with `apt fit`,"
                " or give another with `--ckpt_path`"
            )
        self._file = read_stage(config.ckpt_path)
        store = f"--data.store={config.data.store}"  # which may not be missing
        asked = parser.parse_args([command, store, *words], defaults=False)[command].get("model")
        imported = None if asked is None else import_class(asked.class_path)
        self._model_type = model_class(self._file, asked, imported)
        config.model = None

    def _parse(self, args: list[str]) -> Namespace:
        """Settings of the command, with the files that are meant by ``--ckpt_path`` and ``--run_dir``."""
        command = args[0]
        try:
            super().parse_arguments(self.parser, args)
        except ArgumentError as error:
            options = [*self._subcommand_parsers[command]._option_string_actions, *stage_options()]
            raise UsageError(explain(error.message, f"apt {command}", options)) from error
        config: Namespace = self.config[command]
        config.weights_only = True
        if not 0 <= config.seed_everything < 2**32:
            raise UsageError(f"`--seed_everything` must be 0 or more and below 2^32, but is {config.seed_everything}")
        if command in ("validate", "test"):
            config.verbose = False  # our own tables say the same, with intervals
        folder = Path(config.run_dir or "runs/stage")
        if config.ckpt_path == "last":
            config.ckpt_path = str(folder / LAST) if (folder / LAST).is_file() or command != "fit" else None
        elif config.ckpt_path and command == "fit" and Path(config.ckpt_path).is_dir():
            config.ckpt_path = str(Path(config.ckpt_path, LAST))
        elif command != "fit":
            config.ckpt_path = find_checkpoint(config.ckpt_path or folder)
        config.run_dir = config.run_dir or str(Path(config.ckpt_path).parent if config.ckpt_path else folder)
        return config

    @override
    def _parse_ckpt_path(self) -> None:
        """Lightning's own reads the file before it is checked, and imports the class that it names."""

    @override
    def instantiate_classes(self) -> None:
        try:
            self.config_init = self.parser.instantiate(self.config)
            self.datamodule = self._get(self.config_init, "data")
            self.model = self._model_type.of_file(self._file) if self._file else self._get(self.config_init, "model")
            for part in (self.model, self.datamodule):
                part._log_hyperparams = False  # LoggedConfig logs all settings, once the folder is clear
            self.trainer = self.instantiate_trainer()
        except (ValueError, MisconfigurationException) as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, AptError):  # jsonargparse wraps what a constructor raises
                cause = cause.__cause__
            raise cause or UsageError(
                f"these settings cannot be used: {error}; see `apt {self.subcommand} --help`"
            ) from error

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        config = self.config[subcommand]
        with held(self._folder, self.trainer), ExitStack() as stack:
            if subcommand == "fit" and not is_dry_run(self.trainer) and self.trainer.is_global_zero:
                check_free(self._folder, config.ckpt_path, config.overwrite, config.as_dict())
                if LOG not in os.environ:  # else that of `apt run`
                    stack.enter_context(logged(self._folder / LOG_FILE))
            if subcommand in ("validate", "test") and not is_dry_run(self.trainer):
                check_pass(self._folder, config.data.as_dict())
            done = False
            try:
                super()._run_subcommand(subcommand)
                done = True
            finally:
                close(self.trainer.loggers, failed=not done)
        if is_dry_run(self.trainer) and self.trainer.is_global_zero:
            say("dry run: nothing was written")

    @override
    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        folder = self._folder
        patience = self._get(self.config, "patience")
        if patience is not None and patience < 0:
            raise UsageError(f"`--patience` must be 0 or more epochs, or null for never, but is {patience}")
        model: BaseModule = self.model
        best = best_checkpoint(folder, model)
        if config["fast_dev_run"]:
            config["enable_checkpointing"] = False
        else:
            callbacks = [*callbacks, best, EpochTable(folder), ResumePoint(folder)]
        if config["enable_progress_bar"] is not False:
            callbacks.append(TrainingBar())
        if patience is not None:
            if config["limit_val_batches"] == 0:
                raise UsageError(
                    f"`--patience={patience}` stops by a validation metric, and `--trainer.limit_val_batches=0` leaves"
                    " none: add `--patience=null`"
                )
            callbacks.append(EarlyStopping(model.monitor, patience=patience, mode=model.mode))
        if self._get(self.config, "mixed_precision"):
            if config.get("precision") is not None:
                raise UsageError(
                    f"`--mixed_precision` chooses the precision, yet {config['precision']} is given: drop one"
                )
            config["precision"] = best_precision(config["accelerator"])
        config["default_root_dir"] = config.get("default_root_dir") or str(folder)
        config["plugins"] = [*(config.get("plugins") or []), AtomicCheckpointIO()]
        settings = {**self.config[self.subcommand].as_dict(), "subcommand": self.subcommand}
        loggers = make_loggers(settings["log_to"], folder, model.stage, settings)
        if loggers:
            config["logger"] = loggers
        return super()._instantiate_trainer(config, callbacks)

    @property
    def _folder(self) -> Path:
        return Path(self._get(self.config, "run_dir"))

    def after_validate(self) -> None:
        """Write and show the validation metrics."""
        self._write("validation", show=self._get(self.config, "tables"))

    def after_test(self) -> None:
        """Write and show the test metrics."""
        self._write("test", show=self._get(self.config, "tables"))

    def after_predict(self) -> None:
        """Write the predictions, or the embeddings of stage 3, of all clips."""
        self._write("all", show=False)

    def _write(self, split: str, show: bool) -> None:
        shown = self.config[self.subcommand].ckpt_path if show else None
        write_pass(
            self._folder,
            split,
            self.model,
            shown,
            self._get(self.config, "log_predictions"),
            self._get(self.config, "json"),
            bool(self._get(self.config, "all")),
        )

    def after_fit(self) -> None:
        """Validate the best epoch once more, and keep what follows from it."""
        finish(self._folder, self.model, self.datamodule, self._get(self.config, "log_model"))


def lightning_parsers() -> dict[str, LightningArgumentParser]:
    """Parser of each of Lightning's sub-commands, for shell completion."""
    quiet()
    built: dict[str, LightningArgumentParser] = {}

    class Parsers(AptCLI):
        @override
        def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
            built.update(self._subcommand_parsers)
            raise StopIteration  # nothing is to be parsed or done

    with suppress(StopIteration):
        Parsers([])
    return built


def run_lightning(words: list[str]) -> int:
    """Run one of Lightning's sub-commands.

    Args:
        words: Sub-command and options.

    Returns:
        Exit status.

    Raises:
        KeyboardInterrupt: If Ctrl-C or SIGTERM, which schedulers send, ended it.
    """
    quiet()
    limit_threads()
    torch.set_flush_denormal(True)  # Adam's moments of dead units decay to subnormal numbers, eight times as slow
    try:
        with interruptible():
            AptCLI(words)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
