"""Train all stages in order, for one or more seeds and splits; skips what is complete and goes on after a stop."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json

if TYPE_CHECKING:
    from apt_lightning.experiments.run_settings import RunSettings


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt run``."""
    add_settings(parser)
    parser.add_argument("--share", type=str | None, help="I/N: train every N-th seed and fold, for job arrays")


def add_settings(parser: jsonargparse.ArgumentParser) -> None:
    """Declare those that say what a run is."""
    from apt_lightning.experiments.run_settings import RunSettings

    parser.add_argument("--config", action="config", help="YAML with any of the options below.")
    parser.add_class_arguments(RunSettings, None, sub_configs=False)
    parser.add_argument("--overwrite", type=bool, default=False, help="Replace stages trained with other settings.")
    add_json(parser)


def settings_of(args: jsonargparse.Namespace) -> RunSettings:
    """Read the options that :func:`add_settings` declares.

    Raises:
        UsageError: If one that is needed is missing.
    """
    from apt_lightning.common.errors import UsageError
    from apt_lightning.experiments.run_settings import RunSettings

    known = {item.name for item in fields(RunSettings)}
    values = {key: value for key, value in args.as_dict().items() if key in known}
    try:
        return RunSettings(**values)
    except TypeError as error:
        raise UsageError(f"{error}; see `apt run --help`") from None


def run(args: jsonargparse.Namespace) -> int:
    """Run it and print the table of all systems."""
    from apt_lightning.evaluation.bootstrap import LEVEL
    from apt_lightning.experiments.results import read_run, results_table
    from apt_lightning.experiments.runner import run as run_stages

    settings = settings_of(args)
    run_stages(settings, share=args.share, overwrite=args.overwrite)
    if args.share:
        say(f"share {args.share} is complete; when all are, the same command without it prints the tables")
        return 0
    results = read_run(settings.out)
    say("".join(f"\n{results_table(results, metric)}\n" for metric in ("1-MAE", "CCC", "low", "high")))
    systems = {name: [scores.to_dict() for scores in runs] for name, runs in results.scores.items()}
    say_json(args.json, {"seeds": settings.seeds, "folds": settings.folds, "systems": systems}, LEVEL)
    return 0
