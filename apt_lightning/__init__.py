"""Apparent personality traits from video, voice and words, with cross-modal embeddings (arXiv 2405.03846).

The public names are imported when they are first used, so that ``import apt_lightning`` needs neither torch nor
Lightning.

Example:
    >>> import apt_lightning as apt
    >>> apt.TRAITS
    ('extraversion', 'neuroticism', 'agreeableness', 'conscientiousness', 'openness')
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from apt_lightning.common.version import __version__

if TYPE_CHECKING:
    from apt_lightning.common.errors import AptError
    from apt_lightning.common.traits import TRAITS
    from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
    from apt_lightning.data.preparation.prepare import prepare
    from apt_lightning.data.store.precomputed import put_features
    from apt_lightning.data.store.reader import Store
    from apt_lightning.data.synthetic.build import synthesize
    from apt_lightning.evaluation.audit.audit import audit
    from apt_lightning.evaluation.metrics import score as evaluate
    from apt_lightning.evaluation.predictions import Predictions, read_predictions
    from apt_lightning.evaluation.significance import compare
    from apt_lightning.losses.multi_similarity import TraitMultiSimilarityLoss
    from apt_lightning.losses.regression import RegressionLoss
    from apt_lightning.stages.final import FinalModule
    from apt_lightning.stages.fusion import FusionModule
    from apt_lightning.stages.load import load
    from apt_lightning.stages.modality import ModalityModule
    from apt_lightning.stages.scorer import Scorer
    from apt_lightning.stages.siamese import SiameseModule

_PLACES = {
    "TRAITS": "common.traits:TRAITS",
    "AptError": "common.errors:AptError",
    "put_features": "data.store.precomputed:put_features",
    "prepare": "data.preparation.prepare:prepare",
    "synthesize": "data.synthetic.build:synthesize",
    "Store": "data.store.reader:Store",
    "FirstImpressionsDataModule": "data.loading.datamodule:FirstImpressionsDataModule",
    "RegressionLoss": "losses.regression:RegressionLoss",
    "TraitMultiSimilarityLoss": "losses.multi_similarity:TraitMultiSimilarityLoss",
    "ModalityModule": "stages.modality:ModalityModule",
    "FusionModule": "stages.fusion:FusionModule",
    "FinalModule": "stages.final:FinalModule",
    "SiameseModule": "stages.siamese:SiameseModule",
    "load": "stages.load:load",
    "Scorer": "stages.scorer:Scorer",
    "Predictions": "evaluation.predictions:Predictions",
    "read_predictions": "evaluation.predictions:read_predictions",
    "evaluate": "evaluation.metrics:score",
    "compare": "evaluation.significance:compare",
    "audit": "evaluation.audit.audit:audit",
}
"""Public name to the module, below this package, and the name in it."""

__all__ = [
    "TRAITS",
    "AptError",
    "FinalModule",
    "FirstImpressionsDataModule",
    "FusionModule",
    "ModalityModule",
    "Predictions",
    "RegressionLoss",
    "Scorer",
    "SiameseModule",
    "Store",
    "TraitMultiSimilarityLoss",
    "__version__",
    "audit",
    "compare",
    "evaluate",
    "load",
    "prepare",
    "put_features",
    "read_predictions",
    "synthesize",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, found = _PLACES[name].partition(":")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), found)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
