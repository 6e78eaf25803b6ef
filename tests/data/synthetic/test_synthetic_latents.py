"""Labels, sources and splits of the synthetic set against the published figures of the real one."""

import numpy as np
import pytest

from apt_lightning.common.errors import UsageError
from apt_lightning.data.synthetic.latents import draw_clips, draw_latents, draw_splits

# Training split of First Impressions V2, order E N A C O.
MEAN = [0.476, 0.520, 0.548, 0.523, 0.566]
SD = [0.152, 0.154, 0.136, 0.155, 0.147]
LATTICE = [107, 96, 91, 103, 90]
RANGE = [(0, 0.9252), (0.0208, 0.9792), (0, 1), (0, 0.9709), (0, 1)]
ICC = [0.64, 0.62, 0.52, 0.71, 0.59]
CORRELATIONS = {
    (0, 2): 0.71,
    (0, 3): 0.59,
    (0, 1): 0.80,
    (0, 4): 0.77,
    (2, 3): 0.66,
    (2, 1): 0.73,
    (2, 4): 0.65,
    (3, 1): 0.72,
    (3, 4): 0.58,
    (1, 4): 0.77,
}


@pytest.fixture(scope="module")
def population():
    rng = np.random.default_rng(11)
    source, within = draw_clips(rng, n_sources=15_000)
    return source, within, draw_latents(source, rng)


def test_labels_have_the_real_mean_spread_and_correlations(population):
    labels = population[2].labels
    assert labels.mean(axis=0) == pytest.approx(MEAN, abs=0.004)
    assert labels.std(axis=0) == pytest.approx(SD, abs=0.003)
    found = np.corrcoef(labels.T)
    for (i, j), value in CORRELATIONS.items():
        assert found[i, j] == pytest.approx(value, abs=0.02)


def test_labels_lie_on_the_lattice_and_in_the_range(population):
    labels = population[2].labels
    steps = labels * LATTICE
    assert np.abs(steps - np.round(steps)).max() < 1e-6
    for column, (low, high) in zip(labels.T, RANGE, strict=True):
        assert low - 2e-4 < column.min() < low + 0.05  # the outermost steps are four deviations away
        assert high - 0.05 < column.max() < high + 2e-4


def test_interview_score_follows_the_traits(population):
    latents = population[2]
    assert (latents.interview.mean(), latents.interview.std()) == pytest.approx((0.504, 0.150), abs=0.004)
    assert np.corrcoef(latents.interview, latents.labels.mean(axis=1))[0, 1] == pytest.approx(0.9, abs=0.02)


def test_labels_agree_within_a_source_as_much_as_the_real_ones(population):
    source, _, latents = population
    assert _icc1(source, latents.labels) == pytest.approx(ICC, abs=0.02)


def test_cue_noise_is_independent_between_modalities(population):
    latents = population[2]
    residual = {}
    for modality, cue in latents.cues.items():
        assert cue.std(axis=0) == pytest.approx(np.ones(5), abs=0.03)
        weight = (cue * latents.traits).mean()
        residual[modality] = cue - weight * latents.traits
    across = np.corrcoef(residual["audio"][:, 0], residual["visual"][:, 0])[0, 1]
    assert abs(across) < 0.03


def test_sources_have_as_many_clips_as_the_real_ones(population):
    source, within, _ = population
    counts = np.bincount(np.bincount(source), minlength=7)[1:]
    assert counts / counts.sum() == pytest.approx(np.array([721, 533, 464, 398, 435, 509]) / 3060, abs=0.015)
    assert within.max() == 5


@pytest.mark.parametrize("n_clips", [1, 7, 200])
def test_number_of_clips_is_exact(n_clips):
    source, within = draw_clips(np.random.default_rng(0), n_clips=n_clips)
    assert len(source) == len(within) == n_clips


def test_splits_share_sources_as_much_as_the_official_ones():
    rng = np.random.default_rng(5)
    source, _ = draw_clips(rng, n_clips=10_000)
    split = draw_splits(source, rng)
    assert [int((split == name).sum()) for name in ("train", "validation", "test")] == [6000, 2000, 2000]
    train = set(source[split == "train"].tolist())
    for name, official in (("test", 0.840), ("validation", 0.837)):
        seen = np.mean([s in train for s in source[split == name].tolist()])
        assert seen == pytest.approx(official, abs=0.02)


def test_grouped_splits_share_no_source():
    rng = np.random.default_rng(5)
    source, _ = draw_clips(rng, n_clips=1000)
    split = draw_splits(source, rng, grouped=True)
    homes = [set(source[split == name].tolist()) for name in ("train", "validation", "test")]
    assert homes[0].isdisjoint(homes[1] | homes[2]) and homes[1].isdisjoint(homes[2])
    assert np.mean(split == "train") == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("numbers", [{}, {"n_sources": 2, "n_clips": 2}, {"n_clips": 0}, {"n_sources": -1}])
def test_number_of_clips_is_checked(numbers):
    with pytest.raises(UsageError, match="at least 1"):
        draw_clips(np.random.default_rng(0), **numbers)


def _icc1(groups, values):
    """One-way random intra-class correlation, with unequal group sizes (Shrout and Fleiss 1979)."""
    sizes = np.bincount(groups)
    means = np.stack([np.bincount(groups, column) for column in values.T], axis=1) / sizes[:, None]
    between = (sizes[:, None] * (means - values.mean(axis=0)) ** 2).sum(axis=0) / (len(sizes) - 1)
    within = ((values - means[groups]) ** 2).sum(axis=0) / (len(values) - len(sizes))
    size = (len(values) - (sizes**2).sum() / len(values)) / (len(sizes) - 1)
    return (between - within) / (between + (size - 1) * within)
