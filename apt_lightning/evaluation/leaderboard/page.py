"""The leaderboard's page, computed anew from predictions and labels that code draws."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from apt_lightning.common.errors import DataError
from apt_lightning.common.traits import TRAIT_CODES, TRAITS
from apt_lightning.data.collection.official import SD
from apt_lightning.data.synthetic.build import plan_clips
from apt_lightning.evaluation.baselines import CONTENT_FREE, content_free
from apt_lightning.evaluation.comparison_table import decision
from apt_lightning.evaluation.external.match import read_submission
from apt_lightning.evaluation.external.reference import Reference
from apt_lightning.evaluation.leaderboard.entries import Entry, read_entry
from apt_lightning.evaluation.metrics import score
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.significance import compare, holm
from apt_lightning.evaluation.spread import System, at_equal_spread, least_correlation, mean_figures
from apt_lightning.evaluation.tables import interval, number, render

CLIPS, SEED, SECONDS = 900, 0, 6.0
"""Of the synthetic set: `apt synthesize DIR --clips 900 --seed 0 --seconds 6`, which `make demo` makes."""
SYSTEMS, PUBLISHED, PAGE = "systems", "published.json", "README.md"
"""In the leaderboard's folder."""


class Line(NamedTuple):
    """One system of the page."""

    name: str
    entry: Entry | None
    """None for a floor."""
    system: System


def synthetic_reference() -> Reference:
    """Clips and labels of the synthetic set, drawn without making any media."""
    plans = plan_clips(None, CLIPS, SEED, SECONDS)
    return Reference(
        "the synthetic set",
        [plan.name for plan in plans],
        [plan.source for plan in plans],
        [plan.split for plan in plans],
        np.array([plan.labels for plan in plans]),
        {},
    )


def read_lines(folder: str | os.PathLike[str], reference: Reference) -> list[Line]:
    """Read all systems, floors first.

    Args:
        folder: The leaderboard's.
        reference: From :func:`synthetic_reference`.

    Raises:
        DataError: If an entry is wrong, its predictions do not cover the whole test split, or two have one name.
    """
    entries = [read_entry(path) for path in sorted(Path(folder, SYSTEMS).glob("*.json"))]
    entries = [entry for entry in entries if entry.protocol == "synthetic"]
    lines = []
    for entry in entries:
        found = [read_submission(path, reference) for path in entry.predictions]
        for path, one in zip(entry.predictions, found, strict=True):
            if one.remarks:
                raise DataError(f"{path}: {one.remarks[0]} An entry covers the test split, and nothing of it is odd")
        validation = [one.validation for one in found if one.validation is not None]
        system = System([one.test for one in found], validation if len(validation) == len(found) else None)
        lines.append(Line(entry.name, entry, system))
    if not lines:
        raise DataError(f"{folder}: holds no entry of the synthetic set in {SYSTEMS}/")
    names = [line.name for line in lines]
    if len(set(names)) < len(names):
        raise DataError(f"{folder}: two entries are called {max(names, key=names.count)!r}; rename one")
    return [*_floors(lines[0].system, reference), *lines]


def _floors(like: System, reference: Reference) -> list[Line]:
    rows = np.flatnonzero(reference.training)
    sources = [reference.sources[i] for i in rows]

    def floors(table: Predictions) -> dict[str, Predictions]:
        found = content_free(reference.labels[rows], sources, list(table.sources))
        return {name: replace(table, predicted=values) for name, values in found.items()}

    test = floors(like.test[0])
    validation = None if like.validation is None else floors(like.validation[0])
    return [Line(n, None, System([t], None if validation is None else [validation[n]])) for n, t in test.items()]


def page(folder: str | os.PathLike[str]) -> str:
    """Compute the page.

    Args:
        folder: The leaderboard's.

    Raises:
        DataError: If an entry or the block of published figures is wrong.
    """
    folder = Path(folder)
    reference = synthetic_reference()
    lines = read_lines(folder, reference)
    claims = [read_entry(path) for path in sorted(Path(folder, SYSTEMS).glob("*.json"))]
    claims = [entry for entry in claims if entry.protocol == "first-impressions"]
    return (
        "\n\n".join(
            [
                "# Leaderboard",
                "Written by `make leaderboard`; do not edit. How to enter: "
                "[docs/evaluation.md](../docs/evaluation.md#leaderboard). Metrics are recomputed from predictions in "
                "[systems](systems); the labels are drawn by code.",
                "## Synthetic set",
                _table(lines),
                _extremes(lines),
                _about(lines),
                "## First Impressions V2, checked with `apt leaderboard check`",
                _claims(claims),
                "## First Impressions V2, published figures",
                _published(folder / PUBLISHED),
            ]
        )
        + "\n"
    )


def _table(lines: Sequence[Line]) -> str:
    """Metrics on the test clips, best first, each against the look-up."""
    look_up = next(line for line in lines if line.name == CONTENT_FREE[-1])
    compared = {
        line.name: compare(look_up.system.test, line.system.test).metrics["1-MAE"]
        for line in lines
        if line.entry is not None
    }
    corrected = holm(np.array([d.p[-1] for d in compared.values()]))
    equal = holm(np.array([d.p_equal[-1] for d in compared.values()]))
    verdicts = {}
    for i, (name, d) in enumerate(compared.items()):
        own = replace(d, p_holm=np.append(d.p_holm[:-1], corrected[i]), p_equal=np.append(d.p_equal[:-1], equal[i]))
        verdicts[name] = decision(own, 5)
    rows = []
    for line in lines:
        seen = line.system.test[0].seen_source
        parts = [_mean([t.select(mask) for t in line.system.test]) for mask in (seen | True, seen, ~seen)]
        whole = [(found.lower, found.upper) for found in map(score, line.system.test)]
        lower, upper = (float(np.mean([ends["1-MAE"][-1] for ends in side])) for side in zip(*whole, strict=True))
        cells = [interval(parts[0]["1-MAE"], lower, upper), *(number(part["1-MAE"]) for part in parts[1:])]
        cells += [number(parts[0][metric], 3) for metric in ("CCC", "PCC")]
        seeds = "" if line.entry is None else str(len(line.entry.seeds))
        rows.append((parts[0]["1-MAE"], [line.name, *cells, verdicts.get(line.name, ""), seeds]))
    rows.sort(key=lambda row: -row[0])
    table = lines[0].system.test[0]
    head = ["", "1-MAE", "seen sources", "unseen sources", "CCC", "PCC", "against the look-up", "seeds"]
    notes = [
        "Means over traits and seeds; 95 % intervals over sources. Verdicts: within 0.001 is equal; corrected by Holm "
        f"over the {len(compared)} systems of this table. One seed says nothing about training anew.",
    ]
    title = f"{len(table)} test clips of {len(set(table.sources))} sources, {int(table.seen_source.sum())} clips seen"
    return render(head, [cells for _, cells in rows], title, notes)


def _mean(tables: Sequence[Predictions]) -> dict[str, float]:
    found = [score(table, resamples=0).values for table in tables]
    return {metric: float(np.mean([f[metric][-1] for f in found])) for metric in ("1-MAE", "CCC", "PCC")}


def _extremes(lines: Sequence[Line]) -> str:
    """Low and high, raw and at the spread of the look-up."""
    ordered = sorted(lines, key=lambda line: line.name != CONTENT_FREE[-1])
    scaled = at_equal_spread({line.name: line.system for line in ordered})
    rows = []
    for line in ordered:
        raw = mean_figures(line.system.test)
        even = mean_figures(scaled[line.name]) if line.name in scaled else dict.fromkeys(raw, np.nan)
        rows.append(
            [line.name, number(raw["sd ratio"], 2), *(number(x[m]) for x in (raw, even) for m in ("low", "high"))]
        )
    head = ["", "sd ratio", "low", "high", "low, equal spread", "high, equal spread"]
    note = f"Equal spread: that of the {CONTENT_FREE[-1]}, per trait."
    return render(head, rows, "Extremes, mean over traits", [note])


def _about(lines: Sequence[Line]) -> str:
    rows = [_what(line.entry) for line in lines if line.entry is not None]
    return render(["", "paper", "how", "pretrained on", "other data", "selected on", "seeds"], rows, "What they are")


def _what(entry: Entry) -> list[str]:
    seeds = ", ".join(map(str, entry.seeds))
    return [entry.name, entry.paper or "", entry.how, entry.pretrained, entry.other_data, entry.selected_on, seeds]


def _claims(entries: Sequence[Entry]) -> str:
    if not entries:
        return (
            "None yet. Labels and predictions of real people stay with their owners; an entry holds metrics and sums."
        )
    rows = [
        [*_what(entry), *(number(entry.metrics[c]) if c in entry.metrics else "" for c in (*TRAIT_CODES, "mean"))]
        for entry in entries
    ]
    head = ["", "paper", "how", "pretrained on", "other data", "selected on", "seeds", *TRAIT_CODES, "mean"]
    return render(head, rows)


def _published(path: Path) -> str:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows = []
        for row in content["rows"]:
            traits = row["traits"] or {}
            least = float(least_correlation(np.array(row["mean"]), SD.mean()))
            cells = [row["system"], number(row["mean"]), *(number(traits[t]) if t in traits else "" for t in TRAITS)]
            rows.append(
                [*cells, number(least, 2), row["modalities"], row["pretrained"], row["source"], row["not_known"]]
            )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged ({' '.join(str(error).split())[:120]})") from None
    head = ["", "mean", *TRAIT_CODES, "PCC at least", "modalities", "pretrained", "source", "not known"]
    note = (
        "PCC at least: the least correlation that the mean 1-MAE implies, whatever the spread, if errors are normal "
        f"and the labels' deviation is {number(SD.mean(), 3)}, that of training."
    )
    return "\n\n".join([content["note"], render(head, rows, "", [note])])
