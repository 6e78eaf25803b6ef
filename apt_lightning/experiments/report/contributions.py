"""What the final model's scores rest on: Shapley values of the modalities, importance of acoustic families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.data.store.reader import Store
from apt_lightning.evaluation.contributions import Mask
from apt_lightning.evaluation.predictions import read_predictions
from apt_lightning.evaluation.tables import number
from apt_lightning.experiments.report.blocks import (
    HEADS,
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
)
from apt_lightning.experiments.report.charts import modality_colours, picture
from apt_lightning.experiments.report.run import Run

FloatArray = npt.NDArray[np.float64]

MAX_CLIPS = 200
"""Test clips that are encoded anew, so that a report takes a minute at most without a GPU."""


class Contributions(NamedTuple):
    """Averages over test clips."""

    modalities: FloatArray
    """(5, M) mean absolute Shapley values, in label units."""
    names: tuple[str, ...]
    """The M modalities."""
    clips: int
    families: dict[str, FloatArray]
    """eGeMAPS family to (repeats, 5) rises of the error; empty where the audio features are not eGeMAPS."""


def modality_contributions(run: Run) -> Contributions | str:
    """Run the final model on all subsets of the modalities.

    Args:
        run: With the checkpoint of its final stage.

    Returns:
        The averages, or why there are none.
    """
    from apt_lightning.evaluation.contributions import (
        average_contributions,
        permutation_importance,
        shapley,
    )

    unit = run.final_unit.name
    checkpoint, test = run.file(unit, "best.ckpt"), run.file(unit, "predictions_test.csv")
    if unit not in ("stage2", "stage4") or checkpoint is None or test is None:
        return f"no checkpoint of a model of all modalities ({unit}/best.ckpt)"
    import torch

    from apt_lightning.stages.scorer import Scorer

    scorer = Scorer(str(checkpoint))
    table = read_predictions(test)  # over folds, the clips that this checkpoint was not trained on
    position = {clip.name: i for i, clip in enumerate(run.store.clips)}
    known = [i for i, clip in enumerate(table.clips) if not np.isnan(table.true[i]).any() and clip in position]
    kept = np.sort(np.random.default_rng(0).permutation(known)[:MAX_CLIPS]).astype(np.int64)
    rows = torch.tensor([position[table.clips[i]] for i in kept])
    features, present = _encode(scorer, run.store, rows)

    @torch.inference_mode()
    def predict(values: Any, there: Any) -> FloatArray:
        scores: FloatArray = scorer.head(scorer.network(values, there)).double().clamp(0, 1).numpy()  # type: ignore[misc]
        return scores

    def value(mask: Mask) -> FloatArray:
        return predict(features, present & torch.tensor(mask))

    names = scorer.modalities
    average = average_contributions(shapley(value, len(names)))
    plain = [i for i, name in enumerate(names) if run.store.kinds.get(name) == "functionals"]
    audio = next((i for i in plain if names[i] not in scorer.encoders.sets), None)
    if audio is None or present[:, audio].sum() < 2:
        return Contributions(average, names, len(kept), {})
    heard = present[:, audio]
    from apt_lightning.data.media.audio import FUNCTIONAL_FAMILIES, functional_names

    encoder = scorer.encoders.encoders[names[audio]]

    @torch.inference_mode()
    def hear(functionals: FloatArray) -> FloatArray:
        changed = features[heard].clone()
        changed[:, audio] = encoder(torch.from_numpy(functionals).float(), None)
        return predict(changed, present[heard])

    functionals = np.asarray(run.store.vectors(names[audio])[rows[heard].numpy()], dtype=np.float64)
    columns = {name: column for column, name in enumerate(functional_names())}
    families = {family: [columns[name] for name in members] for family, members in FUNCTIONAL_FAMILIES.items()}
    importance = permutation_importance(hear, functionals, table.true[kept[heard.numpy()]], families)
    return Contributions(average, names, len(kept), importance)


def _encode(scorer: Any, store: Store, rows: Any) -> tuple[Any, Any]:
    """Features (n, M, Q) of some clips of the store as the model saw them, and which exist."""
    import torch

    from apt_lightning.data.loading.dataset import ClipDataset

    clips = ClipDataset(store, scorer.modalities, vocabulary=scorer.encoders.vocabulary, sets=scorer.encoders.sets)
    features, present = [], []
    with torch.inference_mode():
        for chunk in rows.split(16):
            batch = clips[chunk]
            features.append(scorer.encoders(batch))
            present.append(batch.present)
    return torch.cat(features), torch.cat(present)


def contributions(runs: Sequence[Run]) -> Section:
    """Contributions of modalities, and of acoustic families."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        found = modality_contributions(run)
        if isinstance(found, str):
            blocks[run.name] = [Note(f"Not available: {found}.")]
            continue
        caption = f"Mean absolute Shapley value of each modality, {run.final}: {found.clips} test clips.{run.seed_note}"
        keys = [Key("■", c, m) for m, c in zip(found.names, modality_colours(len(found.names)), strict=True)]
        rows = [
            TableRow([name, *(number(float(v)) for v in (column.mean(), *column))])
            for name, column in zip(found.names, found.modalities.T, strict=True)
        ]
        charts = Panels(caption, [_bars(run, found)], keys)
        notes = [
            "In label units; for each clip, a modality's values and the score without any modality add up to its score."
        ]
        table = Table(f"Mean absolute Shapley values: {found.clips} test clips", ["", *HEADS], rows, notes)
        parts: list[Block] = [charts, table]
        if found.families:
            parts.append(_families(run, found))
        else:
            parts.append(Note("Families of acoustic features: not available, the audio features are not eGeMAPS."))
        blocks[run.name] = parts
    intro = (
        "How far each modality moves a score, over all orders in which modalities can be added to the model's input."
    )
    return Section("contributions", "What the scores rest on", intro, runs=blocks)


def _bars(run: Run, found: Contributions) -> Chart:
    values, n = found.modalities, len(found.names)

    def draw(axes: Any) -> None:
        x = np.arange(len(TRAIT_CODES))
        for i, colour in enumerate(modality_colours(n)):
            axes.bar(x + (i - (n - 1) / 2) * 0.78 / n, values[:, i], 0.72 / n, color=colour)
        axes.set_xticks(x, TRAIT_CODES)
        axes.grid(axis="x", visible=False)
        axes.set_ylabel("mean |Shapley value|")

    shares = ", ".join(f"{m} {v:.4f}" for m, v in zip(found.names, values.mean(axis=0), strict=True))
    alt = f"{run.name}: mean absolute Shapley values by trait; over traits: {shares}"
    return picture("Modalities", alt, draw)


def _families(run: Run, found: Contributions) -> Forest:
    marks, repeats = [], 0
    for family, rises in found.families.items():
        means, repeats = rises.mean(axis=1), len(rises)
        marks.append(Mark(family, float(means.mean()), float(means.min()), float(means.max()), "final"))
    alt = f"{run.name}: rise of the mean absolute error when one of {len(marks)} acoustic families is permuted"
    caption = (
        f"Rise of the mean absolute error over traits when a family's features are dealt to other clips: "
        f"up to {found.clips} test clips that have sound. Lines: least and greatest of {repeats} permutations."
    )
    return Forest(caption, "eGeMAPS families", alt, marks, "rise of the error", 0.0)
