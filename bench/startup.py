"""Start-up: ``apt --help``, ``apt fit --help``, and ``apt score`` of one clip against the bare calls it must make."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

BARE = """
import sys, io
import numpy as np
import torch, torchvision, opensmile, av
clip, resnet = sys.argv[1:]
with av.open(clip) as container:
    parts = []
    resampler = av.AudioResampler('fltp', rate=44100)
    for frame in container.decode(audio=0):
        parts += [f.to_ndarray() for f in resampler.resample(frame)]
mono = np.concatenate(parts, axis=1).mean(axis=0)
smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
functionals = smile.process_signal(mono, 44100)
with av.open(clip) as container:
    stream = container.streams.video[0]
    times = [(k + 0.5) * float(stream.duration * stream.time_base) / 6 for k in range(6)]
    frames = []
    for frame in container.decode(stream):
        if frames.__len__() < 6 and frame.time >= times[len(frames)]:
            frames.append(frame.reformat(248, 140, 'rgb24').to_ndarray())
net = torchvision.models.get_model(resnet).eval()
with torch.inference_mode():
    net(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[:, :, 6:134, 60:188].float() / 127.5 - 1)
"""


def seconds(command: list[str], rounds: int) -> list[float]:
    """Wall times of a command, a warm-up left out."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return times[1:]


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
        figures[f"startup/{name}"] = {"seconds": statistics.median(seconds([*apt, *words], args.rounds))}
    if args.clip and Path(args.checkpoint).is_file():
        ours, bare = [], []
        for _ in range(args.rounds):
            words = ["score", str(args.clip), "--checkpoint", str(args.checkpoint), "--transcript", "hello"]
            ours += seconds([*apt, *words], 1)
            bare += seconds([sys.executable, "-c", BARE, str(args.clip), args.backbone], 1)
        ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
        figures["startup/score"] = {
            "seconds": statistics.median(ours),
            "bare_seconds": statistics.median(bare),
            "ratio": ratio,
        }
    for name, row in figures.items():
        print(f"{name:<22}" + "  ".join(f"{key} {value:.2f}" for key, value in row.items()))
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
