"""The Optuna study of a search, in one file that processes of one or several machines share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from apt_lightning.common.errors import StoreError, UsageError
from apt_lightning.common.files import locked
from apt_lightning.experiments.sweep.search_space import Search

if TYPE_CHECKING:
    import optuna

STUDY, LOCKS = "study.journal", "locks"


def open_study(folder: Path, search: Search, identity: str) -> optuna.Study:
    """Open the study of a sweep's folder, or begin it.

    Args:
        folder: Of the sweep; no other process may be opening it.
        search: What is searched.
        identity: Changes with the search and the stages it builds on.

    Raises:
        UsageError: If Optuna is not installed, or the folder holds another search or a damaged study.
    """
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ModuleNotFoundError:
        raise UsageError("Optuna is not installed: pip install 'apt-lightning[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / STUDY
    try:
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))),
            study_name="sweep",
            direction="maximize" if search.maximize else "minimize",
            load_if_exists=True,
        )
    except ValueError:  # of JSON
        raise UsageError(f"{path} is damaged; delete it: trials that are complete are not trained again") from None
    if study.user_attrs.setdefault("search", identity) != identity:
        raise UsageError(
            f"{folder} holds trials of another search, or on other stages; rename the YAML or delete the folder"
        )
    study.set_user_attr("search", identity)
    return study


def finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Complete trials, in the order in which they were begun."""
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def under_way(study: optuna.Study, folder: Path) -> list[Path]:
    """Locks of the trials that other processes are at; a trial whose process is gone is put in line once more.

    Args:
        study: The study, which no other process may be changing.
        folder: Of the sweep.
    """
    from optuna.trial import TrialState

    held = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        lock = trial_lock(folder, trial.number)
        try:
            with locked(lock):
                study.enqueue_trial(trial.params)
                study.tell(trial.number, state=TrialState.FAIL)
        except StoreError:
            held.append(lock)
    return held


def trial_lock(folder: Path, number: int) -> Path:
    """File that the process of a trial holds while it trains."""
    return folder / LOCKS / str(number)


def ask(study: optuna.Study, search: Search, seed: int, begun: int) -> optuna.Trial:
    """Begin the next trial: one that was interrupted, else a new one, whose draw follows from its place alone.

    Args:
        study: The study, which no other process may be changing.
        search: What is searched.
        seed: Of the search.
        begun: Trials that are complete or under way.
    """
    from optuna.samplers import RandomSampler, TPESampler

    kind = TPESampler if search.method == "bayes" else RandomSampler
    study.sampler = kind(seed=int(np.random.default_rng([seed, begun]).integers(2**31)))
    return study.ask(fixed_distributions=search.space())
