"""Stage 3: one net shared by the modalities maps frozen features to an embedding space."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from apt_lightning.common.batch import Batch
from apt_lightning.common.ranges import check_ranges
from apt_lightning.evaluation.cross_modal import cross_modal_precision
from apt_lightning.losses import (
    MetricLoss,
    ReferenceMultiSimilarityLoss,
    TraitMultiSimilarityLoss,
    TraitTripletLoss,
)
from apt_lightning.networks import ModalityEncoders, SiameseNet, build
from apt_lightning.stages.base import BaseModule
from apt_lightning.stages.distributed import Rows, gather, gather_rows, process_share
from apt_lightning.stages.names import STAGE3
from apt_lightning.stages.upstream import modality_encoders


class SiameseModule(BaseModule):
    """Cross-modal embeddings with the multi-similarity loss over five traits (paper section 3, Eq. 7).

    Logged on validation: ``val/precision``, the cross-modal precision at 10 of extreme clips (higher is better),
    which chooses the epoch, and ``val/loss``, the same loss over the validation batches (lower is better, but flat).
    Logged in training: the share of anchors and batches that had a pair.

    Args:
        checkpoints: Modality to its stage-1 checkpoint: what is embedded.
        embedding_dim: Size E of the embedding.
        hidden_dims: Sizes of the two hidden layers.
        dropout: Dropout after the first hidden layer.
        loss: The paper's multi-similarity loss; the same by pytorch-metric-learning, slower; or that library's
            triplet margin loss with the same anchors, for comparison.
        alpha: Sharpness of the positive term.
        beta: Sharpness of the negative term.
        base: Similarity lambda at which pairs start to count.
        margin: Mining margin epsilon of the multi-similarity loss; the margin of the triplet loss.
        anchors: Only clips of the classes C1 and C4 of a trait (the paper), or all.
        denominator: Divide by all rows of the batch, or by the anchors.
        label_noise: Standard deviation of the labels for soft classes; 0 for the paper's hard classes.
        lr: Initial learning rate.
        final_lr: Learning rate of the last epoch.
        weight_decay: L2 penalty; the paper excludes this net from it.
        upstream: Specifications of the frozen encoders. Filled in from the checkpoints and kept in ours; do not
            set it.
    """

    monitor: ClassVar[str] = "val/precision"
    encoders: ModalityEncoders
    network: SiameseNet

    def __init__(
        self,
        checkpoints: dict[str, str] | None = None,
        embedding_dim: int = 128,
        hidden_dims: list[int] = [200, 200],  # noqa: B006  (plain data for jsonargparse; never changed)
        dropout: float = 0.5,
        loss: Literal["multi_similarity", "reference", "triplet"] = "multi_similarity",
        alpha: float = 2.0,
        beta: float = 50.0,
        base: float = 0.5,
        margin: float = 0.1,
        anchors: Literal["extreme", "all"] = "extreme",
        denominator: Literal["rows", "anchors"] = "rows",
        label_noise: float = 0.0,
        lr: float = 1e-3,
        final_lr: float = 1e-4,
        weight_decay: float = 0.0,
        upstream: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(lr, final_lr, weight_decay)
        self.save_hyperparameters()
        check_ranges(self.hparams)
        if upstream is not None:
            self.encoders = ModalityEncoders(upstream["encoders"])
        else:
            specifications, self.encoders, self.metadata = modality_encoders(checkpoints)
            self.hparams["upstream"] = {"encoders": specifications}
        self.specification: dict[str, Any] = {
            "kind": "siamese",
            "feature_dim": self.encoders.output_dim,
            "hidden_dims": list(hidden_dims),
            "embedding_dim": embedding_dim,
            "dropout": dropout,
        }
        self.network = build(self.specification)
        self.freeze_submodule("encoders")
        self.loss: MetricLoss
        match loss:
            case "triplet":
                self.loss = TraitTripletLoss(margin, anchors=anchors)
            case "reference":
                self.loss = ReferenceMultiSimilarityLoss(alpha, beta, base, margin, denominator, anchors=anchors)
            case _:
                self.loss = TraitMultiSimilarityLoss(alpha, beta, base, margin, anchors, denominator, label_noise)

    @property
    @override
    def stage(self) -> str:
        return STAGE3

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return self.encoders.modalities

    @property
    @override
    def networks(self) -> dict[str, Any]:
        return {**self.hparams["upstream"], "network": self.specification}

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":
            self.loss.set_statistics(self.trait_mean, self.trait_sd)

    @override
    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._counts: list[Tensor] = []

    def _loss(self, batch: Batch, embeddings: Tensor) -> Tensor:
        """This process's share of the loss over the embeddings (B, M, E) of all modalities and processes, stacked."""
        n_modalities = embeddings.shape[1]
        rows = Rows(
            embeddings.transpose(0, 1).flatten(0, 1),
            batch.traits.repeat(n_modalities, 1),
            batch.present.T.flatten(),
            batch.positions.repeat(n_modalities),
        )
        loss: Tensor = self.loss(*gather_rows(rows), process_share())
        return loss

    def forward(self, batch: Batch) -> Tensor:
        """(B, M, E) embeddings, not normalised."""
        embeddings: Tensor = self.network(self.encode(batch))
        return embeddings

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.track_loss(self._loss(batch, self(batch)))
        if self.loss.statistics is not None:
            self._counts.append(torch.stack([part.sum() for part in self.loss.statistics]))
        return loss

    @override
    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if not self._counts:
            return
        counts = gather(torch.stack(self._counts)).view(-1, len(self._counts), 2).sum(0)  # of all processes
        anchors, with_pairs = counts.unbind(1)
        if anchors.any():
            self.log("train/anchors_with_pairs", with_pairs.sum() / anchors.sum())
            self.log("train/batches_with_pairs", (with_pairs > 0).float().mean())

    @override
    def on_validation_epoch_start(self) -> None:
        self._losses: list[Tensor] = []
        self._embedded: list[tuple[Tensor, ...]] = []

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        embeddings = self(batch)
        self._losses.append(self._loss(batch, embeddings))
        self._keep(batch, embeddings)

    @override
    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", torch.stack(self._losses).mean(), sync_dist=True)
        self._space = self._join()
        self.log("val/precision", self._precision(), prog_bar=True, sync_dist=True)

    def _precision(self) -> Tensor:
        """Cross-modal precision of extreme clips in the space of the last pass."""
        positions, traits, present, embeddings = self._space
        sources = [self.data.store.clips[i].source for i in positions.tolist()]
        return cross_modal_precision(
            F.normalize(embeddings.float(), dim=-1),
            present,
            self.loss.classes(traits),
            torch.from_numpy(np.unique(sources, return_inverse=True)[1]).to(self.device),
        )

    def _keep(self, batch: Batch, embeddings: Tensor) -> None:
        """Keep what :meth:`_join` needs of a batch; its features would be several times as much."""
        self._embedded.append((batch.positions, batch.traits, batch.present, embeddings))

    def _join(self) -> list[Tensor]:
        """Positions, labels, presence and embeddings of the pass, of all processes, in store order."""
        parts = [gather(torch.cat(column)) for column in zip(*self._embedded, strict=True)]
        order = parts[0].argsort()
        return [part[order] for part in parts]

    @override
    def on_test_epoch_start(self) -> None:
        self._embedded = []

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._keep(batch, self(batch))

    @override
    def on_test_epoch_end(self) -> None:
        self._space = self._join()
        self.log("test/precision", self._precision(), sync_dist=True)

    @override
    def on_predict_epoch_start(self) -> None:
        self._embedded = []

    @override
    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        embeddings: Tensor = self(batch)
        self._keep(batch, embeddings)
        return embeddings

    @override
    def on_predict_epoch_end(self) -> None:
        self._space = self._join()

    def embedded(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Of the last pass but training: positions in the store (N,), unit embeddings (N, M, E) and presence."""
        positions, _, present, embeddings = self._space
        return positions.cpu().numpy(), F.normalize(embeddings.double(), dim=-1).cpu().numpy(), present.cpu().numpy()
