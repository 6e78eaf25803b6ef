"""Judge anyone's predictions: every table that a run of ours gets, from a file of predictions and the labels alone.

Files are CSV, TSV, JSON, NPZ, NPY or Parquet, with clip names in any column and traits under any usual name. Several
files are compared on the clips that all cover. What is odd about a file is said; nothing is turned in silence.
"""

from __future__ import annotations

from typing import Literal

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options of ``apt evaluate``."""
    parser.add_argument("files", type=str, nargs="+", help="files of predictions, or folders of five, one a trait")
    parser.add_argument("--data", type=str, required=True, help="store, folder with the label files, or CSV")
    parser.add_argument("--split", type=str, default="test", help="which split is judged: test, validation or train")
    parser.add_argument("--columns", type=str | None, help="order of an array, as O,C,E,A,N, or O=column,C=column,...")
    parser.add_argument(
        "--match", type=Literal["names", "labels"], default="names", help="find clips by name, or by the file's labels"
    )
    parser.add_argument(
        "--invert_neuroticism", type=bool, default=False, help="take 1 - neuroticism: in the file, high means nervous"
    )
    parser.add_argument("--margin", type=float, default=0.001, help="differences below it count as equal")
    parser.add_argument("--report", type=str | None, help="also write tables and charts to this HTML file")
    add_json(parser)


def run(args: jsonargparse.Namespace) -> int:
    """Match, judge and print."""
    from apt_lightning.common.errors import UsageError
    from apt_lightning.evaluation.bootstrap import LEVEL
    from apt_lightning.evaluation.external.match import read_submission
    from apt_lightning.evaluation.external.reference import read_reference
    from apt_lightning.experiments.submissions import Judged, judged_dict, judged_text

    if args.split not in ("test", "validation", "train") or not args.margin > 0:
        raise UsageError("`--split` is one of test, validation and train, and `--margin` is above 0")
    reference = read_reference(args.data)
    submissions = [
        read_submission(file, reference, args.split, args.columns, args.match, args.invert_neuroticism)
        for file in args.files
    ]
    judged = Judged.of(submissions, reference, args.split, args.margin)
    say(judged_text(judged))
    say_json(args.json, judged_dict(judged), LEVEL)
    if args.report:
        from apt_lightning.experiments.report.submissions import write_submission_report

        say(f"\nreport: {write_submission_report(judged, args.report)}")
    return 0
