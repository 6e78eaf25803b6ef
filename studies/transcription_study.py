"""What a machine's transcript does to the scores: word error rate and change of the traits on test clips.

``python -m studies.transcription_study demo/store demo/run/seed42/stage4/best.ckpt MODEL_FOLDER --clips 60``
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt

from apt_lightning.common.console import say
from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.data.media.extraction import Extraction
from apt_lightning.data.preparation.speech import transcribe_clips
from apt_lightning.data.store.reader import Store
from apt_lightning.data.text.tokens import tokenize
from apt_lightning.data.text.transcribe import Transcriber
from apt_lightning.evaluation.tables import number, render
from apt_lightning.stages.scorer import Scorer


def word_errors(given: list[str], found: list[str]) -> int:
    """Least number of words to insert, delete or replace (Levenshtein).

    Example:
        >>> word_errors(["we", "are", "happy"], ["we", "happy", "now"])
        2
    """
    row = list(range(len(found) + 1))
    for i, word in enumerate(given, start=1):
        above, row = row, [i]
        for j, other in enumerate(found, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (word != other)))
    return row[-1]


def main() -> None:
    """Transcribe, score three times, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("checkpoint")
    parser.add_argument("model", help="Folder of a Whisper model.")
    parser.add_argument("--clips", type=int, default=60, help="Test clips, drawn by --seed.")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    store, scorer = Store.open(args.store), Scorer(args.checkpoint)
    usable = [i for i, clip in enumerate(store.clips) if clip.split == "test" and store.present[i].all()]
    rows = np.random.default_rng(args.seed).permutation(usable)[: args.clips].tolist()
    paths = {str(store.clips[i].path): i for i in rows}
    transcriber = Transcriber(args.model)
    heard = {paths[path]: text or "" for path, text in transcribe_clips(transcriber, list(paths))}
    pairs = [(tokenize(store.clips[i].transcript or ""), tokenize(heard[i])) for i in rows]
    errors = sum(word_errors(*pair) for pair in pairs)
    functionals = store.vectors("audio")

    def scores(i: int, text: str | None) -> npt.NDArray[np.float64]:
        taken = Extraction(functionals[i], store.frames(i), store.frame_times(i), 0.0, [], "")
        return scorer.scores(scorer.features(taken, text))

    given = np.array([scores(i, store.clips[i].transcript) for i in rows])
    found = np.array([scores(i, heard[i]) for i in rows])
    without = np.array([scores(i, None) for i in rows])
    labels = np.array([store.clips[i].traits for i in rows])
    change = np.abs(found - given)
    table = [
        ["mean change, machine against given", *change.mean(axis=0), change.mean()],
        ["largest change", *change.max(axis=0), change.max()],
        ["mean change, no words against given", *np.abs(without - given).mean(axis=0), np.abs(without - given).mean()],
    ]
    for name, values in (("given", given), ("machine's", found), ("no words", without)):
        accuracy = 1 - np.abs(values - labels)
        table.append([f"1-MAE, {name}", *accuracy.mean(axis=0), accuracy.mean()])
    words = sum(len(one) for one, _ in pairs)
    title = f"{len(rows)} clips, {words} words, word error rate {errors / words:.3f}, {transcriber.source['model']}"
    say(render(["", *TRAIT_CODES, "mean"], [[str(row[0]), *map(number, row[1:])] for row in table], title))
    empty = sum(not one for _, one in pairs)
    say(f"clips without words: {empty}; example: {' '.join(pairs[0][0])!r} heard as {' '.join(pairs[0][1])!r}")


if __name__ == "__main__":
    main()
