"""``config.yaml``: the settings of a training, complete, in its run folder and with its loggers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.cli import SaveConfigCallback
from typing_extensions import override

from apt_lightning.common.files import write_text
from apt_lightning.training.loggers import tell_settings
from apt_lightning.training.run_folder import CONFIG, DATA_PATHS, clear, goes_on


class LoggedConfig(SaveConfigCallback):
    """Writes ``config.yaml`` of a training as it begins, in place of an earlier one's files; tells the loggers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._since = time.time()

    @override
    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        pass  # Lightning writes here, before it is known that the training can begin

    @override
    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        folder = Path(self.config.run_dir)
        if self.config.overwrite and not goes_on(folder, self.config.ckpt_path):
            clear(folder, self._since)
        content = yaml.safe_load(self.parser.dump(self.config, skip_unset=False))
        settings = {k: None if k in ("encoder", "upstream") else v for k, v in pl_module.hparams.items()}
        content["model"] = {"class_path": type(pl_module).__qualname__, "init_args": settings}
        content |= {"overwrite": False, "ckpt_path": None}  # who trains again from it means a new training
        data = content["data"]
        data |= {name: str(Path(data[name]).resolve()) for name in DATA_PATHS if data.get(name)}
        write_text(folder / CONFIG, yaml.safe_dump(content, sort_keys=False))
        tell_settings(trainer.loggers, folder, content, pl_module)
