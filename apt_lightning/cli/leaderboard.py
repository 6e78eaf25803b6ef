"""Compute the leaderboard's page anew, or check an entry about First Impressions against its predictions and labels.

`apt leaderboard page leaderboard` writes the page; `apt leaderboard check ENTRY.json --predictions FILE --data DATA`
ends with status 1 if the entry's metrics or sums are not those of the files.
"""

from __future__ import annotations

from typing import Literal

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options of ``apt leaderboard``."""
    parser.add_argument("action", type=Literal["page", "check"], help="what to do")
    parser.add_argument("path", type=str, help="folder of the leaderboard, or entry to check")
    parser.add_argument("--predictions", type=str, nargs="*", default=[], help="files that stay with you, one a seed")
    parser.add_argument("--data", type=str | None, help="store, folder with the label files, or CSV")
    parser.add_argument("--columns", type=str | None, help="as for `apt evaluate`")
    add_json(parser)


def run(args: jsonargparse.Namespace) -> int:
    """Write the page, or say whether the entry is right."""
    from pathlib import Path

    from apt_lightning.common.errors import UsageError
    from apt_lightning.common.files import write_text
    from apt_lightning.evaluation.leaderboard.check import check_entry
    from apt_lightning.evaluation.leaderboard.page import PAGE, page

    if args.action == "page":
        target = Path(args.path, PAGE)
        write_text(target, page(args.path))
        say(f"leaderboard: {target}")
        say_json(args.json, {"page": str(target)})
        return 0
    if args.data is None or not args.predictions:
        raise UsageError("`apt leaderboard check` needs `--predictions` and `--data`")
    found = check_entry(args.path, args.predictions, args.data, args.columns)
    say(found.text)
    say_json(args.json, {"entry": args.path, "wrong": found.wrong, "must_hold": found.must})
    return int(bool(found.wrong))
