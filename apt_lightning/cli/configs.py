"""Write the YAML files of stages, runs, sweeps and overlays to a folder, to be changed."""

from __future__ import annotations

import jsonargparse


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt configs``."""
    parser.add_argument("folder", type=str, help="new or empty folder")


def run(args: jsonargparse.Namespace) -> int:
    """Copy the package's files."""
    import shutil
    from pathlib import Path

    from apt_lightning.common.configs import CONFIGS
    from apt_lightning.common.console import say
    from apt_lightning.common.errors import UsageError

    folder = Path(args.folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty: name a new folder, or delete it first")
    shutil.copytree(CONFIGS, folder, dirs_exist_ok=True)
    for file in sorted(folder.rglob("*.yaml")):
        say(str(file))
    say(f"`apt fit --config {folder}/stage3.yaml`; all: `apt run --config {folder}/runs/paper.yaml --stages {folder}`")
    return 0
