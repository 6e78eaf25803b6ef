"""Sections of paired comparisons: stage 4 against the baseline, runs against the first run, parts of an ablation."""

from __future__ import annotations

import csv
from collections.abc import Sequence

from apt_lightning.common.errors import DataError
from apt_lightning.common.files import reading
from apt_lightning.evaluation.comparison_table import decision
from apt_lightning.evaluation.metrics import TRAIT_COLUMNS
from apt_lightning.evaluation.significance import COMPARED, Comparison, compare
from apt_lightning.evaluation.tables import number, p_value
from apt_lightning.experiments.report.blocks import (
    Block,
    Cell,
    Forest,
    Mark,
    Note,
    Section,
    Table,
    TableRow,
    mean_first,
    value_cell,
)
from apt_lightning.experiments.report.run import Run
from apt_lightning.experiments.report.scores import DIGITS


def comparison(runs: Sequence[Run]) -> Section:
    """Final system against the baseline, and runs against the first run."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        if run.baseline is None:
            blocks[run.name] = [Note("Stage 2 and stage 4 are not both trained, so there is nothing to compare.")]
            continue
        a, b = run.results.systems[run.baseline], run.results.systems[run.final]
        found = compare(a, b, paired_seeds=len(a) == len(b))
        blocks[run.name] = [
            *difference_plots(found, run.name),
            difference_table(found, run.baseline, run.final, "All metrics as a table"),
        ]
    common: list[Block] = []
    for run in runs[1:]:
        names = f"{runs[0].name}, {runs[0].final}", f"{run.name}, {run.final}"
        try:
            found = compare(runs[0].results.systems[runs[0].final], run.results.systems[run.final])
        except DataError as error:
            common.append(Note(f"{names[1]} cannot be compared with {names[0]}: {error}"))
        else:
            common.append(difference_table(found, *names))
    intro = (
        "Paired differences on the same clips. Sources are resampled, not clips, since clips of one source are not "
        "independent; p-values are corrected over the five traits of a metric by Holm's method."
    )
    return Section("comparison", "What stage 4 adds", intro, common, blocks)


def difference_plots(found: Comparison, about: str) -> list[Forest]:
    """Differences of B from A as plots, one a metric.

    Args:
        found: The comparison.
        about: Begins the alternative text.
    """
    plots = []
    for metric in COMPARED:
        d = found.metrics[metric]
        said = [decision(d, i, found.level) for i in range(len(TRAIT_COLUMNS))]
        ends = zip(d.difference.tolist(), d.lower.tolist(), d.upper.tolist(), strict=True)
        marks = [
            Mark(f"{column}: {said[i]}", *places, style="final" if column == "mean" else "")
            for i, (column, places) in enumerate(zip(TRAIT_COLUMNS, ends, strict=True))
        ]
        caption = (
            f"{found.n_clips} clips, {found.level * 100:.0f} % intervals over sources. Above 0: stage 4 is higher."
        )
        alt = f"{about}: difference in {metric} of the traits and their mean with intervals; the mean: {said[-1]}"
        plots.append(
            Forest(caption, metric, alt, mean_first(marks), f"difference in {metric}", 0.0, DIGITS.get(metric, 4))
        )
    return plots


def difference_table(found: Comparison, a: str, b: str, folded: str = "") -> Table:
    """Differences of B from A in every metric and trait.

    Args:
        found: The comparison.
        a: Name of the first system.
        b: Name of the second.
        folded: As of a table.
    """
    rows = []
    for metric in COMPARED:
        d = found.metrics[metric]
        for i, column in mean_first(list(enumerate(TRAIT_COLUMNS))):
            ends = float(d.difference[i]), float(d.lower[i]), float(d.upper[i])
            sides = [number(float(side[i])) for side in (d.a, d.b)]
            p = [p_value(float(values[i])) for values in (d.p, d.p_holm)]
            cells: list[Cell | str] = [f"{metric}, {column}", *sides, value_cell(*ends), *p]
            cells += [decision(d, i, found.level), str(d.clips[i])]
            rows.append(TableRow(cells, "final" if column == "mean" else ""))
    seeds = (
        "One seed a side: the intervals say nothing about training anew."
        if found.seeds_a == found.seeds_b == 1
        else f"{found.seeds_a} and {found.seeds_b} seeds; the intervals include the spread over seeds."
    )
    caption = (
        f"A: {a}. B: {b}. {found.n_clips} test clips of {found.n_sources} sources, {found.level * 100:.0f} % intervals"
    )
    return Table(
        caption,
        ["", "A", "B", "B - A", "p", "p (Holm)", f"B is (equal: within {found.margin:g})", "clips"],
        rows,
        [seeds, "Above 0: B is higher. Clips of a mean: the least over the traits."],
        folded,
    )


def ablations(runs: Sequence[Run]) -> Section:
    """The table of ``apt ablate``, where it was run in the same folder."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        path = run.folder / "ablation.csv"
        if not path.is_file():
            blocks[run.name] = [Note("Not run: `apt ablate` with this run's settings changes one part at a time.")]
            continue
        with reading(path, "`apt ablate` writes it again"):
            with path.open(newline="", encoding="utf-8") as stream:
                lines = list(csv.DictReader(stream))
            rows = []
            for line in lines:
                cells: list[Cell | str] = [f"{line['group']}: {line['title']}", f"{int(line['parameters']):,}"]
                cells += [number(float(line["validation"])), number(float(line["test"]))]
                for unit in ("stage4", "stage2"):
                    metrics = [line[f"1-MAE {key} from {unit}"] for key in ("difference", "lower", "upper", "p")]
                    if all(metrics):
                        value, lower, upper, p = (float(metric) for metric in metrics)
                        cells += [value_cell(value, lower, upper), p_value(p)]
                    else:
                        cells += ["", ""]
                rows.append(TableRow(cells, "final" if line["unit"] == "stage4" else ""))
            seeds = lines[0]["seeds"]
        head = ["variant", "trained parameters", "validation", "test", "against stage 4", "p", "against stage 2", "p"]
        notes = ["p-values of this table are not corrected for the number of variants. Choose by validation only."]
        blocks[run.name] = [Table(f"Mean 1-MAE: {run.clips}; seeds: {seeds}", head, rows, notes)]
    intro = "Does the gain come from the embeddings, from the mining, or from more parameters?"
    return Section("ablations", "Ablations", intro, runs=blocks)
