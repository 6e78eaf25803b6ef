"""Searches stage 3 by validation metrics of stage 4, or the joint training by its own; test cannot be reached.

Three things keep it out: the trial's data module drops the test labels and refuses a test loader
(``data.withhold_test``), the trial's units are never tested, and only validation metrics may be searched by.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from apt_lightning.common.configs import find_config
from apt_lightning.common.console import bar
from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import digest, locked, reading, write_csv, write_json
from apt_lightning.data.store.reader import Store
from apt_lightning.evaluation.tables import render
from apt_lightning.experiments.plan import Unit
from apt_lightning.experiments.run_settings import RunSettings, read_settings
from apt_lightning.experiments.runner import DONE, Job, complete, is_done, plan
from apt_lightning.experiments.sweep.search_space import JOINT, STAGE, Search, check_names, read_search, stage_of
from apt_lightning.experiments.sweep.study import ask, finished, open_study, trial_lock, under_way
from apt_lightning.stages.names import LOCK, STAGE3
from apt_lightning.stages.regression import RegressionModule
from apt_lightning.training.callbacks import best_epoch

if TYPE_CHECKING:
    import optuna

WITHHELD = ("--data.withhold_test=true", "--trainer.enable_progress_bar=false")
"""Flags of every trial."""
TRIALS, PLOT, BEST_FOLDER = "trials.csv", "trials.png", "best"


def trial_units(settings: RunSettings, parameters: Mapping[str, Any]) -> tuple[Unit, ...]:
    """Trainings of a trial, in a folder named after its parameters; the last is what it is judged by.

    Args:
        settings: From :func:`sweep_settings`.
        parameters: Flags of what is searched, without dashes, and which stage that is, to values.

    Returns:
        Stages 3 and 4, or the joint training alone, which starts from the run's stage 4.

    Raises:
        UsageError: If one may not be searched.
    """
    check_names(parameters)
    folder = f"sweeps/{digest(dict(parameters))}"
    searched = sorted((name, value) for name, value in parameters.items() if name != STAGE)
    flags = [f"--{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in searched]
    if stage_of(parameters) == JOINT:
        options, needs = (*WITHHELD, *flags), {"start_ckpt": "stage4"}
        return (Unit(f"{folder}/{JOINT}", JOINT, "joint training", needs=needs, options=options, test=False),)
    base = {unit.name: unit for unit in settings.units}
    third = replace(base["stage3"], name=f"{folder}/stage3", options=(*WITHHELD, *flags), test=False)
    needs = {"fusion_ckpt": "stage2", "siamese_ckpt": third.name}
    fourth = replace(base["stage4"], name=f"{folder}/stage4", needs=needs, options=WITHHELD, test=False)
    return third, fourth


def sweep_settings(run: str | os.PathLike[str], stage: str = STAGE3) -> tuple[RunSettings, list[Job]]:
    """Settings of a finished run that trials can build on, and its jobs.

    Args:
        run: Its folder.
        stage: What is searched.

    Raises:
        UsageError: If what trials build on is not complete (stages 1 and 2; for the joint training 3 and 4 too), or
            the run is over folds.
    """
    settings = read_settings(run)
    if settings.folds is not None:
        raise UsageError(
            f"{settings.out} is over folds, where every clip is tested in some fold, so a search would see the"
            " test labels; search on a run of the official split"
        )
    jobs = list(plan(settings, settings.units, Store.open(settings.store)))
    needed = ("stage2",) if stage == STAGE3 else ("stage2", STAGE3, "stage4")
    first = [job for job in jobs if job.unit.name.startswith("stage1_") or job.unit.name in needed]
    missing = [job.folder for job in first if not is_done(job)]
    if missing:
        raise UsageError(
            f"{missing[0]} is not complete, or made with other settings; `apt run` goes on where it stopped"
        )
    return settings, jobs


def run_trial(settings: RunSettings, parameters: Mapping[str, Any]) -> dict[str, float]:
    """Train a trial with the given parameters, or take over what an equal trial has left.

    Args:
        settings: From :func:`sweep_settings`.
        parameters: As for :func:`trial_units`.

    Returns:
        Validation metrics of the last training's best epoch, mean over the run's seeds.
    """
    units = trial_units(settings, parameters)
    store = Store.open(settings.store)
    jobs = [job for job in plan(settings, [*settings.units, *units], store) if job.unit in units]
    seeds = [jobs[i : i + len(units)] for i in range(0, len(jobs), len(units))]
    metrics = [_metrics(part, settings.isolate) for part in seeds]
    return {name: float(np.mean([found[name] for found in metrics])) for name in metrics[0]}


def _metrics(jobs: Sequence[Job], isolate: bool) -> dict[str, float]:
    """Metrics of one seed, from ``trial.json`` if it is of the same settings, data and earlier stages."""
    judged = jobs[-1]
    record = judged.folder.parent / "trial.json"
    with locked(judged.folder.parent / LOCK, blocking=True):  # equal parameters may be drawn twice
        if record.is_file():
            with reading(record, "delete it to train the trial again"):
                content = json.loads(record.read_text(encoding="utf-8"))
                if content["key"] == judged.key:
                    return {str(name): float(value) for name, value in content["metrics"].items()}
        complete(jobs, isolate)
        best = best_epoch(judged.folder, RegressionModule.monitor, RegressionModule.mode)
        found = {name: value for name, value in best.items() if name.startswith("val/")}
        write_json(record, {"key": judged.key, "metrics": found})
        for job in jobs:  # each carries all frozen networks, hundreds of megabytes a trial
            (job.folder / DONE).unlink()
            for file in job.folder.glob("*.ckpt"):
                file.unlink()
    return found


def sweep(
    config: str | os.PathLike[str], run: str | os.PathLike[str], trials: int, seed: int = 0
) -> tuple[Path, str, dict[str, Any]]:
    """Search until there are ``trials`` complete trials; an interrupted one is done again.

    Several processes, of several machines too, may search in one folder: they share the trials.

    Args:
        config: Sweep YAML.
        run: Folder of a finished ``apt run``.
        trials: Complete trials wanted in all.
        seed: Seed of the search.

    Returns:
        The sweep's folder, with the study, a table, a plot and the best trial as an overlay; a table of
        the best ten; and all trials as plain data.

    Raises:
        UsageError: If the YAML or the run is not fit for it, or the folder holds another search.
    """
    search = read_search(config)
    settings, jobs = sweep_settings(run, search.stage)
    folder = Path(settings.out, "sweeps", Path(config).stem)
    identity = digest([vars(search), [job.key for job in jobs if job.unit.name == "stage4"]])
    lock = folder / "sweep.lock"
    with locked(lock, blocking=True):
        study = open_study(folder, search, identity)
    with bar(trials, "trials", "trial", initial=len(finished(study))) as shown:
        while True:
            with ExitStack() as stack:
                with locked(lock, blocking=True):
                    others = under_way(study, folder)
                    begun = len(finished(study)) + len(others)
                    if begun < trials:
                        trial = ask(study, search, seed, begun)
                        stack.enter_context(locked(trial_lock(folder, trial.number)))
                    elif not others:
                        write_trials(folder, study, search)
                        _write_best(folder, study.best_params, settings.overlay)
                        return folder, trials_table(study, search), trials_dict(study, search)
                if begun >= trials:  # wait for one of the others, to do its trial if that is interrupted
                    stack.enter_context(locked(others[0], blocking=True))
                    continue
                with (folder / "log.txt").open("a", encoding="utf-8") as log, redirect_stdout(log):
                    metrics = run_trial(settings, trial.params)
                if search.metric not in metrics:
                    raise UsageError(f"{config}: there is no metric {search.metric!r}; there are {', '.join(metrics)}")
                with locked(lock, blocking=True):
                    study.tell(trial, metrics[search.metric])
                    write_trials(folder, study, search)
            shown.update(len(finished(study)) - shown.n)
            shown.set_postfix({search.metric: f"{study.best_value:.4f}"})


def write_trials(folder: Path, study: optuna.Study, search: Search) -> None:
    """Write ``trials.csv``, a line a complete trial, and ``trials.png``."""
    from apt_lightning.experiments.sweep.plot import plot_trials

    done = finished(study)
    lines = []
    for number, trial in enumerate(done, start=1):
        values = [trial.params[name] for name in search.parameters]
        seconds = 0.0 if trial.duration is None else round(trial.duration.total_seconds(), 1)
        lines.append([number, trial.value, *values, seconds])
    write_csv(folder / TRIALS, ["trial", search.metric, *search.parameters, "seconds"], lines)
    plot_trials(folder / PLOT, done, search)


def trials_table(study: optuna.Study, search: Search, shown: int = 10) -> str:
    """Lay out the best trials."""
    done = finished(study)
    best = np.argsort([(-1 if search.maximize else 1) * float(trial.value or 0) for trial in done])[:shown]
    rows = [
        [str(i + 1), f"{done[i].value:.5f}", *(_short(done[i].params[name]) for name in search.parameters)]
        for i in best
    ]
    head = ["trial", search.metric, *search.parameters]
    return render(head, rows, f"The best {len(best)} of {len(done)} trials, on validation")


def trials_dict(study: optuna.Study, search: Search) -> dict[str, Any]:
    """Complete trials as plain data, in the order in which they were begun."""
    trials = [{"value": trial.value, "parameters": trial.params} for trial in finished(study)]
    goal = "maximize" if search.maximize else "minimize"
    return {"metric": search.metric, "goal": goal, "best": study.best_params, "trials": trials}


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write_best(folder: Path, parameters: Mapping[str, Any], overlay: str | None) -> None:
    """Write the best parameters as an overlay folder for ``apt run``, on top of the run's own overlay."""
    best = folder / BEST_FOLDER
    best.mkdir(exist_ok=True)
    for file in find_config(overlay).glob("*.yaml") if overlay else ():
        (best / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    path = best / f"{stage_of(parameters)}.yaml"
    content = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if overlay and path.exists() else {}
    model = content.setdefault("model", {}).setdefault("init_args", {})
    for name, value in parameters.items():
        if name == STAGE:
            continue
        part, key = name.split(".", 1)
        (model if part == "model" else content.setdefault(part, {}))[key] = value
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


@contextmanager
def agents_run(parameters: Mapping[str, Any]) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """The run of the W&B agent that started this process, open while a trial trains: its curves go there.

    Args:
        parameters: Of the trial.

    Yields:
        Takes the trial's metrics, those of the best epoch, for the run's summary; does nothing without an agent.
    """
    if "WANDB_SWEEP_ID" not in os.environ:
        yield lambda metrics: None
        return
    import wandb

    with wandb.init(config=dict(parameters)) as run:
        yield lambda metrics: run.summary.update(dict(metrics))
