"""The best that can be reached on a synthetic set: the Bayes predictor of its generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from apt_lightning.data.collection.official import CORRELATION, MEAN, SD
from apt_lightning.data.synthetic.planted import AGREEMENT_TRAIT, Planted

FloatArray = npt.NDArray[np.float64]


class Posterior(NamedTuple):
    """What the cues of N clips tell of their traits: a mixture of K Gaussians, in standard units."""

    chances: FloatArray
    """(K, N); columns sum to 1."""
    means: FloatArray
    """(K, N, 5)."""
    sds: FloatArray
    """(K, 5), of each trait alone."""


def best_scores(
    cues: Mapping[str, FloatArray], cue_share: Mapping[str, float], planted: Planted, keep: Sequence[str]
) -> FloatArray:
    """The ceiling: what the Bayes predictor says of each clip, from its cues alone.

    The scores are posterior means. Nothing has a smaller squared error without knowing the clip's source.

    Args:
        cues: Modality to (N, 5) cues.
        cue_share: Modality to the share of its cues' variance that is the trait without controls.
        planted: Strengths that the clips were drawn with.
        keep: Modalities that are read.

    Returns:
        (N, 5) expected labels, before they are rounded to the lattice.

    Example:
        >>> best_scores({"text": np.zeros((1, 5))}, {"text": 0.5}, Planted(), ["text"]).round(3)
        array([[0.476, 0.52 , 0.548, 0.523, 0.566]])
    """
    found = posterior(cues, cue_share, planted, keep)
    return np.asarray(MEAN + SD * np.einsum("kn,knt->nt", found.chances, found.means))


def best_balanced_scores(found: Posterior, bounds: FloatArray, weights: FloatArray) -> FloatArray:
    """The ceiling where errors on rare labels count more: E[w y] / E[w] given the cues.

    Nothing has a smaller mean of w (y - score)^2.

    Args:
        found: From :func:`posterior`.
        bounds: (K, 5) labels at which one class ends and the next begins.
        weights: (K + 1, 5) weight w of a label of each class.

    Returns:
        (N, 5) scores, in label units.
    """
    edges = np.concatenate([np.full((1, 5), -np.inf), (bounds - MEAN) / SD, np.full((1, 5), np.inf)])
    ends = (edges[:, None, None] - found.means) / found.sds[:, None]
    mass, shift = np.diff(norm.cdf(ends), axis=0), np.diff(norm.pdf(ends), axis=0)
    # The mean of a Gaussian between two ends times the chance to lie there is mean * mass - sd * shift.
    parts = (found.means * mass - found.sds[:, None] * shift, mass)
    weighted = [np.einsum("ct,kn,cknt->nt", weights, found.chances, part) for part in parts]
    return np.asarray(MEAN + SD * weighted[0] / weighted[1])


def posterior(
    cues: Mapping[str, FloatArray], cue_share: Mapping[str, float], planted: Planted, keep: Sequence[str]
) -> Posterior:
    """Find what cues tell of the traits.

    Traits and cues are Gaussian given the source's scale and the hidden sign.

    Args:
        cues: Modality to (N, 5) cues.
        cue_share: Modality to the share of its cues' variance that is the trait without controls.
        planted: Strengths that the clips were drawn with.
        keep: Modalities that are read.
    """
    cue_share = planted.cue_share(cue_share)
    order = [name for name in ("visual", "audio", "text") if name in keep]
    # Of each cue: how the traits enter, and the covariance of what is added to them.
    slope = {name: np.sqrt(cue_share[name]) * np.eye(5) for name in order}
    noise = {(a, b): np.zeros((5, 5)) for a in order for b in order}
    for name in order:
        noise[name, name] = (1 - cue_share[name]) * CORRELATION
    if planted.shared and "audio" in order:
        seen = np.sqrt(planted.shared)
        slope["audio"] = seen * np.sqrt(cue_share["visual"]) * np.eye(5)
        errors = (1 - cue_share["visual"]) * CORRELATION
        noise["audio", "audio"] = planted.shared * errors + (1 - planted.shared) * CORRELATION
        if "visual" in order:
            noise["audio", "visual"] = noise["visual", "audio"] = seen * errors
    used = {name: np.ones(5, dtype=bool) for name in order}
    values = {name: np.asarray(cues[name], dtype=np.float64).copy() for name in order}
    signs: tuple[float, ...] = (1.0,)
    if planted.agreement:
        k = AGREEMENT_TRAIT
        for name in order:
            used[name][k] = name == "visual"
        if "visual" in order:
            slope["visual"][k, k] = np.sqrt(planted.agreement)
            for other in order:
                noise["visual", other][k, :] = noise[other, "visual"][:, k] = 0
            noise["visual", "visual"][k, k] = 1 - planted.agreement
            if "audio" in order:
                values["visual"][:, k] *= values["audio"][:, k]
            else:
                signs = (1.0, -1.0)
    columns = np.concatenate([used[name] for name in order])
    entering = np.vstack([slope[name] for name in order])[columns]
    added = np.block([[noise[a, b] for b in order] for a in order])[np.ix_(columns, columns)]
    logs, means, sds = [], [], []
    for (scale, share), sign in product(planted.scales.items(), signs):
        if len(signs) > 1:
            flipped = values["visual"].copy()
            flipped[:, AGREEMENT_TRAIT] *= sign
            seen_values = {**values, "visual": flipped}
        else:
            seen_values = values
        x = np.hstack([seen_values[name] for name in order])[:, columns]
        prior = scale**2 * CORRELATION
        covariance = entering @ prior @ entering.T + added
        explained = np.linalg.solve(covariance, x.T).T
        logs.append(np.log(share) - ((x * explained).sum(axis=1) + np.linalg.slogdet(covariance)[1]) / 2)
        means.append(explained @ entering @ prior)
        left = prior - prior @ entering.T @ np.linalg.solve(covariance, entering @ prior)
        sds.append(np.sqrt(np.diag(left)))
    chances = np.exp(np.array(logs) - np.max(logs, axis=0))
    chances /= chances.sum(axis=0)
    return Posterior(chances, np.array(means), np.array(sds))
