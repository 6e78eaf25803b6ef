"""Where a scored clip lies among the training clips: rated higher than how many, and how far from their middle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from apt_lightning.common.traits import by_trait
from apt_lightning.evaluation.training_clips import GRID, UNLIKE, TrainingClips, share_below

FloatArray = npt.NDArray[np.float64]


def among_training(
    training: TrainingClips | None, features: Mapping[str, FloatArray], scores: FloatArray
) -> dict[str, Any]:
    """Hold a clip against the training clips.

    Args:
        training: What the checkpoint says of them; None if nothing.
        features: Frozen feature (Q,) of each modality that the clip has.
        scores: (5,) scores of it, in [0, 1].

    Returns:
        Plain data: ``higher_than``, ``distances`` and ``warnings``, as
        :meth:`apt_lightning.stages.scorer.Scorer.score` gives them; it warns too if the place is not known.
    """
    told: dict[str, Any] = {"distances": {}, "warnings": []}
    if training is not None:
        told["higher_than"] = by_trait(np.array(training.higher_than(scores)))
    for name, feature in features.items():
        cloud = training.clouds.get(name) if training is not None else None
        if cloud is None:
            continue
        far = cloud.distance(feature)
        told["distances"][name] = {"distance": round(far, 2), "farther_than": share_below(cloud.distances, far)}
        if told["distances"][name]["farther_than"] >= UNLIKE:
            usual = float(cloud.distances[round(UNLIKE * (len(GRID) - 1))])
            told["warnings"].append(
                f"its {name} is unlike the training clips: {far:.1f} from their middle, {UNLIKE:.0%} of them lie"
                f" within {usual:.1f}; the scores may mean nothing"
            )
    if not told["distances"]:
        told["warnings"].append("how far it lies from the training clips is not known: the checkpoint does not say")
    return told
