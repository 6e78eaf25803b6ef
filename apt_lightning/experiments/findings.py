"""Sends what was found about finished runs to W&B: a run beside those of their stages, in one group."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal


def add_log_to(parser: Any) -> None:
    """Declare ``--log_to`` of a command that finds something about finished runs; see :func:`log_findings`."""
    parser.add_argument(
        "--log_to", type=Literal["wandb"] | None, help="also send it to W&B, into the group of the run's stages"
    )


def log_findings(
    command: str,
    paths: Sequence[str | os.PathLike[str]],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    summary: Mapping[str, Any],
    page: Path | None = None,
) -> None:
    """Log what a command found as a W&B run of its name as job type.

    Args:
        command: Such as ``compare``.
        paths: Folders of ``apt run``, of stages, or prediction tables, that it is about; the group is that of the last.
        tables: Name to rows, all of the same columns.
        summary: Figures, or words.
        page: HTML to show.
    """
    import wandb

    from apt_lightning.training.loggers import RECORD, code_version, project, read_record

    runs = list(dict.fromkeys(map(_whole_run, paths)))
    records = {
        f"{run.name}/{file.parent.relative_to(run)}": read_record(file.parent)
        for run in runs
        for pattern in (f"*/{RECORD}", f"*/*/{RECORD}")
        for file in sorted(run.glob(pattern))
    }
    projects = [record["project"] for record in records.values() if "project" in record]
    with wandb.init(
        project=projects[-1] if projects else project(),
        group=runs[-1].name,
        job_type=command,
        name=f"{runs[-1].name} {command}",
        tags=[code_version()],
        config={"of": [run.name for run in runs], "stages": {name: record["id"] for name, record in records.items()}},
        dir=runs[-1],
    ) as run:
        for name, rows in tables.items():
            run.log({name: wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])})
        if page is not None:
            with page.open(encoding="utf-8") as stream:
                run.log({command: wandb.Html(stream, inject=False)})
        run.summary.update(dict(summary))


def _whole_run(path: str | os.PathLike[str]) -> Path:
    """The folder of the run that a folder or table belongs to."""
    from apt_lightning.experiments.run_settings import RUN
    from apt_lightning.training.loggers import group_folder

    place = Path(path).resolve()
    stage = place if place.is_dir() else place.parent
    return stage if (stage / RUN).is_file() else group_folder(stage)
