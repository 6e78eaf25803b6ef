"""Compute the leaderboard's page anew, or check an entry about First Impressions against its predictions and labels.

`apt leaderboard page leaderboard` writes the page; `apt leaderboard check ENTRY.json --predictions FILE --data DATA`
ends with status 1 if the entry's metrics or sums are not those of the files.
"""

from __future__ import annotations

from typing import Literal

import jsonargparse

from apt_lightning.common.console import say


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options of ``apt leaderboard``."""
    parser.add_argument("action", type=Literal["page", "check"], help="what to do")
    parser.add_argument("path", type=str, help="folder of the leaderboard, or entry to check")
    parser.add_argument("--predictions", type=str, nargs="*", default=[], help="files that stay with you, one a seed")
    parser.add_argument("--data", type=str | None, help="store, folder with the label files, or CSV")
    parser.add_argument("--columns", type=str | None, help="as for `apt evaluate`")


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
        return 0
    if args.data is None or not args.predictions:
        raise UsageError("`apt leaderboard check` needs `--predictions` and `--data`")
    text, right = check_entry(args.path, args.predictions, args.data, args.columns)
    say(text)
    return 0 if right else 1
