"""What ``apt fit``, ``validate``, ``test`` and ``predict`` take and say beside Lightning's own."""

from __future__ import annotations

from typing import Any, Literal

from lightning.pytorch.cli import LightningArgumentParser

TRAINER_DEFAULTS: dict[str, Any] = {
    "devices": 1,  # all GPUs of a machine, Lightning's choice, would change the batch without a word
    "logger": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,  # IndexBatches shares clips between ranks itself
}

TRAINER_COMMANDS = {
    "fit": ("--config STAGE.yaml", "Train one stage."),
    "validate": ("--ckpt_path RUN", "Evaluate a stage on the validation split."),
    "test": ("--ckpt_path RUN", "Evaluate a stage on the test split."),
    "predict": ("--ckpt_path RUN", "Write the predictions, or embeddings, of a stage for all clips of a store."),
}
"""Sub-commands of the Trainer: what each needs and does."""

CHECKPOINT_HELP = {
    "--ckpt_path": "Checkpoint, or folder of a stage or run; `fit` goes on with it, and with `last` in `--run_dir`.",
    "--weights_only": "Of no effect: nothing in a checkpoint is ever run.",
}


def heading(command: str) -> dict[str, Any]:
    """How the help of a command begins."""
    needs, does = TRAINER_COMMANDS[command]
    settings = "`--model.help ModalityModule` lists the settings of a stage; also FusionModule, SiameseModule"
    return {
        "prog": f"apt {command}",
        "usage": f"apt {command} {needs} [options]",
        "description": f"{does} {settings}, FinalModule, JointModule. docs/architecture.md has the picture.",
    }


def add_options(parser: LightningArgumentParser) -> None:
    """Add our own options to a parser."""
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
        help="Stop after this many epochs without a better validation metric; never if not given.",
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
    parser.add_argument("--log_model", type=bool, default=False, help="Send best.ckpt to W&B as an artifact.")
    parser.add_argument("--log_predictions", type=bool, default=False, help="Log the predictions as a table.")
