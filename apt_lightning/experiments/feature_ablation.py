"""Which feature sets lead to the gain: each alone, all, and all but one, beside the neighbours on the same features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import UsageError
from apt_lightning.data.store.content import read_content, set_means
from apt_lightning.data.store.index import PREPARED
from apt_lightning.data.store.reader import Store
from apt_lightning.evaluation.neighbours import neighbours
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.significance import Comparison, compare
from apt_lightning.evaluation.tables import interval, number, render
from apt_lightning.experiments.ablation import accuracy, compared, result
from apt_lightning.experiments.ablation_plan import Variant
from apt_lightning.experiments.plan import Unit, run_units
from apt_lightning.experiments.results import Split
from apt_lightning.experiments.run_settings import RunSettings, with_modalities
from apt_lightning.experiments.runner import FOLDS, run
from apt_lightning.stages.names import STAGE2, stage1

FloatArray = npt.NDArray[np.float64]
Block = tuple[str, str | None]
"""Modality and feature set; None for what the store itself holds of it."""

ON_SETS = "stage1_features"
"""Configuration of a stage 1 that names its feature sets."""
JOINED = "joined (stage 2)"
AS_RUN = "as run"
"""What rows are compared with: the same part as `apt run` trains it,"""
ALL = "all sets"
"""and the part with all feature sets."""
PARTS = ("seen sources", "unseen sources")


@dataclass(frozen=True)
class Part:
    """One row: what is trained, and what it reads."""

    variant: Variant
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class FeatureRow:
    """What a row has come to."""

    part: Part
    validation: list[float]
    """Best validation 1-MAE of each seed, mean over folds."""
    test: list[Predictions]
    """One table a seed."""
    neighbours: Predictions
    """Of the neighbour baseline on the same features, on the same clips."""
    same_source: float
    """How often the nearest training clip is of the clip's own source, where there is one."""
    against: dict[str, Comparison]
    """:data:`AS_RUN` and :data:`ALL` to the row minus that one; without the row itself."""


def feature_plan(
    modalities: Sequence[str], sets: Mapping[str, Sequence[str]]
) -> tuple[list[Unit], list[Part], dict[str, dict[str, str]]]:
    """What is trained and what the table shows.

    Args:
        modalities: Of the run, in its order.
        sets: Modality to its feature sets. One of :data:`~apt_lightning.data.store.reader.PREPARED` without any of
            them left reads what the store itself holds; any other is left out then.

    Returns:
        Units, parts, and for each group of parts the units that they are compared with.

    Example:
        >>> units, parts, _ = feature_plan(["audio", "face"], {"face": ["one", "two"]})
        >>> [part.variant.title for part in parts if part.variant.group == "face"]
        ['as run', 'one', 'two', 'all sets']
        >>> [part.variant.title for part in parts if part.variant.group == JOINED]
        ['as run', 'all sets', 'all but face one', 'all but face two']
    """
    usual = {unit.name: unit for unit in run_units(modalities)}
    units, parts = [usual[stage1(m)] for m in modalities], []
    references: dict[str, dict[str, str]] = {}
    firsts: dict[tuple[Block, ...], str] = {}
    for m in modalities:
        names = list(sets.get(m, ()))
        own: tuple[Block, ...] = ((m, None),) if m in PREPARED or not names else tuple((m, name) for name in names)
        firsts[(m, None),] = stage1(m)
        parts.append(Part(Variant(m, AS_RUN, stage1(m)), own))
        choices = {name: [name] for name in names}
        if len(names) > 1:
            choices |= {ALL: names}
        if len(names) > 2:
            choices |= {f"all but {left}": [name for name in names if name != left] for left in names}
        for title, some in choices.items():
            unit = f"{stage1(m)}-{title.replace('all but', 'no').replace(' ', '-')}"
            blocks = tuple((m, name) for name in some)
            options = (f"--model.modality={m}", f"--model.features=[{','.join(some)}]")
            units.append(Unit(unit, ON_SETS, f"{m}, {title}", options=options, sets=tuple((m, name) for name in some)))
            parts.append(Part(Variant(m, title, unit), blocks))
            firsts[blocks] = unit
        if names:
            references[m] = {AS_RUN: stage1(m), ALL: firsts[tuple((m, name) for name in names)]}
    if len(modalities) > 1:
        units.append(usual[STAGE2])
        as_run = [block for part in parts if part.variant.title == AS_RUN for block in part.blocks]
        parts.append(Part(Variant(JOINED, AS_RUN, STAGE2), tuple(as_run)))
        references[JOINED] = {AS_RUN: STAGE2, ALL: f"{STAGE2}-all-sets"}
        for left in (None, *((m, name) for m in modalities for name in sets.get(m, ()))):
            read = {m: _left(m, sets.get(m, ()), left) for m in modalities}
            read = {m: blocks for m, blocks in read.items() if blocks}
            if len(read) < 2:
                continue
            title = ALL if left is None else f"all but {' '.join(left)}"
            unit = f"{STAGE2}-{'all-sets' if left is None else '-'.join(('no', *left))}"
            encoders = {m: firsts[blocks] for m, blocks in read.items()}
            units.append(Unit(unit, STAGE2, title, tuple(read), firsts=encoders))
            parts.append(
                Part(Variant(JOINED, title, unit), tuple(block for blocks in read.values() for block in blocks))
            )
    return units, parts, references


def _left(modality: str, sets: Sequence[str], without: tuple[str, str] | None) -> tuple[Block, ...]:
    """What is read of a modality without one of all feature sets."""
    blocks = tuple((modality, name) for name in sets if (modality, name) != without)
    return blocks or (((modality, None),) if modality in PREPARED or not sets else ())


def ablate_features(settings: RunSettings, overwrite: bool = False) -> list[FeatureRow]:
    """Train all parts that are not complete, on the stages of `apt run`, and compare them.

    Args:
        settings: As for ``apt run``.
        overwrite: Replace stages that were trained with other settings.

    Raises:
        UsageError: If the store has no feature sets.
    """
    store = Store.open(settings.store)
    settings = with_modalities(settings, store)
    modalities = settings.modalities or ()
    sets = {m: list(store.sets(m)) for m in modalities if store.sets(m)}
    if not sets:
        raise UsageError(f"{settings.store} has no feature sets of {', '.join(modalities)}; `apt encode` makes some")
    units, parts, references = feature_plan(modalities, sets)
    jobs = run(settings, units, overwrite=overwrite)
    found = {part.variant.unit: result(jobs, part.variant, len(settings.seeds)) for part in parts}
    blocks = _blocks(store, {block for part in parts for block in part.blocks})
    rows = []
    for part in parts:
        unit = part.variant.unit
        _, validation, test, _ = found[unit]
        others = {name: u for name, u in references.get(part.variant.group, {}).items() if u != unit}
        against = {name: compare(found[other][2], test, paired_seeds=True) for name, other in others.items()}
        same = [blocks[block] for block in part.blocks]
        rows.append(FeatureRow(part, validation, test, *_neighbours(settings, store, same, test[0]), against))
    return rows


def _blocks(store: Store, names: Iterable[Block]) -> dict[Block, FloatArray]:
    """(N, D) of each block; NaN where a clip lacks it."""
    content = read_content(store)
    return {
        (modality, name): content.features[modality] if name is None else set_means(store, modality, name)
        for modality, name in names
    }


def _neighbours(
    settings: RunSettings, store: Store, blocks: Sequence[FloatArray], like: Predictions
) -> tuple[Predictions, float]:
    """The neighbour baseline on the clips of ``like``, of each fold by its own training; and the same-source rate."""
    folds = None if settings.folds is None else str(Path(settings.out, FOLDS))
    position = {clip.name: i for i, clip in enumerate(store.clips)}
    sources, found = [clip.source for clip in store.clips], []
    for fold in range(1, (settings.folds or 1) + 1):
        place = Split.of(store, folds, fold)
        part = like.select(np.array([place.splits[position[clip]] == "test" for clip in like.clips]))
        rows = np.array([position[clip] for clip in part.clips])
        train, validation = place.rows("train"), place.rows("validation")
        one = neighbours(blocks, place.labels, sources, train, validation, rows)
        found.append((part, one))
    joined = Predictions.join([part for part, _ in found])
    predicted = np.concatenate([one.predicted for _, one in found])
    return (
        Predictions(joined.clips, joined.sources, joined.seen_source, joined.true, predicted),
        float(np.mean([one.same_source for _, one in found])),
    )


def features_table(rows: Sequence[FeatureRow]) -> str:
    """Lay out 1-MAE of every row, of its neighbours, and its differences, seen and unseen sources apart."""
    cells = []
    for row in rows:
        values = _metrics(row)
        line = [row.part.variant.name, number(float(np.mean(row.validation)))]
        line += [number(values[name]) for name in ("test", *PARTS)]
        line += [number(values[f"neighbours {name}"]) for name in ("test", *PARTS)]
        for name in (AS_RUN, ALL):
            d = row.against[name].metrics["1-MAE"] if name in row.against else None
            ends = None if d is None else (float(d.difference[-1]), float(d.lower[-1]), float(d.upper[-1]))
            line.append("" if ends is None else interval(*ends))
        cells.append(line)
    head = ["features", "validation", "test", "seen", "unseen", "neighbours", "seen", "unseen"]
    head += [f"test - {name}" for name in (AS_RUN, ALL)]
    first, seeds = rows[0].test[0], len(rows[0].test)
    single = [(row.part.variant, row.same_source) for row in rows if len(row.part.blocks) == 1]
    rates = [f"{variant.group} {variant.title} {rate:.0%}" for variant, rate in single]
    notes = [
        f"{seeds} seed{'s' if seeds > 1 else ''}; paired differences with 95 % intervals over sources"
        + (" and seeds" if seeds > 1 else "")
        + ", not corrected for their number.",
        "Seen: sources of which training has a clip. Neighbours: the baseline without learning on the same features.",
    ]
    if not np.isnan([row.same_source for row in rows]).all():
        notes.append(f"Nearest training clip of the same source, where there is one: {', '.join(rates)}.")
    title = f"Feature sets, mean 1-MAE: {len(first)} test clips of {len(set(first.sources))} sources"
    return render(head, cells, title, notes)


def _metrics(row: FeatureRow) -> dict[str, float]:
    """1-MAE on test, and of seen and unseen sources apart; NaN where there is none."""
    seen = row.test[0].seen_source
    told = {}
    for name, kept in (("test", np.ones_like(seen)), *zip(PARTS, (seen, ~seen), strict=True)):
        tables = [table.select(kept) for table in row.test] if kept.any() else []
        told[name] = float(np.mean([accuracy(table) for table in tables])) if tables else np.nan
        told[f"neighbours {name}"] = accuracy(row.neighbours.select(kept)) if kept.any() else np.nan
    return told


def feature_lines(rows: Sequence[FeatureRow]) -> list[dict[str, Any]]:
    """One table, a line a row with means over traits; None where there is nothing to compare with.

    Args:
        rows: From :func:`ablate_features`.
    """
    lines = []
    for row in rows:
        line = _line(row)
        for name in (AS_RUN, ALL):
            line |= {f"{key} from {name}": value for key, value in compared(row.against, name, "1-MAE").items()}
        lines.append(line)
    return lines


def feature_rows(rows: Sequence[FeatureRow]) -> list[dict[str, Any]]:
    """Plain data of the rows, with all traits.

    Args:
        rows: From :func:`ablate_features`.
    """
    return [
        _line(row) | {"against": {name: comparison.to_dict() for name, comparison in row.against.items()}}
        for row in rows
    ]


def _line(row: FeatureRow) -> dict[str, Any]:
    variant = row.part.variant
    reads = " ".join(modality if name is None else f"{modality}/{name}" for modality, name in row.part.blocks)
    about = {"group": variant.group, "title": variant.title, "unit": variant.unit, "reads": reads}
    values = {"seeds": len(row.test), "validation": float(np.mean(row.validation)), **_metrics(row)}
    return about | values | {"same source": row.same_source}
