"""Write a trained model as a folder for others: safetensors, a description, a model card, on request ONNX."""

from __future__ import annotations

import jsonargparse

from apt_lightning.common.console import say


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt export``."""
    parser.add_argument("checkpoint", help="Checkpoint of any stage.")
    parser.add_argument("folder", help="New folder for the model.")


def run(args: jsonargparse.Namespace) -> int:
    """Export; 0 if all of it is written."""
    from apt_lightning.stages.export.export import export

    for file in export(args.checkpoint, args.folder):
        say(f"{file.stat().st_size / 2**20:8.1f} MiB  {file}")
    return 0
