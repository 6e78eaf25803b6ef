"""Planted cues that a method of some kind must profit from: positive controls, and the best that can be reached.

Without them a null result says little. Each has a strength, and 0 leaves the set bit for bit as it is without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import UsageError
from apt_lightning.data.collection.official import CORRELATION, MEAN, SD

FloatArray = npt.NDArray[np.float64]

AGREEMENT_TRAIT = 4
"""Openness: the trait that shows in the agreement of voice and picture alone."""
FEW = 0.05
"""Share of the sources whose clips are extreme."""


@dataclass(frozen=True)
class Planted:
    """Strengths of the positive controls.

    Args:
        agreement: Openness shows only where voice and picture are compared. The voice's cue is a random sign, the
            picture's a hidden cue times that sign, the words' is noise. 0 to 1: share of the hidden cue's variance
            that is the trait.
        shared: The voice shows faintly, and with it the picture's errors, what the picture shows clearly. 0 to 1:
            share of the variance of each of the voice's cues that is the picture's cue.
        extremes: 5 % of the sources have traits 1 + this times as far from the mean as the others', so that labels
            crowd at the mean; their overall spread stays. 0 or more.

    Raises:
        UsageError: If a strength is out of range.
    """

    agreement: float = 0.0
    shared: float = 0.0
    extremes: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.agreement <= 1 and 0 <= self.shared <= 1 and 0 <= self.extremes < np.inf):
            raise UsageError(
                f"agreement {self.agreement}, shared {self.shared}, extremes {self.extremes}: the first two lie"
                " between 0 and 1, the third is 0 or more"
            )

    @property
    def scales(self) -> dict[float, float]:
        """Scale of the traits of common and of extreme sources, to the share of the sources."""
        if not self.extremes:
            return {1.0: 1.0}
        common = 1 / np.sqrt(1 - FEW + FEW * (1 + self.extremes) ** 2)
        return {float(common): 1 - FEW, float(common * (1 + self.extremes)): FEW}

    def scale(self, n_sources: int, rng: np.random.Generator) -> FloatArray:
        """Draw the scale of each source's traits, (n_sources,)."""
        scales, shares = zip(*self.scales.items(), strict=True)
        return rng.choice(scales, size=n_sources, p=shares)

    def change(self, cues: dict[str, FloatArray], traits: FloatArray, rng: np.random.Generator) -> None:
        """Change the cues (N, 5) of each modality in place, as ``shared`` and ``agreement`` say."""
        n = len(traits)
        if self.shared:
            noise = rng.multivariate_normal(np.zeros(5), CORRELATION, size=n, method="cholesky")
            cues["audio"] = np.sqrt(self.shared) * cues["visual"] + np.sqrt(1 - self.shared) * noise
        if self.agreement:
            sign = rng.choice([-1.0, 1.0], size=n)
            trait = traits[:, AGREEMENT_TRAIT]
            hidden = np.sqrt(self.agreement) * trait + np.sqrt(1 - self.agreement) * rng.standard_normal(n)
            planted = {"audio": sign, "visual": sign * hidden, "text": rng.standard_normal(n)}
            for modality, cue in planted.items():
                cues[modality][:, AGREEMENT_TRAIT] = cue


def best_scores(
    cues: Mapping[str, FloatArray], cue_share: Mapping[str, float], planted: Planted, keep: Sequence[str]
) -> FloatArray:
    """The ceiling: what the Bayes predictor of the generator says of each clip, from its cues alone.

    Traits and cues are Gaussian given the source's scale and the hidden sign; the scores are the posterior means
    over both. Nothing has a smaller squared error without knowing the clip's source.

    Args:
        cues: Modality to (N, 5) cues.
        cue_share: Modality to the share of its cues' variance that is the trait, as the clips were drawn with.
        planted: Strengths, likewise.
        keep: Modalities that are read.

    Returns:
        (N, 5) expected labels, before they are rounded to the lattice.

    Example:
        >>> best_scores({"text": np.zeros((1, 5))}, {"text": 0.5}, Planted(), ["text"]).round(3)
        array([[0.476, 0.52 , 0.548, 0.523, 0.566]])
    """
    order = [name for name in ("visual", "audio", "text") if name in keep]
    n = len(cues[order[0]])
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
    weights, means = [], []
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
        weights.append(np.log(share) - ((x * explained).sum(axis=1) + np.linalg.slogdet(covariance)[1]) / 2)
        means.append(explained @ entering @ prior)
    chances = np.exp(np.array(weights) - np.max(weights, axis=0))
    chances /= chances.sum(axis=0)
    traits = np.einsum("kn,knt->nt", chances, np.array(means)).reshape(n, 5)
    return np.asarray(MEAN + SD * traits)
