"""Five apparent traits by onnxruntime and NumPy alone: ``python score.py clip.npz "what is said in it"``.

Apparent, not actual, personality; not for hiring or ranking people. ``clip.npz`` holds an array a modality, if known:
vector  (D,) float32; a voice's 88 functionals: opensmile.Smile(FeatureSet.eGeMAPSv02, FeatureLevel.Functionals)
        .process_signal(samples, 44100), of the mean of the channels in [-1, 1]
frames  (F, H, W, 3) uint8, RGB: the pictures at (k + 1/2) / 6 of the clip, whole, scaled to H and W of `frame_size`
"""

import json
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np


def tokenize(text: str) -> list[str]:
    """Lower-case words, contractions split, without addresses, words with digits and marks that hold a time."""
    text = re.sub("[\x92\u2018\u2019\u02bc\uff07`\u00b4]", "'", unicodedata.normalize("NFKC", text).lower())
    marks, mail = r"\[[^\[\]]{0,80}?\d{1,2}:\d{2}[^\[\]]{0,80}\]", r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    domain = r"(?<![\w.-])[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|gov|io|tv|co\.uk)\b"
    for pattern in (marks, mail, rf"(?:https?://|www\.)\S+|{domain}\S*", r"(?<!\w)\w*\d\w*"):
        text = re.sub(pattern, " ", text)
    text = re.sub(r"\b(can(?=not\b)|gon(?=na\b)|got(?=ta\b))", r"\1 ", text)
    text = re.sub(r"(?<=[^\W\d_])(n't|'(?:s|m|d|ll|re|ve))(?![^\W\d_])", r" \1", text)
    return re.findall(r"(?:n't|'(?:s|m|d|ll|re|ve))(?![^\W\d_])|[^\W\d_]+(?:'[^\W\d_]+)*", text)


def inputs(clip: Any, text: str, encoders: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """What the graph reads of one clip; a batch has more rows, padded to the longest."""
    number = {word: i + 2 for i, word in enumerate(words)}  # 0 pads, 1 is any other word
    ids = [number.get(word, 1) for word in tokenize(text)[:80]]
    present, fed = [], dict[str, Any]()
    for name, encoder in encoders.items():
        kind, given, there = encoder["kind"], clip.get(name), name in clip
        if kind == "tokens":
            there, fed[name] = any(i > 1 for i in ids), np.array([ids or [0]], np.int64)
            fed[f"{name}_length"] = np.array([len(ids)], np.int64)
        elif kind == "frames":
            fed[name] = np.moveaxis(given if there else np.zeros((1, *encoder["frame_size"], 3), np.uint8), 3, 1)[None]
            fed[f"{name}_length"] = np.array([fed[name].shape[1]], np.int64)
        else:
            fed[name] = np.asarray(given if there else np.zeros(encoder["dim"]), np.float32)[None]
        present.append(there)
    return fed | {"present": np.array([present])}


if __name__ == "__main__":
    import onnxruntime

    here = Path(__file__).parent
    model = json.loads((here / "config.json").read_bytes())["apt"]
    words = (here / "words.txt").read_bytes().decode().split("\n")[:-1]
    fed = inputs(np.load(sys.argv[1]), " ".join(sys.argv[2:]), model["networks"]["encoders"], words)
    outputs = onnxruntime.InferenceSession(here / "model.onnx").run(None, fed)
    rows = zip(model["traits"], *(output[0] for output in outputs), strict=True)
    print(*(f"{trait:<18}{'  '.join(f'{value:.4f}' for value in values)}" for trait, *values in rows), sep="\n")
