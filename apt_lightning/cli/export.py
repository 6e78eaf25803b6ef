"""Write a trained model as a folder for others: safetensors, a description, a model card, on request ONNX."""

from __future__ import annotations

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt export``."""
    parser.add_argument("checkpoint", help="Checkpoint of any stage.")
    parser.add_argument("folder", help="New folder for the model; its name is the model's.")
    parser.add_argument(
        "--onnx",
        action="store_true",
        help="Add the networks as ONNX, compared with the checkpoint, and a script that needs nothing else.",
    )
    add_json(parser)


def run(args: jsonargparse.Namespace) -> int:
    """Export; 0 if all of it is written."""
    from apt_lightning.stages.export.export import export

    if args.onnx:
        say("drawing the graph and comparing it with the checkpoint, which takes a minute or two", progress=True)
    written, difference = export(args.checkpoint, args.folder, args.onnx)
    for file in written:
        say(f"{file.stat().st_size / 1000:10,.1f} kB  {file}")
    if difference is not None:
        say(f"ONNX and checkpoint differ by {difference:.1e} at most, whatever modalities are missing")
    sizes = {str(file): file.stat().st_size for file in written}
    say_json(args.json, {"bytes": sizes, "greatest_difference_of_onnx": difference})
    return 0
