"""Peak memory of `apt encode`, from few clips to many, each size in a process of its own; links to one short sound."""

from __future__ import annotations

import argparse
import sys
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np

from apt_lightning.data.media.extraction import Extraction
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.preparation.share import Options
from bench.startup import measured

RATE = 16000


def unopened(path: str, name: str, settings: Any, functionals: bool = True) -> Extraction:
    """Stand in for the decoder in `apt prepare`, which is not measured."""
    return Extraction(np.ones(88, np.float32), [], [], 1.0, [], name)


def sound_store(folder: Path, clips: int) -> Path:
    """A store of as many clips that are links to one sound of a second."""
    with wave.open(str(folder / "sound.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((3000 * np.sin(np.arange(RATE) / 20)).astype("<i2").tobytes())
    names = [f"{i}.wav" for i in range(clips)]
    for name in names:
        (folder / name).symlink_to(folder / "sound.wav")
    (folder / "clips.csv").write_text("\n".join(["clip", *names]) + "\n")
    prepare(folder / "clips.csv", folder / "store", Options(extract="bench.encode_memory:unopened"))
    return folder / "store"


def main() -> None:
    """Measure each size and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 10_000])
    args = parser.parse_args()
    for clips in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            store = sound_store(Path(folder), clips)
            command = [sys.executable, "-m", "apt_lightning", "encode", str(store), "audio"]
            seconds, peak, said = measured([*command, "--encoder=python:bench.encode:NoSound", "--name=nothing"])
            print(f"{clips:>8} clips  {seconds:.1f} s  {peak:.0f} MiB  {said.strip()}")


if __name__ == "__main__":
    main()
