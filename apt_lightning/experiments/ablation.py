"""One part of the method changed at a time, on the cached stages of a run, in one table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from apt_lightning.common.files import write_csv, write_json
from apt_lightning.data.store.reader import Store
from apt_lightning.evaluation.predictions import Predictions, read_predictions
from apt_lightning.evaluation.significance import COMPARED, Comparison, compare, holm
from apt_lightning.evaluation.spread import System, equal_spread_table
from apt_lightning.evaluation.tables import interval, number, p_value, render
from apt_lightning.experiments.ablation_plan import Variant, ablation_plan
from apt_lightning.experiments.run_settings import RunSettings, with_modalities
from apt_lightning.experiments.runner import Job, run
from apt_lightning.stages.names import BEST
from apt_lightning.stages.regression import RegressionModule
from apt_lightning.training.callbacks import best_epoch

REFERENCES = {"stage 4": "stage4", "stage 2": "stage2"}
"""What every variant is compared with: the whole method, and the baseline without embeddings."""


@dataclass(frozen=True)
class AblationRow:
    """A variant's metrics."""

    variant: Variant
    parameters: int
    """Numbers that its last stage trained; for an ensemble those fitted on validation, and of the stages 2 in it."""
    validation: list[float]
    """Best validation 1-MAE of each seed, mean over folds; of an ensemble cross-validated."""
    test: list[Predictions]
    """One table a seed."""
    validated: list[Predictions]
    """Of the validation split, in the same order."""
    against: dict[str, Comparison]
    """Name in :data:`REFERENCES` to the variant minus that system; empty for the system itself."""


def ablate(settings: RunSettings, overwrite: bool = False) -> list[AblationRow]:
    """Train all variants that are not complete, and compare each with the whole method and the baseline.

    Args:
        settings: As for ``apt run``, whose stages are taken over where they are complete.
        overwrite: Replace stages that were trained with other settings, data or version.

    Returns:
        Rows in the order of the variants.
    """
    settings = with_modalities(settings, Store.open(settings.store))
    units, variants = ablation_plan(settings.modalities or ())
    jobs = run(settings, units, overwrite=overwrite)
    found = {variant.unit: result(jobs, variant, len(settings.seeds)) for variant in variants}
    rows = []
    for variant in variants:
        parameters, validation, test, validated = found[variant.unit]
        against = {
            name: compare(found[unit][2], test, paired_seeds=True)
            for name, unit in REFERENCES.items()
            if unit != variant.unit
        }
        rows.append(AblationRow(variant, parameters, validation, test, validated, against))
    return rows


def result(
    jobs: Sequence[Job], variant: Variant, n_seeds: int
) -> tuple[int, list[float], list[Predictions], list[Predictions]]:
    """What a variant has come to.

    Args:
        jobs: All, done.
        variant: Which.
        n_seeds: Number of seeds.

    Returns:
        Parameters trained; of each seed, its folds put together: validation metric, predictions of test and of
        validation.
    """
    if variant.rule is None:
        folders = _folders(jobs, variant.unit)
        best = [best_epoch(folder, RegressionModule.monitor, RegressionModule.mode) for folder in folders]
        metrics = [epoch[RegressionModule.monitor] for epoch in best]
        tables = [[read_predictions(f / f"predictions_{s}.csv") for f in folders] for s in ("test", "validation")]
        parameters = trained_parameters(folders[0] / BEST)
    else:
        parts = [_folders(jobs, unit) for unit in variant.parts]
        made = [
            variant.rule(
                *([read_predictions(f / f"predictions_{s}.csv") for f in each] for s in ("validation", "test"))
            )
            for each in zip(*parts, strict=True)
        ]
        metrics = [accuracy(ensemble.validation) for ensemble in made]
        tables = [[ensemble.test for ensemble in made], [ensemble.validation for ensemble in made]]
        later = [folders[0] for unit, folders in zip(variant.parts, parts, strict=True) if unit.startswith("stage2")]
        parameters = made[0].parameters + sum(trained_parameters(folder / BEST) for folder in later)
    per_seed = len(metrics) // n_seeds
    test, validated = (
        [Predictions.join(split[i : i + per_seed]) for i in range(0, len(split), per_seed)] for split in tables
    )
    return parameters, np.array(metrics).reshape(n_seeds, -1).mean(axis=1).tolist(), test, validated


def _folders(jobs: Sequence[Job], unit: str) -> list[Path]:
    return [job.folder for job in jobs if job.unit.name == unit]


def trained_parameters(checkpoint: str | os.PathLike[str]) -> int:
    """Count the numbers that the optimizer of a checkpoint moved; the frozen parts are not among them."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    moved = content["optimizer_states"][0]["state"].values()
    return sum(int(state["exp_avg"].numel()) for state in moved)


def ablation_table(rows: Sequence[AblationRow]) -> str:
    """Lay out 1-MAE of every variant with its paired differences from the whole method and the baseline."""
    corrected = {name: holm(np.array([_p(row, name) for row in rows])) for name in REFERENCES}
    cells = []
    for i, row in enumerate(rows):
        scores = _scores(row)
        spread = f" ±{number(float(scores.std(ddof=1)))}" if len(scores) > 1 else ""
        line = [row.variant.name, f"{row.parameters:,}"]
        line += [number(float(np.mean(row.validation))), number(float(scores.mean())) + spread]
        for name in REFERENCES:
            if name in row.against:
                d = row.against[name].metrics["1-MAE"]
                line.append(interval(float(d.difference[-1]), float(d.lower[-1]), float(d.upper[-1])))
                line.append(p_value(float(corrected[name][i])))
            else:
                line += ["", ""]
        cells.append(line)
    head = ["variant", "trained parameters", "validation", "test"]
    for name in REFERENCES:
        head += [f"test - {name}", "p (Holm)"]
    first = rows[0].test[0]
    chosen = max(rows, key=lambda row: float(np.mean(row.validation))).variant
    seeds = len(rows[0].test)
    notes = [
        f"{seeds} seed{'s' if seeds > 1 else ''}; paired differences with 95 % intervals over sources"
        + (" and seeds." if seeds > 1 else "; one seed says nothing about training anew."),
        "Holm corrects over the variants. Only the part named differs from stage 4; stage 1 is common.",
        f"Highest on validation, the only split to choose by: {chosen.name}.",
    ]
    title = f"Ablations, mean 1-MAE: {len(first)} test clips of {len(set(first.sources))} sources"
    return render(head, cells, title, notes)


def extremes_table(rows: Sequence[AblationRow]) -> str:
    """Lay out low and high of every variant, raw and at the spread of the whole method."""
    ordered = sorted(rows, key=lambda row: row.variant.unit != REFERENCES["stage 4"])
    systems = {row.variant.name: System(row.test, row.validated) for row in ordered}
    return equal_spread_table(systems, "Ablations")


def _scores(row: AblationRow) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([accuracy(table) for table in row.test])


def accuracy(table: Predictions) -> float:
    """1-MAE, mean over traits."""
    return float(1 - np.nanmean(np.abs(table.predicted - table.true), axis=0).mean())


def _p(row: AblationRow, reference: str) -> float:
    return float(row.against[reference].metrics["1-MAE"].p[-1]) if reference in row.against else np.nan


def ablation_lines(rows: Sequence[AblationRow]) -> list[dict[str, Any]]:
    """One table of an ablation, a line a variant with means over traits; None where a metric is not defined.

    Args:
        rows: From :func:`ablate`.
    """
    lines: list[dict[str, Any]] = []
    for row in rows:
        line = _line(row)
        for name, unit in REFERENCES.items():
            for metric in COMPARED:
                found = compared(row.against, name, metric)
                line |= {f"{metric} {key} from {unit}": value for key, value in found.items()}
        lines.append(line)
    return lines


def compared(against: Mapping[str, Comparison], name: str, metric: str) -> dict[str, float | None]:
    """Difference of a metric from a system with its interval and p, mean over traits; None if it is not compared."""
    d = against[name].metrics[metric] if name in against else None
    return {key: None if d is None else float(getattr(d, key)[-1]) for key in ("difference", "lower", "upper", "p")}


def write_ablation(
    lines: Sequence[Mapping[str, Any]], details: Mapping[str, Any], out: str | os.PathLike[str], name: str
) -> tuple[Path, Path]:
    """Write the table of an ablation as CSV, and what it rests on with all traits as JSON.

    Args:
        lines: From :func:`ablation_lines` or that of the feature sets.
        details: Plain data.
        out: Run folder.
        name: Of the two files, without their suffix.

    Returns:
        The two files.
    """
    table, full = Path(out, f"{name}.csv"), Path(out, f"{name}.json")
    write_csv(table, list(lines[0]), (line.values() for line in lines))
    write_json(full, dict(details))
    return table, full


def variants(rows: Sequence[AblationRow]) -> list[dict[str, Any]]:
    """Plain data of an ablation, with all traits.

    Args:
        rows: From :func:`ablate`.
    """
    return [
        _line(row)
        | {"validation_of_seeds": row.validation, "test_of_seeds": _scores(row).tolist()}
        | {"against": {name: comparison.to_dict() for name, comparison in row.against.items()}}
        for row in rows
    ]


def _line(row: AblationRow) -> dict[str, Any]:
    return {
        "group": row.variant.group,
        "title": row.variant.title,
        "unit": row.variant.unit,
        "parameters": row.parameters,
        "seeds": len(row.test),
        "validation": float(np.mean(row.validation)),
        "test": float(_scores(row).mean()),
    }
