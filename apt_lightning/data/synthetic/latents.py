"""The latent trait model of the synthetic set: who is there, their traits, and what each modality shows.

A clip's traits are a Gaussian vector with the correlations of the First Impressions labels, part of it shared
by the clips of a source. Each modality sees that vector through noise of its own, again partly shared within
a source. The label statistics are those of the training split of ChaLearn First Impressions V2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import UsageError
from apt_lightning.data.collection.official import CORRELATION, MEAN, SD, STEPS
from apt_lightning.data.synthetic.planted import Planted

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LOWEST, HIGHEST = np.array([0, 2, 0, 0, 0]), np.array([99, 94, 91, 100, 90])
"""Least and greatest k."""
ICC = np.array([0.64, 0.62, 0.52, 0.71, 0.59])
"""Agreement of the labels within a source, ICC(1)."""
INTERVIEW_MEAN, INTERVIEW_SD, INTERVIEW_STEPS = 0.50378, 0.15014, 107
INTERVIEW_TRAITS = 0.9
"""Correlation of the interview score with the sum of the traits (ours: the real one is not in the table)."""

SOURCES_BY_CLIPS = np.array([721, 533, 464, 398, 435, 509])
"""Sources with 1 to 6 clips among the 3060 of the real set."""
SPLIT_SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}

CUE_SHARE = {"audio": 0.45, "visual": 0.45, "text": 0.5}
"""Share of a cue's variance that is the trait; the rest is noise of that modality alone."""
CUE_NOISE_ICC = 0.5
"""Share of the cue noise that the clips of a source have in common."""


@dataclass(frozen=True)
class Latents:
    """Everything about the clips that is not media."""

    traits: FloatArray
    """(N, 5) standard normal traits before they become labels."""
    labels: FloatArray
    """(N, 5) labels in [0, 1], on the lattice of the real labels."""
    interview: FloatArray
    """(N,) sixth score of the label files, in [0, 1]."""
    cues: dict[str, FloatArray]
    """Modality to (N, 5): what it shows of each trait; standard normal."""


def draw_clips(
    rng: np.random.Generator, n_sources: int | None = None, n_clips: int | None = None
) -> tuple[IntArray, IntArray]:
    """Draw how many clips each source has, with the real set's frequencies.

    Args:
        rng: Source of randomness.
        n_sources: Number of sources; or
        n_clips: Number of clips, the last source being cut short where needed.

    Returns:
        Source number and number within the source (0 to 5) of each clip; both (N,), sources in order.

    Raises:
        UsageError: If not exactly one number is given, or it is below 1.
    """
    wanted = n_clips if n_sources is None else n_sources
    if wanted is None or (n_sources is not None and n_clips is not None) or wanted < 1:
        raise UsageError(
            f"sources {n_sources}, clips {n_clips}: give one of them, at least 1, for example --sources 150"
        )
    shares = SOURCES_BY_CLIPS / SOURCES_BY_CLIPS.sum()
    counts = rng.choice(np.arange(1, 7), size=wanted, p=shares)
    source = np.repeat(np.arange(wanted), counts)[:n_clips]
    within = np.concatenate([np.arange(n) for n in counts])[:n_clips]
    return source, within


def draw_splits(source: IntArray, rng: np.random.Generator, grouped: bool = False) -> npt.NDArray[np.str_]:
    """Deal clips into train, validation and test at 60/20/20.

    Dealing single clips at random, as the official split seems to have been made, leaves 84 % of the test
    clips with a training clip of the same source.

    Args:
        source: (N,) source number of each clip.
        rng: Source of randomness.
        grouped: Deal whole sources, so that no source is in two splits.

    Returns:
        (N,) split names.
    """
    units = np.unique(source) if grouped else np.arange(len(source))
    bounds = np.round(np.cumsum(list(SPLIT_SHARES.values())) * len(units)).astype(int)
    rank = rng.permutation(len(units))
    dealt = np.array(list(SPLIT_SHARES))[np.searchsorted(bounds, rank, side="right")]
    return dealt[np.searchsorted(units, source)] if grouped else dealt


def draw_latents(
    source: IntArray,
    rng: np.random.Generator,
    cue_share: Mapping[str, float] = CUE_SHARE,
    planted: Planted = Planted(),  # noqa: B008  (frozen)
) -> Latents:
    """Draw traits, labels and cues of clips.

    Args:
        source: (N,) source number of each clip.
        rng: Source of randomness.
        cue_share: Modality to the share of its cues' variance that is the trait, 0 to 1, without controls. A linear
            reader of the cues of one modality can reach this R² and no more.
        planted: Positive controls.

    Returns:
        The latents.

    Example:
        >>> draw_latents(np.array([0, 0, 1]), np.random.default_rng(0)).labels.shape
        (3, 5)
    """
    traits = _correlated(source, rng, ICC)
    own = rng.spawn(1)[0]  # so that all else is drawn as without controls
    if planted.extremes:
        traits *= planted.scale(int(source.max()) + 1, own)[source][:, None]
    labels = np.clip(np.round((MEAN + SD * traits) * STEPS), LOWEST, HIGHEST) / STEPS
    total = traits.sum(axis=1) / np.sqrt(CORRELATION.sum())
    interview = INTERVIEW_TRAITS * total + np.sqrt(1 - INTERVIEW_TRAITS**2) * rng.standard_normal(len(source))
    interview = INTERVIEW_MEAN + INTERVIEW_SD * interview
    cues = {
        modality: np.sqrt(share) * traits + np.sqrt(1 - share) * _correlated(source, rng, np.full(5, CUE_NOISE_ICC))
        for modality, share in planted.cue_share(cue_share).items()
    }
    planted.change(cues, traits, own)
    return Latents(traits, labels, np.clip(np.round(interview * INTERVIEW_STEPS) / INTERVIEW_STEPS, 0, 1), cues)


def _correlated(source: IntArray, rng: np.random.Generator, icc: FloatArray) -> FloatArray:
    """(N, 5) standard normal rows with the traits' correlations; ``icc`` of it is shared within a source."""
    shared = CORRELATION * np.sqrt(np.outer(icc, icc))
    by_source = rng.multivariate_normal(np.zeros(5), shared, size=int(source.max()) + 1, method="cholesky")
    by_clip = rng.multivariate_normal(np.zeros(5), CORRELATION - shared, size=len(source), method="cholesky")
    return np.asarray(by_source[source] + by_clip)
