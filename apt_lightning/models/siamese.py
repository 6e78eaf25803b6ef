"""Stage 3: one net shared by the modalities maps frozen features to an embedding space."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from apt_lightning.data.batch import Batch
from apt_lightning.data.store import MODALITIES
from apt_lightning.distributed import gather_rows
from apt_lightning.errors import UsageError
from apt_lightning.losses import TraitMultiSimilarityLoss, TraitTripletLoss
from apt_lightning.models.base import BaseModule
from apt_lightning.models.upstream import modality_encoders
from apt_lightning.networks import ModalityEncoders, SiameseNet


class SiameseModule(BaseModule):
    """Cross-modal embeddings with the multi-similarity loss over five traits (paper section 3, Eq. 7).

    Logged on validation: ``val/loss``, the same loss over the validation batches (lower is better), and the
    share of anchors and batches that had a pair.

    Args:
        audio_ckpt: Stage-1 checkpoint.
        visual_ckpt: Stage-1 checkpoint.
        text_ckpt: Stage-1 checkpoint.
        embedding_dim: Size E of the embedding.
        hidden_dims: Sizes of the two hidden layers.
        dropout: Dropout after the first hidden layer.
        loss: The paper's multi-similarity loss, or a plain triplet margin loss for comparison.
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

    monitor: ClassVar[str] = "val/loss"
    mode: ClassVar[str] = "min"
    encoders: ModalityEncoders

    def __init__(
        self,
        audio_ckpt: str | None = None,
        visual_ckpt: str | None = None,
        text_ckpt: str | None = None,
        embedding_dim: int = 128,
        hidden_dims: list[int] = [200, 200],  # noqa: B006  (plain data for jsonargparse; never changed)
        dropout: float = 0.5,
        loss: Literal["multi_similarity", "triplet"] = "multi_similarity",
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
        if upstream is not None:
            self.encoders = ModalityEncoders(upstream["encoders"])
        else:
            paths = {"audio": audio_ckpt, "visual": visual_ckpt, "text": text_ckpt}
            specifications, self.encoders, entry = modality_encoders({name: paths[name] for name in MODALITIES})
            upstream = {"encoders": specifications}
            self.entry |= entry
        self.hparams["upstream"] = upstream
        sizes = {s["output_dim"] if "output_dim" in s else 2 * s["hidden_dim"] for s in upstream["encoders"].values()}
        if len(sizes) > 1:
            raise UsageError(f"the modality features have sizes {sorted(sizes)}; stage 3 needs one size for all")
        self.shape = {
            "feature_dim": int(sizes.pop()),
            "hidden_dims": list(hidden_dims),
            "embedding_dim": embedding_dim,
            "dropout": dropout,
        }
        self.network = SiameseNet(**self.shape)
        self.freeze_submodule("encoders")
        self.loss: TraitMultiSimilarityLoss | TraitTripletLoss
        if loss == "triplet":
            self.loss = TraitTripletLoss(margin=margin, anchors=anchors)
        else:
            self.loss = TraitMultiSimilarityLoss(
                alpha=alpha,
                beta=beta,
                base=base,
                margin=margin,
                anchors=anchors,
                denominator=denominator,
                label_noise=label_noise,
            )

    @property
    @override
    def stage(self) -> str:
        return "siamese"

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return self.encoders.modalities

    @property
    @override
    def networks(self) -> dict[str, Any]:
        return {**self.hparams["upstream"], "siamese": self.shape}

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":
            self.loss.set_statistics(self.trait_mean, self.trait_sd)

    @override
    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._anchors = torch.zeros(2, device=self.device)
        self._batches = torch.zeros(2, device=self.device)

    def embed(self, batch: Batch) -> Tensor:
        """(B, M, E) embeddings of unit length."""
        return F.normalize(self.network(self.encode(batch)), dim=-1)

    def _loss(self, batch: Batch) -> Tensor:
        """The loss over the embeddings of all modalities, stacked, of all processes in training."""
        embeddings = self.network(self.encode(batch))
        n_modalities = embeddings.shape[1]
        rows = Rows(
            embeddings.transpose(0, 1).flatten(0, 1),
            batch.traits.repeat(n_modalities, 1),
            batch.present.T.flatten(),
            batch.index.repeat(n_modalities),
        )
        share = (0, 1)
        if self.training and self.trainer.world_size > 1:
            rows = gather_rows(rows)
            share = (self.trainer.global_rank, self.trainer.world_size)
        loss: Tensor = self.loss(rows.embeddings, rows.labels, rows.valid, rows.clips, share)
        return loss

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.track_loss(self._loss(batch))
        statistics = self.loss.statistics
        counts = torch.stack([statistics.with_pairs.sum(), statistics.anchors.sum()]).float()
        self._anchors += counts
        self._batches += torch.stack([(counts[0] > 0).float(), torch.ones_like(counts[0])])
        return loss

    @override
    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("train/anchors_with_pairs", self._anchors[0] / self._anchors[1].clamp_min(1), sync_dist=True)
        self.log("train/batches_with_pairs", self._batches[0] / self._batches[1].clamp_min(1), sync_dist=True)

    @override
    def on_validation_epoch_start(self) -> None:
        self._validation: list[Tensor] = []

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._validation.append(self._loss(batch).detach())

    @override
    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", torch.stack(self._validation).mean(), prog_bar=True, sync_dist=True)

    @override
    def on_test_epoch_start(self) -> None:
        self._embedded: list[tuple[Batch, Tensor]] = []

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._embedded.append((batch, self.embed(batch)))
