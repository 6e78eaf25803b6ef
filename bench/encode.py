"""`apt encode` against what it must do: the bare loop over the encoder, and decoding alone.

* Where the encoder costs most: WavLM-base, DINOv2-S and MiniLM of random weights, against a loop of ``encode`` over the
  same batches, which lie decoded in memory. Clips a second, the loading of the weights left out on both sides; the
  start of the decoding processes counts for ours. What decoding a clip takes by itself stands beside it.
* Where it costs nothing: encoders that give one number, against as many processes that only decode, their start counted
  in on both sides.

All clips are of 720p; the figures are medians of rounds one after another. Ratios are the peer's time over ours, by
the wall and by the processors, whose time a busy machine changes less. Weights are drawn; speed does not depend on
them.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from apt_lightning.data.encoding.encode import Encoding, Plan, encode_share, encode_store, prepared
from apt_lightning.data.encoding.encoder import Choice, Encoded
from apt_lightning.data.encoding.pooling import Pooling
from apt_lightning.data.media.material import Material, Reads, Sense, Take, take_clip
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.preparation.share import Options
from apt_lightning.data.store.reader import Store
from bench import tell
from bench.prepare import write_set
from bench.stores import WORDS

MODALITIES: dict[Sense, str] = {"sound": "audio", "pictures": "visual", "words": "text"}
Seconds = tuple[float, float]
"""By the wall and by the processor."""
MODELS: dict[str, Sense] = {"WavLM-base": "sound", "DINOv2-S": "pictures", "MiniLM": "words"}


class Nothing:
    """An encoder that costs nothing: the mean of what it is given."""

    def __init__(self, weights: str | None, device: str) -> None:
        pass

    def specification(self) -> dict[str, Any]:
        """See :class:`~apt_lightning.data.encoding.encoder.Encoder`."""
        return {"encoder": type(self).__name__, "weights": {}}

    def encode(self, batch: Sequence[Material]) -> list[Encoded]:
        """One step a clip."""
        parts = (clip.samples if self.reads.sense == "sound" else clip.pictures[:, 0, 0] for clip in batch)
        return [Encoded(np.full((1, 1, 1), part.mean(), np.float32), np.zeros(1)) for part in parts]

    reads: Reads


class NoSound(Nothing):
    """Of sound."""

    reads = Reads("sound", dense=False)


class NoPictures(Nothing):
    """Of pictures."""

    reads = Reads("pictures", dense=False)


def save_model(folder: Path, name: str) -> None:
    """A model of the real one's size as `transformers` saves it."""
    t: Any = importlib.import_module("transformers")
    folder.mkdir(parents=True)
    if name == "WavLM-base":
        model = t.WavLMModel(t.WavLMConfig())
        processor = t.Wav2Vec2FeatureExtractor(do_normalize=False)
    elif name == "DINOv2-S":
        model = t.Dinov2Model(t.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518))
        processor = t.BitImageProcessor(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224})
    else:
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        (folder / "vocab.txt").write_text("\n".join([*special, *WORDS]) + "\n")
        processor = t.BertTokenizer.from_pretrained(folder)
        sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
        model = t.BertModel(t.BertConfig(**sizes, vocab_size=len(special) + len(WORDS)))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def clip_store(folder: Path, clips: int, seconds: float) -> Store:
    """A store whose clips have files and nothing else."""
    folder.mkdir()
    data = write_set(folder, clips, seconds)
    prepare(data, folder / "store", Options(extract="bench.stores:random_clip"))
    return Store.open(folder / "store")


def word_store(folder: Path, clips: int) -> Store:
    """A store of transcripts of 43 ± 14 words, as of First Impressions, without files."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    lengths = rng.normal(43, 14, clips).clip(5, 80).astype(int)
    lines = [f"{i}.mp4,{' '.join(rng.choice(WORDS, n))}" for i, n in enumerate(lengths)]
    (folder / "clips.csv").write_text("\n".join(["clip,transcript", *lines]) + "\n")
    prepare(folder / "clips.csv", folder / "store")
    return Store.open(folder / "store")


def materials(plan: Plan) -> list[Material]:
    """What the encoder reads of every clip, decoded; transcripts in the order of `apt encode`, longest first."""
    take = plan.recipe.take
    if take.sense == "words":
        words = sorted((clip.transcript or "" for clip in plan.store.clips), key=len, reverse=True)
        return [Material(words=said) for said in words]
    return [take_clip(str(clip.path), clip.name, take).material for clip in plan.store.clips]


def timed(call: Any) -> Seconds:
    """Wall and processor time of a call, or of a generator to its end; of ended child processes too."""
    start = time.perf_counter(), sum(os.times()[:4])
    for _ in call() or ():
        pass
    return time.perf_counter() - start[0], sum(os.times()[:4]) - start[1]


def interleaved(peer: Callable[[], None], plan: Plan, rounds: int) -> list[tuple[Seconds, Seconds]]:
    """Time a peer and `apt encode` in turns."""
    taken = []
    for _ in range(rounds):
        forget(plan)
        taken.append((timed(peer), timed(partial(encode_share, plan, 0, 1))))
    return taken


def against_loop(store: Store, modality: str, encoding: Encoding, rounds: int) -> dict[str, float]:
    """`apt encode` and the bare loop."""
    plan = prepared(store, modality, encoding)
    encoder, start = plan.recipe.encoder, time.process_time()
    given = materials(plan)
    decoding = {"decoding_cpu_seconds_a_clip": (time.process_time() - start) / len(given)}

    def loop() -> None:
        for start in range(0, len(given), encoding.batch):
            encoder.encode(given[start : start + encoding.batch])

    encoder.encode(given[:1])
    return figures(store, modality, encoding, interleaved(loop, plan, rounds), "bare") | decoding


def against_decoding(store: Store, modality: str, encoding: Encoding, rounds: int) -> dict[str, float]:
    """`apt encode` and processes that decode."""
    plan = prepared(store, modality, encoding)
    workers = len(os.sched_getaffinity(0))
    decode = partial(decoded, take=plan.recipe.take)
    paths = [str(clip.path) for clip in store.clips]

    def alone() -> None:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            list(pool.map(decode, paths))

    return figures(store, modality, encoding, interleaved(alone, plan, rounds), "decoding")


def decoded(path: str, take: Take) -> int:
    """Decode a clip and keep nothing."""
    found = take_clip(path, path, take)
    return found.samples.size + found.pictures.size


def figures(
    store: Store, modality: str, encoding: Encoding, taken: list[tuple[Seconds, Seconds]], peer: str
) -> dict[str, float]:
    """Clips a second of both sides, the peer's time over ours, and the size of what is stored."""
    found = encode_store(store, modality, encoding)  # joins what the last round encoded
    assert found is not None and found.covered == len(store)
    bare, ours = (len(store) / statistics.median(side[0] for side in times) for times in zip(*taken, strict=True))
    ratios = {
        name: statistics.median(bare[i] / ours[i] for bare, ours in taken)
        for i, name in enumerate(("ratio", "cpu_ratio"))
    }
    cpu = (statistics.median(side[1] for side in times) / len(store) for times in zip(*taken, strict=True))
    return {
        "per_second": ours,
        f"{peer}_per_second": bare,
        **ratios,
        **dict(zip((f"{peer}_cpu_seconds_a_clip", "cpu_seconds_a_clip"), cpu, strict=True)),
        "kb_a_clip": found.bytes / found.covered / 1000,
    }


def forget(plan: Plan) -> None:
    """Remove what was encoded."""
    for file in plan.folder.glob("shards/*/*"):
        file.unlink()


def main() -> None:
    """Make stores and models, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=32, help="clips of the models of sound and pictures")
    parser.add_argument("--more", type=int, default=80, help="clips of the encoders that cost nothing")
    parser.add_argument("--texts", type=int, default=400, help="transcripts")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a clip")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", help="file to write")
    args = parser.parse_args()
    told: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        few = clip_store(Path(scratch, "few"), args.clips, args.seconds)
        many = clip_store(Path(scratch, "many"), args.more, args.seconds)
        texts = word_store(Path(scratch, "texts"), args.texts)
        for name, sense in MODELS.items():
            folder = Path(scratch, name)
            save_model(folder, name)
            choice = Choice(f"transformers:{folder}", sense=sense)
            store = texts if sense == "words" else few
            pooling = Pooling(None if sense == "words" else 1.0)
            encoding = Encoding(choice, "model", Take(sense), pooling)
            told[f"encode/{name}"] = against_loop(store, MODALITIES[sense], encoding, args.rounds)
        for made in (NoSound, NoPictures):
            sense = made.reads.sense
            encoding = Encoding(Choice(f"python:bench.encode:{made.__name__}", sense=sense), "nothing", Take(sense))
            told[f"encode/decoding of {sense}"] = against_decoding(many, MODALITIES[sense], encoding, args.rounds)
    tell(told, args.json)


if __name__ == "__main__":
    main()
