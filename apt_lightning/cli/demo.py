"""The whole method on synthetic clips: synthesise, prepare, train all stages, test, score two clips, report.

A second run goes on where the first stopped.
"""

from __future__ import annotations

import shlex

import jsonargparse


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt demo``."""
    parser.add_argument("--clips", type=int, default=900, help="clips, of 6 s")
    parser.add_argument("--seed", type=int, default=0, help="of the clips; training has its own, in runs/demo.yaml")
    parser.add_argument("--out", type=str, default="demo", help="folder of the clips, the store and the run")


def run(args: jsonargparse.Namespace) -> int:
    """Do one command after the other; the first that fails ends it with its status."""
    from pathlib import Path

    from apt_lightning.cli import dispatch
    from apt_lightning.common.console import say
    from apt_lightning.data.text.word_vectors import load_word2vec

    load_word2vec()  # before the minutes that the clips take
    out = Path(args.out)
    data, store, trained = str(out / "data"), str(out / "store"), str(out / "run")
    size = ["--seconds", "6", "--width", "320", "--height", "180"]

    def step(*words: str) -> int:
        say(f"$ apt {shlex.join(words)}", progress=True)
        return dispatch(list(words))

    status = (
        step("synthesize", data, "--clips", str(args.clips), "--seed", str(args.seed), *size)
        or step("prepare", data, store)
        or step("run", "--config", "runs/demo.yaml", "--store", store, "--out", trained)
    )
    if status:
        return status
    clips = [str(clip) for clip in sorted(Path(data).glob("test-*/*/*.mp4"))[:2]]
    return step("score", *clips, "--checkpoint", trained) or step("report", trained)
