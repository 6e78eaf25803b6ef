"""Change one part of the method at a time and compare on the same clips; uses what `apt run` has trained."""

from __future__ import annotations

import jsonargparse

from apt_lightning.cli.run import add_settings, settings_of
from apt_lightning.common.console import say, say_json
from apt_lightning.experiments.findings import add_log_to, log_findings


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt ablate``."""
    add_settings(parser)
    parser.add_argument(
        "--features",
        action="store_true",
        help="feature sets of `apt encode` in place of parts of the method: each alone, all, all but one",
    )
    add_log_to(parser)


def run(args: jsonargparse.Namespace) -> int:
    """Train what is missing, print the table and write it as CSV and JSON."""
    from apt_lightning.evaluation.bootstrap import LEVEL

    settings = settings_of(args)
    if args.features:
        from apt_lightning.experiments.feature_ablation import (
            ablate_features,
            feature_lines,
            feature_rows,
            features_table,
            write_features,
        )

        found = ablate_features(settings, args.overwrite)
        say(f"\n{features_table(found)}\n")
        files, lines, plain = (
            write_features(found, settings.out),
            feature_lines(found),
            {"features": feature_rows(found)},
        )
    else:
        from apt_lightning.experiments.ablation import (
            ablate,
            ablation_lines,
            ablation_table,
            extremes_table,
            variants,
            write_ablation,
        )

        rows = ablate(settings, args.overwrite)
        say(f"\n{ablation_table(rows)}\n\n{extremes_table(rows)}\n")
        files, lines, plain = write_ablation(rows, settings.out), ablation_lines(rows), {"variants": variants(rows)}
    for file in files:
        say(str(file))
    say_json(args.json, plain, LEVEL)
    if args.log_to:
        log_findings("ablate", [settings.out], {"ablation": lines}, {})
    return 0
