"""Stage 1: one modality alone to five traits."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from apt_lightning.common.batch import Batch
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.losses.regression import RegressionLoss
from apt_lightning.networks.encoders import TokenEncoder, VectorEncoder, build_encoder
from apt_lightning.stages.distributed import share_of_mean
from apt_lightning.stages.regression import RegressionModule


class ModalityModule(RegressionModule):
    """Audio, visual or text encoder with its head (paper section 2, stage-1 rows).

    The encoder follows what the store holds: functionals or features made elsewhere go through dense layers,
    frames through a ResNet, words through a Bi-GRU with attention. A clip that lacks the modality gets the
    training mean and takes no part in the loss.

    Args:
        modality: Which modality.
        backbone: torchvision ResNet per frame.
        hidden_dims: Hidden layers of the dense encoder.
        gru_dim: Units of the GRU per direction.
        dropout: Dropout of the frame and word encoders; the paper names none for audio.
        output_dim: Size Q of the feature h of the dense and frame encoders.
        frame_size: Height and width to which frames are resized.
        crop: Side of the square crop of the frames, pixels: random in training, else the centre.
        head_scale: Factor on the initial weights of p; ours, 1 for the paper's Kaiming-normal as it stands.
        mae_weight: Weight of L_mae.
        mse_weight: Weight of L_mse.
        bell_weight: Weight of L_bell.
        bell_sigma: Width of the bell.
        bell_gamma: Height of the bell.
        lr: Initial learning rate.
        final_lr: Learning rate of the last epoch.
        weight_decay: L2 penalty on the weights of dense layers.
        compile: Train the encoder compiled by ``torch.compile``; the first steps then take a minute.
        encoder: Specification of the encoder. Filled in from the data and kept in the checkpoint; do not set it.
    """

    def __init__(
        self,
        modality: Literal["audio", "visual", "text"],
        backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "resnet50",
        hidden_dims: list[int] = [1024],  # noqa: B006  (plain data for jsonargparse; never changed)
        gru_dim: int = 128,
        dropout: float = 0.5,
        output_dim: int = 256,
        frame_size: list[int] = [140, 248],  # noqa: B006
        crop: int = 128,
        head_scale: float = 0.1,
        mae_weight: float = 1.0,
        mse_weight: float = 1.0,
        bell_weight: float = 1.0,
        bell_sigma: float = 9.0,
        bell_gamma: float = 300.0,
        lr: float = 1e-3,
        final_lr: float = 1e-4,
        weight_decay: float = 5e-4,
        compile: bool = False,
        encoder: dict[str, Any] | None = None,
    ) -> None:
        loss = RegressionLoss(mae_weight, mse_weight, bell_weight, bell_sigma, bell_gamma)
        super().__init__(loss, lr, final_lr, weight_decay)
        self.save_hyperparameters()
        self.modality = modality
        self.backbone = backbone
        self.hidden_dims = hidden_dims
        self.gru_dim = gru_dim
        self.dropout = dropout
        self.output_dim = output_dim
        self.frame_size = frame_size
        self.crop = crop
        self.head_scale = head_scale
        if encoder is not None:
            self._configure_networks(encoder)

    def _configure_networks(self, specification: dict[str, Any]) -> None:
        self.hparams["encoder"] = specification
        self.encoder = build_encoder(specification)
        tokens = specification["kind"] == "tokens"
        self.configure_head(2 * specification["hidden_dim"] if tokens else specification["output_dim"], self.head_scale)

    @property
    @override
    def stage(self) -> str:
        return self.modality

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return (self.modality,)

    @property
    @override
    def networks(self) -> dict[str, Any]:
        return {"encoders": {self.modality: self.hparams["encoder"]}}

    @override
    def setup(self, stage: str) -> None:
        fresh = not hasattr(self, "encoder")
        if fresh:
            self._configure_networks(self._specification())
        super().setup(stage)
        if fresh:
            self._fit_inputs()
        if stage == "fit" and self.hparams["compile"]:
            self.encoder.compile()  # in place: the names in the checkpoint stay

    def _specification(self) -> dict[str, Any]:
        store = self.data.store
        match store.kinds[self.modality]:
            case "frames":
                return {
                    "kind": "frames",
                    "backbone": self.backbone,
                    "dropout": self.dropout,
                    "output_dim": self.output_dim,
                    "frame_size": list(self.frame_size),
                    "crop": self.crop,
                }
            case "tokens":
                n_words, dim = store.text.vectors.shape
                return {
                    "kind": "tokens",
                    "dim": dim,
                    "n_words": n_words,
                    "words_size": len("\n".join(store.text.words).encode("utf-8")),
                    "hidden_dim": self.gru_dim,
                    "dropout": self.dropout,
                }
            case _:
                return {
                    "kind": "vector",
                    "dim": store.vectors(self.modality).shape[1],
                    "hidden_dims": list(self.hidden_dims),
                    "output_dim": self.output_dim,
                }

    def _fit_inputs(self) -> None:
        """Take the scaling from the training split, or the word table from the store."""
        encoder = self.encoder
        if isinstance(encoder, VectorEncoder):
            clips = ClipDataset(self.data.store, [self.modality])
            rows = self.data.positions("train")
            rows = rows[clips.present[rows, 0]]
            encoder.fit_range(clips.arrays[self.modality][rows])
        elif isinstance(encoder, TokenEncoder):
            text = self.data.store.text
            encoder.table.copy_(torch.tensor(text.vectors))
            words = "\n".join(text.words).encode("utf-8")
            encoder.words.copy_(torch.frombuffer(bytearray(words), dtype=torch.uint8))
            self.entry["text_source"] = self.data.store.text_source

    @override
    def forward(self, batch: Batch) -> Tensor:
        scores: Tensor = self.head(self.encoder(*batch.inputs[self.modality]))
        return torch.where(batch.present, scores, self.trait_mean)

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        labels = batch.traits.where(batch.present, torch.nan)  # an absent clip teaches nothing
        return self.track_loss(share_of_mean(self.loss(self(batch), labels), batch.present.sum()))
