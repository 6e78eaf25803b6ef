"""Everything about one stage's predictions, as text."""

from __future__ import annotations

from apt_lightning.common.traits import TraitStatistics
from apt_lightning.evaluation.calibration import calibration_text
from apt_lightning.evaluation.conformal import Conformal, coverage, coverage_text
from apt_lightning.evaluation.fairness import fairness, fairness_text, group_masks
from apt_lightning.evaluation.metrics import TRAIT_COLUMNS, rank_correlation, score_by_seen, score_table
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.tables import number, render


def metric_tables(predictions: Predictions, statistics: TraitStatistics | None) -> str:
    """Lay out the metrics of all clips, and of seen and unseen sources apart.

    Args:
        predictions: Labels and predictions of one split.
        statistics: Of the training split; None = not known, then nothing is said of low and high.
    """
    return "\n\n".join(score_table(part, name) for name, part in score_by_seen(predictions, statistics).items())


def report_stage(
    predictions: Predictions,
    statistics: TraitStatistics | None,
    conformal: Conformal | None,
    demographics: dict[str, dict[str, str]],
) -> str:
    """Lay out everything about the predictions of one stage, or of anyone.

    Args:
        predictions: Labels and predictions of one split.
        statistics: Of the training split; None = not known, then nothing is said of low and high.
        conformal: The checkpoint's prediction intervals, if it has some.
        demographics: Clip name to attribute to group; may be empty.

    Returns:
        Metrics of all clips and of seen and unseen sources apart, rank correlation, calibration, coverage of the
        intervals, and errors by group of people; intersections of groups are in the report.
    """
    blocks = [metric_tables(predictions, statistics)]
    ranks = [number(float(value)) for value in rank_correlation(predictions)]
    blocks.append(render(["", *TRAIT_COLUMNS], [["Spearman", *ranks]], f"Rank correlation: {len(predictions)} clips"))
    blocks.append(calibration_text({"predictions": predictions}, "Calibration"))
    groups = {
        f"{attribute}: {name}": mask
        for attribute, members in group_masks(predictions.clips, demographics, intersections=False).items()
        for name, mask in members.items()
    }
    if conformal is not None:
        found = coverage(conformal, predictions, groups=groups)
        blocks.append(coverage_text(found, conformal, "Prediction intervals"))
    if groups:
        blocks.append(fairness_text(fairness(predictions, demographics, intersections=False), "Errors by group"))
    return "\n\n".join(blocks)
