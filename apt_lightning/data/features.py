"""Features of frozen encoders, computed once per clip and kept beside the store."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from apt_lightning.data.dataset import ClipDataset
from apt_lightning.networks.encoders import FrameEncoder, ModalityEncoders, TokenEncoder

CHUNK = 512
"""Clips per file: the unit of work that a rank takes, and that an interruption can lose."""
BATCH = 32
"""Clips per forward pass."""
STALE = 60.0
"""Age in seconds from which an unfinished file, written in milliseconds, is what a killed process left."""


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
) -> Tensor:
    """Return the features of every clip of a store, reading those that exist and computing the others.

    Each modality has a folder named by its encoder's weights and the store's fingerprint, with a NumPy file of
    ``CHUNK`` clips each. Rank r computes chunks r, r + world_size, ...; a chunk that a dead rank left out is
    computed by the next run.

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
        (N, M, Q) float32 on the CPU; zeros where a clip lacks the modality.
    """
    columns = []
    for name, encoder in encoders.encoders.items():
        view = (encoder.frame_size, encoder.crop) if isinstance(encoder, FrameEncoder) else ""
        key = hashlib.sha256(f"{weights_hash(encoder)} {fingerprint} {name} {view}".encode()).hexdigest()[:16]
        target = folder / f"{name}-{key}"
        target.mkdir(parents=True, exist_ok=True)
        clips = dataset(name)
        chunks = [range(i, min(i + CHUNK, len(clips.present))) for i in range(0, len(clips.present), CHUNK)]
        files = [target / f"{chunk.start:09d}.npy" for chunk in chunks]
        missing = [i for i in range(rank, len(chunks), world_size) if not files[i].exists()]
        to_do = sum(len(chunks[i]) for i in missing)
        with tqdm(total=to_do, desc=f"{name} features", unit="clip", disable=not to_do) as bar:
            for i in missing:
                _write(files[i], _encode(encoder, clips, chunks[i], device, autocast, bar))
        for left in target.glob("*.tmp"):
            with suppress(FileNotFoundError):  # another process may remove or finish it now
                if time.time() - left.stat().st_mtime > STALE:
                    left.unlink()
        barrier()
        columns.append(np.concatenate([np.load(file) for file in files]))
    return torch.from_numpy(np.stack(columns, axis=1))


def _encode(
    encoder: nn.Module,
    clips: ClipDataset,
    chunk: range,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]],
    bar: tqdm,
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    parts = []
    with torch.inference_mode(), autocast():
        for start in range(chunk.start, chunk.stop, BATCH):
            batch = clips[torch.arange(start, min(start + BATCH, chunk.stop))]
            (inputs,) = batch.inputs.values()
            values = inputs.values.to(device)
            if isinstance(encoder, FrameEncoder):
                values = encoder.view(values)
            length = None if inputs.length is None else inputs.length.to(device)
            encoded = encoder(values, length).float() * batch.present.to(device)
            parts.append(encoded.cpu().numpy())
            bar.update(len(batch.positions))
    return np.concatenate(parts)


def _write(file: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        np.save(stream, values)
    temporary.replace(file)


def vocabulary_of(encoders: ModalityEncoders) -> list[str] | None:
    """Words of the text encoder's table; None if no encoder reads words."""
    for encoder in encoders.encoders.values():
        if isinstance(encoder, TokenEncoder):
            return encoder.vocabulary
    return None
