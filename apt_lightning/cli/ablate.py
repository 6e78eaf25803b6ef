"""Change one part of the method at a time and compare on the same clips; uses what `apt run` has trained."""

from __future__ import annotations

import jsonargparse

from apt_lightning.cli.run import add_settings as add_arguments
from apt_lightning.cli.run import settings_of
from apt_lightning.common.console import say, say_json

__all__ = ["add_arguments", "run"]


def run(args: jsonargparse.Namespace) -> int:
    """Train what is missing, print the table and write it as CSV and JSON."""
    from apt_lightning.evaluation.bootstrap import LEVEL
    from apt_lightning.experiments.ablation import ablate, ablation_table, extremes_table, variants, write_ablation

    settings = settings_of(args)
    rows = ablate(settings, args.overwrite)
    say(f"\n{ablation_table(rows)}\n\n{extremes_table(rows)}\n")
    for file in write_ablation(rows, settings.out):
        say(str(file))
    say_json(args.json, {"variants": variants(rows)}, LEVEL)
    return 0
