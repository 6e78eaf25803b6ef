"""The model card: what a run has trained, on what, how good it is beside floors, and what it must not be used for."""

from __future__ import annotations

from pathlib import Path

from apt_lightning.common.files import file_digest
from apt_lightning.common.version import __version__
from apt_lightning.data.store.reader import Store
from apt_lightning.evaluation.tables import render
from apt_lightning.experiments.cards.statements import APPARENT, DRAWN, FORBIDDEN, INTENDED, LIMITS, STABILITY
from apt_lightning.experiments.results import read_run, results_table
from apt_lightning.experiments.run_folder import RunFolder
from apt_lightning.experiments.run_settings import read_settings
from apt_lightning.stages.names import BEST


def model_card(folder: Path) -> str:
    """Describe a run.

    Args:
        folder: Run folder of ``apt run``.

    Returns:
        Markdown.

    Raises:
        UsageError: If the folder is no run, or has no finished stage.
        StoreError: If its feature store is not there.
    """
    settings, results = read_settings(folder), read_run(folder)
    store = Store.open(settings.store)
    protocol = "official split" if settings.folds is None else f"{settings.folds} source-disjoint folds"
    files = [[str(file.relative_to(folder)), file_digest(file)] for file in RunFolder(folder).files("*", BEST)]
    parts = [
        f"# Model card: {folder.resolve().name}",
        APPARENT,
        *([f"**{DRAWN}**"] if store.synthetic else []),
        "## What it is",
        "Five scores in [0, 1] of apparent personality for a short talking-head video, from voice, picture and words: "
        "one network a modality, a baseline on their frozen features, a common embedding space, a final model on both "
        f"(arXiv 2405.03846), trained by apt-lightning {__version__}. {STABILITY}",
        "## Intended use",
        _listed(INTENDED),
        "## Forbidden use",
        _listed(FORBIDDEN),
        "## Data",
        f"{len(store.clips)} clips of {len({clip.source for clip in store.clips})} sources; store {store.fingerprint}; "
        f"{protocol}. `apt card` of the store writes its data card.",
        "## Metrics",
        results_table(results),
        results_table(results, "CCC"),
        "## Limits",
        _listed(tuple(f"**{title}.** {text}" for title, text in LIMITS.items())),
        "## Files",
        render(["checkpoint", "SHA-256"], files) if files else "No checkpoint is left in the folder.",
    ]
    return "\n\n".join(parts) + "\n"


def _listed(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {line}" for line in lines)
