"""Splits and loaders over one feature store, shared by all stages."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import cast

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from apt_lightning.common.batch import Batch
from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.common.ranges import check_ranges
from apt_lightning.common.traits import TraitStatistics, trait_statistics
from apt_lightning.data.collection.folds import read_folds
from apt_lightning.data.collection.name_lists import read_names
from apt_lightning.data.loading.consumer import Consumer, RawConsumer
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.data.loading.sampler import IndexBatches
from apt_lightning.data.loading.shared_memory import check_shared_memory
from apt_lightning.data.store.reader import Store


class FirstImpressionsDataModule(LightningDataModule):
    """Clips of a store that ``apt prepare`` wrote.

    With a Trainer its batches hold what the stage reads; without one, all modalities of the store as they are.

    Args:
        store: Folder of the feature store.
        batch_size: Clips per batch and process in training.
        eval_batch_size: Clips per batch in validation, test and prediction, but for frames: `batch_size` of them fit
            in memory.
        folds: File of source-disjoint folds; the official split is used without it.
        fold: Which fold is the test split, from 1; the next one is the validation split.
        quarantine: Text file with one clip name a line; these clips are left out.
        augment: Change crop and colours of frames in training.
        cache_features: Compute the features of frozen encoders once per clip. Without it they are computed
            at each step from augmented input.
        num_workers: Processes that decode frames; other inputs need none.
        seed: Seed of the order of training clips.
        withhold_test: Drop the labels of the test split and refuse its loader, for searches of hyperparameters.
    """

    def __init__(
        self,
        store: str,
        batch_size: int = 128,
        eval_batch_size: int = 512,
        folds: str | None = None,
        fold: int = 1,
        quarantine: str | None = None,
        augment: bool = True,
        cache_features: bool = True,
        num_workers: int = 0,
        seed: int = 42,
        withhold_test: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "num_workers": num_workers}
        check_ranges({**sizes, "fold": fold, "seed": seed}, "data")
        if folds is None and fold != 1:
            raise UsageError(
                f"`--data.fold={fold}` needs the file of folds, `--data.folds`; `apt run --folds` writes one"
            )
        self.store_path = store
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.folds = folds
        self.fold = fold
        self.quarantine = quarantine
        self.augment = augment
        self.cache_features = cache_features
        self.num_workers = num_workers
        self.seed = seed
        self.withhold_test = withhold_test

    @cached_property
    def store(self) -> Store:
        """The open store."""
        return Store.open(self.store_path)

    @override
    def setup(self, stage: str) -> None:
        clips = self.store.clips
        splits = [clip.split for clip in clips]
        if self.folds is not None:
            splits = list(read_folds(self.folds).splits([clip.source for clip in clips], self.fold))
        self.splits = np.array(splits)
        if self.withhold_test:  # in the store, so that no dataset made from it holds these labels
            clips[:] = [
                replace(clip, traits=(np.nan,) * 5) if split == "test" else clip
                for clip, split in zip(clips, splits, strict=True)
            ]
        usable = self.store.present.any(axis=1)
        if self.quarantine is not None:
            names, _ = read_names(self.quarantine, {clip.name for clip in clips})
            usable &= np.array([clip.name not in names for clip in clips])
        self.labels = np.array([clip.traits for clip in clips], dtype=np.float64).reshape(-1, 5)
        self.usable = usable
        if stage == "fit":
            for split in ("train", "validation"):
                if not len(self.positions(split)):
                    raise DataError(
                        f"{self.store_path} has no usable labelled clip in the {split} split;"
                        " `apt doctor` on the store says why clips were left out"
                    )

    def positions(self, split: str) -> Tensor:
        """Positions in the store of the usable clips of a split; for training, of those with all five labels."""
        chosen = (self.splits == split) & self.usable
        if split == "train":
            chosen &= ~np.isnan(self.labels).any(axis=1)
        else:
            chosen &= ~np.isnan(self.labels).all(axis=1)
        return torch.from_numpy(np.flatnonzero(chosen))

    @property
    def statistics(self) -> TraitStatistics:
        """Mean and population standard deviation of the training labels."""
        return trait_statistics(self.labels[self.positions("train").numpy()])

    @cached_property
    def source_numbers(self) -> Tensor:
        """(N,) number of the source of each clip of the store."""
        return torch.from_numpy(np.unique([clip.source for clip in self.store.clips], return_inverse=True)[1])

    @property
    def _consumer(self) -> Consumer:
        if self.trainer is None:
            return RawConsumer(tuple(self.store.kinds))
        return cast(Consumer, self.trainer.lightning_module)

    def _dataset(self, training: bool) -> ClipDataset:
        consumer = self._consumer
        return ClipDataset(
            self.store,
            consumer.modalities,
            features=consumer.features(self.store) if self.cache_features or not training else None,
            vocabulary=consumer.vocabulary,
            sets=consumer.sets,
            augment=self.augment and training,
        )

    def _loader(self, positions: Tensor, training: bool) -> DataLoader[Batch]:
        trainer = self.trainer
        rank, world_size = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        overfit = trainer is not None and trainer.overfit_batches > 0  # type: ignore[attr-defined]  # set by a connector
        on_gpu = trainer is not None and trainer.strategy.root_device.type == "cuda"
        dataset = self._dataset(training)
        sampler = IndexBatches(
            positions,
            self.batch_size if training or dataset.reads_frames else self.eval_batch_size,
            shuffle=training and not overfit,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
        )
        if training and not len(sampler):
            raise UsageError(
                f"{len(positions)} training clips do not fill one batch of {self.batch_size} on each of"
                f" {world_size} processes; lower `--data.batch_size`"
            )
        workers = self.num_workers if dataset.reads_frames else 0
        if workers:
            check_shared_memory(workers, sampler.batch_size, *self.store.frame_size, self.store.n_frames)
        return DataLoader(
            dataset,
            sampler=sampler,
            batch_size=None,
            # Without one each iterator draws from the global generator, at another moment after a resume.
            generator=torch.Generator().manual_seed(self.seed),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=dataset.reads_frames and on_gpu,
        )

    @override
    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.positions("train"), training=True)

    @override
    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.positions("validation"), training=False)

    @override
    def test_dataloader(self) -> DataLoader[Batch]:
        if self.withhold_test:
            raise UsageError("the test split is withheld (`data.withhold_test`), as in sweeps")
        return self._loader(self.positions("test"), training=False)

    @override
    def predict_dataloader(self) -> DataLoader[Batch]:
        return self._loader(torch.from_numpy(np.flatnonzero(self.usable)), training=False)
