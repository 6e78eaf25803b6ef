"""Puts the sections together and renders the page."""

from __future__ import annotations

import datetime
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from apt_lightning.common.console import progress
from apt_lightning.common.files import write_text
from apt_lightning.common.version import __version__
from apt_lightning.evaluation.tables import number, p_value
from apt_lightning.experiments.cards import statements
from apt_lightning.experiments.report import behaviour, clips, comparisons, contributions, people, scores, training
from apt_lightning.experiments.report.blocks import Section
from apt_lightning.experiments.report.charts import SCHEMES, css
from apt_lightning.experiments.report.run import Run, Shown
from apt_lightning.experiments.report.verdict import verdict
from apt_lightning.experiments.results import BASELINES

BUILDERS: dict[str, tuple[Callable[[Sequence[Run]], Section], ...]] = {
    "How good": (
        scores.headline,
        comparisons.comparison,
        scores.sources,
        scores.extremes,
        scores.quality,
        comparisons.ablations,
    ),
    "How it errs": (
        behaviour.errors,
        behaviour.calibration,
        behaviour.spread,
        people.groups,
        behaviour.intervals,
        clips.best_and_worst,
    ),
    "What it rests on": (contributions.contributions, training.embeddings),
    "How it was made": (training.data, training.curves, training.settings),
}
"""Sections in their order on the page, what a reader needs first on top; the model card is the template's own."""


class Fact(NamedTuple):
    """One metric of the overview."""

    label: str
    value: str
    detail: str


def read_runs(folders: Sequence[str | os.PathLike[str]]) -> list[Run]:
    """Read what a report is about.

    Args:
        folders: Run folders of ``apt run``.

    Raises:
        UsageError: If a folder is no run, or has no finished stage.
        StoreError: If a run's feature store is not there.
    """
    paths = [Path(folder) for folder in folders]
    return [Run.read(path, name) for path, name in zip(paths, _names(paths), strict=True)]


def write_report(runs: Sequence[Run], output: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of one or more runs.

    Args:
        runs: At least one.
        output: File to write; ``report.html`` in the first run's folder if not given.

    Returns:
        The file.
    """
    target = runs[0].folder / "report.html" if output is None else Path(output)
    write_text(target, render(runs))
    return target


def _names(paths: Sequence[Path]) -> list[str]:
    """Short names that tell the runs apart: folder names, or numbered paths where two are alike."""
    short = [path.resolve().name for path in paths]
    if max(Counter(short).values()) == 1:
        return short
    top = os.path.commonpath([path.resolve().parent for path in paths])
    return [f"{i}: {os.path.relpath(path, top)}" for i, path in enumerate(paths, start=1)]


def render(runs: Sequence[Run]) -> str:
    """Render the page of runs.

    Args:
        runs: At least one.
    """
    todo = progress([(group, build) for group, builders in BUILDERS.items() for build in builders], "report", "section")
    sections: dict[str, list[Section]] = {}
    for group, build in todo:
        sections.setdefault(group, []).append(build(runs))
    return render_page(runs, sections, {run.name: overview(run) for run in runs}, card=True)


def render_page(
    runs: Sequence[Shown], sections: dict[str, list[Section]], facts: dict[str, list[Fact]], card: bool
) -> str:
    """Render a page.

    Args:
        runs: What it is about, at least one.
        sections: Heading of a group to its sections, in their order.
        facts: Name of a run to the metrics to read first.
        card: With the card of models of this package.
    """
    environment = Environment(
        loader=PackageLoader("apt_lightning.experiments.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"code": _code, "css": css}
    numbers = itertools.count(1)
    environment.globals |= {name: value for name, value in vars(statements).items() if name.isupper()}
    environment.globals["ids"] = lambda: f"table-{next(numbers)}"
    values: dict[str, Any] = {
        "version": __version__,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "runs": runs,
        "overview": facts,
        "verdicts": {run.name: verdict(run) for run in runs},
        "schemes": SCHEMES,
        "sections": sections,
        "card": card,
    }
    return environment.get_template("report.html").render(values)


def _code(text: str) -> Markup:
    """Set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def overview(run: Shown) -> list[Fact]:
    """The metrics to read first."""
    final, look_up = run.scores(run.final), run.scores(BASELINES[2])
    values = [float(s.values["1-MAE"][-1]) for s in final]
    mean = sum(values) / len(values)
    spread = (
        f"± {number(float(np.std(values, ddof=1)))} over {len(values)} seeds"
        if len(values) > 1
        else _ends(final[0].lower, final[0].upper, "1-MAE")
    )
    floor = max(float(run.scores(name)[0].values["1-MAE"][-1]) for name in BASELINES[:2])
    facts = [
        Fact(f"1-MAE, {run.final}", number(mean), spread),
        Fact("best constant", number(floor), "1-MAE without any input"),
        Fact("source look-up", number(float(look_up[0].values["1-MAE"][-1])), "1-MAE without content"),
        Fact("CCC", number(sum(float(s.values["CCC"][-1]) for s in final) / len(final), 3), "0 for a constant"),
    ]
    if run.baseline is not None:
        d = run.against(run.baseline)
        sign = "+" if d.difference[-1] > 0 else ""
        detail = f"95 %: {number(float(d.lower[-1]))} to {number(float(d.upper[-1]))}, p {p_value(float(d.p[-1]))}"
        facts.insert(1, Fact("gain over stage 2", f"{sign}{number(float(d.difference[-1]))}", detail))
    table = run.results.systems[run.final][0]
    seen = float(table.seen_source.mean())
    facts.append(Fact("seen sources", f"{seen:.0%}", f"of {len(table)} clips have a sibling in training"))
    return facts


def _ends(lower: dict[str, Any], upper: dict[str, Any], metric: str) -> str:
    low, high = float(lower[metric][-1]), float(upper[metric][-1])
    return f"95 %: {number(low)} to {number(high)}" if low == low else "too few sources for an interval"
