"""Damaged media files, through the pool that preparation uses: every clip gets a status."""

import av
import numpy as np
import pytest
from mutants import mutate

from apt_lightning.data.faults import FAULTS
from apt_lightning.data.media.extraction import ExtractionSettings
from apt_lightning.data.preparation.child import PoolJob, Task
from apt_lightning.data.preparation.pool import run_pool
from apt_lightning.data.preparation.share import settings_of


def small_clip(path, seconds=1.0, rate=44100):
    """Moving noise and a tone, H.264 and AAC."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=12)
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        sound = out.add_stream("aac", rate=rate, layout="mono")
        for _ in range(int(12 * seconds)):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (64, 96, 3), np.uint8), "rgb24")
            out.mux(picture.encode(frame))
        tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(int(rate * seconds)) / rate).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
        frame.sample_rate = rate
        out.mux(sound.encode(frame))
        for stream in (picture, sound):
            out.mux(stream.encode(None))


def attack(number, tmp_path):
    seeds = []
    for name in ("seed.mp4", "seed.mkv"):
        small_clip(tmp_path / name)
        seeds.append((tmp_path / name).read_bytes())
    rng = np.random.default_rng(11)
    tasks = []
    for i in range(number):
        path = tmp_path / f"{i}.mp4"
        path.write_bytes(mutate(seeds[i % 2], rng))
        tasks.append(Task(path.name, str(path), path.stat().st_size))
    tasks.append(Task("seed.mp4", str(tmp_path / "seed.mp4"), len(seeds[0])))
    settings = settings_of(ExtractionSettings())
    shards = tmp_path / "store" / "shards"
    results = list(run_pool(tasks, PoolJob(settings, str(shards / "w")), workers=2, seconds=30))
    assert sorted(result.task.name for result in results) == sorted(task.name for task in tasks)
    status = {result.task.name: result.status for result in results}
    assert status["seed.mp4"] in ("ok", "degraded")
    for result in results:
        assert result.status in ("ok", "degraded", "left out")
        assert result.status == "ok" or result.faults
        assert {fault.code for fault in result.faults} <= FAULTS.keys()
    for file in shards.glob("*/audio.f4"):
        assert np.isfinite(np.fromfile(file, "<f4")).all()


def test_some_mutants_of_clips(tmp_path):
    attack(16, tmp_path)


@pytest.mark.slow
def test_many_mutants_of_clips(tmp_path):
    attack(400, tmp_path)
