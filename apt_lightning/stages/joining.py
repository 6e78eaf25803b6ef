"""Base of stages 2 and 4: a net that joins frozen features of several modalities, any of which may be missing."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from apt_lightning.common.batch import Batch
from apt_lightning.common.errors import UsageError
from apt_lightning.losses.regression import RegressionTerms
from apt_lightning.networks import FinalNet, FusionNet, ModalityEncoders
from apt_lightning.stages.frozen import CHUNK
from apt_lightning.stages.regression import RegressionModule


class JoiningModule(RegressionModule):
    """A stage that trains a joining net and p on the features of frozen encoders.

    Args:
        loss: Constants of the regression loss.
        modality_dropout: Chance in training that a modality of a clip counts as missing; at least one stays.
        lr: Initial learning rate.
        final_lr: Learning rate of the last epoch.
        weight_decay: L2 penalty on the weights of dense layers.

    Raises:
        UsageError: If ``modality_dropout`` is no chance below 1.
    """

    encoders: ModalityEncoders
    network: FusionNet | FinalNet

    def __init__(
        self, loss: RegressionTerms, modality_dropout: float, lr: float, final_lr: float, weight_decay: float
    ) -> None:
        super().__init__(loss, lr, final_lr, weight_decay)
        if not 0 <= modality_dropout < 1:
            raise UsageError(f"`modality_dropout` must lie in [0, 1), got {modality_dropout}")
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
        store = self.data.store
        columns = store.columns(self.modalities)
        features = self.features(store)
        assert features is not None
        for rows in torch.split(self.data.positions("train"), CHUNK):
            present = torch.from_numpy(store.present[rows][:, columns]).to(self.device)
            values = self.fillers(features[rows].to(missing), present)
            total += (values * present[..., None]).sum(0)
            count += present.sum(0)[:, None]
        missing.copy_(total / count.clamp_min(1))

    def score(self, features: Tensor, present: Tensor) -> Tensor:
        """Map (B, M, Q) features, where ``present`` (B, M), to (B, 5) scores, not clipped."""
        scores: Tensor = self.head(self.network(features, present))
        return scores

    @override
    def forward(self, batch: Batch) -> Tensor:
        present = batch.present
        if self.training and self.modality_dropout:
            kept = present & (torch.rand(present.shape, device=present.device) >= self.modality_dropout)
            present = torch.where(kept.any(dim=1, keepdim=True), kept, present)
        return self.score(self.encode(batch), present)
