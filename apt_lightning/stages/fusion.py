"""Stage 2: frozen modality features, joined, to five traits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import Tensor
from typing_extensions import override

from apt_lightning.common.ranges import check_ranges
from apt_lightning.losses.regression import RegressionTerms
from apt_lightning.networks import FusionNet, ModalityEncoders, build
from apt_lightning.stages.joining import JoiningModule
from apt_lightning.stages.names import STAGE2
from apt_lightning.stages.upstream import modality_encoders


class FusionModule(JoiningModule):
    """The baseline of several modalities: M1 and p on the frozen features of the stage-1 encoders (paper section 2).

    The checkpoint carries the encoders and loads without the files of stage 1.

    Args:
        checkpoints: Modality to its stage-1 checkpoint, in the order in which they are joined.
        hidden_dims: Sizes of the layers of M1.
        linear_path: Let p read the inputs of M1 too, by weights that start at the ridge solution; those of M1's
            output start at 0.
        modality_dropout: Chance in training that a modality of a clip counts as missing; at least one stays.
        head_scale: Factor on the initial weights of p; ours, 1 for the paper's Kaiming-normal as it stands.
        loss: Weights of L_mae, L_mse and L_bell, and shape of the bell.
        lr: Initial learning rate.
        final_lr: Learning rate of the last epoch.
        weight_decay: L2 penalty on the weights of dense layers.
        upstream: Specifications of the frozen encoders. Filled in from the checkpoints and kept in ours; do not
            set it.

    Raises:
        UsageError: If no checkpoint is given.
        CheckpointError: If one is absent, damaged, of another stage, or does not fit the others.

    Example:
        >>> encoders = {m: {"kind": "vector", "dim": 8} for m in ("audio", "text")}
        >>> module = FusionModule(upstream={"encoders": encoders})
        >>> module.stage, module.modalities, module.network.output_dim
        ('stage2', ('audio', 'text'), 512)
    """

    network: FusionNet

    def __init__(
        self,
        checkpoints: dict[str, str] | None = None,
        hidden_dims: list[int] = [1024, 512],  # noqa: B006  (plain data for jsonargparse; never changed)
        linear_path: bool = False,
        modality_dropout: float = 0.0,
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
        if upstream is not None:
            self.encoders = ModalityEncoders(upstream["encoders"])
        else:
            specifications, self.encoders, self.metadata = modality_encoders(checkpoints)
            self.hparams["upstream"] = {"encoders": specifications}
        self.specification = {
            "kind": "fusion",
            "n_modalities": len(self.modalities),
            "feature_dim": self.encoders.output_dim,
            "hidden_dims": list(hidden_dims),
            "linear_path": linear_path,
        }
        self.network = build(self.specification)
        self.configure_head(self.network.output_dim, head_scale)
        self.freeze_submodule("encoders")

    @property
    @override
    def stage(self) -> str:
        return STAGE2

    @property
    @override
    def networks(self) -> dict[str, Any]:
        return {**self.hparams["upstream"], "network": self.specification}

    @override
    def fillers(self, features: Tensor, present: Tensor) -> Tensor:
        return features

    @override
    def on_train_start(self) -> None:
        if self.global_step == 0:
            self.start_missing_at_mean(self.network.missing)
            self.start_linear_path()
