"""Stages 2 and 4: frozen modality features, without or with embeddings, to five traits."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from apt_lightning.common.batch import Batch
from apt_lightning.common.errors import UsageError
from apt_lightning.data.store.reader import MODALITIES
from apt_lightning.losses.regression import RegressionLoss
from apt_lightning.networks import FinalNet, FusionNet, ModalityEncoders, SiameseNet
from apt_lightning.networks.fusion import matched_dims
from apt_lightning.networks.layers import initialise
from apt_lightning.stages.checkpoint import read_stage
from apt_lightning.stages.frozen import CHUNK
from apt_lightning.stages.regression import RegressionModule
from apt_lightning.stages.upstream import modality_encoders, stage_encoders, stage_fusion, stage_siamese


class FusionModule(RegressionModule):
    """Tri-modal baseline (stage 2), or the final model (stage 4) where ``fusion_ckpt`` is given.

    Stage 2 trains M1 and p on the frozen features of the stage-1 encoders. Stage 4 trains M2 and p on the frozen
    M1 of stage 2 and the frozen embeddings of stage 3 (paper section 2, Eq. 8). The checkpoint carries all frozen
    parts and loads without the files of earlier stages.

    Args:
        audio_ckpt: Stage-1 checkpoint, for stage 2.
        visual_ckpt: Stage-1 checkpoint, for stage 2.
        text_ckpt: Stage-1 checkpoint, for stage 2.
        fusion_ckpt: Stage-2 checkpoint, for stage 4; carries the encoders.
        siamese_ckpt: Stage-3 checkpoint, for stage 4. Without it M2 reads M1(h) alone.
        modalities: Modalities to join, in stage 2.
        hidden_dims: Sizes of the layers; 1024 and 512 in stage 2, 512 in stage 4 if not given.
        modality_dropout: Chance in training that a modality of a clip counts as missing; at least one stays.
        missing_embedding: What stands for a missing modality's embedding in stage 4.
        normalize_embeddings: Whether M2 reads embeddings of unit length.
        embeddings: Controls for what stage 3 adds, of as many parameters as the ``trained`` model: S with
            fresh weights (``untrained``), or no S and a wider first layer of M2 (``none``).
        head_scale: Factor on the initial weights of p; ours, 1 for the paper's Kaiming-normal as it stands.
        mae_weight: Weight of L_mae.
        mse_weight: Weight of L_mse.
        bell_weight: Weight of L_bell.
        bell_sigma: Width of the bell.
        bell_gamma: Height of the bell.
        lr: Initial learning rate.
        final_lr: Learning rate of the last epoch.
        weight_decay: L2 penalty on the weights of dense layers.
        upstream: Specifications of the frozen networks. Filled in from the checkpoints and kept in ours; do not
            set it.

    Raises:
        UsageError: If neither stage's checkpoints are given.
        CheckpointError: If one is absent, damaged, of another stage, or does not fit the others.
    """

    encoders: ModalityEncoders

    def __init__(
        self,
        audio_ckpt: str | None = None,
        visual_ckpt: str | None = None,
        text_ckpt: str | None = None,
        fusion_ckpt: str | None = None,
        siamese_ckpt: str | None = None,
        modalities: list[str] = list(MODALITIES),  # noqa: B006  (plain data; never changed)
        hidden_dims: list[int] | None = None,
        modality_dropout: float = 0.0,
        missing_embedding: Literal["learned", "mean", "zero"] = "learned",
        normalize_embeddings: bool = True,
        embeddings: Literal["trained", "untrained", "none"] = "trained",
        head_scale: float = 0.1,
        mae_weight: float = 1.0,
        mse_weight: float = 1.0,
        bell_weight: float = 1.0,
        bell_sigma: float = 9.0,
        bell_gamma: float = 300.0,
        lr: float = 1e-3,
        final_lr: float = 1e-4,
        weight_decay: float = 5e-4,
        upstream: dict[str, Any] | None = None,
    ) -> None:
        loss = RegressionLoss(mae_weight, mse_weight, bell_weight, bell_sigma, bell_gamma)
        super().__init__(loss, lr, final_lr, weight_decay)
        self.save_hyperparameters()
        if not modalities or [name for name in MODALITIES if name in modalities] != list(modalities):
            raise UsageError(f"`modalities` must be some of {list(MODALITIES)}, in that order, got {modalities}")
        if not 0 <= modality_dropout < 1:
            raise UsageError(f"`modality_dropout` must lie in [0, 1), got {modality_dropout}")
        self.modality_dropout = modality_dropout
        if upstream is not None:
            self.encoders = ModalityEncoders(upstream["encoders"])
            fusion = FusionNet(**upstream["fusion"]) if "fusion" in upstream else None
            siamese = SiameseNet(**upstream["siamese"]) if "siamese" in upstream else None
        elif fusion_ckpt is not None:
            file = read_stage(fusion_ckpt, "fusion")
            upstream = {key: file.networks[key] for key in ("encoders", "fusion")}
            self.encoders, fusion, siamese = stage_encoders(file), stage_fusion(file), None
            self.entry |= {key: value for key, value in file.entry.items() if key == "text_source"}
            if siamese_ckpt is not None:
                third = read_stage(siamese_ckpt, "siamese")
                siamese = stage_siamese(third, self.encoders)
                if embeddings == "none":
                    read = len(self.encoders.modalities) * siamese.embedding_dim
                    filled = read if missing_embedding == "learned" else 0
                    hidden_dims = matched_dims(fusion.output_dim, read, filled, hidden_dims or (512,))
                    siamese = None
                else:
                    upstream["siamese"] = third.networks["siamese"]
                    if embeddings == "untrained":
                        initialise(siamese)
        elif siamese_ckpt is not None:
            raise UsageError("`siamese_ckpt` is for stage 4, which needs `fusion_ckpt`, a stage-2 checkpoint, too")
        else:
            paths = {"audio": audio_ckpt, "visual": visual_ckpt, "text": text_ckpt}
            specifications, self.encoders, entry = modality_encoders({name: paths[name] for name in modalities})
            upstream, fusion, siamese = {"encoders": specifications}, None, None
            self.entry |= entry
        self.hparams["upstream"] = upstream
        self.network: FusionNet | FinalNet
        if fusion is None:
            self.hparams["hidden_dims"] = hidden_dims = list(hidden_dims or (1024, 512))
            self.network = FusionNet(len(self.modalities), self.feature_dim, hidden_dims)
        else:
            self.hparams["hidden_dims"] = hidden_dims = list(hidden_dims or (512,))
            self.network = FinalNet(fusion, siamese, hidden_dims, missing_embedding, normalize_embeddings)
            self.freeze_submodule("network.fusion")
            if siamese is not None:
                self.freeze_submodule("network.siamese")
        self.configure_head(self.network.output_dim, head_scale)
        self.freeze_submodule("encoders")

    @property
    @override
    def stage(self) -> str:
        return "fusion" if isinstance(self.network, FusionNet) else "final"

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return self.encoders.modalities

    @property
    def feature_dim(self) -> int:
        """Size Q of the features, the same for all modalities."""
        upstream = self.hparams["upstream"]["encoders"]
        sizes = {s["output_dim"] if "output_dim" in s else 2 * s["hidden_dim"] for s in upstream.values()}
        if len(sizes) > 1:
            raise UsageError(f"the modality features have sizes {sorted(sizes)}; stage 2 needs one size for all")
        return int(sizes.pop())

    @property
    @override
    def networks(self) -> dict[str, Any]:
        if isinstance(self.network, FinalNet):
            return dict(self.hparams["upstream"])
        own = {
            "n_modalities": len(self.modalities),
            "feature_dim": self.feature_dim,
            "hidden_dims": self.hparams["hidden_dims"],
        }
        return {**self.hparams["upstream"], "fusion": own}

    @override
    def on_train_start(self) -> None:
        if self.global_step == 0:
            self._start_missing_at_mean()

    @torch.no_grad()
    def _start_missing_at_mean(self) -> None:
        """Put the vectors that stand for missing modalities at the mean of the training clips."""
        network = self.network
        if isinstance(network, FinalNet) and (network.siamese is None or network.missing_embedding != "learned"):
            return
        columns = [MODALITIES.index(name) for name in self.modalities]
        total = torch.zeros_like(network.missing, dtype=torch.float64)
        count = torch.zeros(len(columns), 1, dtype=torch.float64, device=self.device)
        features = self.features(self.data.store)
        assert features is not None
        for rows in torch.split(self.data.positions("train"), CHUNK):
            values = features[rows].to(network.missing)
            present = torch.from_numpy(self.data.store.present[rows][:, columns]).to(self.device)
            if isinstance(network, FinalNet):
                values = network.embed(values, present)
            total += (values * present[..., None]).sum(0)
            count += present.sum(0)[:, None]
        network.missing.copy_(total / count.clamp_min(1))

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
