"""Check a data set or a store for leaks between splits, duplicates, and labels that cannot be right.

A store is read for more than its labels: clips that are nearly the same in picture or sound, people under several
source ids, and what the nearest training clips score. Ends with status 1 if it finds an error (a warning changes
what a score means, an error makes it wrong).
"""

from __future__ import annotations

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options of ``apt audit``."""
    parser.add_argument("data", type=str, help="data set (folder or CSV of clips), or store made by `apt prepare`")
    parser.add_argument(
        "--all", action="store_true", help="print the tables too, not only the summary and the findings"
    )
    add_json(parser)


def run(args: jsonargparse.Namespace) -> int:
    """Audit and print what was found."""
    from pathlib import Path

    from apt_lightning.data.collection.folder import others_text
    from apt_lightning.evaluation.audit.audit import AuditedClip, audit
    from apt_lightning.evaluation.audit.duplicates import digest_duplicates
    from apt_lightning.evaluation.audit.text import audit_text
    from apt_lightning.evaluation.bootstrap import LEVEL

    clips: list[AuditedClip]
    content = None
    if Path(args.data, "manifest.json").is_file():
        from apt_lightning.data.store.content import read_content
        from apt_lightning.data.store.reader import Store
        from apt_lightning.data.store.rows import newest_rows

        store = Store.open(args.data)
        others = store.manifest.get("others", {})
        clips = [*store.clips]
        rows = newest_rows(store.path, store.manifest["key"])
        content = read_content(store)
        digests = {name: row["sha256"] for name, (_, row) in rows.items() if row["sha256"]}
    else:
        from apt_lightning.data.collection.collection import read_collection

        collection = read_collection(args.data)
        clips = [*collection.clips]
        digests = digest_duplicates({clip.name: clip.path for clip in collection.clips if clip.path})
        others = collection.others
    result = audit(clips, digests, content)
    more = "" if args.all else "\n`--all` prints the tables too"
    say("\n".join(filter(None, [audit_text(result, args.all), others_text(others), more])))
    say_json(args.json, result.to_dict(), LEVEL)
    return int(result.failed)
