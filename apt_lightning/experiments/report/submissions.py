"""The page of strangers' predictions: the sections of metrics that a run gets, without those of its training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apt_lightning.common.files import write_text
from apt_lightning.common.traits import TraitStatistics
from apt_lightning.evaluation.external.match import Submission
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.spread import FACTORS, System, at_equal_spread, mean_figures, spread_curve
from apt_lightning.evaluation.tables import number
from apt_lightning.experiments.report import behaviour, clips, comparisons, people, scores
from apt_lightning.experiments.report.blocks import Block, Key, Note, Panels, Section, Table, TableRow
from apt_lightning.experiments.report.charts import BASELINE, FINAL, LINES, TRUE, picture
from apt_lightning.experiments.report.page import overview, render_page
from apt_lightning.experiments.report.run import Shown
from apt_lightning.experiments.results import RunResults
from apt_lightning.experiments.submissions import Judged

BUILDERS = {
    "How good": (scores.headline, scores.sources, scores.extremes, scores.quality),
    "How it errs": (
        behaviour.errors,
        behaviour.calibration,
        behaviour.spread,
        people.groups,
        behaviour.intervals,
        clips.best_and_worst,
    ),
}


@dataclass(frozen=True)
class SubmittedFile(Shown):
    """One file of predictions, with the floors."""

    submission: Submission
    people: dict[str, dict[str, str]]
    drawn: bool

    @property
    def synthetic(self) -> bool:
        """Whether the clips are drawn."""
        return self.drawn

    @property
    def demographics(self) -> dict[str, dict[str, str]]:
        """Clip to attribute to group."""
        return self.people

    @property
    def held_out(self) -> tuple[Predictions, Predictions] | None:
        """Validation and judged predictions, if the file has both."""
        validation = self.submission.validation
        return None if validation is None else (validation, self.results.systems[self.final][0])


def write_submission_report(judged: Judged, output: str | os.PathLike[str]) -> Path:
    """Write the page.

    Args:
        judged: Files of predictions, judged.
        output: File to write.

    Returns:
        The file.
    """
    unknown = TraitStatistics(np.full(5, np.nan), np.full(5, np.nan))
    names = [one.name for one in judged.submissions]
    floors = {name: [table] for name, table in judged.tables.items() if name not in names}
    files = [
        SubmittedFile(
            one.name,
            RunResults(
                floors | {one.name: [judged.tables[one.name]]},
                judged.reference.statistics or unknown,
                {"split": judged.split},
                tuple(floors),
                {},
            ),
            one,
            judged.reference.demographics,
            judged.reference.synthetic,
        )
        for one in judged.submissions
    ]
    sections = {group: [build(files) for build in builders] for group, builders in BUILDERS.items()}
    first = next(iter(sections.values()))
    first.insert(0, _remarks(files))
    if judged.tables[names[0]].classes is not None:
        first.append(_equal_spread(files, judged))
    if judged.pairs:
        first.insert(2, _pairs(judged))
    facts = {file.name: overview(file) for file in files} if floors else {}
    write_text(output, render_page(files, sections, facts, card=False))
    return Path(output)


def _remarks(files: Sequence[SubmittedFile]) -> Section:
    blocks: dict[str, list[Block]] = {
        file.name: [Note(remark, warning=True) for remark in file.submission.remarks] or [Note("Nothing odd.")]
        for file in files
    }
    return Section(
        "remarks", "About the files", "What is odd about a file; nothing was turned in silence.", runs=blocks
    )


def _pairs(judged: Judged) -> Section:
    tables = [comparisons.difference_table(found, a, b) for (a, b), found in judged.pairs.items()]
    intro = "Paired differences on the clips that all files cover; sources are resampled. Holm: the traits of a metric."
    return Section("comparison", "Pairs of files", intro, tables)


def _equal_spread(files: Sequence[SubmittedFile], judged: Judged) -> Section:
    """Low and high over the factor, and at the spread of the first file."""
    systems = judged.systems
    scaled = at_equal_spread(systems)
    metrics = ("1-MAE", "low", "high")
    found = {name: mean_figures(tables) for name, tables in scaled.items()}
    rows = [TableRow([name, *(number(values[metric]) for metric in metrics)]) for name, values in found.items()]
    notes = ["A gain at low and high that is gone here was bought by spreading predictions more widely."]
    table = Table(
        f"At the spread of {files[0].name}, mean over traits: {files[0].clips}",
        ["system", *metrics],
        rows,
        notes,
    )
    blocks: dict[str, list[Block]] = {}
    keys = [Key("▲┄", TRUE, "1-MAE"), Key("■┅", BASELINE, "low"), Key("●―", FINAL, "high")]
    for file in files:
        caption = f"1-MAE of all, low and high clips, mean over traits, as deviations are multiplied: {file.clips}."
        blocks[file.name] = [Panels(caption, [picture("Over the factor", *_curve(file, systems[file.name]))], keys)]
    intro = "Multiplying deviations from the mean prediction lifts low and high and hardly moves 1-MAE."
    return Section("equal-spread", "Extremes at equal spread", intro, [table], blocks)


def _curve(file: SubmittedFile, system: System) -> tuple[str, Any]:
    found = spread_curve(system)

    def draw(axes: Any) -> None:
        lines = {"1-MAE": {"color": TRUE, "ls": ":", "marker": "^"}, "low": LINES[BASELINE], "high": LINES[FINAL]}
        for metric, line in lines.items():
            axes.plot(FACTORS, [found[factor][metric] for factor in FACTORS], ms=3, **line)
        axes.set_xlabel("factor")
        axes.set_ylabel("1-MAE")

    return f"{file.name}: 1-MAE of all, low and high clips over the factor of the deviations", draw
