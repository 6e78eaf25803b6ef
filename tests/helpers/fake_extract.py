"""A stand-in for the decoder: "clips" are small JSON files that say how to behave."""

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import numpy as np

from apt_lightning.common.errors import ClipError
from apt_lightning.data.faults import Fault
from apt_lightning.data.media.extraction import Extraction


def write_clip(path, **behaviour):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(behaviour))


def expected(path):
    """Functionals, JPEG stand-ins and times that a clip of these bytes must give."""
    rng = np.random.default_rng(int(hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8], 16))
    functionals = rng.normal(size=88).astype(np.float32)
    frames = [rng.bytes(int(rng.integers(20, 400))) for _ in range(6)]
    return functionals, frames, [0.25 + 0.5 * k for k in range(6)]


def fail(effect):
    if effect == "hang":
        time.sleep(1000)
    if effect == "memory":
        np.ones(1 << 40)
    raise ZeroDivisionError("a bug")


SPOILED = []
"""What an earlier clip has done to this process."""


def extract(path, name, settings, functionals=True):
    behaviour = json.loads(Path(path).read_text())
    for effect in SPOILED:
        fail(effect)
    SPOILED.extend(behaviour.get("spoils", []))
    time.sleep(behaviour.get("sleep", 0))
    audio, frames, times = expected(path)
    faults = []
    match behaviour.get("do", "ok"):
        case "hang":
            fail("hang")
        case "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "die once":
            marker = Path(path).with_suffix(".died")
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        case "raise" | "memory" as effect:
            fail(effect)
        case "unreadable":
            raise ClipError("not-a-video", "no container is known that begins so")
        case "no audio":
            audio = None
            faults = [Fault("no-audio", name, "")]
        case "nan":
            audio[3] = np.nan
        case "print":
            os.write(1, b"noise of a decoder\n")
    sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return Extraction(audio if functionals else None, frames, times, 3.0, faults, sha256)
