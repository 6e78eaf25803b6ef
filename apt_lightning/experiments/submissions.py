"""Strangers' predictions judged as a run of ours is: floors beside them, every table, paired tests among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError
from apt_lightning.evaluation.baselines import CONTENT_FREE, content_free
from apt_lightning.evaluation.comparison_table import decision
from apt_lightning.evaluation.conformal import Conformal, fit_conformal
from apt_lightning.evaluation.equivalence import MARGIN
from apt_lightning.evaluation.external.match import Submission, on_common_clips
from apt_lightning.evaluation.external.reference import Reference
from apt_lightning.evaluation.metrics import Scores, comparison_table, score_by_seen
from apt_lightning.evaluation.overview import report_stage
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.significance import Comparison, compare, holm
from apt_lightning.evaluation.spread import (
    System,
    curve_text,
    equal_spread_deciles,
    equal_spread_table,
    plausibility_text,
)
from apt_lightning.evaluation.tables import interval, p_value, render

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Files of predictions with what they are measured by, all on the same clips."""

    reference: Reference
    split: str
    submissions: list[Submission]
    """Their names unique."""
    tables: dict[str, Predictions]
    """Floors, where the training labels are known, then files; of the clips that all files cover."""
    scores: dict[str, dict[str, Scores]]
    """System to the scores of all, seen and unseen sources."""
    pairs: dict[tuple[str, str], Comparison]
    """Every two files."""

    @classmethod
    def of(cls, submissions: Sequence[Submission], reference: Reference, split: str, margin: float = MARGIN) -> Judged:
        """Judge files.

        Args:
            submissions: Of the same reference and split.
            reference: The clips.
            split: Which split.
            margin: Differences below it count as equal.

        Raises:
            DataError: If the files have no clip in common.
        """
        stems = [one.name for one in submissions]
        names = [stem if stems.count(stem) == 1 else f"{i}: {stem}" for i, stem in enumerate(stems, start=1)]
        files = dict(zip(names, on_common_clips(submissions), strict=True))
        like = next(iter(files.values()))
        floors = floors_for(like, reference) if reference.training.any() else {}
        tables = {name: replace(like, predicted=values) for name, values in floors.items()} | files
        return cls(
            reference,
            split,
            [replace(one, name=name) for one, name in zip(submissions, names, strict=True)],
            tables,
            {name: score_by_seen(table) for name, table in tables.items()},
            {(a, b): compare([files[a]], [files[b]], margin=margin) for a, b in combinations(files, 2)},
        )

    @property
    def systems(self) -> dict[str, System]:
        """Files, and the look-up, as systems with their validation predictions, where all have some."""
        validation = {one.name: one.validation for one in self.submissions if one.validation is not None}
        known = len(validation) == len(self.submissions)
        look_up = CONTENT_FREE[-1]
        if known and look_up in self.tables:
            like = next(iter(validation.values()))
            validation[look_up] = replace(like, predicted=floors_for(like, self.reference)[look_up])
        names = [one.name for one in self.submissions] + [look_up] * (look_up in self.tables)
        return {name: System([self.tables[name]], [validation[name]] if known else None) for name in names}


def floors_for(like: Predictions, reference: Reference) -> dict[str, FloatArray]:
    """Content-free predictions for the clips of a table, from the training labels."""
    rows = np.flatnonzero(reference.training)
    return content_free(reference.labels[rows], [reference.sources[i] for i in rows], list(like.sources))


def conformal_of(submission: Submission) -> Conformal | None:
    """Prediction intervals fitted on a file's validation predictions; None where it has too few."""
    if submission.validation is None:
        return None
    try:
        return fit_conformal(submission.validation)
    except DataError:
        return None


def judged_text(judged: Judged) -> str:
    """Lay out everything: remarks, all systems side by side, tests among files, extremes, then each file."""
    blocks = []
    for one in judged.submissions:
        lines = [f"- {remark}" for remark in one.remarks] or ["- nothing odd."]
        blocks.append("\n".join([f"{one.name}:", *lines]))
    largest = max(len(one.test) for one in judged.submissions)
    like = judged.tables[judged.submissions[0].name]
    if len(like) < largest:
        blocks.append(f"All tables below rest on the {len(like)} clips that every file covers.")
    for part in judged.scores[judged.submissions[0].name]:
        found = {name: scores[part] for name, scores in judged.scores.items()}
        blocks += [comparison_table(found, f"{judged.split}, {part}", metric) for metric in ("1-MAE", "CCC")]
    if judged.pairs:
        blocks.append(pairs_text(judged))
    systems, title = judged.systems, judged.split
    if like.classes is not None:
        blocks += [equal_spread_table(systems, title), equal_spread_deciles(systems, title)]
        blocks += [curve_text(systems[one.name], one.name) for one in judged.submissions]
    for one in judged.submissions:
        table = judged.tables[one.name]
        blocks.append(f"{one.name}\n{'=' * len(one.name)}")
        blocks.append(
            report_stage(table, judged.reference.statistics, conformal_of(one), judged.reference.demographics)
        )
        blocks.append(plausibility_text(table, one.name))
    return "\n\n".join(blocks)


def pairs_text(judged: Judged) -> str:
    """Lay out mean 1-MAE of every two files, corrected over all pairs by Holm's method."""
    found = {pair: c.metrics["1-MAE"] for pair, c in judged.pairs.items()}
    corrected = holm(np.array([d.p[-1] for d in found.values()]))
    equal = holm(np.array([d.p_equal[-1] for d in found.values()]))
    rows = []
    for i, ((a, b), d) in enumerate(found.items()):
        # The mean's tests are those of the family of pairs.
        own = replace(d, p_holm=np.append(d.p_holm[:-1], corrected[i]), p_equal=np.append(d.p_equal[:-1], equal[i]))
        gain = interval(float(d.difference[-1]), float(d.lower[-1]), float(d.upper[-1]))
        rows.append(
            [f"{b} - {a}", gain, *(p_value(float(p)) for p in (d.p[-1], corrected[i], equal[i])), decision(own, 5)]
        )
    first = next(iter(judged.pairs.values()))
    head = ["", "difference", "p", "p (Holm)", f"p (equal within {first.margin:g})", "the first is"]
    notes = [
        f"Holm's family: the {len(rows)} pairs. Sources are resampled.",
        "One set of predictions a system: nothing is said about training anew.",
    ]
    return render(head, rows, f"Pairs of files, mean 1-MAE: {first.n_clips} clips of {first.n_sources} sources", notes)


def judged_dict(judged: Judged) -> dict[str, object]:
    """Plain data for a JSON file."""
    return {
        "data": Path(judged.reference.name).name,
        "split": judged.split,
        "remarks": {one.name: one.remarks for one in judged.submissions},
        "systems": {
            name: {part: scores.to_dict() for part, scores in parts.items()} for name, parts in judged.scores.items()
        },
        "pairs": [{"a": a, "b": b, **c.to_dict()} for (a, b), c in judged.pairs.items()],
    }
