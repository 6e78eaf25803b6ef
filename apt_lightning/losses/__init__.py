"""Losses: regression (stages 1, 2, 4) and metric learning over traits (stage 3)."""

from apt_lightning.losses.metric_loss import MetricLoss
from apt_lightning.losses.multi_similarity import MiningStatistics, TraitMultiSimilarityLoss
from apt_lightning.losses.rank_n_contrast import RankNContrastLoss
from apt_lightning.losses.reference import ReferenceMultiSimilarityLoss, TraitTripletLoss
from apt_lightning.losses.regression import RegressionLoss, RegressionTerms

__all__ = [
    "MetricLoss",
    "MiningStatistics",
    "RankNContrastLoss",
    "ReferenceMultiSimilarityLoss",
    "RegressionLoss",
    "RegressionTerms",
    "TraitMultiSimilarityLoss",
    "TraitTripletLoss",
]
