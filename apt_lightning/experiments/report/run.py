"""What the report reads: systems on the same clips, and of a run also its store and the files of its stages."""

from __future__ import annotations

import json
import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from apt_lightning.data.store.reader import Store
from apt_lightning.evaluation.metrics import Scores, score_by_seen
from apt_lightning.evaluation.predictions import Predictions, read_predictions
from apt_lightning.evaluation.significance import Comparison, Difference, compare
from apt_lightning.experiments.plan import Unit, run_units
from apt_lightning.experiments.results import RunResults, read_run
from apt_lightning.experiments.run_folder import RunFolder


@dataclass(frozen=True)
class Shown(ABC):
    """Systems on the same clips, as the sections of metrics read them: a run, or a stranger's file."""

    name: str
    """Unique on the page."""
    results: RunResults

    @property
    @abstractmethod
    def demographics(self) -> dict[str, dict[str, str]]:
        """Clip to attribute to group."""

    @property
    def synthetic(self) -> bool:
        """Whether the clips are drawn."""
        return False

    @property
    @abstractmethod
    def held_out(self) -> tuple[Predictions, Predictions] | None:
        """Validation and judged predictions of one model, the final system's; None where one is not known."""

    @cached_property
    def parts(self) -> dict[str, list[dict[str, Scores]]]:
        """System to the scores of each seed on all clips, and on those of seen and unseen sources."""
        return {system: [score_by_seen(table) for table in tables] for system, tables in self.results.systems.items()}

    def scores(self, system: str) -> list[Scores]:
        """Scores of each seed on all clips."""
        return [parts["all"] for parts in self.parts[system]]

    @property
    def final(self) -> str:
        """The last trained system: stage 4 where it is there."""
        return next(reversed(self.results.systems))

    @property
    def baseline(self) -> str | None:
        """Stage 2, if it is there and not the last."""
        titles = [system for system in self.results.systems if system.endswith("(stage 2)")]
        return titles[0] if titles and titles[0] != self.final else None

    @property
    def shown(self) -> dict[str, Predictions]:
        """Baseline and final system, first seed each: what the charts compare."""
        names = [name for name in (self.baseline, self.final) if name is not None]
        return {name: self.results.systems[name][0] for name in names}

    def against(self, other: str, system: str | None = None) -> Difference:
        """How a system, the final one if not given, differs from another in 1-MAE."""
        name = self.final if system is None else system
        if (name, other) not in self._compared:
            a, b = self.results.systems[other], self.results.systems[name]
            self._compared[name, other] = compare(a, b, paired_seeds=len(a) == len(b))
        return self._compared[name, other].metrics["1-MAE"]

    @cached_property
    def _compared(self) -> dict[tuple[str, str], Comparison]:
        return {}

    def short(self, system: str) -> str:
        """Name of a system for narrow columns."""
        return next((stage for stage in ("stage 2", "stage 4") if system.endswith(f"({stage})")), system)

    @property
    def seeds(self) -> int:
        """Seeds of the final system."""
        return len(self.results.systems[self.final])

    @property
    def seed_note(self) -> str:
        """Which of several seeds a chart shows."""
        return f" First of {self.seeds} seeds." if self.seeds > 1 else ""

    @property
    def clips(self) -> str:
        """Number of the judged clips in words."""
        table = self.results.systems[self.final][0]
        return f"{len(table)} {self.results.settings.get('split', 'test')} clips of {len(set(table.sources))} sources"


@dataclass(frozen=True)
class Run(Shown):
    """One run folder."""

    folder: Path
    store: Store

    @property
    def synthetic(self) -> bool:
        """Whether the clips are drawn."""
        return self.store.synthetic

    def local(self, text: str) -> str:
        """A text without the folders of this machine: paths in the run are relative to it, others keep their end."""
        text = text.replace(f"{self.folder.resolve()}{os.sep}", "")
        return re.sub(r"(?<![\w.:/])/(?:[^\s/'\",\]]+/)+", "…/", text)

    @classmethod
    def read(cls, folder: Path, name: str) -> Run:
        """Read a run folder.

        Args:
            folder: From ``apt run``.
            name: What the page calls it.

        Raises:
            UsageError: If the folder is no run, or has no finished stage.
            StoreError: If the feature store that it was trained on is not there.
        """
        results = read_run(folder)
        # Systems without a network carry no classes; stages carry those of their own training split.
        systems = {
            system: [p if p.classes is not None else p.with_statistics(results.statistics) for p in tables]
            for system, tables in results.systems.items()
        }
        store = Store.open(results.settings["store"])
        return cls(name, replace(results, systems=systems), folder, store)

    @cached_property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` holds."""
        found: dict[str, Any] = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        return found

    @property
    def units(self) -> tuple[Unit, ...]:
        """What was trained, in order."""
        return run_units(self.results.settings["modalities"])

    @property
    def final_unit(self) -> Unit:
        """The unit that trained the final system."""
        return next(unit for unit in self.units if unit.title == self.final)

    @cached_property
    def demographics(self) -> dict[str, dict[str, str]]:
        """Clip to attribute to group."""
        return {clip.name: clip.demographics for clip in self.store.clips if clip.demographics}

    @property
    def held_out(self) -> tuple[Predictions, Predictions] | None:
        """Validation and test predictions of the first seed and fold."""
        files = [self.file(self.final_unit.name, f"predictions_{split}.csv") for split in ("validation", "test")]
        validation, test = (None if file is None else read_predictions(file) for file in files)
        return None if validation is None or test is None else (validation, test)

    def folders(self, unit: str) -> list[Path]:
        """Folders of one unit, of all seeds and folds."""
        return RunFolder(self.folder).folders(unit)

    def file(self, unit: str, name: str) -> Path | None:
        """A file of the first seed and fold, if it is there."""
        settings = self.results.settings
        first = RunFolder(self.folder).part(settings["seeds"][0], None if settings["folds"] is None else 1)
        path = first / unit / name
        return path if path.is_file() else None


def style_of(run: Shown, system: str) -> str:
    """How a row of a system is set."""
    return "floor" if system in run.results.floors else "final" if system == run.final else ""
