"""One sentence on top of the page: what the paired tests say of the final system, and nothing that they do not."""

from __future__ import annotations

from apt_lightning.evaluation.significance import Difference
from apt_lightning.evaluation.tables import number
from apt_lightning.experiments.report.run import Shown
from apt_lightning.experiments.results import BASELINES

RIDGE = BASELINES[-1]


def verdict(run: Shown) -> str:
    """Say how the final system stands to the baseline, to ridge and to the constant, by the mean 1-MAE.

    Args:
        run: Systems on the same clips.

    Returns:
        Sentences, each from a comparison that resamples sources.
    """
    others = [name for name in (run.baseline, RIDGE, BASELINES[2]) if name in run.results.systems]
    said = [f"{run.short(run.final)} {_standing(run.against(name), run.short(name))}" for name in others if name]
    constant = BASELINES[0]
    if constant in run.results.systems:
        trained = [name for name in run.results.systems if name not in run.results.floors]
        found = {name: _mean(run.against(constant, name)) for name in trained}
        below = [run.short(name) for name, which in found.items() if which == "worse"]
        unsure = [run.short(name) for name, which in found.items() if which in ("undecided", "equal")]
        said += [f"below the constant: {', '.join(below)}"] if below else []
        names = "any trained system" if unsure == [run.short(name) for name in trained] else ", ".join(unsure)
        said += [f"not shown to differ from the constant: {names}"] if unsure else []
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}. (Mean 1-MAE, {run.clips}.)" if text else ""


def _mean(d: Difference) -> str:
    return d.verdict(5)


def _standing(d: Difference, other: str) -> str:
    gap = number(abs(float(d.difference[5])))
    return {
        "better": f"is better than {other} by {gap}",
        "worse": f"is worse than {other} by {gap}",
        "equal": f"equals {other} within the margin",
        "undecided": f"cannot be told from {other}",
    }[_mean(d)]
