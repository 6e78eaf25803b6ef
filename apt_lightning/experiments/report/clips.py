"""The clips that the final system scores best and worst: where to look and listen first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.evaluation.tables import number
from apt_lightning.experiments.report.blocks import Block, Section, Table, TableRow
from apt_lightning.experiments.report.run import Shown

N_CLIPS = 5
"""Shown at each end."""


def best_and_worst(runs: Sequence[Shown]) -> Section:
    """Clips of least and greatest mean absolute error."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        table = run.shown[run.final]
        error = np.abs(table.predicted - table.true).mean(axis=1)
        order = np.argsort(error, kind="stable")
        order = order[np.isfinite(error[order])]
        rows = []
        for i in [*order[:N_CLIPS], *order[max(N_CLIPS, len(order) - N_CLIPS) :]]:
            pairs = zip(table.true[i], table.predicted[i], strict=True)
            cells = [f"{number(float(t), 2)} → {number(float(p), 2)}" for t, p in pairs]
            seen = "seen" if table.seen_source[i] else "unseen"
            rows.append(TableRow([table.clips[i], number(float(error[i]), 3), *cells, seen]))
        caption = f"Label → prediction ({run.final}), best clips first, worst last: {run.clips}.{run.seed_note}"
        blocks[run.name] = [Table(caption, ["clip", "mean error", *TRAIT_CODES, "source"], rows)]
    intro = (
        "Mean absolute error over the traits. Look at the worst: a fault of the clip, of the label, or of the model?"
    )
    return Section("clips", "Best and worst clips", intro, runs=blocks)
