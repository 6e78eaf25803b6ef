"""All nets in one training, the paper's third open question: encoders, M1, S and M2 from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from apt_lightning.common.batch import Batch, Inputs
from apt_lightning.common.errors import CheckpointError, UsageError
from apt_lightning.common.ranges import check_ranges
from apt_lightning.data.store.reader import Store
from apt_lightning.losses.regression import RegressionTerms
from apt_lightning.networks import FinalNet, ModalityEncoders, build
from apt_lightning.stages.base import Rate
from apt_lightning.stages.checkpoint import read_stage
from apt_lightning.stages.distributed import share_of_mean
from apt_lightning.stages.joining import JoiningModule
from apt_lightning.stages.metric import MetricTerm, MetricTerms
from apt_lightning.stages.modality import ModalityModule
from apt_lightning.stages.names import STAGE4
from apt_lightning.stages.regression import fresh_head
from apt_lightning.stages.upstream import stage_encoders, stage_network, text_source


class JointModule(JoiningModule):
    """The final model with nothing frozen; its checkpoint is one of stage 4.

    Loss: that of the joined scores, plus ``unimodal_weight`` times the sum of those of each modality alone, plus
    ``metric_weight`` times a metric loss on the embeddings. Starts from a stage-4 checkpoint, or from scratch.

    Args:
        start_ckpt: Stage-4 checkpoint that encoders, M1, S, M2 and p start from; the sizes are its own.
        stage1: From scratch: modality to the settings of its :class:`ModalityModule`, in the order of joining.
        fusion_dims: From scratch: sizes of the layers of M1.
        siamese_dims: From scratch: sizes of the hidden layers of S.
        embedding_dim: From scratch: size E of the embedding.
        hidden_dims: From scratch: sizes of the layers of M2.
        unimodal_weight: Weight of the losses of single modalities; 0 for none.
        metric_weight: Weight of the metric loss; 0 for none.
        metric: What it compares.
        cut_fusion_gradient: Keep the gradient of the joined scores out of the encoders, which the other losses train.
        head_epochs: Epochs in which the encoders rest and all else trains (LP-FT, arXiv 2202.10054).
        encoder_rate: Factor on the encoders' learning rate.
        freeze_batch_norm: Keep the statistics of batch norm that the encoders started with.
        encoder_batch: Clips that the encoders take at a time in training; all of a batch if not given. Activations of
            the others are computed twice instead of kept, so that a metric loss sees batches that would not fit.
        modality_dropout: Chance in training that a modality of a clip counts as missing; at least one stays.
        head_scale: Factor on the initial weights of heads that start fresh.
        loss: Weights of L_mae, L_mse and L_bell, and shape of the bell.
        lr: Initial learning rate of all but the encoders.
        final_lr: Learning rate of the last epoch.
        weight_decay: L2 penalty on the weights of dense layers.
        upstream: Specifications of the networks. Filled in and kept in the checkpoint; do not set it.

    Raises:
        UsageError: If a number is out of range, or no loss would train the encoders.
        CheckpointError: If the checkpoint is absent, damaged, of another stage, or has no S.
    """

    network: FinalNet

    def __init__(
        self,
        start_ckpt: str | None = None,
        stage1: dict[str, dict[str, Any]] = {"audio": {}, "visual": {}, "text": {}},  # noqa: B006  (plain data)
        fusion_dims: list[int] = [1024, 512],  # noqa: B006
        siamese_dims: list[int] = [200, 200],  # noqa: B006
        embedding_dim: int = 128,
        hidden_dims: list[int] = [512],  # noqa: B006
        unimodal_weight: float = 1.0,
        metric_weight: float = 0.1,
        metric: MetricTerms = MetricTerms(),  # noqa: B008  (frozen)
        cut_fusion_gradient: bool = False,
        head_epochs: int = 0,
        encoder_rate: float = 1.0,
        freeze_batch_norm: bool = False,
        encoder_batch: int | None = None,
        modality_dropout: float = 0.0,
        head_scale: float = 0.1,
        loss: RegressionTerms = RegressionTerms(),  # noqa: B008
        lr: float = 1e-3,
        final_lr: float = 1e-4,
        weight_decay: float = 5e-4,
        upstream: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(loss, modality_dropout, lr, final_lr, weight_decay)
        self.save_hyperparameters(ignore=["loss", "metric"])
        self.save_hyperparameters({"loss": asdict(loss), "metric": asdict(metric)})  # plain data
        check_ranges(self.hparams)
        if cut_fusion_gradient and not (unimodal_weight or metric_weight):
            raise UsageError("`cut_fusion_gradient` without other losses would leave the encoders untrained")
        if not stage1:
            raise UsageError("`stage1` must name a modality, such as {audio: {}}")
        self.unimodal_weight = unimodal_weight
        self.metric_weight = metric_weight
        self.cut_fusion_gradient = cut_fusion_gradient
        self.head_epochs = head_epochs
        self.encoder_rate = encoder_rate
        self.freeze_batch_norm = freeze_batch_norm
        self.encoder_batch = encoder_batch
        self.metric = MetricTerm(metric) if metric_weight else None
        self._warm = start_ckpt is not None
        if upstream is not None:
            self._configure_networks(upstream)
        elif start_ckpt is not None:
            file = read_stage(start_ckpt, STAGE4)
            if not isinstance(file.networks["network"].get("siamese"), dict):
                raise CheckpointError(f"{start_ckpt} has no embeddings: train stage 4 with stage 3")
            encoders, network = stage_encoders(file), stage_network(file)
            self._configure_networks({name: file.networks[name] for name in ("encoders", "network")})
            self.encoders, self.network = encoders, network
            self.head.load_state_dict(file.weights("head"))
            self.metadata = text_source(file)

    def _configure_networks(self, upstream: dict[str, Any]) -> None:
        self.hparams["upstream"] = upstream
        self.encoders = ModalityEncoders(upstream["encoders"])
        self.network = build(upstream["network"])
        self.configure_head(self.network.output_dim, self.hparams["head_scale"])
        self.unimodal_heads = nn.ModuleDict()
        for name in self.encoders.modalities if self.unimodal_weight else ():
            self.unimodal_heads[name] = fresh_head(self.encoders.output_dim, self.hparams["head_scale"])

    @property
    @override
    def stage(self) -> str:
        return STAGE4

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.hparams["stage1"]) if self.encoders is None else self.encoders.modalities

    @property
    @override
    def networks(self) -> dict[str, Any]:
        return dict(self.hparams["upstream"])

    @override
    def setup(self, stage: str) -> None:
        if self.hparams["upstream"] is None:
            self._start_from_scratch()
        bias = self.head.bias.detach().clone()
        super().setup(stage)
        if stage == "fit":
            with torch.no_grad():
                if self._warm:
                    self.head.bias.copy_(bias)
                for head in self.unimodal_heads.values():
                    head.get_parameter("bias").copy_(self.trait_mean)
            if self.metric is not None:
                self.metric.take(self.data)

    def _start_from_scratch(self) -> None:
        """Make encoders as stage 1 does, which takes scalings and words from the store, and fresh M1, S and M2."""
        first = {name: ModalityModule(name, **settings) for name, settings in self.hparams["stage1"].items()}
        for module in first.values():
            module.trainer = self.trainer
            module.setup("fit")
            self.metadata |= module.metadata
        specifications = {name: module.hparams["encoder"] for name, module in first.items()}
        size = ModalityEncoders(specifications).output_dim
        fusion = {
            "kind": "fusion",
            "n_modalities": len(first),
            "feature_dim": size,
            "hidden_dims": list(self.hparams["fusion_dims"]),
        }
        siamese = {
            "kind": "siamese",
            "feature_dim": size,
            "hidden_dims": list(self.hparams["siamese_dims"]),
            "embedding_dim": self.hparams["embedding_dim"],
        }
        network = {"kind": "final", "fusion": fusion, "siamese": siamese, "hidden_dims": self.hparams["hidden_dims"]}
        self._configure_networks({"encoders": specifications, "network": network})
        for name, module in first.items():
            self.encoders.encoders[name].load_state_dict(module.encoder.state_dict())

    @property
    def _resting(self) -> bool:
        return self.current_epoch < self.head_epochs

    @override
    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.train()

    @override
    def train(self, mode: bool = True) -> JointModule:
        super().train(mode)
        if mode and self.encoders is not None:
            if self._resting:
                self.encoders.eval()
            elif self.freeze_batch_norm:
                for norm in _norms(self.encoders):
                    norm.eval()
        return self

    @override
    def rates(self) -> list[Rate]:
        encoders = list(self.encoders.parameters())
        own = {id(p) for p in encoders}
        others = [p for p in self.parameters() if id(p) not in own]
        return [Rate(others), Rate(encoders, self.encoder_rate, self.head_epochs)]

    @override
    def features(self, store: Store) -> None:
        """None: the encoders train, so nothing is cached."""

    @override
    def encode(self, batch: Batch) -> Tensor:
        size = self.encoder_batch
        if size is None or size >= len(batch.positions) or not torch.is_grad_enabled():
            features: Tensor = self.encoders(batch)
            return features
        parts = [
            checkpoint(
                self.encoders,
                _rows(batch, slice(start, start + size)),
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), _resting_statistics(self.encoders)),
            )
            for start in range(0, len(batch.positions), size)
        ]
        return torch.cat(parts)

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        with torch.no_grad() if self._resting else nullcontext():
            features = self.encode(batch)
        joined = features.detach() if self.cut_fusion_gradient else features
        loss: Tensor = self.loss(self.score(joined, self.some_present(batch.present)), batch.traits)
        for column, head in enumerate(self.unimodal_heads.values()):
            there = batch.present[:, column]
            labels = batch.traits.where(there[:, None], torch.nan)  # an absent modality teaches nothing
            alone = share_of_mean(self.loss(head(features[:, column]), labels), there.sum())
            loss = loss + self.unimodal_weight * alone
        if self.metric is not None:
            assert self.network.siamese is not None
            embeddings = self.network.siamese(features)
            loss = loss + self.metric_weight * self.metric(embeddings, batch.positions, batch.present)
        if self._resting:  # DistributedDataParallel waits for a gradient of every weight
            loss = loss + 0 * sum(p.sum() for p in self.encoders.parameters())
        return self.track_loss(loss)


def _rows(batch: Batch, rows: slice) -> Batch:
    """Some clips of a batch of raw inputs."""
    inputs = {
        name: Inputs(x.values[rows], None if x.length is None else x.length[rows], x.augment)
        for name, x in batch.inputs.items()
    }
    return Batch(batch.positions[rows], batch.traits[rows], batch.present[rows], inputs, None)


def _norms(module: nn.Module) -> list[_BatchNorm]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


@contextmanager
def _resting_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the second computation of a part from moving the running statistics once more."""
    momenta = {norm: norm.momentum for norm in _norms(module)}
    for norm in momenta:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum
