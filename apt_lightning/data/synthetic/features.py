"""Feature vectors of synthetic clips without media: the same latent model, for studies of many clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import UsageError
from apt_lightning.data.synthetic.latents import FloatArray, IntArray, draw_clips, draw_latents, draw_splits
from apt_lightning.data.synthetic.planted import Planted

SIZES = {"audio": 88, "visual": 128, "text": 100}
"""Columns of each modality; audio has as many as eGeMAPS."""
CUE_SHARE = {"audio": 0.27, "visual": 0.42, "text": 0.18}
"""As in :mod:`apt_lightning.data.synthetic.latents`; lower than there, so that
each modality's 1-MAE comes near the paper's Table 1."""
N_HABITS, N_WHIMS = 6, 6
"""Dimensions that follow the source alone, and the clip alone; neither tells of the traits."""
CURVATURE = 0.2
"""Weight of the squared projection in a feature, so that no linear model is exact."""
MEASUREMENT_SD = 0.3
"""Noise of each feature, in units of its standard deviation."""


@dataclass(frozen=True)
class SyntheticFeatures:
    """Numbers as a feature store would hold them."""

    labels: FloatArray
    """(N, 5) in [0, 1], order of ``TRAITS``."""
    source: IntArray
    """(N,) source number of each clip."""
    split: npt.NDArray[np.str_]
    """(N,) ``train``, ``validation`` or ``test``; sources overlap as in the official split unless grouped."""
    features: dict[str, npt.NDArray[np.float32]]
    """``audio``, ``visual``, ``text`` to (N, D); rows of NaN where the clip lacks the modality."""
    present: dict[str, npt.NDArray[np.bool_]]
    """Modality to (N,): whether the clip has it."""
    cues: dict[str, FloatArray]
    """Modality to (N, 5): what is behind its features, for :func:`apt_lightning.data.synthetic.ceiling.best_scores`."""


def synthetic_features(
    n_clips: int,
    seed: int = 0,
    noise: Mapping[str, float] | None = None,
    missing: Mapping[str, float] | None = None,
    grouped: bool = False,
    identity: float = 0.0,
    planted: Planted = Planted(),  # noqa: B008  (frozen)
) -> SyntheticFeatures:
    """Draw labels and feature vectors from the latent model of the synthetic clips.

    All seeds share one map from cues to features, so that a second seed gives new clips of the same world.

    Args:
        n_clips: Number of clips.
        seed: Seed of the clips.
        noise: Modality to the standard deviation of further independent noise, in units of the features' own;
            for example ``{"visual": 3}`` for a modality that can hardly be used.
        missing: Modality to the share of clips, 0 to 1, that lack it.
        grouped: Keep every source in one split.
        identity: Strength of a cue that tells the source and nothing else: standard deviation, in units of the
            features' own, of an offset of the audio features that all clips of a source share.
        planted: Positive controls.

    Returns:
        Labels, sources, splits and features.

    Raises:
        UsageError: If a modality is unknown, a noise or the strength is negative, or a share is outside 0 to 1.

    Example:
        >>> drawn = synthetic_features(1000, missing={"audio": 0.25})
        >>> drawn.features["text"].shape, int(drawn.present["audio"].sum())
        ((1000, 100), 750)
    """
    noise, missing = noise or {}, missing or {}
    if not {*noise, *missing} <= set(SIZES) or min([0, identity, *noise.values(), *missing.values()]) < 0:
        raise UsageError(
            f"noise {dict(noise)}, missing {dict(missing)}, identity {identity}: name {', '.join(SIZES)}; none below 0"
        )
    if max([0, *missing.values()]) > 1:
        raise UsageError(f"missing {dict(missing)}: shares lie between 0 and 1")
    rng = np.random.default_rng(seed)
    source, _ = draw_clips(rng, n_clips=n_clips)
    split = draw_splits(source, rng, grouped)
    latents = draw_latents(source, rng, CUE_SHARE, planted)
    features, present = {}, {}
    for number, (modality, size) in enumerate(SIZES.items()):
        habits = rng.standard_normal((source.max() + 1, N_HABITS))[source]
        whims = rng.standard_normal((n_clips, N_WHIMS))
        inputs = np.hstack([latents.cues[modality], habits, whims])
        world = np.random.default_rng([20240506, number]).standard_normal((inputs.shape[1], size))
        projected = inputs @ (world / np.linalg.norm(world, axis=0))
        values = projected + CURVATURE * (projected**2 - 1)
        spread = np.hypot(MEASUREMENT_SD, noise.get(modality, 0))
        values += spread * rng.standard_normal(values.shape)
        if modality == "audio" and identity:
            own = np.random.default_rng([seed, 1]).standard_normal((source.max() + 1, size))
            values += identity * own[source]
        has = np.ones(n_clips, dtype=np.bool_)
        has[rng.permutation(n_clips)[: round(missing.get(modality, 0) * n_clips)]] = False
        values[~has] = np.nan
        features[modality], present[modality] = values.astype(np.float32), has
    return SyntheticFeatures(latents.labels, source, split, features, present, latents.cues)
