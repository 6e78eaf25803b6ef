"""Preparation against the bare library calls it must make, interleaved, on clips of 15 s at 1280x720.

The floor of n clips on w workers is the sum of the times of the bare calls (open, decode six frames and the
sound with PyAV, scale, JPEG, openSMILE), measured inside w processes that run side by side, divided by w.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np
import opensmile
from PIL import Image

from bench import tell

N_FRAMES, HEIGHT, WIDTH, RATE = 6, 140, 248, 44_100


def write_clip(path: Path, seconds: float, gop: int, seed: int, size: tuple[int, int] = (1280, 720)) -> None:
    """A moving picture with noise and a voice-like sound: H.264 at about 2 Mbit/s with B frames, AAC."""
    rng = np.random.default_rng(seed)
    width, height = size
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30, width=width, height=height, pix_fmt="yuv420p")
        video.options = {"preset": "veryfast", "g": str(gop), "bf": "3", "b": "2M", "sc_threshold": "0"}
        audio = container.add_stream("aac", rate=RATE, layout="stereo")
        yy, xx = np.mgrid[:height, :width]
        noise = rng.integers(0, 40, (height, width + 256), dtype=np.uint8)
        for i in range(int(seconds * 30)):
            shade = ((xx + 4 * i) // 8 + yy // 6).astype(np.uint8)
            grey = shade // 2 + noise[:, i % 256 : i % 256 + width]
            frame = av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, axis=2), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 30)
            container.mux(video.encode(frame))
        t = np.arange(int(seconds * RATE)) / RATE
        pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * t)
        wave = sum(np.sin(k * 2 * np.pi * np.cumsum(pitch) / RATE) / k for k in range(1, 12))
        sound = (0.1 * wave * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)
        for start in range(0, len(sound), 1024):
            chunk = np.repeat(sound[None, start : start + 1024], 2, axis=0)
            part = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk), format="fltp", layout="stereo")
            part.sample_rate, part.pts = RATE, start
            container.mux(audio.encode(part))
        container.mux(video.encode())
        container.mux(audio.encode())


def write_set(folder: Path, n: int, seconds: float) -> Path:
    """``n`` clips, half with a key frame every 12 and half every 250 frames; each file's bytes differ."""
    kinds = []
    for seed, gop in enumerate((12, 250)):
        write_clip(folder / f"kind{seed}.mp4", seconds, gop, seed)
        kinds.append((folder / f"kind{seed}.mp4").read_bytes())
        (folder / f"kind{seed}.mp4").unlink()
    names = [f"clip{i:04d}.mp4" for i in range(n)]
    for i, name in enumerate(names):
        free_box = (12).to_bytes(4, "big") + b"free" + i.to_bytes(4, "big")
        (folder / name).write_bytes(kinds[i % 2] + free_box)
    (folder / "clips.csv").write_text("\n".join(["clip", *names]) + "\n")
    return folder / "clips.csv"


_smile: opensmile.Smile | None = None


def bare_calls(path: str) -> dict[str, float]:
    """Seconds of each bare call on one clip, without checks, hashes or storing."""
    global _smile
    if _smile is None:
        _smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
        _smile.process_signal(np.zeros(RATE, np.float32), RATE)
    times = {}
    start = time.perf_counter()
    images = bare_frames(path)
    times["frames"] = time.perf_counter() - start
    start = time.perf_counter()
    for image in images:
        Image.fromarray(image).save(io.BytesIO(), "JPEG", quality=95)
    times["jpeg"] = time.perf_counter() - start
    start = time.perf_counter()
    with av.open(path) as container:
        chunks = [frame.to_ndarray() for frame in container.decode(audio=0)]
    signal = np.concatenate(chunks, axis=1).mean(axis=0)
    times["sound"] = time.perf_counter() - start
    start = time.perf_counter()
    _smile.process_signal(signal, RATE)
    times["opensmile"] = time.perf_counter() - start
    return times


def bare_frames(path: str) -> list[np.ndarray[Any, Any]]:
    """Six frames at bin centres: seek forward over key frames, skip what nothing refers to, then scale."""
    images = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        duration = float(stream.duration * stream.time_base)
        keys = [float(entry.timestamp * stream.time_base) for entry in stream.index_entries if entry.is_keyframe]
        targets = [(k + 0.5) * duration / N_FRAMES for k in range(N_FRAMES)]
        margin = 2.5 / float(stream.average_rate)
        position, shown, packets = 0.0, None, container.demux(stream)
        while len(images) < N_FRAMES:
            target = targets[len(images)]
            key = max(key for key in keys if key <= target)
            if key > position + 1:
                container.seek(int(key / stream.time_base), stream=stream)
                packets, shown = container.demux(stream), None
            for packet in packets:
                early = packet.pts is not None and float(packet.pts * packet.time_base) < target - margin
                context.skip_frame = "NONREF" if early else "DEFAULT"
                for frame in packet.decode():
                    while len(images) < N_FRAMES and frame.time > targets[len(images)] and shown is not None:
                        images.append(shown.to_ndarray(format="rgb24", width=WIDTH, height=HEIGHT))
                    shown, position = frame, frame.time
                if len(images) == N_FRAMES or (images and targets[len(images) - 1] >= target):
                    break
    return images


def main() -> None:
    """Write the clips, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a clip")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", help="file to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "clips")
        folder.mkdir()
        data = write_set(folder, args.clips, args.seconds)
        clips = sorted(str(path) for path in folder.glob("*.mp4"))
        rounds = [measure(clips, data, Path(scratch, f"store{i}"), args.workers) for i in range(args.rounds)]
    figures = {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}
    print("ratios of the rounds: " + ", ".join(f"{row['ratio']:.3f}" for row in rounds))
    tell({f"prepare/{args.clips} clips": figures}, args.json)


def measure(clips: list[str], data: Path, store: Path, workers: int) -> dict[str, float]:
    """One round: the bare calls side by side in ``workers`` processes, then the command."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(bare_calls, clips[: 2 * workers]))  # imports and first use are not counted
        bare = list(pool.map(bare_calls, clips))
    floor = sum(sum(times.values()) for times in bare) / workers
    start = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "apt_lightning",
        "prepare",
        str(data),
        str(store),
        "--workers",
        str(workers),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    bare_ms = {f"bare_{name}_ms": 1000 * statistics.mean(times[name] for times in bare) for name in bare[0]}
    return {"ratio": wall / floor, "prepare_seconds": wall, "floor_seconds": floor, **bare_ms}


if __name__ == "__main__":
    main()
