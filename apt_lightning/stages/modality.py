"""Stage 1: one modality alone to five traits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from apt_lightning.common.batch import Batch
from apt_lightning.common.errors import UsageError
from apt_lightning.common.ranges import check_ranges
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.data.store.index import PREPARED
from apt_lightning.data.store.reader import Store
from apt_lightning.data.store.rows import N_FUNCTIONALS
from apt_lightning.data.store.sequences import describe
from apt_lightning.losses.regression import RegressionTerms
from apt_lightning.networks import SequenceEncoder, TokenEncoder, VectorEncoder, build
from apt_lightning.stages.distributed import share_of_mean
from apt_lightning.stages.metric import MetricTerm, MetricTerms
from apt_lightning.stages.names import stage1
from apt_lightning.stages.regression import RegressionModule


class ModalityModule(RegressionModule):
    """The encoder of one modality with its head (paper section 2, stage-1 rows).

    The encoder follows what the store holds: functionals or features made elsewhere go through dense layers,
    frames through a ResNet, words through a Bi-GRU with attention. A clip that lacks the modality gets the
    training mean and takes no part in the loss.

    The networks of audio and visual stand from the start, for functionals and frames; those of other modalities, or
    for features made elsewhere in place of ours, are made when the data are there, in :meth:`setup`.

    Args:
        modality: Name of a modality of the store: ``audio``, ``visual``, ``text`` or one added to it.
        backbone: torchvision ResNet per frame.
        hidden_dims: Hidden layers of the dense encoder.
        gru_dim: Units of the GRU per direction.
        dropout: Dropout of the frame and word encoders; the paper names none for audio.
        output_dim: Size Q of the feature h of the dense and frame encoders.
        frame_size: Height and width to which frames are resized.
        crop: Side of the square crop of the frames, pixels: random in training, else the centre.
        features: Feature sets of the modality, made by ``apt encode``, to read in place of its own content.
        set_dim: Size of each set after its dense layer.
        head_scale: Factor on the initial weights of p; ours, 1 for the paper's Kaiming-normal as it stands.
        loss: Weights of L_mae, L_mse and L_bell, and shape of the bell.
        metric_weight: Weight of a metric loss on the features h, over the clips of a batch; 0 for none (the paper).
        metric: What it compares.
        lr: Initial learning rate.
        final_lr: Learning rate of the last epoch.
        weight_decay: L2 penalty on the weights of dense layers.
        compile: Train the encoder compiled by ``torch.compile``; the first steps then take a minute.
        encoder: Specification of the encoder. Filled in from the data and kept in the checkpoint; do not set it.

    Example:
        >>> module = ModalityModule("audio", hidden_dims=[64])
        >>> module.stage, sum(p.numel() for p in module.parameters())
        ('stage1_audio', 23621)
    """

    def __init__(
        self,
        modality: str,
        backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "resnet50",
        hidden_dims: list[int] = [1024],  # noqa: B006  (plain data for jsonargparse; never changed)
        gru_dim: int = 128,
        dropout: float = 0.5,
        output_dim: int = 256,
        frame_size: list[int] = [140, 248],  # noqa: B006
        crop: int = 128,
        features: list[str] = [],  # noqa: B006
        set_dim: int = 256,
        head_scale: float = 0.1,
        loss: RegressionTerms = RegressionTerms(),  # noqa: B008  (frozen)
        metric_weight: float = 0.0,
        metric: MetricTerms = MetricTerms(),  # noqa: B008
        lr: float = 1e-3,
        final_lr: float = 1e-4,
        weight_decay: float = 5e-4,
        compile: bool = False,
        encoder: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(loss, lr, final_lr, weight_decay)
        self.save_hyperparameters(ignore=["loss", "metric"])
        self.save_hyperparameters({"loss": asdict(loss), "metric": asdict(metric)})  # plain data
        check_ranges(self.hparams)
        self.metric_weight = metric_weight
        self.metric = MetricTerm(metric) if metric_weight else None
        self.modality = modality
        self.backbone = backbone
        self.hidden_dims = hidden_dims
        self.gru_dim = gru_dim
        self.dropout = dropout
        self.output_dim = output_dim
        self.frame_size = frame_size
        self.crop = crop
        self.feature_names = features
        self.set_dim = set_dim
        self.head_scale = head_scale
        self._restored = encoder is not None
        if encoder is None:
            encoder = self._specification(self._kind(PREPARED.get(modality, "vector")))
        if encoder is not None:
            self._configure_networks(encoder)

    def _configure_networks(self, specification: dict[str, Any]) -> None:
        self.hparams["encoder"] = specification
        self.encoder = build(specification)
        self.configure_head(self.encoder.output_dim, self.head_scale)

    @property
    @override
    def stage(self) -> str:
        return stage1(self.modality)

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
        fresh = not self._restored
        if fresh:
            store = self.data.store
            store.columns([self.modality])  # refuses one that it lacks
            specification = self._specification(self._kind(store.kinds[self.modality]), store)
            if specification is not None and specification != self.hparams["encoder"]:
                self._configure_networks(specification)
            self._restored = True
        super().setup(stage)
        if fresh:
            self._fit_inputs()
        if stage == "fit" and self.metric is not None:
            self.metric.take(self.data)
        if stage == "fit" and self.hparams["compile"]:
            self.encoder.compile()  # in place: the names in the checkpoint stay

    def _kind(self, kind: str) -> str:
        return "sequences" if self.feature_names else kind

    @property
    @override
    def sets(self) -> dict[str, dict[str, str]]:
        encoder = getattr(self, "encoder", None)
        return {self.modality: encoder.sets} if isinstance(encoder, SequenceEncoder) else {}

    def _specification(self, kind: str, store: Store | None = None) -> dict[str, Any] | None:
        """What encodes inputs of a kind; None if a size is the store's, and there is none."""
        match kind:
            case "frames":
                return {
                    "kind": "frames",
                    "backbone": self.backbone,
                    "dropout": self.dropout,
                    "output_dim": self.output_dim,
                    "frame_size": list(self.frame_size),
                    "crop": self.crop,
                }
            case "sequences":
                if store is None:
                    return None
                names = self.feature_names or list(store.sets(self.modality))
                sets = [store.feature_set(self.modality, name) for name in names]
                return {
                    "kind": "sequences",
                    "sets": [describe(one) for one in sets],
                    "set_dim": self.set_dim,
                    "dropout": self.dropout,
                    "output_dim": self.output_dim,
                }
            case "tokens":
                if store is None:
                    return None
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
                if store is None and kind != "functionals":
                    return None
                dim = N_FUNCTIONALS if store is None else store.vectors(self.modality).shape[1]
                sizes = {"hidden_dims": list(self.hidden_dims), "output_dim": self.output_dim}
                return {"kind": "vector", "dim": dim, **sizes}

    def _fit_inputs(self) -> None:
        """Take the scaling from the training split, or the word table from the store.

        Raises:
            UsageError: If no training clip has the modality.
        """
        encoder = self.encoder
        clips = ClipDataset(self.data.store, [self.modality], sets=self.sets)
        rows = self.data.positions("train")
        rows = rows[clips.present[rows, 0]]
        if not len(rows):
            raise UsageError(
                f"no training clip of {self.data.store.path} has usable {self.modality}, so there is nothing to train"
                " on; train the others, as with `apt run --modalities`, or see `apt doctor` for what is wrong with it"
            )
        if isinstance(encoder, VectorEncoder):
            encoder.fit_range(clips.arrays[self.modality][rows])
        elif isinstance(encoder, SequenceEncoder):
            mean, sd = clips.sequences[self.modality].moments(self.data.positions("train"))
            encoder.mean.copy_(torch.from_numpy(mean))
            encoder.sd.copy_(torch.from_numpy(sd))
        elif isinstance(encoder, TokenEncoder):
            text = self.data.store.text
            encoder.table.copy_(torch.tensor(text.vectors))
            words = "\n".join(text.words).encode("utf-8")
            encoder.words.copy_(torch.frombuffer(bytearray(words), dtype=torch.uint8))
            self.metadata["text_source"] = self.data.store.text_source

    def _scores(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features (B, Q) and scores (B, 5)."""
        features = self.encoder(*batch.inputs[self.modality])
        return features, torch.where(batch.present, self.head(features), self.trait_mean)

    @override
    def forward(self, batch: Batch) -> Tensor:
        return self._scores(batch)[1]

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        features, scores = self._scores(batch)
        labels = batch.traits.where(batch.present, torch.nan)  # an absent clip teaches nothing
        loss = share_of_mean(self.loss(scores, labels), batch.present.sum())
        if self.metric is not None:
            loss = loss + self.metric_weight * self.metric(features[:, None], batch.positions, batch.present)
        return self.track_loss(loss)
