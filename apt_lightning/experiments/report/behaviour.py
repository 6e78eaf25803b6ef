"""Sections on how predictions behave: distributions, calibration, errors along the label, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from apt_lightning.common.errors import DataError
from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.evaluation.calibration import (
    HISTOGRAM_EDGES,
    Deciles,
    Distributions,
    deciles,
    distributions,
    slopes,
)
from apt_lightning.evaluation.conformal import Coverage, coverage, fit_conformal
from apt_lightning.evaluation.fairness import group_masks
from apt_lightning.evaluation.tables import number
from apt_lightning.experiments.report.blocks import (
    Block,
    Chart,
    Forest,
    Key,
    Mark,
    Note,
    Panels,
    Section,
    Table,
    TableRow,
    value_cell,
)
from apt_lightning.experiments.report.charts import BASELINE, FINAL, LINES, TRUE, picture
from apt_lightning.experiments.report.run import Shown

TRAIT_TITLES = ("Extraversion", "NEU: emotional stability", "Agreeableness", "Conscientiousness", "Openness")


def colour_of(run: Shown, system: str) -> str:
    """Colour of a system in all charts."""
    return FINAL if system == run.final else BASELINE


def _keys(run: Shown, *further: Key) -> list[Key]:
    glyphs = {FINAL: "●―", BASELINE: "■┅"}
    return [*further, *(Key(glyphs[c], c, name) for name in run.shown for c in [colour_of(run, name)])]


def spread(runs: Sequence[Shown]) -> Section:
    """Predicted against true distributions."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        found = {name: distributions(table) for name, table in run.shown.items()}
        charts = [_histogram(run, found, i) for i in range(len(TRAIT_CODES))]
        caption = f"Share of clips by score: {run.clips}.{run.seed_note}"
        rows = [TableRow([name, *(number(float(v), 3) for v in d.distance)]) for name, d in found.items()]
        table = Table(
            f"Wasserstein distance between predicted and true scores, in label units: {run.clips}",
            ["system", *TRAIT_CODES],
            rows,
        )
        keys = _keys(run, Key("■", TRUE, "labels"))
        blocks[run.name] = [Panels(caption, charts, keys), table]
    intro = "A model that is unsure keeps near the mean: its scores are bunched where the labels are spread."
    return Section("distributions", "Distributions", intro, runs=blocks)


def _histogram(run: Shown, found: dict[str, Distributions], trait: int) -> Chart:
    def draw(axes: Any) -> None:
        true = next(iter(found.values())).true[trait]
        axes.stairs(true / max(1, true.sum()), HISTOGRAM_EDGES, fill=True, color=TRUE, alpha=0.4)
        axes.stairs(true / max(1, true.sum()), HISTOGRAM_EDGES, color=TRUE, lw=1)
        for name, d in found.items():
            counts = d.predicted[trait]
            line = LINES[colour_of(run, name)]
            axes.stairs(counts / max(1, counts.sum()), HISTOGRAM_EDGES, color=line["color"], ls=line["ls"], lw=1.5)
        axes.set_xlim(0, 1)
        axes.set_xlabel("score")
        axes.set_ylabel("share of clips")

    distance = float(found[run.final].distance[trait])
    alt = (
        f"{run.name}: histograms of labels and predictions of {TRAIT_TITLES[trait]}; Wasserstein distance of "
        f"{run.final}: {number(distance, 3)}"
    )
    return picture(TRAIT_TITLES[trait], alt, draw)


def calibration(runs: Sequence[Shown]) -> Section:
    """Regression to the mean."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        rows = []
        for name, table in run.shown.items():
            s = slopes(table)
            for kind, values, low, high in (
                ("predicted on true", s.predicted_on_true, s.lower[0], s.upper[0]),
                ("true on predicted", s.true_on_predicted, s.lower[1], s.upper[1]),
            ):
                ends = zip(values.tolist(), low.tolist(), high.tolist(), strict=True)
                rows.append(TableRow([f"{run.short(name)}, {kind}", *(value_cell(*e, digits=2) for e in ends)]))
        found = {name: deciles(table) for name, table in run.shown.items()}
        bounds = _bounds([d.true for d in found.values()] + [d.predicted for d in found.values()])
        charts = [_means(run, found, i, bounds) for i in range(len(TRAIT_CODES))]
        caption = f"Mean prediction by mean label, in deciles of the label: {run.clips}.{run.seed_note}"
        sloped = Table(
            f"Slopes with 95 % intervals over sources: {run.clips}",
            ["slope", *TRAIT_CODES],
            rows,
            ["Predicted on true: 1 = no regression to the mean. True on predicted: 1 = calibrated."],
        )
        blocks[run.name] = [Panels(caption, charts, _keys(run, Key("┄", TRUE, "perfect"))), sloped]
    intro = "Predictions of extreme clips are pulled to the middle. A flat line would be a constant."
    return Section("calibration", "Calibration and regression to the mean", intro, runs=blocks)


def _bounds(arrays: Sequence[np.ndarray[Any, np.dtype[np.float64]]]) -> tuple[float, float]:
    values = np.concatenate([array.ravel() for array in arrays])
    values = values[np.isfinite(values)]
    return (float(values.min()) - 0.03, float(values.max()) + 0.03) if len(values) else (0.0, 1.0)


def _means(run: Shown, found: dict[str, Deciles], trait: int, bounds: tuple[float, float]) -> Chart:
    def draw(axes: Any) -> None:
        axes.plot(bounds, bounds, color=TRUE, lw=1, ls="--")
        for name, d in found.items():
            axes.plot(d.true[trait], d.predicted[trait], ms=3.5, **LINES[colour_of(run, name)])
        axes.set_xlim(bounds)
        axes.set_ylim(bounds)
        axes.set_xlabel("mean label")
        axes.set_ylabel("mean prediction")

    alt = f"{run.name}: mean prediction by decile of the label of {TRAIT_TITLES[trait]}, {', '.join(found)}"
    return picture(TRAIT_TITLES[trait], alt, draw, height=2.5)


def errors(runs: Sequence[Shown]) -> Section:
    """Error along the label."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        found = {name: deciles(table) for name, table in run.shown.items()}
        top = max(1.05 * np.nanmax(np.fmax(d.upper, d.mae)) for d in found.values())
        charts = [_errors(run, found, i, float(top)) for i in range(len(TRAIT_CODES))]
        least = min(int(d.clips.min()) for d in found.values())
        caption = (
            f"Mean absolute error by decile of the label, 95 % intervals over sources: {run.clips}, "
            f"{least} or more a decile.{run.seed_note}"
        )
        rows = [
            TableRow([f"{run.short(name)}, {trait}", *(number(float(v), 3) for v in d.mae[i])])
            for i, trait in enumerate(TRAIT_CODES)
            for name, d in found.items()
        ]
        head = ["label decile", *(str(i) for i in range(1, 11))]
        table = Table(f"Mean absolute error: {run.clips}", head, rows, folded="The metrics as a table")
        blocks[run.name] = [Panels(caption, charts, _keys(run)), table]
    intro = "Models trained on few extreme clips tend to err most at both ends."
    return Section("errors", "Errors along the label", intro, runs=blocks)


def _errors(run: Shown, found: dict[str, Deciles], trait: int, top: float) -> Chart:
    def draw(axes: Any) -> None:
        x = np.arange(1, 11)
        for name, d in found.items():
            colour = colour_of(run, name)
            axes.fill_between(x, d.lower[trait], d.upper[trait], color=colour, alpha=0.15, lw=0)
            for end in (d.lower, d.upper):
                axes.plot(x, end[trait], color=colour, lw=0.5)
            axes.plot(x, d.mae[trait], ms=3.5, **LINES[colour])
        axes.set_xticks(x)
        axes.set_ylim(0, top)
        axes.set_xlabel("decile of the label")
        axes.set_ylabel("mean absolute error")

    alt = f"{run.name}: mean absolute error by decile of the label of {TRAIT_TITLES[trait]}, {', '.join(found)}"
    return picture(TRAIT_TITLES[trait], alt, draw)


def intervals(runs: Sequence[Shown]) -> Section:
    """Coverage of the conformal intervals."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        if run.held_out is None:
            blocks[run.name] = [Note(f"No validation predictions of {run.final}: there are no intervals to check.")]
            continue
        validation, table = run.held_out
        try:
            fitted = fit_conformal(validation)
        except DataError as error:
            blocks[run.name] = [Note(f"No intervals: {error}.")]
            continue
        masks = {
            f"{attribute}: {name}": mask
            for attribute, members in group_masks(table.clips, run.demographics).items()
            if " x " not in attribute
            for name, mask in members.items()
        }
        found = coverage(fitted, table, groups=masks)
        first = ", of the first seed and fold" if run.results.settings.get("folds") or run.seeds > 1 else ""
        rows = [
            TableRow(
                [
                    c.name,
                    value_cell(c.value, c.lower, c.upper, 3),
                    number(c.width, 3),
                    str(c.labels),
                    str(c.sources),
                ],
                "final" if c.name == "overall" else "",
            )
            for c in found
        ]
        caption = f"Labels inside their {fitted.level * 100:.0f} % interval, {run.final}: {len(table)} clips{first}"
        note = (
            f"Fitted on validation clips, as `apt run` stores them in the checkpoint for `apt score`: the quantile is "
            f"from {fitted.clips} clips of {fitted.sources} sources. Promised overall, not for each row."
        )
        head = ["", "inside", "mean width", "labels", "sources"]
        blocks[run.name] = [
            *_coverage_charts(run, found, fitted.level, f"{caption}. Dashed: promised overall."),
            Table(caption, head, rows, [note], "All metrics as a table"),
        ]
    intro = "Split-conformal intervals around each score, wider for clips that look hard."
    return Section("intervals", "Prediction intervals", intro, runs=blocks)


def _coverage_charts(run: Shown, found: Sequence[Coverage], level: float, caption: str) -> list[Forest]:
    """One chart for traits, one for deciles, one for sources and groups."""
    titles: dict[str, list[Mark]] = {"Overall and by trait": [], "By decile of the label": [], "By group": []}
    for c in found:
        if c.labels:
            kind = 0 if c.name in ("overall", *TRAIT_CODES) else 1 if c.name.startswith("decile") else 2
            mark = Mark(f"{c.name} ({c.labels} labels)", c.value, c.lower, c.upper, "final")
            list(titles.values())[kind].append(mark)
    about = f"{run.name}: share of labels inside their {level * 100:.0f} % interval, overall {found[0].value:.3f}"
    return [
        Forest(caption, title, f"{about}; {title.lower()}", marks, "share of labels inside", level)
        for title, marks in titles.items()
        if marks
    ]
