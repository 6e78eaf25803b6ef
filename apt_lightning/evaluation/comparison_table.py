"""A comparison of two systems as tables, with the verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from apt_lightning.evaluation.bootstrap import LEVEL
from apt_lightning.evaluation.equivalence import POWER
from apt_lightning.evaluation.metrics import TRAIT_COLUMNS
from apt_lightning.evaluation.significance import COMPARED, Comparison, Difference
from apt_lightning.evaluation.tables import interval, number, p_value, render


def decision(found: Difference, column: int, level: float = LEVEL) -> str:
    """The verdict in words; where there is none, how many sources would decide.

    Args:
        found: A metric of :func:`~apt_lightning.evaluation.significance.compare`.
        column: 0 to 5.
        level: As there.
    """
    said, needed = found.verdict(column, level), found.sources_needed[column]
    if said != "undecided" or np.isnan(found.p[column]):
        return said
    return f"{said}, needs {needed:,.0f} sources" if np.isfinite(needed) else f"{said}, needs more seeds"


def comparison_tables(comparison: Comparison, metrics: Sequence[str] = COMPARED, at: str = "") -> str:
    """Lay out a comparison, a table a metric.

    Args:
        comparison: From :func:`~apt_lightning.evaluation.significance.compare`.
        metrics: Which.
        at: Added to the names of the metrics.
    """
    c = comparison
    blocks = []
    for name in metrics:
        d = c.metrics[name]
        rows = [
            [
                column,
                number(float(d.a[i])),
                number(float(d.b[i])),
                interval(float(d.difference[i]), float(d.lower[i]), float(d.upper[i])),
                p_value(float(d.p[i])),
                p_value(float(d.p_holm[i])),
                p_value(float(d.p_equal[i])),
                decision(d, i, c.level),
                str(d.clips[i]),
            ]
            for i, column in enumerate(TRAIT_COLUMNS)
        ]
        title = f"{name}{at}: {c.n_clips} clips of {c.n_sources} sources, {c.level:.0%} intervals"
        head = ["", "A", "B", "B - A", "p", "p (Holm)", f"p (equal within {c.margin:g})", "B is", "clips"]
        blocks.append(render(head, rows, title))
    return "\n\n".join(blocks)


def comparison_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Lay out a comparison as one table, a row a metric and column, with None where a figure is not defined.

    Args:
        comparison: From :func:`~apt_lightning.evaluation.significance.compare`.
    """
    keys = ("a", "b", "difference", "lower", "upper", "p", "p_holm", "p_equal")
    rows = []
    for metric, d in comparison.metrics.items():
        for i, column in enumerate(TRAIT_COLUMNS):
            values = {key: float(getattr(d, key)[i]) for key in keys}
            plain = {key: None if np.isnan(value) else value for key, value in values.items()}
            rows.append({"metric": metric, "of": column, **plain, "verdict": d.verdict(i, comparison.level)})
    return rows


def comparison_text(comparison: Comparison, a: str, b: str) -> str:
    """Lay out a comparison with what it rests on.

    Args:
        comparison: From :func:`~apt_lightning.evaluation.significance.compare`.
        a: Name of the first system.
        b: Name of the second.
    """
    c = comparison
    seeds = (
        "One seed a side: the intervals say nothing about training anew."
        if c.seeds_a == c.seeds_b == 1
        else f"{c.seeds_a} and {c.seeds_b} seeds{', paired' if c.paired_seeds else ''}; "
        "metrics are means over seeds, and the intervals include the spread over seeds."
    )
    about = (
        f"A: {a}\nB: {b}\nPositive: B is higher. Sources are resampled, not clips. "
        f"Holm's family: the five traits of a table, for difference and equality each; a mean is one test.\n"
        f"Equal: shown to differ by less than {c.margin:g} (two one-sided tests). Undecided: neither is shown; at the "
        f"number of sources given, one test would decide with {POWER:.0%} power if the difference is as estimated.\n"
        f"{seeds}"
    )
    return f"{about}\n\n{comparison_tables(comparison)}"
