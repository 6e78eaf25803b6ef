"""Encoders without a network, for what runs them: what they give can be computed by hand."""

import time

import numpy as np

from apt_lightning.data.encoding.encoder import Encoded
from apt_lightning.data.media.material import Reads


class _Simple:
    def __init__(self, weights, device):
        self.scale = float(weights or 1)

    def specification(self):
        return {"encoder": type(self).__name__, "weights": {"scale": str(self.scale)}}


class Loudness(_Simple):
    """Mean and deviation of each 0.1 s of sound, one layer."""

    reads = Reads("sound", rate=8000)

    def encode(self, batch):
        found = []
        for clip in batch:
            parts = clip.samples[: len(clip.samples) // 800 * 800].reshape(-1, 800)
            values = self.scale * np.stack([parts.mean(axis=1), parts.std(axis=1)], axis=1)[:, None]
            found.append(Encoded(values.astype(np.float32), 0.1 * np.arange(len(parts)) + 0.05))
        return found


class Slow(Loudness):
    def encode(self, batch):
        time.sleep(0.3)
        return super().encode(batch)


class Colour(_Simple):
    """Mean colour of the left and the right half: two layers of three numbers a picture."""

    reads = Reads("pictures", side=36, dense=False)

    def encode(self, batch):
        return [Encoded(np.stack([self._halves(p) for p in c.pictures]), np.array(c.times)) for c in batch]

    def _halves(self, picture):
        halves = np.split(picture.astype(np.float32), [picture.shape[1] // 2], axis=1)
        return np.stack([self.scale * half.mean(axis=(0, 1)) for half in halves])


class Words(_Simple):
    """Length and number of the letters a of each word; infinite for the word infinity."""

    reads = Reads("words")

    def encode(self, batch):
        rows = [[[np.inf if w == "infinity" else len(w), w.count("a")] for w in c.words.split()] for c in batch]
        return [Encoded(np.array(r, np.float32)[:, None], np.full(len(r), np.nan)) for r in rows]
