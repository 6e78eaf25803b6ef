"""Stage 4: the frozen fusion of stage 2 beside the frozen embeddings of stage 3, to five traits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from torch import Tensor
from typing_extensions import override

from apt_lightning.common.errors import UsageError
from apt_lightning.common.ranges import check_ranges
from apt_lightning.losses.regression import RegressionTerms
from apt_lightning.networks import FinalNet, ModalityEncoders, build
from apt_lightning.networks.fusion import matched_dims
from apt_lightning.networks.layers import initialise
from apt_lightning.stages.checkpoint import read_stage
from apt_lightning.stages.joining import JoiningModule
from apt_lightning.stages.names import STAGE2, STAGE3, STAGE4
from apt_lightning.stages.upstream import check_same_encoders, stage_encoders, stage_network, text_source


class FinalModule(JoiningModule):
    """The final model: M2 and p on the frozen M1 of stage 2 and the frozen embeddings of stage 3 (paper Eq. 8).

    The checkpoint carries all frozen parts and loads without the files of earlier stages.

    Args:
        fusion_ckpt: Stage-2 checkpoint; carries the encoders.
        siamese_ckpt: Stage-3 checkpoint. Without it M2 reads M1(h) alone.
        hidden_dims: Sizes of the layers of M2.
        linear_path: Let p read the inputs of M2 too, by weights that start at the ridge solution; those of M2's
            output start at 0.
        modality_dropout: Chance in training that a modality of a clip counts as missing; at least one stays.
        missing_embedding: What stands for a missing modality's embedding.
        normalize_embeddings: Whether M2 reads embeddings of unit length.
        embeddings: Controls for what stage 3 adds, of as many parameters as the ``trained`` model: S with
            fresh weights (``untrained``), or no S and a wider first layer of M2 (``none``).
        head_scale: Factor on the initial weights of p; ours, 1 for the paper's Kaiming-normal as it stands.
        loss: Weights of L_mae, L_mse and L_bell, and shape of the bell.
        lr: Initial learning rate.
        final_lr: Learning rate of the last epoch.
        weight_decay: L2 penalty on the weights of dense layers.
        upstream: Specifications of the frozen networks. Filled in from the checkpoints and kept in ours; do not
            set it.

    Raises:
        UsageError: If ``fusion_ckpt`` is not given.
        CheckpointError: If a checkpoint is absent, damaged, of another stage, or does not fit the other.

    Example:
        >>> m1 = {"kind": "fusion", "n_modalities": 2, "hidden_dims": [16]}
        >>> encoders = {m: {"kind": "vector", "dim": 8} for m in ("audio", "text")}
        >>> module = FinalModule(upstream={"encoders": encoders, "fusion": m1, "siamese": {"kind": "siamese"}})
        >>> module.stage, module.network.layers[0].in_features  # 16 + 2 * 128
        ('stage4', 272)
    """

    network: FinalNet

    def __init__(
        self,
        fusion_ckpt: str | None = None,
        siamese_ckpt: str | None = None,
        hidden_dims: list[int] = [512],  # noqa: B006  (plain data for jsonargparse; never changed)
        linear_path: bool = False,
        modality_dropout: float = 0.0,
        missing_embedding: Literal["learned", "mean", "zero"] = "learned",
        normalize_embeddings: bool = True,
        embeddings: Literal["trained", "untrained", "none"] = "trained",
        head_scale: float = 0.1,
        loss: RegressionTerms = RegressionTerms(),  # noqa: B008  (frozen)
        lr: float = 1e-3,
        final_lr: float = 1e-4,
        weight_decay: float = 5e-4,
        upstream: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(loss, modality_dropout, lr, final_lr, weight_decay)
        self.save_hyperparameters(ignore="loss")
        self.save_hyperparameters({"loss": asdict(loss)})  # plain data
        check_ranges(self.hparams)
        hidden_dims = list(hidden_dims)
        if upstream is not None:
            self.encoders = ModalityEncoders(upstream["encoders"])
            fusion = build(upstream["fusion"])
            siamese = build(upstream["siamese"]) if "siamese" in upstream else None
        elif fusion_ckpt is not None:
            second = read_stage(fusion_ckpt, STAGE2)
            self.encoders, fusion, siamese = stage_encoders(second), stage_network(second), None
            self.metadata = text_source(second)
            upstream = {"encoders": second.networks["encoders"], "fusion": second.networks["network"]}
            if siamese_ckpt is not None:
                third = read_stage(siamese_ckpt, STAGE3)
                check_same_encoders(third, self.encoders)
                siamese = stage_network(third)
                if embeddings == "none":
                    read = len(self.modalities) * siamese.embedding_dim
                    filled = read if missing_embedding == "learned" else 0
                    hidden_dims, siamese = matched_dims(fusion.output_dim, read, filled, hidden_dims), None
                else:
                    upstream["siamese"] = third.networks["network"]
                    if embeddings == "untrained":
                        initialise(siamese)
        else:
            raise UsageError("`model.fusion_ckpt` is needed: the path of a stage-2 checkpoint")
        self.hparams.update(upstream=upstream, hidden_dims=hidden_dims)
        self.network = FinalNet(fusion, siamese, hidden_dims, missing_embedding, normalize_embeddings, linear_path)
        self.freeze_submodule("network.fusion")
        if siamese is not None:
            self.freeze_submodule("network.siamese")
        self.configure_head(self.network.output_dim, head_scale)
        self.freeze_submodule("encoders")

    @property
    @override
    def stage(self) -> str:
        return STAGE4

    @property
    @override
    def networks(self) -> dict[str, Any]:
        upstream, settings = self.hparams["upstream"], self.hparams
        return {
            "encoders": upstream["encoders"],
            "network": {
                "kind": "final",
                "fusion": upstream["fusion"],
                "siamese": upstream.get("siamese"),
                "hidden_dims": settings["hidden_dims"],
                "missing_embedding": settings["missing_embedding"],
                "normalize": settings["normalize_embeddings"],
                "linear_path": settings["linear_path"],
            },
        }

    @override
    def fillers(self, features: Tensor, present: Tensor) -> Tensor:
        return self.network.embed(features, present)

    @override
    def on_train_start(self) -> None:
        missing: Tensor | None = getattr(self.network, "missing", None)
        if self.global_step == 0:
            if missing is not None:
                self.start_missing_at_mean(missing)
            self.start_linear_path()
