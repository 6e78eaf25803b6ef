"""What a pass over a split leaves in the run folder and with the loggers: tables, pictures, prediction intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.callbacks import ModelCheckpoint

from apt_lightning.common.console import say, say_json
from apt_lightning.common.errors import DataError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.faults import FAULTS, Outcome
from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
from apt_lightning.evaluation.bootstrap import LEVEL
from apt_lightning.evaluation.conformal import Conformal, fit_conformal
from apt_lightning.evaluation.metrics import METRICS, TRAIT_COLUMNS, Scores, score, score_by_seen
from apt_lightning.evaluation.overview import metric_tables, report_stage
from apt_lightning.evaluation.predictions import (
    PREDICTION_COLUMNS,
    Predictions,
    read_predictions,
    write_predictions,
    write_statistics,
)
from apt_lightning.evaluation.retrieval import retrieval_table
from apt_lightning.stages.base import BaseModule
from apt_lightning.stages.checkpoint import update_metadata
from apt_lightning.stages.names import BEST, LAST
from apt_lightning.stages.regression import RegressionModule
from apt_lightning.stages.siamese import SiameseModule
from apt_lightning.training.callbacks import best_epoch
from apt_lightning.training.loggers import log_checkpoint, log_summary, log_table
from apt_lightning.training.outputs import write_embeddings, write_retrieval
from apt_lightning.training.run_folder import is_dry_run

MORE = "`--all` also shows ranks, calibration, coverage of the intervals and errors by group; `apt report` draws them."


def write_pass(
    folder: Path,
    split: str,
    model: BaseModule,
    shown: str | None,
    log_predictions: bool = False,
    json: str | None = None,
    every: bool = False,
) -> None:
    """Write what the last pass over a split found: predictions, or the embedding space of stage 3.

    Args:
        folder: Run folder.
        split: ``validation``, ``test`` or ``all``.
        model: The stage, which has made the pass.
        shown: Checkpoint to name above the tables; None to print none.
        log_predictions: Send the predictions to the loggers as a table.
        json: Where to write the figures for machines, see :func:`~apt_lightning.common.console.say_json`.
        every: Print all tables, not only those of the metrics.
    """
    trainer = model.trainer
    if is_dry_run(trainer):
        return
    about = {"stage": model.stage, "checkpoint": str(trainer.ckpt_path), "split": split}
    if isinstance(model, SiameseModule):
        if trainer.is_global_zero:
            file = write_embeddings(folder, split, model)
            if split == "all":  # with the training clips among them, scores would mean nothing
                say(f"{account(model.data, len(model.embedded()[0]))} in {file}")
                return
            metrics = write_retrieval(folder, split, model, trainer.loggers)
            if shown is not None:
                say(retrieval_table(metrics))
            found = [{key: None if x != x else x for key, x in row._asdict().items()} for row in metrics]
            say_json(json, {**about, "retrieval": found})
        return
    assert isinstance(model, RegressionModule)
    predictions = model.predictions()
    if not trainer.is_global_zero:
        return
    file = folder / f"predictions_{split}.csv"
    write_predictions(file, predictions, of_new_clips(model, predictions) if split == "all" else {})
    write_statistics(folder, model.statistics)
    if shown is not None:
        say(f"stage {model.stage} of {shown}, {split} split")
        if every:
            intervals = model.metadata.get("conformal") if split == "test" else None  # fitted on validation
            people = {clip.name: clip.demographics for clip in model.data.store.clips}
            say(report_stage(predictions, model.statistics, intervals and Conformal.from_dict(intervals), people))
        else:
            say(f"{metric_tables(predictions, model.statistics)}\n\n{MORE}")
    say(f"{account(model.data, len(predictions)) if split == 'all' else f'{len(predictions)} clips'} in {file}")
    if json is not None:
        parts = {name: found.to_dict() for name, found in score_by_seen(predictions, model.statistics).items()}
        say_json(json, {**about, "predictions": str(file), "scores": parts}, LEVEL)
    if trainer.loggers and split != "all":
        scores = score(predictions, model.statistics)
        log_table(trainer.loggers, f"{split}/scores", ["metric", "of", "value", "lower", "upper"], score_rows(scores))
        if split == "test":
            log_summary(trainer.loggers, summary(scores))
    if trainer.loggers and log_predictions:
        known = zip(predictions.clips, predictions.sources, predictions.seen_source.tolist(), strict=True)
        numbers = np.hstack([predictions.true, predictions.predicted]).tolist()
        rows = [[*row, *values] for row, values in zip(known, numbers, strict=True)]
        log_table(trainer.loggers, f"{split}/predictions", PREDICTION_COLUMNS, rows)


def of_new_clips(model: RegressionModule, predictions: Predictions) -> dict[str, Sequence[object]]:
    """What tells a single prediction's worth: the modalities that it rests on, and the ends of its interval."""
    row = {clip.name: i for i, clip in enumerate(model.data.store.clips)}
    present = model.present(model.features(model.data.store))[[row[name] for name in predictions.clips]]
    used = [" ".join(compress(model.modalities, here)) for here in present.tolist()]
    columns: dict[str, Sequence[object]] = {"modalities": used}
    if "conformal" in model.metadata:
        ends = Conformal.from_dict(model.metadata["conformal"]).intervals(predictions.predicted)
        for name, values in zip(("lower", "upper"), ends, strict=True):
            columns |= {f"{name}_{trait}": values[:, i].tolist() for i, trait in enumerate(TRAITS)}
    return columns


def account(data: FirstImpressionsDataModule, done: int) -> str:
    """One line for every clip of the store: predicted, or left out and why."""
    store = data.store
    kinds: Counter[str] = Counter()
    for i in np.flatnonzero(~data.usable):
        codes = [fault.code for fault in store.clips[i].faults if FAULTS[fault.code].outcome == Outcome.LEFT_OUT]
        kinds[next(iter(codes), "quarantined" if store.present[i].any() else "no modality")] += 1
    left = kinds.total()
    reasons = f" ({', '.join(f'{count} {code}' for code, count in kinds.most_common())})" if left else ""
    skipped = len(store) - left - done  # `limit_predict_batches`
    parts = [f"{done} predicted", f"{left} left out{reasons}", *[f"{skipped} skipped"] * bool(skipped)]
    return f"{len(store)} clips given = {' + '.join(parts)}"


def score_rows(scores: Scores) -> list[list[str | float]]:
    """A row for each metric and trait, with its interval over sources."""
    return [
        [metric, column, *(float(part[metric][i]) for part in (scores.values, scores.lower, scores.upper))]
        for metric in METRICS
        for i, column in enumerate(TRAIT_COLUMNS)
    ]


def summary(scores: Scores) -> dict[str, float]:
    """Means over the traits with the ends of their intervals, for a run's summary."""
    means = [row for row in score_rows(scores) if row[1] == TRAIT_COLUMNS[-1]]
    names = ("", "_lower", "_upper")
    found = {f"test/{row[0]}{end}": float(x) for row in means for end, x in zip(names, row[2:], strict=True)}
    return {name.replace(" ", "_"): value for name, value in found.items() if value == value}


def finish(folder: Path, model: BaseModule, data: FirstImpressionsDataModule, log_model: bool) -> None:
    """After a training: validate the best epoch once more; keep intervals and the training clips' quantiles in it."""
    trainer = model.trainer
    best, keepers = folder / BEST, trainer.checkpoint_callbacks
    score = next((k.best_model_score for k in keepers if isinstance(k, ModelCheckpoint) and k.filename == "best"), None)
    if score is None or not best.is_file():
        if not is_dry_run(trainer) and trainer.is_global_zero:
            say(f"{folder / LAST}: trained without validation, so there is no {BEST}")
        return
    metric, epochs, loggers = float(score), trainer.current_epoch, trainer.loggers
    trainer.loggers = []  # this pass is no point of the curves
    trainer.validate(model, datamodule=data, ckpt_path=best, verbose=False, weights_only=True)
    trainer.loggers = loggers
    write_pass(folder, "validation", model, None)
    clips = model.training_clips() if isinstance(model, RegressionModule) else None
    if not trainer.is_global_zero:
        return
    if clips is not None:
        found: dict[str, Any] = {}
        try:
            conformal = fit_conformal(read_predictions(folder / "predictions_validation.csv"))
            found["conformal"] = conformal.to_dict()
        except DataError as error:
            say(f"no prediction intervals: {error}")
        update_metadata(best, clips, **found)
    if loggers:
        row = best_epoch(folder, model.monitor, model.mode)
        log_summary(loggers, {f"best/{name}": value for name, value in row.items()})
    if log_model:
        log_checkpoint(loggers, best, {model.monitor: metric, "stage": model.stage})
    say(f"{best}: best of {epochs} epochs, {model.monitor} {metric:.4f}")
