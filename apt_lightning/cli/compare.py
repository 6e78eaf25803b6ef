"""Compare two runs, stages or prediction tables on the same clips.

Paired differences in 1-MAE, on low and high clips and in CCC, with intervals and p-values that treat source
videos, not clips, as independent, and say of B whether it is better, worse or equal. Several seeds a side are used
together. Low and high are compared at equal spread too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json
from apt_lightning.experiments.findings import add_log_to, log_findings

if TYPE_CHECKING:
    from apt_lightning.evaluation.predictions import Predictions
    from apt_lightning.evaluation.significance import Comparison


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options of ``apt compare``."""
    parser.add_argument("a", type=str, help="folder of `apt run`, folder of a stage, or prediction table")
    parser.add_argument("b", type=str, help="the same; A's run again to compare two of its stages")
    parser.add_argument("--split", type=str, default="test", help="test or validation")
    parser.add_argument("--stage_a", type=str, default="stage4", help="stage of A, if A is a run")
    parser.add_argument("--stage_b", type=str, default="stage4", help="stage of B, if B is a run")
    parser.add_argument("--margin", type=float, default=0.001, help="differences below it count as equal")
    parser.add_argument("--level", type=float, default=0.95, help="nominal coverage of the intervals")
    parser.add_argument("--resamples", type=int, default=10_000, help="bootstrap samples")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    add_log_to(parser)
    add_json(parser)


def run(args: jsonargparse.Namespace) -> int:
    """Compare and print the tables."""
    from apt_lightning.common.errors import UsageError
    from apt_lightning.evaluation.comparison_table import comparison_tables, comparison_text
    from apt_lightning.evaluation.significance import align, compare
    from apt_lightning.evaluation.spread import System, at_equal_spread, equal_spread_deciles, equal_spread_table
    from apt_lightning.experiments.run_folder import find_predictions

    if not 0 < args.level < 1 or args.resamples < 100 or not args.margin > 0 or args.seed < 0:
        raise UsageError(
            "`--level` must lie between 0 and 1, `--margin` above 0, and `--resamples` be 100 and `--seed` 0 or more"
        )
    a = find_predictions(args.a, args.split, args.stage_a)
    b = find_predictions(args.b, args.split, args.stage_b)
    paired = a.keys() == b.keys()
    tables = align([*a.values(), *(b[seed] for seed in (a if paired else b))])
    names = [
        path if "" in found else f"{path} ({stage})"
        for path, found, stage in ((args.a, a, args.stage_a), (args.b, b, args.stage_b))
    ]
    seen = tables[0].seen_source
    parts = {"all clips": seen | True, "seen sources": seen, "unseen sources": ~seen}
    if seen.all() or not seen.any():
        parts = {"all clips": parts["all clips"]}
    settings = args.resamples, args.level, args.seed, args.margin
    metrics: dict[str, Comparison] = {}
    blocks: list[str] = []
    for name, rows in parts.items():
        sides = [table.select(rows) for table in tables]
        metrics[name] = compare(sides[: len(a)], sides[len(a) :], paired, *settings)
        text = comparison_tables(metrics[name]) if blocks else comparison_text(metrics[name], *names)
        blocks.append(f"{name.capitalize()}\n\n{text}\n")
    order = list(a if paired else b)
    systems = {
        "A": System(tables[: len(a)], _validation(args.a, args.split, args.stage_a, list(a))),
        "B": System(tables[len(a) :], _validation(args.b, args.split, args.stage_b, order)),
    }
    blocks.append(f"{equal_spread_table(systems, 'All clips')}\n\n{equal_spread_deciles(systems, 'All clips')}\n")
    scaled = at_equal_spread(systems)
    if len(scaled) == 2:
        metrics["equal spread"] = compare(scaled["A"], scaled["B"], paired, *settings)
        blocks.append(f"{comparison_tables(metrics['equal spread'], ('low', 'high'), ', at equal spread')}\n")
    say("\n".join(blocks))
    say_json(args.json, {"a": names[0], "b": names[1], **{n: c.to_dict() for n, c in metrics.items()}}, args.level)
    if args.log_to:
        from apt_lightning.evaluation.comparison_table import comparison_rows

        lines = [{"clips": part, **line} for part, c in metrics.items() for line in comparison_rows(c)]
        mean = next(line for line in lines if (line["metric"], line["of"]) == ("1-MAE", "mean"))
        kept = {key: mean[key] for key in ("difference", "lower", "upper", "p", "verdict")}
        log_findings("compare", [args.a, args.b], {"comparison": lines}, {"a": names[0], "b": names[1], **kept})
    return 0


def _validation(path: str, split: str, stage: str, seeds: list[str]) -> list[Predictions] | None:
    """Validation predictions of the same models, where they lie beside those compared."""
    from pathlib import Path

    from apt_lightning.common.errors import UsageError
    from apt_lightning.experiments.run_folder import find_predictions

    if split == "validation" or Path(path).is_file():
        return None
    try:
        found = find_predictions(path, "validation", stage)
    except UsageError:
        return None
    return [found[seed] for seed in seeds]
