"""What all stages share: freezing, optimizer, schedule, seeding and the checkpoint's description."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from apt_lightning.common.batch import Batch
from apt_lightning.common.errors import CheckpointError
from apt_lightning.common.traits import TRAITS, TraitStatistics
from apt_lightning.common.version import __version__
from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.data.store.reader import Store
from apt_lightning.data.text.tokens import N_SPECIAL
from apt_lightning.networks import ModalityEncoders, TokenEncoder
from apt_lightning.stages.checkpoint import FORMAT, StageFile, read_stage, restore
from apt_lightning.stages.frozen import FrozenFeatures, frozen_features
from apt_lightning.stages.resume import take_over

_EPOCH_STRIDE = 1_000_003
"""A prime that keeps the generator seeds of epochs and ranks apart."""


class Rate(NamedTuple):
    """How some parameters are trained."""

    parameters: Sequence[nn.Parameter]
    factor: float = 1.0
    """On the learning rate."""
    rest: int = 0
    """Epochs in which they do not move, at the beginning."""


class BaseModule(LightningModule):
    """A stage of training.

    Optimizer (paper section 4): Adam at ``lr``, decayed linearly to ``final_lr`` over the maximum number of
    epochs; ``weight_decay`` as Adam's L2 penalty on the weights, not the biases, of dense layers.

    Args:
        lr: Initial learning rate.
        final_lr: Learning rate of the last epoch (ours).
        weight_decay: L2 penalty; 0.0005 in all nets but the Siamese one.
    """

    monitor: ClassVar[str] = "val/accuracy"
    """Logged metric that chooses the best epoch and stops training early."""
    mode: ClassVar[str] = "max"
    encoders: ModalityEncoders | None
    """Frozen modality encoders; None in stage 1."""
    trait_mean: Tensor
    trait_sd: Tensor

    def __init__(self, lr: float, final_lr: float, weight_decay: float) -> None:
        super().__init__()
        self.encoders = None
        self.lr = lr
        self.final_lr = final_lr
        self.weight_decay = weight_decay
        self.register_buffer("trait_mean", torch.full((5,), 0.5))
        self.register_buffer("trait_sd", torch.full((5,), 0.15))
        self.metadata: dict[str, Any] = {}
        self._frozen: list[str] = []
        self._loss_sum = torch.zeros(())
        self._loss_count = 0
        self._seed = 0
        self._features: tuple[str, FrozenFeatures] | None = None

    @classmethod
    def of_file(cls, file: StageFile) -> Self:
        """Build the stage that a checkpoint describes; the files it was made from are not needed.

        Raises:
            CheckpointError: If it describes none, or its weights are others.
        """
        # Without the specification a stage takes its networks from the store, or from files.
        if not isinstance(file.hparams.get("upstream", file.hparams.get("encoder")), dict):
            raise CheckpointError(f"{file.path} does not say what its networks are")
        module = restore(lambda: cls(**cls.arguments(file.hparams)), file.state, file.path)
        module.metadata = dict(file.metadata)
        return module

    @classmethod
    def arguments(cls, hparams: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the constructor from a checkpoint's plain data."""
        return hparams

    @classmethod
    @override
    def load_from_checkpoint(cls, checkpoint_path: str | os.PathLike[str], **_: Any) -> Self:  # type: ignore[override]
        """Load a checkpoint; Lightning's own would import what the file names."""
        return cls.of_file(read_stage(checkpoint_path))

    @property
    def stage(self) -> str:
        """Name of the stage, see :mod:`apt_lightning.stages.names`."""
        raise NotImplementedError

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the stage reads, in the order of the columns of its batches."""
        raise NotImplementedError

    @property
    def networks(self) -> dict[str, Any]:
        """Plain-data specifications of all networks, enough to rebuild them."""
        raise NotImplementedError

    @property
    def vocabulary(self) -> list[str] | None:
        """Words of the text encoder's table, or None."""
        for module in self.modules():
            if isinstance(module, TokenEncoder):
                return module.vocabulary
        return None

    @property
    def sets(self) -> dict[str, dict[str, str]]:
        """Name and key of the feature sets that the encoders read, by modality."""
        return {} if self.encoders is None else self.encoders.sets

    @property
    def statistics(self) -> TraitStatistics:
        """Mean and deviation of the training labels, which cut the classes."""
        return TraitStatistics(self.trait_mean.double().cpu().numpy(), self.trait_sd.double().cpu().numpy())

    @property
    def data(self) -> FirstImpressionsDataModule:
        """The trainer's data module."""
        return cast(FirstImpressionsDataModule, self.trainer.datamodule)  # type: ignore[attr-defined]

    def freeze_submodule(self, name: str) -> None:
        """Stop training a submodule: no gradients, always in eval mode."""
        self.get_submodule(name).requires_grad_(False)
        self._frozen.append(name)
        self.train(self.training)

    @override
    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for name in self._frozen:  # batch-norm statistics and dropout of a frozen part must not move
            self.get_submodule(name).eval()
        return self

    @override
    def setup(self, stage: str) -> None:
        if stage == "fit":
            mean, sd = self.data.statistics
            self.trait_mean.copy_(torch.from_numpy(mean))
            self.trait_sd.copy_(torch.from_numpy(sd))
        self._look_up_words(self.data.store if stage in ("test", "predict") else None)

    def _look_up_words(self, store: Store | None) -> None:
        """Take words that the checkpoint has no vectors of from a store with vectors of the same file; else none."""
        own = self.metadata.get("text_source")
        digest = own.get("sha256") if isinstance(own, dict) else None
        words: list[str] = []
        vectors = torch.zeros(0, 0)
        if store is not None and digest is not None and store.text_source.get("sha256") == digest:
            words, vectors = store.text.words, torch.tensor(store.text.vectors[N_SPECIAL:])
        for module in self.modules():
            if isinstance(module, TokenEncoder):
                fits = vectors.shape[1] == module.table.shape[1]
                module.look_up(words if fits else [], vectors)

    @override
    def on_fit_start(self) -> None:
        self._seed = torch.initial_seed() + self.global_rank

    @override
    def on_train_epoch_start(self) -> None:
        # Dropout and augmentation depend on seed and epoch alone, so that a resumed run ends with equal weights.
        torch.manual_seed((self._seed + _EPOCH_STRIDE * (self.current_epoch + 1)) % 2**63)
        self._loss_sum = torch.zeros((), device=self.device)
        self._loss_count = 0
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def track_loss(self, loss: Tensor) -> Tensor:
        """Add to the epoch's mean loss, without a synchronisation per step."""
        self._loss_sum += loss.detach()
        self._loss_count += 1
        return loss

    @override
    def on_train_epoch_end(self) -> None:
        self.log("train/loss", self._loss_sum / max(1, self._loss_count), sync_dist=True)

    def rates(self) -> list[Rate]:
        """Split the parameters into parts of different rates."""
        return [Rate(list(self.parameters()))]

    @override
    def configure_optimizers(self) -> Any:
        dense_weights = {id(m.weight) for m in self.modules() if isinstance(m, nn.Linear)}
        last = max(1, (self.trainer.max_epochs or 1) - 1)
        ratio = self.final_lr / self.lr
        groups: list[dict[str, Any]] = []
        schedules: list[Callable[[int], float]] = []

        def decay(epoch: int, rest: int) -> float:
            return 1 + (ratio - 1) * min(epoch / last, 1.0) if epoch >= rest else 0.0

        for parameters, factor, rest in self.rates():
            trainable = [p for p in parameters if p.requires_grad]
            decayed = [p for p in trainable if id(p) in dense_weights]
            others = [p for p in trainable if id(p) not in dense_weights]
            lr = self.lr * factor
            groups.append({"params": decayed, "weight_decay": self.weight_decay, "lr": lr})
            groups.append({"params": others, "weight_decay": 0.0, "lr": lr})
            schedules += [partial(decay, rest=rest)] * 2
        optimizer = torch.optim.Adam(groups, lr=self.lr)
        return {"optimizer": optimizer, "lr_scheduler": LambdaLR(optimizer, schedules)}

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["apt"] = {
            **self.metadata,
            "format": FORMAT,
            "version": __version__,
            "stage": self.stage,
            "traits": list(TRAITS),
            "modalities": list(self.modalities),
            "networks": self.networks,
        }

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.metadata = dict(checkpoint.get("apt", {}))
        take_over(self.trainer, self, checkpoint)

    def features(self, store: Store) -> FrozenFeatures | None:
        """Features of the frozen encoders for every clip of a store, on the training device; None in stage 1."""
        if self.encoders is None:
            return None
        key = f"{store.fingerprint} {self.trainer.precision}"
        if self._features is None or self._features[0] != key:
            strategy = self.trainer.strategy
            features = frozen_features(
                self.encoders,
                lambda name: ClipDataset(store, [name], vocabulary=self.vocabulary, sets=self.sets),
                store.path / "frozen",
                key,
                strategy.root_device,
                self.trainer.precision_plugin.forward_context,
                self.trainer.global_rank,
                self.trainer.world_size,
                strategy.barrier,
            )
            self._features = key, features.to(strategy.root_device)
        return self._features[1]

    def encode(self, batch: Batch) -> Tensor:
        """Features (B, M, Q) of the frozen encoders: those of the batch, or computed from its raw inputs."""
        if batch.features is not None:
            return batch.features.to(self.trait_mean.dtype)  # cached in float32
        assert self.encoders is not None
        with torch.no_grad():
            features: Tensor = self.encoders(batch)
        return features
