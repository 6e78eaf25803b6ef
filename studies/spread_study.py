"""Would prediction intervals gain by the spread of the scores over subsets of modalities? Called by ``leak_study``.

The spread is the standard deviation of a clip's scores with each modality left out in turn: large where the
modalities disagree. As a covariate of :func:`fit_conformal` it helps only if errors are larger there.
"""

from pathlib import Path

import numpy as np
import torch
from scipy import stats

from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.data.store.reader import Store
from apt_lightning.evaluation.conformal import COVERAGE, fit_conformal
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.tables import number, render
from apt_lightning.stages.load import load
from apt_lightning.stages.names import BEST
from studies.embedding_tables import cell

REGIMES = ("as they are", "one modality missing", "one modality noisy")
"""What is done to half of the validation and test clips, to make them hard."""
INTERVALS = ("predictions (ours)", "and spread of each trait", "and mean spread", "one width a trait")
HALVES = 40
"""Random halves of the sources on which intervals are fitted and checked."""


class HeldOut:
    """Validation and test clips of one draw, half of them made hard, with the scores of all subsets of modalities."""

    def __init__(self, store: Store, checkpoint: Path, regime: str, seed: int) -> None:
        rows = np.flatnonzero([clip.split != "train" for clip in store.clips])
        module = load(str(checkpoint))
        batch = ClipDataset(store, store.modalities)[torch.from_numpy(rows)]
        rng = np.random.default_rng([seed, 2])
        hard = torch.from_numpy(np.where(rng.random(len(rows)) < 0.5, rng.integers(3, size=len(rows)), -1))
        present = batch.present
        if regime == REGIMES[1]:
            present = present & (hard[:, None] != torch.arange(3))
        elif regime == REGIMES[2]:
            for column, name in enumerate(store.modalities):
                inputs = batch.inputs[name]
                noise = 2 * inputs.values.std(0) * torch.from_numpy(rng.standard_normal(inputs.values.shape)).float()
                noisy = torch.where((hard == column)[:, None], inputs.values + noise, inputs.values)
                batch.inputs[name] = inputs._replace(values=noisy)
        with torch.inference_mode():
            features = module.encode(batch)
            scores = module.score(features, present).clamp(0, 1)
            kept = [present & (torch.arange(3) != column) for column in range(3)]
            left = torch.stack([module.score(features, mask).clamp(0, 1) for mask in kept])
        self.spread = left.std(0, correction=0).double().numpy()
        clips = [store.clips[i] for i in rows]
        self.table = Predictions(
            [clip.name for clip in clips],
            [clip.source for clip in clips],
            np.zeros(len(clips)),
            np.array([clip.traits for clip in clips]),
            scores.double().numpy(),
        )

    def rank_correlation(self) -> float:
        """Of spread and absolute error, mean over traits."""
        error = np.abs(self.table.true - self.table.predicted)
        return float(np.mean([stats.spearmanr(self.spread[:, j], error[:, j]).statistic for j in range(5)]))

    def figures(self, covariates: np.ndarray | None, normalised: bool = True) -> np.ndarray:
        """Coverage, width, interval score (Gneiting and Raftery 2007) and coverage by tercile of the spread."""
        sources = np.asarray(self.table.sources)
        found = []
        for seed in range(HALVES):
            names = np.random.default_rng(seed).permutation(np.unique(sources))
            half = names[: len(names) // 2]
            fitting = np.isin(sources, half)
            given = (None, None) if covariates is None else (covariates[fitting], covariates[~fitting])
            fitted, test = self.table.select(fitting), self.table.select(~fitting)
            if normalised:
                lower, upper = fit_conformal(fitted, given[0], COVERAGE, seed).intervals(test.predicted, given[1])
            else:
                error = np.abs(fitted.true - fitted.predicted)
                width = np.quantile(error, COVERAGE * (1 + 1 / len(half)), axis=0, method="higher")
                lower, upper = np.clip(test.predicted - width, 0, 1), np.clip(test.predicted + width, 0, 1)
            outside = np.maximum(lower - test.true, 0) + np.maximum(test.true - upper, 0)
            spread = self.spread[~fitting].mean(axis=1)
            tercile = np.searchsorted(np.quantile(spread, [1 / 3, 2 / 3]), spread)
            row = [(outside == 0).mean(), (upper - lower).mean()]
            row.append((upper - lower).mean() + 2 / (1 - COVERAGE) * outside.mean())
            found.append([*row, *((outside[tercile == t] == 0).mean() for t in range(3))])
        return np.mean(found, axis=0)


def spread_table(runs: dict[int, Path], out: Path) -> str:
    """Whether intervals gain by the spread over subsets with one modality left out."""
    rows = []
    for stage in ("stage2", "stage4"):
        for regime in REGIMES:
            found, correlations = [], []
            for seed, folder in runs.items():
                store = Store.open(out / f"seed{seed}" / "store")
                clips = HeldOut(store, folder / f"seed{seed}" / stage / BEST, regime, seed)
                correlations.append(clips.rank_correlation())
                spreads = (None, clips.spread, clips.spread.mean(axis=1, keepdims=True))
                ours = [clips.figures(covariates) for covariates in spreads]
                found.append([*ours, clips.figures(None, normalised=False)])
            values = np.array(found)
            for i, name in enumerate(INTERVALS):
                mean = values[:, i].mean(axis=0)
                row = [f"{stage}, {regime}", number(float(np.mean(correlations)), 3), name]
                row += [number(float(mean[0]), 3), *(number(float(v)) for v in mean[1:3])]
                row += ["" if i == 0 else cell(values[:, i, 2] - values[:, 0, 2])]
                rows.append([*row, " ".join(number(float(v), 3) for v in mean[3:])])
    head = ["", "rank corr. with error", "intervals by", "inside", "width", "score"]
    head += ["score - first", "inside, by tercile"]
    notes = [
        f"Validation and test clips, {HALVES} random halves of their sources a draw. Interval score: lower is better.",
        "In the last two regimes a random half of the clips loses a modality, or has noise of twice its spread in one.",
    ]
    return render(head, rows, "Spread of the scores with one modality left out, as a covariate of the intervals", notes)
