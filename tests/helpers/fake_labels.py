"""Labels without media, and files of predictions in the forms that people publish."""

import csv
import json

import numpy as np

from apt_lightning.common.traits import TRAITS
from apt_lightning.data.synthetic.build import plan_clips
from apt_lightning.data.synthetic.layout import write_tables

OCEAN = [4, 3, 0, 2, 1]
"""Positions of O, C, E, A and N in the order of the traits."""


def make_labels(folder, n=300, seed=0):
    """Official label files of a synthetic set, no media; returns {split: {clip: labels}}."""
    folder.mkdir(parents=True, exist_ok=True)
    plans = plan_clips(None, n, seed, 2.0)
    write_tables(plans, folder, False)
    splits = {}
    for plan in plans:
        splits.setdefault(plan.split, {})[plan.name] = plan.labels
    return splits


def predict(labels, seed=0, noise=0.05, digits=6):
    """{clip: predictions} of a fair model."""
    rng = np.random.default_rng(seed)
    return {
        clip: np.round(0.5 + 0.6 * (values - 0.5) + noise * rng.normal(size=5), digits)
        for clip, values in labels.items()
    }


def _table(path, head, rows, delimiter=",", encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([head, *rows])
    return path


def challenge(folder, predicted, labels):
    """The challenge's own form: names without ending, the official misspelling, order E A C N O."""
    head = ["VideoName", "ValueExtraversion", "ValueAgreeableness", "ValueConscientiousness", "ValueNeurotisicm"]
    rows = [[clip.removesuffix(".mp4"), *(repr(float(v[i])) for i in (0, 2, 3, 1, 4))] for clip, v in predicted.items()]
    return _table(folder / "predictions.csv", [*head, "ValueOpenness"], rows)


def initials(folder, predicted, labels):
    """An index column, a folder in the name, pred_O and true_O, tabs."""
    head = ["", "path", *(f"pred_{t}" for t in "OCEAN"), *(f"true_{t}" for t in "OCEAN")]
    rows = [
        [i, f"test/video/{clip}", *(repr(float(v[j])) for j in OCEAN), *(repr(float(labels[clip][j])) for j in OCEAN)]
        for i, (clip, v) in enumerate(predicted.items())
    ]
    return _table(folder / "out.tsv", head, rows, "\t")


def full_names(folder, predicted, labels):
    """Full names in capitals, semicolons, a byte-order mark, an interview column, labels under the plain names."""
    head = [*(t.capitalize() for t in TRAITS), "Interview", *(f"{t.capitalize()}_hat" for t in TRAITS), "clip"]
    rows = [[*map(repr, labels[c].tolist()), 0.5, *map(repr, v.tolist()), c] for c, v in predicted.items()]
    return _table(folder / "full.csv", head, rows, ";", "utf-8-sig")


def ours(folder, predicted, labels):
    """Our own prediction table."""
    head = ["clip", "source", "seen_source", *(f"true_{t}" for t in TRAITS), *(f"pred_{t}" for t in TRAITS)]
    rows = [[c, c[:11], 1, *map(repr, labels[c].tolist()), *map(repr, v.tolist())] for c, v in predicted.items()]
    return _table(folder / "predictions_test.csv", head, rows)


def npz_named(folder, predicted, labels):
    """Arrays with names of clips and traits."""
    path = folder / "out.npz"
    values = np.array(list(predicted.values()))[:, OCEAN].astype(np.float32)
    np.savez(path, y_pred=values, names=np.array(list(predicted)), traits=np.array(list("OCEAN")))
    return path


def npz_columns(folder, predicted, labels):
    """A vector a trait."""
    path = folder / "columns.npz"
    values = np.array(list(predicted.values()))
    np.savez_compressed(path, video=np.array(list(predicted), dtype="S"), **dict(zip(TRAITS, values.T, strict=True)))
    return path


def json_records(folder, predicted, labels):
    path = folder / "records.json"
    rows = [{"video_id": c, "scores": "x"} | dict(zip(TRAITS, v.tolist(), strict=True)) for c, v in predicted.items()]
    path.write_text(json.dumps({"results": rows}))
    return path


def json_lines(folder, predicted, labels):
    path = folder / "records.jsonl"
    rows = [{"clip": c} | dict(zip(("E", "N", "A", "C", "O"), v.tolist(), strict=True)) for c, v in predicted.items()]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def json_by_clip(folder, predicted, labels):
    path = folder / "by_clip.json"
    path.write_text(json.dumps({c: dict(zip(TRAITS, v.tolist(), strict=True)) for c, v in predicted.items()}))
    return path


def json_by_trait(folder, predicted, labels):
    """As the official label files."""
    path = folder / "by_trait.json"
    path.write_text(json.dumps({t: {c: float(v[j]) for c, v in predicted.items()} for j, t in enumerate(TRAITS)}))
    return path


def parquet(folder, predicted, labels):
    import pyarrow
    from pyarrow.parquet import write_table

    path = folder / "out.parquet"
    columns = {"Filename": list(predicted)}
    columns |= {f"{t}_score": [float(v[j]) for v in predicted.values()] for j, t in enumerate(TRAITS)}
    write_table(pyarrow.table(columns), path)
    return path


FORMS = (
    challenge,
    initials,
    full_names,
    ours,
    npz_named,
    npz_columns,
    json_records,
    json_lines,
    json_by_clip,
    json_by_trait,
    parquet,
)
"""Forms that say of themselves what they hold."""


def json_lists(folder, predicted, labels):
    """{clip: [five numbers]}, the order of which is not said."""
    path = folder / "lists.json"
    path.write_text(json.dumps({c: v[OCEAN].tolist() for c, v in predicted.items()}))
    return path


def five_files(folder, predicted, labels):
    """A file a trait, without names, with the labels: test_predictions_0.csv to _4.csv in the order O C E A N."""
    place = folder / "five"
    place.mkdir()
    for number, j in enumerate(OCEAN):
        rows = [[repr(float(v[j])), repr(float(labels[c][j]))] for c, v in predicted.items()]
        _table(place / f"test_predictions_{number}.csv", ["Prediction", "GroundTruth"], rows)
    return place
