"""Training clips as a yardstick: distances against SciPy, their share on clips of new sources, and the way back."""

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from apt_lightning.evaluation.training_clips import UNLIKE, Cloud, TrainingClips, share_below

SIZE = 24


def draw(n, seed, shift=0.0):
    """Features of which sources share a part, correlated and with a dead unit."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).standard_normal((8, SIZE))
    sources = [f"{seed}-{i // 3}" for i in range(n)]
    z = rng.standard_normal((n, 8)) + np.repeat(rng.standard_normal((n // 3 + 1, 8)), 3, axis=0)[:n]
    features = np.maximum(z @ mixing + 0.1 * rng.standard_normal((n, SIZE)) + shift, 0)
    features[:, -1] = 0
    return features, sources


@pytest.fixture(scope="module")
def cloud():
    return Cloud.fit(*draw(600, 1))


def test_the_distance_is_that_of_mahalanobis(cloud):
    features, _ = draw(600, 1)
    reference = LedoitWolf().fit(features)
    other = draw(5, 2)[0]
    expected = [mahalanobis(x, reference.location_, reference.precision_) for x in other]
    np.testing.assert_allclose([cloud.distance(x) for x in other], expected, rtol=1e-9)


def test_features_that_never_vary_lie_nowhere():
    cloud = Cloud.fit(np.ones((20, 3)), [str(i) for i in range(20)])
    assert cloud.distance(np.ones(3)) == 0 and not cloud.distances.any()


def test_clips_of_new_sources_are_as_far_as_the_training_clips_and_others_farther(cloud):
    shares = np.array([share_below(cloud.distances, cloud.distance(x)) for x in draw(900, 3)[0]])
    assert abs(shares.mean() - 0.5) < 0.05 and (shares > UNLIKE).mean() < 0.03
    unlike = draw(30, 4)[0]
    unlike[:, -1] = 5.0  # a unit that no training clip switches on
    assert all(share_below(cloud.distances, cloud.distance(x)) == 1 for x in unlike)


def test_a_clip_is_not_measured_by_itself_or_its_siblings():
    """As many dimensions as clips: in the sample all lie alike near, by clips of other sources they do not."""
    features, sources = np.random.default_rng(5).standard_normal((60, 40)), [str(i // 2) for i in range(60)]
    cloud = Cloud.fit(features, sources)
    inside = np.median([cloud.distance(x) for x in features])
    new = np.median([cloud.distance(x) for x in np.random.default_rng(6).standard_normal((200, 40))])
    assert abs(np.median(cloud.distances) - new) < abs(np.median(cloud.distances) - inside)


def test_too_few_sources_give_no_yardstick():
    assert Cloud.fit(np.ones((20, 3)), ["a"] * 20) is None


def test_higher_than(cloud):
    labels = np.random.default_rng(0).uniform(size=(5000, 5))
    clips = TrainingClips(np.quantile(labels, np.linspace(0, 1, 101), axis=0), {"audio": cloud})
    scores = np.array([-0.1, 0.25, 0.71, 0.999999, 1.2])
    np.testing.assert_allclose(clips.higher_than(scores), (labels < scores).mean(0), atol=0.01)


def test_arrays_and_back(cloud):
    clips = TrainingClips(np.zeros((101, 5)), {"audio": cloud, "visual": cloud})
    arrays = clips.to_arrays()
    again = TrainingClips.from_arrays(arrays)
    assert list(again.clouds) == ["audio", "visual"]
    assert all(np.array_equal(arrays[name], value) for name, value in again.to_arrays().items())
    for name in arrays:
        with pytest.raises(ValueError, match="wrong shape"):
            TrainingClips.from_arrays({**arrays, name: arrays[name][1:]})
        with pytest.raises(ValueError, match="wrong shape"):
            TrainingClips.from_arrays({key: value for key, value in arrays.items() if key != name})
