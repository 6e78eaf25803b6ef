"""Loader workers hand batches over in memory that a system may have little of."""

import os
from pathlib import Path

from apt_lightning.common.errors import UsageError

SHARED = Path("/dev/shm")
"""Where Linux keeps it: in a container of Docker 64 MiB, unless more is asked for."""
AHEAD = 2
"""Batches that each worker has ready, torch's default."""


def check_shared_memory(workers: int, batch_size: int, height: int, width: int, n_frames: int) -> None:
    """Refuse to start workers whose batches of frames do not fit: they would die, or wait for ever.

    Args:
        workers: Processes.
        batch_size: Clips.
        height: Of a frame in pixels.
        width: Of a frame in pixels.
        n_frames: Frames a clip.

    Raises:
        UsageError: If they do not.
    """
    if not SHARED.is_dir():
        return
    system = os.statvfs(SHARED)
    free, batch = system.f_bavail * system.f_frsize, batch_size * n_frames * 3 * height * width
    if free < workers * AHEAD * batch:
        raise UsageError(
            f"{workers} loader workers keep {workers * AHEAD} batches of {batch >> 20} MiB in {SHARED}, which has"
            f" {free >> 20} MiB free; lower `--data.num_workers` (0 needs none) or `--data.batch_size`, or enlarge it"
            " (`docker run --shm-size=2g`)"
        )
