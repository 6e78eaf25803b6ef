"""Stages that end in five trait scores: head, loss, validation metrics and collected predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.regression import ConcordanceCorrCoef, MeanAbsoluteError
from typing_extensions import override

from apt_lightning.common.batch import Batch
from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.evaluation.metrics import flat_metrics, score_by_seen
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.training_clips import GRID, Cloud, TrainingClips
from apt_lightning.losses.regression import RegressionLoss, RegressionTerms
from apt_lightning.networks.layers import initialise
from apt_lightning.stages.base import BaseModule
from apt_lightning.stages.frozen import FrozenFeatures
from apt_lightning.stages.metric import MetricTerms


class RegressionModule(BaseModule):
    """Base of stages 1, 2 and 4: a linear map p to the five traits, trained with L_mae + L_mse + L_bell (Eq. 4).

    Logged on validation: ``val/accuracy``, the mean 1-MAE over traits (Eq. 9, higher is better), the same per
    trait, and ``val/ccc``, the mean concordance correlation (higher is better). Logged on test, and returned by
    ``trainer.test``: all of :data:`apt_lightning.evaluation.metrics.METRICS`, overall and per trait, for all clips
    and for those of seen and unseen sources. Predictions are clipped to
    [0, 1] for these metrics only.

    Args:
        loss: Constants of the regression loss.
        lr: Initial learning rate.
        final_lr: Learning rate of the last epoch.
        weight_decay: L2 penalty on the weights of dense layers.
    """

    head: nn.Linear

    def __init__(self, loss: RegressionTerms, lr: float, final_lr: float, weight_decay: float) -> None:
        super().__init__(lr, final_lr, weight_decay)
        self.loss = RegressionLoss(loss)
        self.metrics = MetricCollection(
            {"mae": MeanAbsoluteError(num_outputs=5), "ccc": ConcordanceCorrCoef(num_outputs=5)}
        )
        self._predicted: list[tuple[Tensor, Tensor]] = []

    @classmethod
    @override
    def arguments(cls, hparams: dict[str, Any]) -> dict[str, Any]:
        terms: dict[str, Any] = {"loss": RegressionTerms(**hparams["loss"])}
        if "metric" in hparams:
            terms["metric"] = MetricTerms(**hparams["metric"])
        return hparams | terms

    def configure_head(self, feature_dim: int, scale: float) -> None:
        """Make p, of Kaiming-normal weights times ``scale`` and biases that :meth:`setup` puts at the training means.

        At full scale the first scores miss by 1 to 2, and Adam's first steps, all of one sign, switch off most units
        of the layer below: a ResNet-18 on the synthetic set then stayed at the constant floor (docs/architecture.md).
        """
        self.head = fresh_head(feature_dim, scale)

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":
            with torch.no_grad():
                self.head.bias.copy_(self.trait_mean)

    def forward(self, batch: Batch) -> Tensor:
        """Map a batch to (B, 5) scores, not clipped."""
        raise NotImplementedError

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss: Tensor = self.loss(self(batch), batch.traits)
        return self.track_loss(loss)

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        scores = self(batch).float().clamp(0, 1)
        self._predicted.append((batch.positions, scores))
        labelled = ~batch.traits.isnan().any(dim=1)
        if labelled.any():
            self.metrics.update(scores[labelled], batch.traits[labelled])

    @override
    def on_validation_epoch_start(self) -> None:
        self._predicted.clear()
        self.metrics.reset()

    @override
    def on_validation_epoch_end(self) -> None:
        metrics = self.metrics.compute()
        accuracy = 1 - metrics["mae"]
        self.log("val/accuracy", accuracy.mean(), prog_bar=True)
        self.log_dict({f"val/accuracy_{name}": accuracy[i] for i, name in enumerate(TRAIT_CODES)})
        self.log("val/ccc", metrics["ccc"].nan_to_num().mean())

    @override
    def on_test_epoch_start(self) -> None:
        self._predicted.clear()

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._predicted.append((batch.positions, self(batch).float().clamp(0, 1)))

    @override
    def on_test_epoch_end(self) -> None:
        scores = score_by_seen(self.predictions(), self.statistics, resamples=0)
        self.log_dict(flat_metrics(scores, "test"))

    @override
    def on_predict_epoch_start(self) -> None:
        self._predicted.clear()

    @override
    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        scores: Tensor = self(batch).float().clamp(0, 1)
        self._predicted.append((batch.positions, scores))
        return scores

    def predictions(self) -> Predictions:
        """Predictions of the last validation, test or prediction pass, of all ranks, in store order."""
        index = torch.cat([i for i, _ in self._predicted]).cpu().numpy()
        scores = torch.cat([s for _, s in self._predicted]).double().cpu().numpy()
        if self.trainer.world_size > 1:
            gathered: list[tuple[np.ndarray, np.ndarray] | None] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, (index, scores))
            parts = [part for part in gathered if part is not None]
            index = np.concatenate([part[0] for part in parts])
            scores = np.concatenate([part[1] for part in parts])
        index, first = np.unique(index, return_index=True)
        data = self.data
        clips = [data.store.clips[i] for i in index]
        seen = {data.store.clips[i].source for i in data.positions("train").tolist()}
        return Predictions(
            [clip.name for clip in clips],
            [clip.source for clip in clips],
            np.array([clip.source in seen for clip in clips], dtype=bool),
            data.labels[index],
            scores[first],
        )

    def present(self, features: FrozenFeatures | None) -> Tensor:
        """(N, M) which modalities each clip of the store has for this stage.

        Args:
            features: From :meth:`features`.
        """
        return ClipDataset(self.data.store, self.modalities, features, self.vocabulary, sets=self.sets).present

    def training_clips(self) -> TrainingClips:
        """Quantiles of the training clips' labels, and of the distances of their frozen features if there are some.

        To be called by all processes: features that no file holds are computed.
        """
        data = self.data
        rows = data.positions("train")
        features = self.features(data.store)
        clouds: dict[str, Cloud] = {}
        if features is not None:
            present = self.present(features)
            for column, name in enumerate(self.modalities):
                here = rows[present[rows, column]]
                values = features[here][:, column].double().cpu().numpy()
                cloud = Cloud.fit(values, [data.store.clips[i].source for i in here.tolist()])
                if cloud is not None:
                    clouds[name] = cloud
        return TrainingClips(np.quantile(data.labels[rows], GRID, axis=0), clouds)


def fresh_head(feature_dim: int, scale: float) -> nn.Linear:
    """A linear map to the five traits, of Kaiming-normal weights times ``scale`` and biases of 0."""
    head = nn.Linear(feature_dim, 5)
    initialise(head)
    with torch.no_grad():
        head.weight.mul_(scale)
    return head
