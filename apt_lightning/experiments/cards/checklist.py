"""The reproducibility checklist of a run: each item, what the folder shows of it, and the command to do it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from apt_lightning.common.files import digest
from apt_lightning.data.store.reader import Store
from apt_lightning.experiments.cards.croissant import CARD
from apt_lightning.experiments.run_folder import RunFolder
from apt_lightning.experiments.run_settings import RUN, RunSettings, read_settings
from apt_lightning.stages.names import BEST
from apt_lightning.training.callbacks import METRICS_FILE, read_epochs


class Item(NamedTuple):
    """One line of the checklist."""

    title: str
    done: bool
    found: str
    """What the folder shows."""
    words: tuple[str, ...]
    """The command line, after ``apt``."""


def checklist(folder: Path) -> str:
    """Write the checklist of a run as Markdown; an item is ticked by what lies in the folder.

    Args:
        folder: Run folder of ``apt run``.

    Raises:
        UsageError: If the folder is no run.
        StoreError: If its feature store is not there.
    """
    lines = [f"# Reproducibility: {folder.resolve().name}", ""]
    for item in items(folder):
        lines += [
            f"- [{'x' if item.done else ' '}] **{item.title}**: {item.found}  ",
            f"  `apt {shlex.join(item.words)}`",
        ]
    return "\n".join(lines) + "\n"


def items(folder: Path) -> Iterator[Item]:
    """All items, those about the data first."""
    settings = read_settings(folder)
    store, run, trained = Store.open(settings.store), str(folder), RunFolder(folder)
    version = json.loads((folder / RUN).read_text(encoding="utf-8")).get("version", "unknown")
    packages = ", ".join(f"{name} {number}" for name, number in store.manifest["packages"].items())
    units = [unit.name for unit in settings.units]
    checkpoints = [file for file in trained.files("*", BEST) if file.parent.name in units]
    wanted = len(units) * len(settings.seeds) * (settings.folds or 1)
    configs = {path.parent.name: digest(path.read_text(encoding="utf-8")) for path in trained.files("*", "config.yaml")}
    tested = sorted({path.parent.name for path in trained.files("*", "predictions_test.csv")})
    last = checkpoints[-1].parent if checkpoints else trained.part(settings.seeds[0]) / units[-1]
    again = ("--data.store", settings.store, "--run_dir", f"{run}-again")
    yield Item("Program", True, f"apt-lightning {version}; at extraction {packages}", ("--version",))
    yield Item("Data", True, f"{len(store)} clips, fingerprint {store.fingerprint}", ("doctor", settings.store))
    card = store.path / CARD
    yield Item("Data described", card.is_file(), card.name, ("card", settings.store))
    yield Item("Leaks between splits named", True, "sources, copies, look-up", ("audit", settings.store))
    yield Item(
        "Hyperparameters",
        bool(configs),
        f"config.yaml of {len(configs)} stages, digest {digest(configs)}",
        ("fit", "--config", str(last / "config.yaml"), *again),
    )
    yield Item(
        "All stages trained",
        len(checkpoints) == wanted,
        f"{len(checkpoints)} of {wanted} checkpoints",
        _run(settings, settings.out),
    )
    yield Item(
        "Time of training", bool(checkpoints), f"{_minutes(folder):.1f} minutes in all", _run(settings, f"{run}-again")
    )
    yield Item(
        "Tested once, after training",
        "stage4" in tested,
        f"predictions of {', '.join(tested) or 'no stage'}",
        ("test", "--ckpt_path", str(last / BEST), *again),
    )
    yield Item(
        "Gain judged by a paired test over sources",
        {"stage2", "stage4"} <= set(tested),
        "stage 4 against stage 2",
        ("compare", run, run, "--stage_a", "stage2", "--stage_b", "stage4"),
    )
    several = len(settings.seeds) > 1
    more = RunSettings(**vars(settings) | {"seeds": settings.seeds if several else [1, 2, 3, 4, 5]})
    yield Item("Several seeds", several, f"seeds {settings.seeds}", _run(more, run if several else f"{run}-seeds"))
    apart = settings.folds is not None
    more = RunSettings(**vars(settings) | {"folds": settings.folds or 5})
    found = f"{settings.folds} folds" if apart else "official split"
    yield Item("People of training and test apart", apart, found, _run(more, run if apart else f"{run}-folds"))
    ablation = folder / "ablation.csv"
    yield Item("Ablations", ablation.is_file(), ablation.name, ("ablate", *_run(settings, run)[1:]))
    report = folder / "report.html"
    yield Item("All tables and charts", report.is_file(), report.name, ("report", run))


def _run(settings: RunSettings, out: str) -> tuple[str, ...]:
    words = ["run", "--store", settings.store, "--out", out, "--stages", settings.stages, f"--seeds={settings.seeds}"]
    words += [] if settings.overlay is None else ["--overlay", settings.overlay]
    words += [] if settings.folds is None else [f"--folds={settings.folds}"]
    words += [f"--options={json.dumps(settings.options)}"] if settings.options else []
    return tuple(words)


def _minutes(folder: Path) -> float:
    """Sum of the epochs' times."""
    seconds = 0.0
    for path in RunFolder(folder).files("*", METRICS_FILE):
        seconds += sum(float(line.get("seconds") or 0) for line in read_epochs(path))
    return seconds / 60
