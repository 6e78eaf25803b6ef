"""Sets of clips that :mod:`fake_extract` reads, and what a store made from one holds."""

import json

import numpy as np
from fake_extract import expected, write_clip

from apt_lightning.common.traits import TRAITS
from apt_lightning.data.preparation.share import Options
from apt_lightning.data.store.reader import Store

OPTIONS = Options(extract="fake_extract:extract", workers=2, seconds=60)


def make_set(folder, behaviours, transcripts=None):
    """Write clips and their CSV; returns the CSV."""
    lines = [f"clip,source,split,{','.join(TRAITS)},transcript"]
    for i, behaviour in enumerate(behaviours):
        name = f"clip{i:04d}.json"
        if behaviour is not None:
            write_clip(folder / name, seed=i, **behaviour)
        text = "the same words for all" if transcripts is None else transcripts[i]
        lines.append(f"{name},source{i // 2},train,{i % 10 / 10},0.5,0.5,0.5,0.5,{text}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return folder / "clips.csv"


def content(path):
    """Everything a user of the store can see, and that it fits the clips on disk."""
    store = Store.open(path)
    assert store.damaged() == []
    for i, clip in enumerate(store.clips):
        if store.present[i, 0]:
            functionals, frames, _ = expected(clip.path)
            np.testing.assert_array_equal(store.vectors("audio")[i], functionals)
            assert store.frames(i) == frames
    return store.fingerprint, store.present.tobytes(), [clip.status for clip in store.clips]


def done(path):
    """Rows ever committed: clip name -> count."""
    rows = [line for file in path.glob("shards/*/rows.jsonl") for line in file.read_text().splitlines()]
    names = [json.loads(row)["name"] for row in rows]
    return {name: names.count(name) for name in names}
