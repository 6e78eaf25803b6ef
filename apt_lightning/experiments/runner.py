"""Trains all stages in order, skipping what is complete and going on after an interruption."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from apt_lightning.common.configs import CONFIGS, find_config, read_yaml_text
from apt_lightning.common.console import LOG_FILE, logged, say
from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import locked, write_json
from apt_lightning.common.processes import die_with, launched_tasks
from apt_lightning.common.version import __version__
from apt_lightning.data.collection.folds import grouped_folds, write_folds
from apt_lightning.data.store.reader import Store
from apt_lightning.experiments.plan import Unit
from apt_lightning.experiments.run_folder import RunFolder
from apt_lightning.experiments.run_settings import RunSettings, with_modalities, write_settings
from apt_lightning.stages.names import BEST, LAST, LOCK, STAGE1

DONE = "done.json"
STARTED = "started.json"
FOLDS = "folds.json"
_WORK = (DONE, BEST, LAST)


@dataclass(frozen=True)
class Job:
    """One unit for one seed and split."""

    unit: Unit
    folder: Path
    arguments: list[str]
    key: str
    """Changes when anything that the result depends on changes."""


def protocols(settings: RunSettings) -> list[tuple[int | None, list[str]]]:
    """Fold and flags of each split: the official one, whose fold is None, or each fold."""
    if settings.folds is None:
        return [(None, [])]
    path = Path(settings.out, FOLDS)
    return [(i, [f"--data.folds={path}", f"--data.fold={i}"]) for i in range(1, settings.folds + 1)]


def plan(settings: RunSettings, units: Sequence[Unit], store: Store) -> Iterator[Job]:
    """All jobs on the store of the settings, each after those whose checkpoints it takes.

    Raises:
        UsageError: If there is no folder of the stage YAMLs, or of those that the overlay names.
    """
    for name, yamls in (("stages", settings.stages), ("overlay", settings.overlay)):
        if yamls is not None and not find_config(yamls).is_dir():
            raise UsageError(f"no folder {yamls}; `--{name}` is a folder of stage YAMLs")
    for seed in settings.seeds:
        for fold, split in protocols(settings):
            base = RunFolder(Path(settings.out)).part(seed, fold)
            keys: dict[str, str] = {}
            for unit in units:
                own = stage_file(settings.stages, unit)
                files = [own if own.is_file() else stage_file(str(CONFIGS), unit)]
                if settings.overlay is not None:
                    files += [file for file in [stage_file(settings.overlay, unit)] if file.is_file()]
                flags = [
                    f"--seed_everything={seed + unit.reseed}",
                    f"--data.seed={seed + unit.reseed}",
                    *split,
                    *settings.options,
                    *unit.options,  # last, so that no general flag undoes what makes the unit
                ]
                content = [read_yaml_text(file) for file in files]
                known = [
                    __version__,
                    store.fingerprint,
                    content,
                    flags,
                    [keys[name] for name in unit.earlier],
                    *_sets_read(store, unit, content),
                    *([] if settings.folds is None else [settings.folds]),
                ]
                keys[unit.name] = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
                folder = base / unit.name
                arguments = [f"--config={file}" for file in files]
                arguments += [f"--run_dir={folder}", f"--data.store={settings.store}", *flags, *unit.inputs(base)]
                yield Job(unit, folder, arguments, keys[unit.name])


def _sets_read(store: Store, unit: Unit, content: Sequence[str]) -> list[str]:
    """Digests of the feature sets that a unit reads: those it names, or all of a modality that reads some."""
    names = list(unit.sets)
    modality = unit.name.removeprefix(f"{STAGE1}_")
    if not names and modality in store.kinds:
        asked = store.kinds[modality] == "sequences" or any("features:" in text for text in content)
        names = [(modality, name) for name in store.sets(modality)] if asked else []
    return [store.feature_set(*name).sha256 for name in names]


def stage_file(folder: str, unit: Unit) -> Path:
    """The YAML of a unit in a folder: one of the unit's own name, or that of its stage."""
    own = find_config(Path(folder, f"{unit.name}.yaml"))
    return own if own.is_file() else find_config(Path(folder, f"{unit.config}.yaml"))


def is_done(job: Job) -> bool:
    """Whether the job's result is there, made with the same settings, data and earlier stages."""
    return _key(job.folder / DONE) == job.key


def is_begun(job: Job) -> bool:
    """Whether what lies in the job's folder is its own, whole or not."""
    return _key(job.folder / STARTED) == job.key


def check_keeps_work(jobs: Sequence[Job]) -> None:
    """Refuse to train where another training has left its work.

    Raises:
        UsageError: If a job's folder holds a model of other settings, data, version or earlier stages.
    """
    taken = [job.folder for job in jobs if not is_begun(job) and any((job.folder / name).is_file() for name in _WORK)]
    if taken:
        others = f" and {len(taken) - 1} more hold" if len(taken) > 1 else " holds"
        raise UsageError(
            f"{taken[0]}{others} a model trained with other settings, data or version; add `--overwrite=true` to"
            " `apt run` to replace what differs, or give another `--out`"
        )


def share_of(jobs: Sequence[Job], share: str) -> list[Job]:
    """Jobs of every N-th seed and fold, of which the stages stay together.

    Args:
        jobs: Of a run.
        share: ``I/N``, I from 1 to N.

    Raises:
        UsageError: If it is no such pair.
    """
    number, _, count = share.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"`--share` must be I/N with I from 1 to N, such as 2/5, but is {share!r}")
    folders = list(dict.fromkeys(job.folder.parent for job in jobs))
    chosen = folders[int(number) - 1 :: int(count)]
    return [job for job in jobs if job.folder.parent in chosen]


def run(
    settings: RunSettings, units: Sequence[Unit] | None = None, share: str | None = None, overwrite: bool = False
) -> list[Job]:
    """Train, validate and test every unit that is not done.

    Args:
        settings: What to train.
        units: Which units, each after those that it needs; those of the paper's Table 1 if not given.
        share: Which seeds and folds, see :func:`share_of`; processes with other shares may train at the same time.
        overwrite: Replace stages that were trained with other settings, data or version.

    Returns:
        The jobs, done.

    Raises:
        UsageError: If this is one of several processes that train together, or work would be lost.
        StoreError: If another process is at this run.
    """
    if launched_tasks() > 1 or "LOCAL_RANK" in os.environ:
        raise UsageError(
            "`apt run` is for one process; with `--isolate=true` it starts those of each stage, see docs/cluster.md"
        )
    seeds = settings.seeds
    if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**32 for seed in seeds):
        raise UsageError(f"`--seeds` must name each seed once, from 0 and below 2^32, but is {seeds}")
    store = Store.open(settings.store)
    settings = with_modalities(settings, store)
    jobs = list(plan(settings, units or settings.units, store))
    sources = [clip.source for clip in store.clips]
    folds = None if settings.folds is None else grouped_folds(sources, settings.folds)
    out = Path(settings.out)
    if (out / "manifest.json").is_file():
        raise UsageError(f"`--out` is {out}, a feature store; give the run a folder of its own")
    out.mkdir(parents=True, exist_ok=True)
    log = LOG_FILE
    if share is not None:
        jobs = share_of(jobs, share)
        log = f"{share.replace('/', 'of')}_{LOG_FILE}"
    with ExitStack() as stack:
        for folder in [out] * (share is None) + sorted({job.folder.parent for job in jobs}):
            stack.enter_context(locked(folder / LOCK))
        if not overwrite:
            check_keeps_work(jobs)
        if folds is not None:
            write_folds(out / FOLDS, folds)
        stack.enter_context(logged(out / log))
        write_settings(settings)
        complete(jobs, settings.isolate)
    return jobs


def complete(jobs: Sequence[Job], isolate: bool = False) -> None:
    """Do the jobs that are not done, in order; one that was interrupted goes on from its last epoch."""
    for i, job in enumerate(jobs, start=1):
        if is_done(job):
            say(f"[{i}/{len(jobs)}] {job.folder}: complete", progress=True)
            continue
        resumed = is_begun(job) and (job.folder / LAST).is_file()
        say(f"[{i}/{len(jobs)}] {job.folder}: {'going on' if resumed else 'training'}", progress=True)
        if not resumed:
            shutil.rmtree(job.folder, ignore_errors=True)
            job.folder.mkdir(parents=True)
            write_json(job.folder / STARTED, {"key": job.key})
        execute(job, resumed, isolate)
        write_json(job.folder / DONE, {"key": job.key, "unit": job.unit.name})


def execute(job: Job, resumed: bool, isolate: bool) -> None:
    """Fit and, if its unit says so, test one job in this process, or each in a process of its own."""
    resume = [f"--ckpt_path={job.folder / LAST}"] if resumed else []
    commands = [["fit", *job.arguments, *resume]]
    if job.unit.test:
        commands.append(["test", *job.arguments, "--tables=false"])
    from apt_lightning.training.fit import run_lightning

    for command in commands:
        status = _run_apart(command) if isolate else run_lightning(command)
        if status:
            raise UsageError(f"stage {job.unit.name} ended with status {status}: apt {' '.join(command)}")


def _run_apart(command: list[str]) -> int:
    words = [sys.executable, "-m", "apt_lightning", *command]
    return subprocess.run(words, preexec_fn=partial(die_with, os.getpid())).returncode


def _key(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
