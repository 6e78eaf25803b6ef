"""Features of frozen encoders, computed once per clip and kept beside the store."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from apt_lightning.common.batch import Inputs
from apt_lightning.common.console import bar
from apt_lightning.common.errors import StoreError
from apt_lightning.common.files import TEMPORARY, locked, reading, replacing
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.networks import FrameEncoder, ModalityEncoders, TokenEncoder

CHUNK = 512
"""Clips per file: the unit of work that a rank takes, and that an interruption can lose."""
BATCH = 32
"""Clips per forward pass."""
STALE = 60.0
"""Age in seconds from which an unfinished file, written in milliseconds, is what a killed process left."""


JOINED = "features.npy"


class FrozenFeatures:
    """Features of all clips, a column a modality.

    On the CPU the columns are memory-mapped: the processes of a machine share one copy in the kernel's page cache,
    which it drops if memory is short.

    Args:
        columns: (N, Q) each, on one device.
    """

    def __init__(self, columns: Sequence[Tensor]) -> None:
        self.columns = list(columns)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """(B, M, Q) features of the clips at ``rows`` (B,)."""
        return torch.stack([column[rows] for column in self.columns], dim=1)

    def to(self, device: torch.device) -> FrozenFeatures:
        """Put all columns on a device."""
        return FrozenFeatures([column.to(device) for column in self.columns])


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def frozen_features(
    encoders: ModalityEncoders,
    dataset: Callable[[str], ClipDataset],
    folder: Path,
    fingerprint: str,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]],
    rank: int = 0,
    world_size: int = 1,
    barrier: Callable[[], object] = lambda: None,
) -> FrozenFeatures:
    """Return the features of every clip of a store, reading those that exist and computing the others.

    Each modality has a folder named by its encoder's weights and the store's fingerprint. Rank r computes the
    ``CHUNK`` clips of the files r, r + world_size, ...; a file that a dead rank left out is computed by the next run.
    Rank 0 joins the files of all into one that can be memory-mapped.

    Args:
        encoders: Frozen encoders, on ``device``, in eval mode.
        dataset: Gives the raw inputs of one modality.
        folder: The store's ``frozen`` folder.
        fingerprint: Of the store's content and the precision of the forward pass.
        device: Where the encoders run.
        autocast: Context of the trainer's precision.
        rank: This process.
        world_size: Number of processes.
        barrier: Waits for all processes.

    Returns:
        float32 on the CPU; zeros where a clip lacks the modality.
    """
    columns = []
    for name, encoder in encoders.encoders.items():
        view: object = (encoder.frame_size, encoder.crop) if isinstance(encoder, FrameEncoder) else ""
        clips = dataset(name)
        if name in clips.sequences:
            view = clips.sequences[name].sums
        if isinstance(encoder, TokenEncoder) and encoder.further_words:
            view = encoder.further_words
        key = hashlib.sha256(f"{weights_hash(encoder)} {fingerprint} {name} {view}".encode()).hexdigest()[:16]
        target = folder / f"{name}-{key}"
        with suppress(OSError):  # of which the next line tells
            target.mkdir(parents=True, exist_ok=True)
        if not (target / JOINED).exists() and not os.access(target, os.W_OK):
            raise StoreError(
                f"{folder} has no features of this {name} encoder and cannot be written; copy the store to a place that"
                " can, or compute them once where it can"
            )
        n_clips = len(clips.present)
        chunks = [range(i, min(i + CHUNK, n_clips)) for i in range(0, n_clips, CHUNK)]
        files = [target / f"{chunk.start:09d}.npy" for chunk in chunks]
        own = () if (target / JOINED).exists() else range(rank, len(chunks), world_size)
        missing = [i for i in own if not files[i].exists()]
        to_do = sum(len(chunks[i]) for i in missing)
        with bar(to_do, f"{name} features", "clip") as shown:
            for i in missing:
                values = _encode(encoder, clips, chunks[i], device, autocast, shown)
                with replacing(files[i]) as part, part.open("wb") as stream:
                    np.save(stream, values)
        barrier()
        if rank == 0 and not (target / JOINED).exists():  # a finished store may be read-only
            with locked(target / "join.lock", blocking=True):  # another run may be at this
                _join(target, files, n_clips)
        barrier()
        with reading(target / JOINED, f"delete {target} to compute the features again"):
            values = np.load(target / JOINED, mmap_mode="c", allow_pickle=False)
            if values.shape != (n_clips, encoder.output_dim) or values.dtype != np.float32:
                raise ValueError(f"it holds {values.dtype} of shape {values.shape}")
        columns.append(torch.from_numpy(values))
    return FrozenFeatures(columns)


def _join(target: Path, files: Sequence[Path], n_clips: int) -> None:
    """Join the files of a modality into one, and remove them and what killed processes left."""
    joined = target / JOINED
    if not joined.exists():
        # Not memory-mapped: a full disk would end the process by SIGBUS.
        with replacing(joined) as part, part.open("wb") as stream:
            size = np.load(files[0], mmap_mode="r").shape[1]
            header = {"descr": "<f4", "fortran_order": False, "shape": (n_clips, size)}
            np.lib.format.write_array_header_1_0(stream, header)
            for file in files:
                stream.write(np.load(file).tobytes())
    for file in target.glob("[0-9]*.npy"):
        file.unlink()
    for left in target.glob(f"*{TEMPORARY}"):
        with suppress(FileNotFoundError):  # another process may remove or finish it now
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def _encode(
    encoder: nn.Module,
    clips: ClipDataset,
    chunk: range,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]],
    shown: tqdm,
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    parts = []
    with torch.inference_mode(), autocast():
        for start in range(chunk.start, chunk.stop, BATCH):
            batch = clips[torch.arange(start, min(start + BATCH, chunk.stop))]
            (inputs,) = batch.inputs.values()
            encoded = encode_inputs(encoder, inputs, device).float() * batch.present.to(device)
            parts.append(encoded.cpu().numpy())
            shown.update(len(batch.positions))
    return np.concatenate(parts)


def encode_inputs(encoder: nn.Module, inputs: Inputs, device: torch.device) -> Tensor:
    """Features (B, Q) of one modality's raw inputs, computed on ``device``."""
    length = None if inputs.length is None else inputs.length.to(device)
    values = inputs.values.to(device)
    if values.is_floating_point():
        values = values.to(next(encoder.parameters()).dtype)  # float64 or bfloat16 in a true precision
    features: Tensor = encoder(values, length)
    return features
