"""Write a synthetic First Impressions set: drawn faces and synthesised speech in the official layout.

It holds no data about people; docs/synthetic.md says what carries what.
"""

from __future__ import annotations

import jsonargparse

from apt_lightning.common.console import say


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options of ``apt synthesize``."""
    parser.add_argument("dir", type=str, help="folder to write; a second run goes on where the first stopped")
    parser.add_argument("--sources", type=int | None, help="source videos, each with 1 to 6 clips (150)")
    parser.add_argument("--clips", type=int | None, help="clips, in place of --sources")
    parser.add_argument("--seed", type=int, default=0, help="same seed and settings, same bytes")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a clip")
    parser.add_argument("--width", type=int, default=1280, help="pixels")
    parser.add_argument("--height", type=int, default=720, help="pixels")
    parser.add_argument("--fps", type=float, default=25.0, help="frames a second")
    parser.add_argument("--grouped", action="store_true", help="keep every source in one split")
    parser.add_argument(
        "--identity", type=float, default=0.0, help="tone and room of the source in the sound: 0 none, 1 plain"
    )
    parser.add_argument(
        "--agreement", type=float, default=0.0, help="openness only where voice and picture agree: 0 to 1"
    )
    parser.add_argument("--shared", type=float, default=0.0, help="the voice echoes the picture's cues: 0 to 1")
    parser.add_argument("--extremes", type=float, default=0.0, help="few sources lie 1 + this times farther out")
    parser.add_argument("--zip", action="store_true", help="nested zips, as downloaded (none encrypted)")
    parser.add_argument("--workers", type=int | None, help="processes (all cores)")


def run(args: jsonargparse.Namespace) -> int:
    """Write the set."""
    from apt_lightning.data.synthetic import synthesize
    from apt_lightning.data.synthetic.planted import Planted

    n_sources = 150 if args.sources is None and args.clips is None else args.sources
    synthesize(
        args.dir,
        n_sources,
        args.seed,
        args.seconds,
        (args.width, args.height),
        args.fps,
        args.workers,
        args.zip,
        n_clips=args.clips,
        grouped=args.grouped,
        identity=args.identity,
        planted=Planted(args.agreement, args.shared, args.extremes),
    )
    say(f"{args.dir}: synthetic clips in the official layout; no data about people (docs/synthetic.md)")
    return 0
