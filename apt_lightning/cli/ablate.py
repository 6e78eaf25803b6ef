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
    from apt_lightning.experiments.ablation import (
        ablate,
        ablation_lines,
        ablation_table,
        extremes_table,
        variants,
        write_ablation,
    )

    settings = settings_of(args)
    if args.features:
        from apt_lightning.experiments.feature_ablation import (
            ablate_features,
            feature_lines,
            feature_rows,
            features_table,
        )

        found = ablate_features(settings, args.overwrite)
        say(f"\n{features_table(found)}\n")
        name, lines, details = "ablation_features", feature_lines(found), {"features": feature_rows(found)}
    else:
        rows = ablate(settings, args.overwrite)
        say(f"\n{ablation_table(rows)}\n\n{extremes_table(rows)}\n")
        name, lines, details = "ablation", ablation_lines(rows), {"variants": variants(rows)}
    for file in write_ablation(lines, details, settings.out, name):
        say(str(file))
    say_json(args.json, details, LEVEL)
    if args.log_to:
        log_findings("ablate", [settings.out], {"ablation": lines}, {})
    return 0
