"""Open every clip and name each fault.

Exit status: 0 no fault or all handled, 1 clips are degraded or left out, 2 a fault stops every other command.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json

if TYPE_CHECKING:
    from apt_lightning.data.preparation.share import Options


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt doctor``."""
    parser.add_argument(
        "data", help="folder of the data set (official layout, zipped or not), a CSV of clips, or a store"
    )
    parser.add_argument("--report", help="file for the faults, CSV or, by its name, JSON")
    parser.add_argument("--quarantine", metavar="FILE", help="file to write with the names of the clips left out")
    parser.add_argument("--all", action="store_true", help="print each fault of each clip, not a line a kind of fault")
    add_json(parser)
    parser.add_argument("--strict", action="store_true", help="exit status 2 on any fault that is not handled")
    add_extraction_arguments(parser)


def add_extraction_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options that ``apt prepare`` and ``apt doctor`` share."""
    parser.add_argument("--workers", type=int, help="decoding processes; one a core if not given")
    parser.add_argument("--clip-seconds-limit", type=float, default=120.0, help="time limit a clip, s")
    parser.add_argument("--n-frames", type=int, default=6, help="frames a clip")
    parser.add_argument("--decoder", choices=["pyav", "decord"], default="pyav", help="reader of frames")


def options_of(args: jsonargparse.Namespace, **others: Any) -> Options:
    """Options of a preparation from the arguments of :func:`add_extraction_arguments` and others.

    Raises:
        UsageError: If a number is out of range.
    """
    from apt_lightning.common.ranges import check_positive
    from apt_lightning.data.media.extraction import ExtractionSettings
    from apt_lightning.data.preparation.share import Options

    check_positive(
        {
            "--workers": args.workers,
            "--n-frames": args.n_frames,
            "--clip-seconds-limit": args.clip_seconds_limit,
            "--max-tokens": others.get("max_tokens"),
            "--trainer.devices": others.get("devices"),
            "--trainer.num_nodes": others.get("num_nodes"),
        }
    )
    extraction = ExtractionSettings(n_frames=args.n_frames, decoder=args.decoder)
    return Options(extraction, workers=args.workers, seconds=args.clip_seconds_limit, **others)


def run(args: jsonargparse.Namespace) -> int:
    """Examine a data set or a store."""
    from apt_lightning.data.collection.name_lists import write_names
    from apt_lightning.data.faults import Outcome
    from apt_lightning.data.preparation.doctor import examine_data, examine_store
    from apt_lightning.data.store.reader import Store

    if (Path(args.data) / "manifest.json").is_file():
        diagnosis = examine_store(Store.open(args.data))
    else:
        diagnosis = examine_data(args.data, options_of(args))
    say(diagnosis.table() if args.all else diagnosis.summary())
    say_json(args.json, diagnosis.to_dict())
    if args.report:
        diagnosis.write(args.report)
    if args.quarantine:
        write_names(args.quarantine, diagnosis.quarantine(args.strict))
    severity = diagnosis.severity()
    if severity == Outcome.HANDLED:
        return 0
    return 2 if args.strict or severity == Outcome.STOPS else 1
