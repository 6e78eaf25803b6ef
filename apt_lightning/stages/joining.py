"""Base of stages 2 and 4: a net that joins frozen features of several modalities, any of which may be missing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from typing_extensions import override

from apt_lightning.common.batch import Batch
from apt_lightning.losses.regression import RegressionTerms
from apt_lightning.networks import FinalNet, FusionNet, ModalityEncoders
from apt_lightning.stages.frozen import CHUNK
from apt_lightning.stages.linear_path import ridge_weights
from apt_lightning.stages.regression import RegressionModule


class JoiningModule(RegressionModule):
    """A stage that trains a joining net and p on the features of frozen encoders.

    Args:
        loss: Constants of the regression loss.
        modality_dropout: Chance in training that a modality of a clip counts as missing; at least one stays.
        lr: Initial learning rate.
        final_lr: Learning rate of the last epoch.
        weight_decay: L2 penalty on the weights of dense layers.
    """

    encoders: ModalityEncoders
    network: FusionNet | FinalNet

    def __init__(
        self, loss: RegressionTerms, modality_dropout: float, lr: float, final_lr: float, weight_decay: float
    ) -> None:
        super().__init__(loss, lr, final_lr, weight_decay)
        self.modality_dropout = modality_dropout

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return self.encoders.modalities

    def fillers(self, features: Tensor, present: Tensor) -> Tensor:
        """(B, M, D) values whose means over the training clips the vectors for missing modalities start at."""
        raise NotImplementedError

    @torch.no_grad()
    def start_missing_at_mean(self, missing: Tensor) -> None:
        """Put the vectors that stand for missing modalities, (M, D), at the mean of the training clips."""
        total = torch.zeros_like(missing, dtype=torch.float64)
        count = torch.zeros(len(missing), 1, dtype=torch.float64, device=self.device)
        for features, present in self._parts("train"):
            values = self.fillers(features.to(missing), present)
            total += (values * present[..., None]).sum(0)
            count += present.sum(0)[:, None]
        missing.copy_(total / count.clamp_min(1))

    @torch.no_grad()
    def start_linear_path(self) -> None:
        """Put p's weights of the linear path at the ridge solution, and those of the net's output at 0."""
        path = self.network.path
        if path is None:
            return
        train, held_out = (
            torch.cat([self.network.inputs(f.to(self.head.weight), present) for f, present in self._parts(split)])
            for split in ("train", "validation")
        )
        labels, held_labels = (
            torch.from_numpy(self.data.labels[self.data.positions(split)]).to(self.device) - self.trait_mean
            for split in ("train", "validation")
        )
        path.set_statistics(train.mean(dim=0), train.std(dim=0, correction=0))
        unit = len(path.centre) ** 0.5  # of what the path gives, to standardised inputs
        weights = unit * ridge_weights(unit * path(train), labels, unit * path(held_out), held_labels)
        n_hidden = self.head.in_features - weights.shape[1]
        self.head.weight.copy_(torch.cat([weights.new_zeros(5, n_hidden), weights], dim=1))

    def _parts(self, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Features (b, M, Q) of the clips of a split and their presence (b, M), part by part."""
        store = self.data.store
        columns, features = store.columns(self.modalities), self.features(store)
        assert features is not None
        for rows in torch.split(self.data.positions(split), CHUNK):
            yield features[rows], torch.from_numpy(store.present[rows][:, columns]).to(self.device)

    def score(self, features: Tensor, present: Tensor) -> Tensor:
        """Map (B, M, Q) features, where ``present`` (B, M), to (B, 5) scores, not clipped."""
        scores: Tensor = self.head(self.network(features, present))
        return scores

    def some_present(self, present: Tensor) -> Tensor:
        """(B, M) presence, in training less the modalities that are dropped by chance."""
        if not (self.training and self.modality_dropout):
            return present
        kept = present & (torch.rand(present.shape, device=present.device) >= self.modality_dropout)
        return torch.where(kept.any(dim=1, keepdim=True), kept, present)

    @override
    def forward(self, batch: Batch) -> Tensor:
        return self.score(self.encode(batch), self.some_present(batch.present))
