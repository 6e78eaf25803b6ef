"""Start-up: ``apt --help``, ``apt fit --help``, and ``apt score`` of one clip against the bare calls it must make.

Also the second clip on the page of ``apt serve``, which explains each score, against the second time of the bare calls,
and peak memory of the largest process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import tell

BARE = """
import sys, time
import numpy as np
import torch, torchvision, opensmile, av
clip, resnet, rounds = sys.argv[1:]
smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
net = torchvision.models.get_model(resnet).eval()
def work():
    with av.open(clip) as container:
        parts = []
        resampler = av.AudioResampler('fltp', rate=44100)
        for frame in container.decode(audio=0):
            parts += [f.to_ndarray() for f in resampler.resample(frame)]
    mono = np.concatenate(parts, axis=1).mean(axis=0)
    functionals = smile.process_signal(mono, 44100)
    with av.open(clip) as container:
        stream = container.streams.video[0]
        times = [(k + 0.5) * float(stream.duration * stream.time_base) / 6 for k in range(6)]
        frames = []
        for frame in container.decode(stream):
            if frames.__len__() < 6 and frame.time >= times[len(frames)]:
                frames.append(frame.reformat(248, 140, 'rgb24').to_ndarray())
    with torch.inference_mode():
        net(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[:, :, 6:134, 60:188].float() / 127.5 - 1)
for _ in range(int(rounds)):
    start = time.perf_counter()
    work()
print(time.perf_counter() - start)
"""
"""Prints the seconds of the last of some rounds."""


def measured(command: list[str]) -> tuple[float, float, str]:
    """Wall time of a command, MiB of its largest process, and what it prints."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, said


def seconds(command: list[str], rounds: int) -> float:
    """Median wall time of a command, a warm-up left out."""
    return statistics.median([measured(command)[0] for _ in range(rounds + 1)][1:])


def cold(score: list[str], bare: list[str], rounds: int) -> dict[str, float]:
    """`apt score` from its start to its end, and the bare calls."""
    pairs = [(measured(score), measured(bare)) for _ in range(rounds + 1)][1:]
    ours, theirs = zip(*pairs, strict=True)
    return {
        "seconds": statistics.median(one[0] for one in ours),
        "bare_seconds": statistics.median(one[0] for one in theirs),
        "ratio": statistics.median(a[0] / b[0] for a, b in pairs),
        "peak_mib": max(one[1] for one in ours),
        "bare_peak_mib": max(one[1] for one in theirs),
    }


def on_the_page(serve: list[str], clip: Path, bare: list[str], rounds: int) -> dict[str, float]:
    """A clip after the first on the running page, which explains it too, and the bare calls in a process that runs."""
    import httpx

    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address, taken = process.stdout.readline().split()[0], []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            files = {"clip": (clip.name, clip.read_bytes())}
            httpx.post(f"{address}api/score", files=files, data={"transcript": "hello"}, timeout=600).raise_for_status()
            taken.append(time.perf_counter() - start)
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.terminate()
    warm = float(measured([*bare[:-1], str(rounds + 1)])[2])
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return {"seconds": statistics.median(taken[1:]), "bare_seconds": warm, "peak_mib": peak / 1024}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    demo = Path("demo")
    parser.add_argument("--clip", default=next(demo.glob("data/test-1/*/*.mp4"), None), help="A clip; the demo's.")
    checkpoint = demo / "run" / "seed42" / "stage4" / "best.ckpt"
    parser.add_argument("--checkpoint", default=checkpoint, help="A stage-4 checkpoint; the demo's.")
    parser.add_argument("--backbone", default="resnet18", help="ResNet of the bare calls, as in the checkpoint.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="Write the figures here.")
    args = parser.parse_args()
    apt = [sys.executable, "-m", "apt_lightning"]
    figures = {}
    for name, words in {
        "--help": ["--help"],
        "--version": ["--version"],
        "fit --help": ["fit", "--help"],
    }.items():
        figures[f"startup/{name}"] = {"seconds": seconds([*apt, *words], args.rounds)}
    if args.clip and Path(args.checkpoint).is_file():
        bare = [sys.executable, "-c", BARE, str(args.clip), args.backbone, "1"]
        checkpoint = str(args.checkpoint)
        score = [*apt, "score", "--checkpoint", checkpoint, "--transcript", "hello", "--", str(args.clip)]
        figures["startup/score"] = cold(score, bare, args.rounds)
        serve = [*apt, "serve", checkpoint, "--port", "0"]
        figures["startup/page"] = on_the_page(serve, Path(args.clip), bare, args.rounds)
    tell(figures, args.json)


if __name__ == "__main__":
    main()
