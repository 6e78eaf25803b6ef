"""``apt fit``, ``validate``, ``test`` and ``predict``: Lightning's own command line over our stages."""

from __future__ import annotations

from argparse import ArgumentError
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from typing_extensions import override

from apt_lightning.common.configs import NO_STAGE
from apt_lightning.common.console import interruptible, quiet, say
from apt_lightning.common.errors import AptError, CheckpointError, DataError, UsageError
from apt_lightning.common.files import write_text
from apt_lightning.common.processes import limit_threads
from apt_lightning.common.usage import explain, plain_words
from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
from apt_lightning.evaluation.conformal import Conformal, fit_conformal
from apt_lightning.evaluation.overview import report_stage
from apt_lightning.evaluation.predictions import read_predictions, write_predictions, write_statistics
from apt_lightning.evaluation.retrieval import retrieval_table
from apt_lightning.stages.base import BaseModule
from apt_lightning.stages.checkpoint import StageFile, read_stage, update_metadata
from apt_lightning.stages.final import FinalModule
from apt_lightning.stages.find import find_checkpoint
from apt_lightning.stages.fusion import FusionModule
from apt_lightning.stages.modality import ModalityModule
from apt_lightning.stages.names import BEST, LAST
from apt_lightning.stages.regression import RegressionModule
from apt_lightning.stages.siamese import SiameseModule
from apt_lightning.training.callbacks import AtomicCheckpointIO, EpochTable, ResumePoint, TrainingBar
from apt_lightning.training.contradictions import import_class, model_class
from apt_lightning.training.outputs import write_embeddings, write_retrieval
from apt_lightning.training.precision import best_precision
from apt_lightning.training.run_folder import CONFIG, PATHS, check_free, clear, held, is_dry_run, settings_of

__all__ = ["AptCLI", "FinalModule", "FusionModule", "ModalityModule", "SiameseModule", "run_lightning"]

TRAINER_DEFAULTS: dict[str, Any] = {
    "devices": 1,  # all GPUs of a machine, Lightning's choice, would change the batch without a word
    "logger": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,  # IndexBatches shares clips between ranks itself
}


class LoggedConfig(SaveConfigCallback):
    """Writes ``config.yaml`` of a training as it begins, in place of an earlier one's files; tells the loggers."""

    @override
    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        pass  # Lightning writes here, before it is known that the training can begin

    @override
    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        folder = Path(self.config.run_dir)
        if self.config.overwrite:
            clear(folder)
        content = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        settings = {k: None if k in ("encoder", "upstream") else v for k, v in pl_module.hparams.items()}
        content["model"] = {"class_path": type(pl_module).__qualname__, "init_args": settings}
        content |= {"overwrite": False, "ckpt_path": None}  # who trains again from it means a new training
        data = content["data"]
        data |= {name: str(Path(data[name]).resolve()) for name in PATHS if data.get(name)}
        write_text(folder / CONFIG, yaml.safe_dump(content, sort_keys=False))
        for logger in trainer.loggers:
            logger.log_hyperparams(content)


class AptCLI(LightningCLI):
    """Lightning's command line with a run folder, early stopping and checkpoints in it."""

    def __init__(self, args: ArgsType = None, run: bool = True) -> None:
        super().__init__(
            BaseModule,
            FirstImpressionsDataModule,
            subclass_mode_model=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # it has checkpoints name what is imported
            seed_everything_default=42,
            save_config_callback=LoggedConfig,
            trainer_defaults=TRAINER_DEFAULTS,
            parser_kwargs={sub: {"prog": f"apt {sub}"} for sub in ("fit", "validate", "test", "predict")}
            if run
            else None,
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
            for name in ("fit", "validate", "test", "predict")
        }

    @override
    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER_DEFAULTS.items()})
        parser.add_lightning_class_args(BaseModule, "model", subclass_mode=True, required=False)
        parser.add_lightning_class_args(FirstImpressionsDataModule, "data")
        parser.set_defaults({"data.store": "data/store"})  # as in all stage YAMLs; `--ckpt_path` needs none

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run_dir",
            type=str | None,
            default=None,
            help="Folder of checkpoints and tables; that of `--ckpt_path` if not given, else runs/stage.",
        )
        parser.add_argument("--overwrite", type=bool, default=False, help="Replace the training in the run folder.")
        parser.add_argument(
            "--patience",
            type=int | None,
            default=None,
            help="Stop after this many epochs without a better validation figure; never if not given.",
        )
        parser.add_argument(
            "--mixed_precision",
            type=bool,
            default=False,
            help="Mixed precision in the accelerator's best type, in place of `--trainer.precision`.",
        )
        parser.add_argument("--tables", type=bool, default=True, help="Print the tables of `validate` and `test`.")
        parser.add_argument(
            "--log_to",
            type=list[Literal["wandb", "tensorboard"]],
            default=[],
            help="Loggers besides metrics.csv. WANDB_MODE=offline needs no account.",
        )

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
        if not Path(config.ckpt_path).is_file():
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
        if command == "test":
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
            self.config_init = self.parser.instantiate_classes(self.config)
            self.datamodule = self._get(self.config_init, "data")
            self.model = self._model_type.of_file(self._file) if self._file else self._get(self.config_init, "model")
            self.trainer = self.instantiate_trainer()
        except (ValueError, MisconfigurationException) as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, AptError):  # jsonargparse wraps what a constructor raises
                cause = cause.__cause__
            raise cause or UsageError(str(error)) from error

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        config = self.config[subcommand]
        with held(self._folder, self.trainer):
            if subcommand == "fit" and not is_dry_run(self.trainer) and self.trainer.is_global_zero:
                check_free(self._folder, config.ckpt_path, config.overwrite, config.as_dict())
            super()._run_subcommand(subcommand)
        if is_dry_run(self.trainer) and self.trainer.is_global_zero:
            say("dry run: nothing was written")

    @override
    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        folder = self._folder
        patience = self._get(self.config, "patience")
        if patience is not None and patience < 0:
            raise UsageError(f"`--patience` must be 0 or more epochs, or null for never, but is {patience}")
        if config["overfit_batches"]:
            raise UsageError(
                "`--trainer.overfit_batches` puts another sampler in place of ours, which draws whole batches; use"
                " `--trainer.limit_train_batches` with `--data.augment=false`"
            )
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
                    f"`--patience={patience}` stops by a validation figure, and `--trainer.limit_val_batches=0` leaves"
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
        loggers = self._loggers(folder, self._get(self.config, "log_to"))
        if loggers:
            config["logger"] = loggers
        return super()._instantiate_trainer(config, callbacks)

    @staticmethod
    def _loggers(folder: Path, names: list[str]) -> list[Logger]:
        loggers: list[Logger] = []
        if "wandb" in names:
            loggers.append(WandbLogger(name=folder.name, save_dir=folder, project="apt-lightning"))
        if "tensorboard" in names:
            try:
                loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
            except ModuleNotFoundError:
                raise UsageError("TensorBoard is not installed: pip install 'apt-lightning[tensorboard]'") from None
        return loggers

    @property
    def _folder(self) -> Path:
        return Path(self._get(self.config, "run_dir"))

    def _write(self, split: str, show: bool) -> None:
        """Write what the last pass over a split found: predictions, or the embedding space of stage 3."""
        if is_dry_run(self.trainer):
            return
        model: BaseModule = self.model
        if isinstance(model, SiameseModule):
            if self.trainer.is_global_zero:
                file = write_embeddings(self._folder, split, model)
                if split == "all":  # with the training clips among them, figures would mean nothing
                    say(f"embeddings in {file}")
                    return
                figures = write_retrieval(self._folder, split, model, self.trainer.loggers)
                if show:
                    say(retrieval_table(figures))
            return
        assert isinstance(model, RegressionModule)
        predictions = model.predictions()
        if self.trainer.is_global_zero:
            file = self._folder / f"predictions_{split}.csv"
            write_predictions(file, predictions)
            write_statistics(self._folder, model.statistics)
            if show:
                say(f"stage {model.stage} of {self.config[self.subcommand].ckpt_path}, {split} split")
                intervals = model.metadata.get("conformal") if split == "test" else None  # fitted on validation
                people = {clip.name: clip.demographics for clip in model.data.store.clips}
                say(report_stage(predictions, model.statistics, intervals and Conformal.from_dict(intervals), people))
            say(f"{len(predictions)} clips in {file}")

    def after_validate(self) -> None:
        """Write and show the validation figures."""
        self._write("validation", show=self._get(self.config, "tables"))

    def after_test(self) -> None:
        """Write and show the test figures."""
        self._write("test", show=self._get(self.config, "tables"))

    def after_predict(self) -> None:
        """Write the predictions, or the embeddings of stage 3, of all clips."""
        self._write("all", show=False)

    def after_fit(self) -> None:
        """Validate the best epoch once more, fit prediction intervals on it and keep them in the checkpoint."""
        best, keepers = self._folder / BEST, self.trainer.checkpoint_callbacks
        score = next(
            (k.best_model_score for k in keepers if isinstance(k, ModelCheckpoint) and k.filename == "best"), None
        )
        if score is None or not best.is_file():
            if not is_dry_run(self.trainer) and self.trainer.is_global_zero:
                say(f"{self._folder / LAST}: trained without validation, so there is no {BEST}")
            return
        figure = float(score)
        epochs = self.trainer.current_epoch
        self.trainer.validate(self.model, datamodule=self.datamodule, ckpt_path=best, verbose=False, weights_only=True)
        self._write("validation", show=False)
        if self.trainer.is_global_zero:
            if isinstance(self.model, RegressionModule):
                try:
                    conformal = fit_conformal(read_predictions(self._folder / "predictions_validation.csv"))
                    update_metadata(best, conformal=conformal.to_dict())
                except DataError as error:
                    say(f"no prediction intervals: {error}")
            say(f"{best}: best of {epochs} epochs, {self.model.monitor} {figure:.4f}")


def best_checkpoint(folder: Path, model: BaseModule) -> ModelCheckpoint:
    """The callback that keeps ``best.ckpt`` in a run folder."""
    name = BEST.removesuffix(".ckpt")
    return ModelCheckpoint(folder, name, model.monitor, mode=model.mode, enable_version_counter=False)


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


def stage_options() -> list[str]:
    """Flags of the stages' own settings, which follow from the class that ``--model`` or a YAML names."""
    return [f"--model.{name}" for name in sorted(_stage_settings())]


def stage_lists() -> list[str]:
    """Those of :func:`stage_options` that take a list."""
    return [f"--model.{name}" for name, kind in _stage_settings().items() if "list[" in kind]


def _stage_settings() -> dict[str, str]:
    """Names of the stages' settings to their annotations."""
    stages = (ModalityModule, FusionModule, SiameseModule, FinalModule)
    return {name: str(p.annotation) for stage in stages for name, p in signature(stage).parameters.items()}


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
    try:
        with interruptible():
            AptCLI(words)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
