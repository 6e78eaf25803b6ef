"""Sections of metrics: the paper's two tables, quality of fit, seen and unseen sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.evaluation.metrics import MIN_SOURCES
from apt_lightning.evaluation.neighbours import same_source_note
from apt_lightning.experiments.report.blocks import (
    HEADS,
    Block,
    Cell,
    Forest,
    Mark,
    Note,
    Section,
    Table,
    TableRow,
    score_cells,
)
from apt_lightning.experiments.report.run import Shown, style_of

DIGITS = {"1-MAE": 4, "CCC": 3}
"""Metrics of the tables that show two, and their digits."""
NEU = "NEU is emotional stability: high is calm."


def headline(runs: Sequence[Shown]) -> Section:
    """The paper's Table 1 with floors."""
    common: list[Block] = [_side_by_side(runs)] if len(runs) > 1 else []
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        rows = [TableRow([name, *score_cells(run.scores(name), "1-MAE")], style_of(run, name)) for name in run.parts]
        table = Table(
            f"1-MAE (1 - mean absolute error; higher is better): {run.clips}",
            ["system", *HEADS],
            rows,
            [_spread(run), f"{NEU} Grey rows are floors: no network was trained for them."],
        )
        marks = []
        for name in run.parts:
            scores = run.scores(name)
            values = [float(s.values["1-MAE"][-1]) for s in scores]
            low, high = (
                (float(scores[0].lower["1-MAE"][-1]), float(scores[0].upper["1-MAE"][-1]))
                if len(scores) == 1
                else (min(values), max(values))
            )
            style = "final" if name == run.final else "baseline" if name == run.baseline else ""
            marks.append(Mark(name, float(np.mean(values)), low, high, style))
        best = max(marks, key=lambda mark: mark.value)
        alt = f"{run.name}: mean 1-MAE of {len(marks)} systems; the highest is {best.label} with {best.value:.4f}"
        lines = "least and greatest of the seeds" if run.seeds > 1 else "95 % intervals over sources"
        caption = f"Mean 1-MAE over traits: {run.clips}. Lines: {lines}; dashed: constant mean."
        chart = Forest(caption, "All systems", alt, marks, "1-MAE", marks[0].value, 4)
        blocks[run.name] = [table, chart]
    intro = (
        "Each system on the same test clips. A network is worth its name only above all grey rows: the look-up "
        "knows nothing but which training clips come from the same source video; the neighbours take the labels of the "
        "training clips that look or sound most alike, and learn nothing."
    )
    return Section("results", "Results", intro, common, blocks)


def _spread(run: Shown) -> str:
    if run.seeds > 1:
        return (
            f"Trained systems: mean ± standard deviation over {run.seeds} seeds. "
            "Grey rows: 95 % intervals by a bootstrap over sources."
        )
    if run.scores(run.final)[0].n_sources < MIN_SOURCES:
        return f"No intervals: the test clips are of fewer than {MIN_SOURCES} sources."
    return "In small print: 95 % intervals by a bootstrap over sources. One seed: nothing is said about training anew."


def _side_by_side(runs: Sequence[Shown]) -> Table:
    """Mean metrics of every system, a pair of columns a run."""
    systems = list(dict.fromkeys(name for run in runs for name in run.parts))
    rows = []
    for name in systems:
        cells = [
            score_cells(run.scores(name), metric, digits)[0] if name in run.parts else Cell("not trained")
            for metric, digits in DIGITS.items()
            for run in runs
        ]
        style = style_of(next(run for run in runs if name in run.parts), name)
        rows.append(TableRow([name, *cells], style))
    sizes = "; ".join(f"{run.name}: {run.clips}" for run in runs)
    head = ["system", *(f"{run.name}: {metric}" for metric in DIGITS for run in runs)]
    return Table(f"Runs side by side, mean over traits. {sizes}", head, rows, [NEU])


def quality(runs: Sequence[Shown]) -> Section:
    """What 1-MAE hides."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        metrics = ("CCC", "R2", "PCC", "sd ratio", "RMSE")
        rows = [
            TableRow([name, *(score_cells(run.scores(name), metric, 3)[0] for metric in metrics)], style_of(run, name))
            for name in run.parts
        ]
        first = Table(
            f"Mean over traits: {run.clips}",
            ["system", "CCC", "R²", "PCC", "sd ratio", "RMSE"],
            rows,
            [
                "“undefined”: the metric does not exist, as a correlation with a constant.",
                _spread(run),
            ],
        )
        names = {"CCC": "CCC", "R2": "R²", "PCC": "PCC", "sd ratio": "sd ratio"}
        own = [
            TableRow([f"{label}, {run.short(name)}", *score_cells(run.scores(name), metric, 3)], style_of(run, name))
            for metric, label in names.items()
            for name in run.shown
        ]
        second = Table(f"Per trait: {run.clips}", ["", *HEADS], own, [NEU])
        blocks[run.name] = [first, second]
    intro = (
        "A constant scores about .88 in 1-MAE on the official labels. Concordance (CCC), explained variance (R²), "
        "correlation (PCC) and the ratio of predicted to true spread (best at 1) show what it cannot."
    )
    return Section("quality", "Beyond 1-MAE", intro, runs=blocks)


def extremes(runs: Sequence[Shown]) -> Section:
    """The paper's Table 2."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        names = list(run.shown)
        columns = {name: [score_cells(run.scores(name), m) for m in ("1-MAE", "low", "high")] for name in names}
        rows = [
            TableRow(
                [trait, *(cells[i] for name in names for cells in columns[name])], "final" if trait == "mean" else ""
            )
            for i, trait in enumerate(HEADS)
        ]
        counts = run.scores(run.final)[0].clips
        low, high = ("/".join(str(n) for n in counts[m][:-1]) for m in ("low", "high"))
        table = Table(
            f"1-MAE: {run.clips}; low (C1) {low} and high (C4) {high} clips in {'/'.join(TRAIT_CODES)}",
            ["", *(f"{run.short(name)}: {part}" for name in names for part in ("all", "low", "high"))],
            rows,
            [_spread(run), NEU],
        )
        blocks[run.name] = [table]
    intro = (
        "The form of the paper's Table 2. Low: labels more than one standard deviation below the training mean "
        "of the trait; high: as far above it or further."
    )
    return Section("extremes", "Low and high labels", intro, runs=blocks)


def sources(runs: Sequence[Shown]) -> Section:
    """Clips with and without a training clip of the same source."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        table = run.results.systems[run.final][0]
        seen = int(table.seen_source.sum())
        parts = {"seen sources": seen, "unseen sources": len(table) - seen}
        head = ["system", *(f"{part}: {metric}" for metric in DIGITS for part in parts)]
        rows = []
        for name, seeds in run.parts.items():
            cells = [
                score_cells([s[part] for s in seeds], metric, digits)[0] if clips else Cell("no clip")
                for metric, digits in DIGITS.items()
                for part, clips in parts.items()
            ]
            rows.append(TableRow([name, *cells], style_of(run, name)))
        counts = "; ".join(f"{part}: {n} clips" for part, n in parts.items())
        caption = f"Mean over traits. {counts}; {len(table)} in all"
        blocks[run.name] = [Table(caption, head, rows, [_spread(run)])]
        if seen and seen < len(table):
            share = seen / len(table)
            text = (
                f"{seen} of {len(table)} clips ({share:.0%}) have a training clip of the same source video. "
                "Their metrics reward recognising a person or a room."
            )
            blocks[run.name].append(Note(text, warning=True))
            blocks[run.name] += [Note(line, warning=True) for line in same_source_note(run.results.same_source)]
        elif not seen:
            blocks[run.name].append(Note("No test clip has a training clip of its source: this split does not leak."))
    intro = (
        "Clips cut from one video show one person in one room and have similar labels. Only unseen sources tell "
        "how the model does on somebody new."
    )
    return Section("sources", "Seen and unseen sources", intro, runs=blocks)
