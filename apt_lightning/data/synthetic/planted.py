"""Planted cues that a method of some kind must profit from: positive controls.

Without them a null result says little. Each has a strength, and 0 leaves the set bit for bit as it is without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import UsageError
from apt_lightning.data.collection.official import CORRELATION

FloatArray = npt.NDArray[np.float64]

AGREEMENT_TRAIT = 4
"""Openness: the trait that shows in the agreement of voice and picture alone."""
FEW = 0.05
"""Share of the sources whose clips are extreme."""
CLEAR = 0.9
"""Share of the variance of the picture's cues that is the trait, where the voice shows them faintly."""


@dataclass(frozen=True)
class Planted:
    """Strengths of the positive controls.

    Args:
        agreement: Openness shows only where voice and picture are compared. The voice's cue is a random sign, the
            picture's a hidden cue times that sign, the words' is noise. 0 to 1: share of the hidden cue's variance
            that is the trait.
        shared: The voice shows faintly, and with it the picture's errors, what the picture shows clearly
            (:data:`CLEAR`). 0 to 1: share of the variance of each of the voice's cues that is the picture's cue.
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

    def cue_share(self, share: Mapping[str, float]) -> dict[str, float]:
        """Share of each modality's cues that is the trait, given what it is without controls."""
        return {**share, "visual": CLEAR} if self.shared else dict(share)

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
