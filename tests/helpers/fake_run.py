"""A finished run folder and its store, written by code: structured predictions without any training."""

import csv
import json
from dataclasses import asdict

import numpy as np

from apt_lightning.common.traits import TRAITS, trait_statistics
from apt_lightning.data.collection.folds import grouped_folds, write_folds
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.store.index import PREPARED
from apt_lightning.data.store.precomputed import put_features
from apt_lightning.data.store.reader import Store
from apt_lightning.evaluation.predictions import Predictions, write_predictions, write_statistics
from apt_lightning.experiments.plan import run_units
from apt_lightning.experiments.run_settings import RunSettings

SHRINK = {"stage1_text": 0.15, "stage1_audio": 0.3, "stage1_visual": 0.4, "stage2": 0.5, "stage4": 0.6}
N_CLIPS = 600


def make_store(folder, seed=0, demographics=True):
    """600 clips of 200 sources; all lack their file but 12 have features made elsewhere for each modality."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    groups = {"gender": ("female", "male"), "ethnicity": ("Asian", "Caucasian", "African-American")}
    names = []
    with (folder / "clips.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["clip", "source", "split", *TRAITS, "transcript", *(groups if demographics else ())])
        for i in range(N_CLIPS):
            source = f"s{i // 3:08d}"
            person = np.random.default_rng([seed, i // 3])
            own = [person.choice(values) for values in groups.values()] if demographics else []
            labels = np.clip(person.normal(0.52, 0.12, 5) + rng.normal(0, 0.08, 5), 0, 1).round(3)
            split = ("train", "train", "train", "validation", "test")[(i // 3) % 5]
            if i % 13 == 0 and split == "train":
                split = "test"  # so that some test clips have a training clip of the same source
            names.append(f"{source}.{i % 3:03d}.mp4")
            writer.writerow([names[-1], source, split, *labels, "a word and another", *own])
    assert prepare(folder / "clips.csv", folder / "store") == 0
    for modality in ("audio", "visual", "text"):
        np.save(folder / f"{modality}.npy", rng.normal(size=(N_CLIPS - 12, 16)).astype(np.float32))
        (folder / "names.txt").write_text("\n".join(names[12:]) + "\n")
        store = Store.open(folder / "store")
        put_features(store, modality, str(folder / f"{modality}.npy"), str(folder / "names.txt"))
    return folder / "store"


def make_run(folder, store_dir, seeds=(42,), units=None, seed=0, folds=None):
    """A run folder as `apt run` leaves it, without checkpoints."""
    store = Store.open(store_dir)
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    settings = asdict(
        RunSettings(str(store_dir), str(folder), seeds=list(seeds), folds=folds, modalities=list(PREPARED))
    )
    (folder / "run.json").write_text(json.dumps({"format": 1, "version": "0.1.0", **settings}))
    protocols = {"": [clip.split for clip in store.clips]}
    if folds is not None:
        sources = [clip.source for clip in store.clips]
        grouped = grouped_folds(sources, folds)
        write_folds(folder / "folds.json", grouped)
        protocols = {f"_fold{i}": grouped.splits(sources, i) for i in range(1, folds + 1)}
    for number in seeds:
        for suffix, splits in protocols.items():
            for unit in run_units():
                if units is None or unit.name in units:
                    place = folder / f"seed{number}{suffix}" / unit.name
                    place.mkdir(parents=True)
                    (place / "config.yaml").write_text(
                        f"seed_everything: {number}\nmodel:\n  class_path: {unit.config}\n"
                    )
                    _write_unit(place, unit, store, np.array(splits), rng)
    return folder


def _write_unit(place, unit, store, splits, rng):
    _write_metrics(place / "metrics.csv", unit, rng)
    labels = np.array([clip.traits for clip in store.clips])
    usable = store.present.any(axis=1)
    if unit.config == "stage3":
        _write_embeddings(place, labels[(splits == "test") & usable], rng)
        return
    training = {clip.source for clip, split in zip(store.clips, splits, strict=True) if split == "train"}
    write_statistics(place, trait_statistics(labels[(splits == "train") & usable]))
    for split in ("validation", "test"):
        rows = np.flatnonzero((splits == split) & usable)
        share = SHRINK.get(unit.name, 0.45)
        predicted = labels.mean(axis=0) + share * (labels[rows] - labels.mean(axis=0))
        predicted = predicted + rng.normal(0, 0.05, predicted.shape)
        clips = [store.clips[i] for i in rows]
        seen = np.array([clip.source in training for clip in clips])
        names, sources = [clip.name for clip in clips], [clip.source for clip in clips]
        table = Predictions(names, sources, seen, labels[rows], predicted)
        write_predictions(place / f"predictions_{split}.csv", table)


def _write_metrics(path, unit, rng):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        monitor = "val/precision" if unit.config == "stage3" else "val/accuracy"
        writer.writerow(["epoch", "seconds", monitor, "train/loss", "lr"])
        for epoch in range(12):
            metric = 0.9 - 0.03 * np.exp(-epoch / 3) + rng.normal(0, 0.001)
            loss = "" if epoch == 0 else 0.2 * np.exp(-epoch / 4) + 0.1
            writer.writerow([epoch, 0.2, metric, loss, 0.001])


def _write_embeddings(place, labels, rng):
    values = rng.normal(size=(len(labels), 3, 8)) + 4 * (labels[:, 1, None, None] - 0.5)
    values /= np.linalg.norm(values, axis=-1, keepdims=True)
    present = rng.random((len(labels), 3)) < 0.95
    names = np.array([f"{i}" for i in range(len(labels))])
    modalities = np.array(["audio", "visual", "text"])
    with (place / "embeddings_test.npz").open("wb") as stream:
        np.savez(stream, clips=names, embeddings=values, present=present, labels=labels, modalities=modalities)
