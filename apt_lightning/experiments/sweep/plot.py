"""A picture of a search: how it went on, and the figure against each parameter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from apt_lightning.common.files import replacing
from apt_lightning.experiments.sweep.search_space import Search

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def plot_trials(path: Path, trials: Sequence[FrozenTrial], search: Search) -> None:
    """Draw the trials' figures in their order with the best so far, and against each searched parameter.

    Args:
        path: PNG to write.
        trials: Complete trials, at least one.
        search: What was searched.
    """
    values = np.array([trial.value for trial in trials])
    names = [name for name, given in search.parameters.items() if "value" not in given]
    columns = min(3, 1 + len(names))
    rows = -(-(1 + len(names)) // columns)
    figure = Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    axes[0].plot(np.arange(1, len(values) + 1), values, "o", color="tab:blue", label="trial")
    best = np.maximum.accumulate(values) if search.maximize else np.minimum.accumulate(values)
    axes[0].step(np.arange(1, len(values) + 1), best, where="post", color="tab:orange", label="best so far")
    axes[0].legend()
    axes[0].set(xlabel="trial", ylabel=search.metric)
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis, name in zip(axes[1:], names, strict=False):
        given, drawn = search.parameters[name], [trial.params[name] for trial in trials]
        if "values" in given:
            axis.plot([given["values"].index(x) for x in drawn], values, "o", alpha=0.6)
            axis.set_xticks(range(len(given["values"])), [str(x) for x in given["values"]])
        else:
            axis.plot(drawn, values, "o", alpha=0.6)
            if given.get("distribution") == "log_uniform_values":
                axis.set_xscale("log")
                axis.xaxis.set_major_locator(MaxNLocator(4))  # decades are too few where the range is small
                axis.xaxis.set_minor_locator(NullLocator())
                axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.set(xlabel=name, ylabel=search.metric)
    for axis in axes[1 + len(names) :]:
        axis.set_axis_off()
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=120)
