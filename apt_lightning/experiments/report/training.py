"""Sections on what was trained, on which data, with which settings."""

from __future__ import annotations

import csv
import os
import platform
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apt_lightning.common.files import reading
from apt_lightning.common.traits import TRAIT_CODES, trait_classes
from apt_lightning.data.faults import FAULTS
from apt_lightning.evaluation.embedding_plot import CLASS_NAMES, MARKERS, draw_classes, principal_components
from apt_lightning.evaluation.tables import number
from apt_lightning.experiments.plan import Unit
from apt_lightning.experiments.report.blocks import Block, Chart, Key, Note, Panels, Section, Source, Table, TableRow
from apt_lightning.experiments.report.charts import BASELINE, CLASS_COLOURS, FINAL, picture
from apt_lightning.experiments.report.run import Run
from apt_lightning.training.callbacks import read_epochs

FloatArray = npt.NDArray[np.float64]

PACKAGES = ("apt-lightning", "torch", "lightning", "torchvision", "torchmetrics", "pytorch-metric-learning", "numpy")
"""Whose versions are shown."""
TEST_AGAIN = "test the stage again"


def embeddings(runs: Sequence[Run]) -> Section:
    """The embedding space of stage 3, as the paper's Figure 4."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        path = run.file("stage3", "embeddings_test.npz")
        if path is None:
            blocks[run.name] = [Note("No stage3/embeddings_test.npz: `apt test` of stage 3 writes it.")]
            continue
        with reading(path, TEST_AGAIN), np.load(path, allow_pickle=False) as arrays:
            values, present, labels = (arrays[name] for name in ("embeddings", "present", "labels"))
            modalities = [str(name) for name in arrays["modalities"]]
            fit = values.shape[:2] == present.shape and len(labels) == len(values)
            if not fit or not np.isfinite(values[present]).all():
                raise ValueError("its arrays do not fit each other")
        if present.sum() < 3:
            blocks[run.name] = [Note("Fewer than three test embeddings exist: nothing to draw.")]
            continue
        classes = trait_classes(labels.astype(np.float64), run.results.statistics)
        points, shares = principal_components(values.astype(np.float64), present)
        charts = [_scatter(run, points, classes, trait) for trait in range(len(TRAIT_CODES))]
        keys = [Key("▬", colour, name) for colour, name in zip(CLASS_COLOURS, CLASS_NAMES, strict=True)]
        glyphs = zip(cycle(MARKERS.values()), modalities, strict=False)
        keys += [Key(glyph, "currentColor", name) for glyph, name in glyphs]
        caption = (
            f"First two principal components ({shares[0]:.0%} and {shares[1]:.0%} of the variance) of the test "
            f"embeddings: {len(values)} clips, of which up to 25 a class and modality are drawn."
        )
        blocks[run.name] = [Panels(caption, charts, keys), *_retrieval(run)]
    intro = (
        "One network maps each modality's feature into a common space (stage 3). It has worked where low and high "
        "clips part, and where a clip's modalities lie together."
    )
    return Section("embeddings", "Embedding space", intro, runs=blocks)


def _scatter(run: Run, points: FloatArray, classes: npt.NDArray[np.int64], trait: int) -> Chart:
    from apt_lightning.experiments.report.behaviour import TRAIT_TITLES

    def draw(axes: Any) -> None:
        draw_classes(axes, points, classes[:, trait], 11, CLASS_COLOURS)
        axes.set_xlabel("first component")
        axes.set_ylabel("second component")

    alt = f"{run.name}: test embeddings by class of {TRAIT_TITLES[trait]}, two principal components"
    return picture(TRAIT_TITLES[trait], alt, draw, height=2.7)


def _retrieval(run: Run) -> list[Block]:
    path = run.file("stage3", "retrieval_test.csv")
    if path is None:
        return []
    rows = []
    with reading(path, TEST_AGAIN):
        with path.open(newline="") as stream:
            lines = [line for line in csv.DictReader(stream) if int(line["queries"])]
        for query, answer in dict.fromkeys((line["query"], line["answer"]) for line in lines):
            own = [line for line in lines if (line["query"], line["answer"]) == (query, answer)]
            means = [
                float(np.mean([float(line[key]) for line in own]))
                for key in ("precision", "precision_chance", "map_at_r", "map_at_r_chance")
            ]
            queries = sum(int(line["queries"]) for line in own)
            rows.append(TableRow([f"{query} → {answer}", str(queries), *(number(value, 3) for value in means)]))
    if not rows:
        return []
    head = ["query → answer", "queries", "P@10", "by chance", "MAP@R", "by chance"]
    notes = ["A clip's own source video is no answer. Above chance: the space finds clips of the same class."]
    caption = "Retrieval of test clips of the query's class, mean over traits; queries: clips in C1 or C4 of each trait"
    return [Table(caption, head, rows, notes)]


def curves(runs: Sequence[Run]) -> Section:
    """Learning curves of every unit."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        charts = []
        for unit in run.units:
            tables = [_epochs(folder / "metrics.csv") for folder in run.folders(unit.name)]
            tables = [table for table in tables if table]
            if tables:
                charts.append(_curve(run, unit, tables))
        if charts:
            keys = [Key("┅", BASELINE, "training loss"), Key("―", FINAL, "validation"), Key("◆", FINAL, "best epoch")]
            counts = Counter(clip.split for clip in run.store.clips if clip.status != "left out")
            caption = (
                f"By epoch: {counts['train']} usable training and {counts['validation']} validation clips of the store."
            )
            if run.seeds > 1 or run.results.settings["folds"]:
                caption += " A line for each seed and fold."
            blocks[run.name] = [Panels(caption, charts, keys)]
        else:
            blocks[run.name] = [Note("No metrics.csv in any stage's folder: there are no curves.")]
    intro = "The checkpoint of the best validation epoch is kept; the test split is read once, after training."
    return Section("curves", "Learning curves", intro, runs=blocks)


def _epochs(path: Path) -> dict[str, FloatArray]:
    """Columns of ``metrics.csv``, NaN where a cell is empty."""
    if not path.is_file():
        return {}
    lines = read_epochs(path)
    names = dict.fromkeys(name for line in lines for name in line)
    return {name: np.array([float(line.get(name) or "nan") for line in lines]) for name in names}


def _curve(run: Run, unit: Unit, tables: Sequence[dict[str, FloatArray]]) -> Chart:
    monitor = "val/precision" if unit.config == "stage3" else "val/accuracy"

    def draw(axes: Any) -> None:
        upper, lower = axes
        for table in tables:
            epoch = table["epoch"] + 1
            for name, place, colour, style in (("train/loss", upper, BASELINE, "--"), (monitor, lower, FINAL, "-")):
                if name in table:
                    marker = "." if len(epoch) < 3 else ""
                    place.plot(epoch, table[name], color=colour, ls=style, lw=1.3, marker=marker)
            if monitor in table and np.isfinite(table[monitor]).any():
                best = int(np.nanargmax(table[monitor]))
                lower.plot(epoch[best], table[monitor][best], "D", ms=4, color=FINAL)
        upper.set_ylabel("training loss")
        lower.set_ylabel("retrieval, P@10" if unit.config == "stage3" else "validation 1-MAE")
        lower.set_xlabel("epoch")
        lower.xaxis.get_major_locator().set_params(integer=True)

    epochs = max(len(table["epoch"]) for table in tables)
    alt = f"{run.name}: training loss and validation metric of {unit.title} over {epochs} epochs"
    return picture(unit.title, alt, draw, height=2.9, stacked=2)


def data(runs: Sequence[Run]) -> Section:
    """Clips given, used and left out."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        clips = run.store.clips
        training = {clip.source for clip in clips if clip.split == "train"}
        rows = []
        for split in ("train", "validation", "test", "unlabelled"):
            own = [clip for clip in clips if clip.split == split]
            if own:
                status = Counter(clip.status for clip in own)
                found = {clip.source for clip in own}
                labelled = sum(not np.isnan(clip.traits).any() for clip in own)
                counts = [len(own), status["ok"], status["degraded"], status["left out"], labelled, len(found)]
                shared = "" if split == "train" else str(len(found & training))
                rows.append(TableRow([split, *(str(n) for n in counts), shared]))
        head = ["split", "given", "ok", "degraded", "left out", "labelled", "sources", "sources also in train"]
        notes = ["Given = ok + degraded + left out. Degraded: used without a modality, or by features made elsewhere."]
        if run.results.settings["folds"]:
            notes.append(f"Trained on {run.results.settings['folds']} source-disjoint folds, not on these splits.")
        parts: list[Block] = [Table(f"{len(clips)} clips given", head, rows, notes), _faults(run)]
        blocks[run.name] = parts
    intro = "What came in and what became of it."
    return Section("data", "Data", intro, runs=blocks)


def _faults(run: Run) -> Block:
    clips = run.store.clips
    counts = Counter(code for clip in clips for code in {fault.code for fault in clip.faults})
    if not counts:
        return Note(f"No fault was found in any of the {len(clips)} clips.")
    rows = [
        TableRow([code, str(n), FAULTS[code].outcome.value, FAULTS[code].sentence]) for code, n in counts.most_common()
    ]
    affected = sum(bool(clip.faults) for clip in clips)
    caption = f"Reasons: {affected} of {len(clips)} clips have a fault; a clip can have several"
    return Table(
        caption,
        ["fault", "clips", "outcome", "meaning"],
        rows,
        ["`faults.csv` in the store names each clip."],
        prose=True,
    )


def settings(runs: Sequence[Run]) -> Section:
    """Settings, versions and seeds."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        record = run.record
        protocol = "official split" if record["folds"] is None else f"{record['folds']} source-disjoint folds"
        made = {name: str(version) for name, version in run.store.manifest.get("packages", {}).items()}
        here = {"Python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
        facts = {
            "run folder": run.folder.resolve().name,
            "trained with": f"apt-lightning {record.get('version', 'of an unknown version')}",
            "seeds": ", ".join(str(seed) for seed in record["seeds"]),
            "protocol": protocol,
            "stage settings": f"{record['stages']}" + (f", overlay {record['overlay']}" if record["overlay"] else ""),
            "further options": " ".join(record["options"]) or "none",
            "feature store": os.path.relpath(record["store"], run.folder),
            "made from": Path(run.store.manifest["data"]).name,
            "store fingerprint": str(run.store.fingerprint),
            "extraction": ", ".join(f"{key} {value}" for key, value in run.store.manifest["settings"].items()),
            "packages at extraction": _listed(made),
            "packages at this report": _listed(here),
        }
        rows = [TableRow([name, run.local(value)]) for name, value in facts.items()]
        caption = f"What was run: {len(run.store.clips)} clips given"
        parts: list[Block] = [Table(caption, ["setting", "value"], rows, prose=True)]
        for unit in run.units:
            config = run.file(unit.name, "config.yaml")
            if config is not None:
                text = config.read_text(encoding="utf-8")
                parts.append(Source(f"{unit.name}/config.yaml ({unit.title})", run.local(text)))
        blocks[run.name] = parts
    return Section("settings", "Settings and versions", "Enough to do it again.", runs=blocks)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
