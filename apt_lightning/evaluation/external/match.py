"""A stranger's predictions matched with the clips they are about; all that is odd about them is said."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError
from apt_lightning.common.traits import TRAITS
from apt_lightning.evaluation.external.columns import Found, find_columns
from apt_lightning.evaluation.external.files import read_raw
from apt_lightning.evaluation.external.reference import Reference
from apt_lightning.evaluation.predictions import Predictions

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

TOLERANCE = 5e-4
"""Labels are the same if they differ by less: files round to three or more digits, labels lie 1/107 or more apart."""
_NEU = TRAITS.index("neuroticism")
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


@dataclass(frozen=True)
class Submission:
    """One file of predictions, matched."""

    name: str
    test: Predictions
    """Of the split that is judged, with classes where the training labels are known."""
    validation: Predictions | None
    """Of the validation split, if the file covers any of it and another split is judged."""
    remarks: list[str]
    """What is odd, a sentence each."""


def read_submission(
    path: str | os.PathLike[str],
    reference: Reference,
    split: str = "test",
    columns: str | None = None,
    match: Literal["names", "labels"] = "names",
    invert_neuroticism: bool = False,
) -> Submission:
    """Read a file of predictions and match it with labelled clips.

    Args:
        path: The file.
        reference: The clips.
        split: Which split is judged.
        columns: Which columns hold which trait, see :func:`~apt_lightning.evaluation.external.columns.parse_columns`.
        match: By ``names``, or by the file's own ``labels``, where they are unique.
        invert_neuroticism: Take 1 - neuroticism, of a file in which high means nervous.

    Raises:
        DataError: If the file cannot be read, or covers no clip of the split.
    """
    found = find_columns(read_raw(path), path, columns)
    remarks: list[str] = []
    predicted, labels = found.predicted.copy(), found.labels
    if invert_neuroticism:
        predicted[:, _NEU] = 1 - predicted[:, _NEU]
        remarks.append("neuroticism was turned, as asked: 1 - the file's, for its labels too if it has some.")
        if labels is not None:
            labels = labels.copy()
            labels[:, _NEU] = 1 - labels[:, _NEU]
    rows = _by_labels(labels, reference, path) if match == "labels" else _by_names(found, reference, path)
    if labels is not None and match == "names":
        remarks += _other_labels(labels, rows, reference)
    unknown = int((rows < 0).sum())
    if unknown:
        remarks.append(f"{unknown} of its {len(rows)} rows are of no clip of {reference.name}; they are left out.")
    rows = _complete(predicted, rows, remarks)
    rows = _once(predicted, rows, reference, path, remarks)
    parts = {name: _part(predicted, rows, reference, name) for name in dict.fromkeys((split, "validation"))}
    test = parts[split]
    if test is None:
        raise DataError(f"{path}: covers no labelled clip of the {split} split; `--split` names another")
    remarks += _coverage(rows, reference, split, len(test))
    remarks += _range(predicted[rows >= 0], path)
    remarks += _inverted(test)
    return Submission(Path(path).stem, test, parts["validation"] if split != "validation" else None, remarks)


def _key(name: str) -> str:
    """A clip's name without blanks and file name extension, folders divided by slashes."""
    return _EXTENSION.sub("", name.strip().replace("\\", "/"))


def _by_names(found: Found, reference: Reference, path: object) -> IntArray:
    """Row of each prediction among the clips, -1 where there is none; by the column with most names."""
    known = [_key(clip) for clip in reference.clips]
    whole, short = _unique(known), _unique([key.rpartition("/")[2] for key in known])
    best = np.full(len(found.predicted), -1)
    for cells in found.texts.values():
        keys = [_key(cell) for cell in cells]
        rows = np.array([whole.get(key, short.get(key.rpartition("/")[2], -1)) for key in keys])
        if (rows >= 0).sum() >= max(1, (best >= 0).sum()):
            best = rows
    if not (best >= 0).any():
        named = ", ".join(repr(cells[0][:40]) for cells in found.texts.values())[:120] or "without a name"
        hint = "" if found.labels is None else "; to match by the file's own labels: `--match=labels`"
        raise DataError(
            f"{path}: no row is a clip of {reference.name}: the first is {named}, clips are named as "
            f"{reference.clips[0]!r}{hint}"
        )
    return best


def _unique(keys: Sequence[str]) -> dict[str, int]:
    counts = Counter(keys)
    return {key: i for i, key in enumerate(keys) if counts[key] == 1}


def _by_labels(labels: FloatArray | None, reference: Reference, path: object) -> IntArray:
    """Row of each prediction among the clips, found by five labels that no other clip has."""
    from scipy.spatial import cKDTree

    if labels is None:
        raise DataError(
            f"{path}: has no labels of all five traits to match by; `--match=names` needs a column of names"
        )
    known = np.flatnonzero(~np.isnan(reference.labels).any(axis=1))
    if len(known) < 2:
        raise DataError(f"{path}: {reference.name} has fewer than two fully labelled clips to match with")
    tree = cKDTree(reference.labels[known])
    distance, nearest = tree.query(np.nan_to_num(labels, nan=9.0), k=2, p=np.inf)
    unique = (distance[:, 0] < TOLERANCE) & (distance[:, 1] > 2 * TOLERANCE)
    if not unique.any():
        turned = labels.copy()
        turned[:, _NEU] = 1 - turned[:, _NEU]
        other = tree.query(np.nan_to_num(turned, nan=9.0), p=np.inf)[0] < TOLERANCE
        hint = "; with neuroticism turned they do: `--invert_neuroticism=true`" if other.any() else ""
        raise DataError(f"{path}: its labels are those of no clip of {reference.name}{hint}")
    return np.where(unique, known[nearest[:, 0]], -1)


def _other_labels(labels: FloatArray, rows: IntArray, reference: Reference) -> list[str]:
    own, true = labels[rows >= 0], reference.labels[rows[rows >= 0]]
    differs = np.abs(own - true) > TOLERANCE
    if not differs.any():
        return []
    wrong: BoolArray = np.asarray(differs.any(axis=0))
    traits = ", ".join(trait for trait, is_wrong in zip(TRAITS, wrong.tolist(), strict=True) if is_wrong)
    clips = int(differs.any(axis=1).sum())
    return [f"the file's own labels differ from those of {reference.name} for {clips} clips ({traits}); not used."]


def _complete(predicted: FloatArray, rows: IntArray, remarks: list[str]) -> IntArray:
    missing = np.isnan(predicted).any(axis=1)
    if (missing & (rows >= 0)).any():
        count = int((missing & (rows >= 0)).sum())
        remarks.append(f"{count} clips lack a prediction for some trait; they are left out.")
    return np.where(missing, -1, rows)


def _once(predicted: FloatArray, rows: IntArray, reference: Reference, path: object, remarks: list[str]) -> IntArray:
    """Keep the first of equal rows of one clip; refuse rows that differ."""
    first: dict[int, int] = {}
    kept, twice = rows.copy(), []
    for i, row in enumerate(rows.tolist()):
        if row < 0:
            continue
        if row in first:
            twice.append(row)
            kept[i] = -1
            if not np.array_equal(predicted[i], predicted[first[row]]):
                name = reference.clips[row]
                raise DataError(f"{path}: clip {name!r} stands in it twice with other predictions; keep one")
        first.setdefault(row, i)
    if twice:
        clip = reference.clips[twice[0]]
        remarks.append(f"{len(twice)} rows repeat a clip with the same predictions, as {clip!r}; counted once.")
    return kept


def _part(predicted: FloatArray, rows: IntArray, reference: Reference, split: str) -> Predictions | None:
    inside = np.array([name == split for name in reference.splits]) & ~np.isnan(reference.labels).all(axis=1)
    of = np.full(len(reference.clips), -1)
    of[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    chosen = np.flatnonzero(inside & (of >= 0))
    if not len(chosen):
        return None
    table = Predictions(
        [reference.clips[i] for i in chosen],
        [reference.sources[i] for i in chosen],
        reference.seen[chosen],
        reference.labels[chosen],
        predicted[of[chosen]],
    )
    return table if reference.statistics is None else table.with_statistics(reference.statistics)


def _coverage(rows: IntArray, reference: Reference, split: str, judged: int) -> list[str]:
    remarks = []
    labelled: BoolArray = np.asarray(~np.isnan(reference.labels).all(axis=1))
    of = sum(name == split and known for name, known in zip(reference.splits, labelled.tolist(), strict=True))
    if judged < of:
        remarks.append(f"covers {judged} of the {of} labelled clips of the {split} split; metrics rest on those.")
    found = Counter(reference.splits[i] for i in rows[rows >= 0].tolist())
    if found["train"] and split != "train":
        remarks.append(f"holds {found['train']} clips of the training split; they are left out.")
    known = {"train", "validation"} - {split}  # clips of validation, too, are put to use
    further = found.total() - sum(found[name] for name in known) - judged
    if further:
        remarks.append(f"holds {further} clips of other splits or without a label; they are left out.")
    if reference.statistics is None:
        remarks.append("no training labels: low, high and the look-up are not known, and all sources count as unseen.")
    return remarks


def _range(predicted: FloatArray, path: object) -> list[str]:
    outside = ((predicted < 0) | (predicted > 1)).any(axis=1)
    low, high = float(predicted.min()), float(predicted.max())
    if outside.mean() > 0.5:
        raise DataError(f"{path}: predictions lie from {low:g} to {high:g}; labels lie in [0, 1]: map them to it first")
    if not outside.any():
        return []
    return [f"{int(outside.sum())} clips have predictions outside [0, 1], from {low:g} to {high:g}; they are clipped."]


def _inverted(table: Predictions) -> list[str]:
    """Ask by correlation whether a column stands on its head."""
    from scipy.stats import pearsonr

    remarks = []
    for j, trait in enumerate(TRAITS):
        known = ~np.isnan(table.true[:, j])
        t, p = table.true[known, j], table.predicted[known, j]
        if known.sum() < 3 or np.ptp(t) == 0 or np.ptp(p) < 1e-7:
            continue
        r, chance = pearsonr(t, p)
        if r < 0 and chance < 0.01:
            text = f"{trait} correlates with its labels at {r:.2f}"
            if j == _NEU:
                text += ": the labels hold emotional stability (high = calm), the file seems to hold its opposite; "
                text += "nothing was turned, `--invert_neuroticism=true` does"
            remarks.append(f"{text}.")
    return remarks


def on_common_clips(submissions: Sequence[Submission]) -> list[Predictions]:
    """Tables of the clips that all files cover, in one order.

    Args:
        submissions: Of the same split.

    Raises:
        DataError: If there is no such clip.
    """
    common = set.intersection(*(set(one.test.clips) for one in submissions))
    if not common:
        raise DataError("the files have no clip in common; evaluate them one by one")
    # Each is in the order of the reference.
    return [one.test.select(np.array([clip in common for clip in one.test.clips])) for one in submissions]
