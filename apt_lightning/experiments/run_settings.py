"""What ``apt run`` trains, as the run folder keeps it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import write_json
from apt_lightning.common.version import __version__
from apt_lightning.data.store.index import PREPARED
from apt_lightning.data.store.reader import Store
from apt_lightning.experiments.plan import Unit, run_units

RUN = "run.json"


@dataclass(frozen=True)
class RunSettings:
    """What ``apt run`` trains."""

    store: str
    """Feature store."""
    out: str
    """Run folder."""
    stages: str = "configs"
    """Folder of the stage YAMLs; those that it lacks are the package's own (`apt configs`)."""
    modalities: list[str] | None = None
    """Which modalities of the store, in the order in which they are joined; all if not given."""
    overlay: str | None = None
    """Folder of YAMLs of the same names that hold only what differs."""
    seeds: list[int] = field(default_factory=lambda: [42])
    """One run of all stages a seed."""
    folds: int | None = None
    """Source-disjoint folds in place of the official split."""
    options: list[str] = field(default_factory=list)
    """Flags for every stage, such as ``--trainer.accelerator=gpu``."""
    isolate: bool = False
    """Train each stage in a process of its own, as several devices need."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """What is trained, in order; :func:`with_modalities` says of which modalities."""
        return run_units(self.modalities or ())


def with_modalities(settings: RunSettings, store: Store) -> RunSettings:
    """Settings that name the modalities: those that any clip of their store has where none were chosen.

    Raises:
        StoreError: If the store lacks one.
        UsageError: If one is named twice, or none.
    """
    usable = [name for name, column in zip(store.modalities, store.present.T, strict=True) if column.any()]
    modalities = usable if settings.modalities is None else settings.modalities
    store.columns(modalities)
    if not modalities or len(set(modalities)) != len(modalities):
        raise UsageError(f"`--modalities` must name each modality once, got {modalities}")
    return replace(settings, modalities=modalities)


def write_settings(settings: RunSettings) -> None:
    """Write what a run folder is made with, for :func:`read_settings`."""
    out = Path(settings.out)
    paths = {name: kept_path(getattr(settings, name), out) for name in ("store", "stages", "overlay")}
    write_json(out / RUN, {"format": 1, "version": __version__, **asdict(settings), **paths})


def read_settings(out: str | os.PathLike[str]) -> RunSettings:
    """Read what a run folder was made with.

    Raises:
        UsageError: If the folder is no run.
    """
    try:
        content = json.loads(Path(out, RUN).read_text(encoding="utf-8"))
        content.setdefault("modalities", list(PREPARED))  # runs of 0.1 did not say
        known = {item.name: content[item.name] for item in fields(RunSettings)}
    except OSError:
        raise UsageError(f"{os.fspath(out)} is no run folder: it has no {RUN}; `apt run` makes one") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        known = {}
    match known:
        case {
            "store": str(),
            "stages": str(),
            "overlay": str() | None,
            "folds": None | int(),
            "seeds": [int(), *seeds],
            "modalities": [str(), *modalities],
            "options": [*options],
        } if {*map(type, seeds)} <= {int} and {*map(type, [*modalities, *options])} <= {str}:
            pass
        case _:
            raise UsageError(f"{Path(out, RUN)} is damaged; the same `apt run` command writes it anew")
    paths = {name: found_path(known[name], Path(out)) for name in ("store", "stages", "overlay")}
    return RunSettings(**known | paths | {"out": os.fspath(out)})


def kept_path(path: str | None, out: Path) -> str | None:
    """A path as it is kept in a run: relative to the run where both may move together, else absolute."""
    if path is None or not Path(path).exists():  # a name of the package's configs
        return path
    place, around = Path(path).resolve(), out.resolve().parent
    return os.path.relpath(place, out.resolve()) if place.is_relative_to(around) else str(place)


def found_path(path: str | None, out: Path) -> str | None:
    """A path that :func:`kept_path` wrote; from the working folder where it is not there, as version 0.1 wrote it."""
    return str(out / path) if path and (out / path).exists() else path
