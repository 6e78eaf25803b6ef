"""The planted identity cue: what it does to a sound, that 0 leaves all as it was, and that neighbours find it."""

import numpy as np
import pytest

from apt_lightning.common.errors import UsageError
from apt_lightning.data.synthetic import synthesize
from apt_lightning.data.synthetic.build import plan_clips
from apt_lightning.data.synthetic.features import synthetic_features
from apt_lightning.data.synthetic.identity import BANDS, ECHO, place
from apt_lightning.data.synthetic.speech import SAMPLE_RATE
from apt_lightning.evaluation.neighbours import neighbours

NOISE = np.random.default_rng(0).normal(0, 0.05, 3 * SAMPLE_RATE).astype(np.float32)


def levels(sound):
    """Level of each band in dB, from the mean power an octave wide."""
    power, frequency = np.abs(np.fft.rfft(sound)) ** 2, np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    bands = [power[(frequency > f / 2**0.25) & (frequency < f * 2**0.25)].mean() for f in BANDS]
    return 10 * np.log10(bands)


def heard(seed, strength=1.0, sound=NOISE):
    return place(sound, np.random.default_rng(seed), strength)


def test_the_tone_is_the_sources_own_and_has_no_slope():
    other = np.random.default_rng(1).normal(0, 0.05, len(NOISE)).astype(np.float32)
    gains = [levels(heard(seed)) - levels(NOISE) for seed in range(12)]
    again = [levels(heard(seed, sound=other)) - levels(other) for seed in range(12)]
    apart = [np.linalg.norm(a - b) for i, a in enumerate(gains) for b in gains[:i]]
    same = [np.linalg.norm((a - a.mean()) - (b - b.mean())) for a, b in zip(gains, again, strict=True)]
    assert max(same) < 0.5 * min(apart)
    slopes = [np.polyfit(range(len(BANDS)), gain, 1)[0] for gain in gains]
    assert np.abs(slopes).max() < 1  # dB an octave


def test_the_room_echoes_and_the_loudness_stays():
    click = np.zeros(2 * SAMPLE_RATE, np.float32)
    click[1000] = 0.5
    sound = heard(3, sound=click)
    energy = np.cumsum(sound[::-1] ** 2)[::-1]
    decay = np.flatnonzero(energy < 1e-6 * energy[0])[0] / SAMPLE_RATE  # 60 dB
    assert ECHO[0] / 2 < decay < ECHO[1] + 0.1
    for seed in range(4):
        assert np.std(heard(seed)) == pytest.approx(np.std(NOISE), rel=1e-2)
    assert not heard(3, sound=np.zeros(SAMPLE_RATE, np.float32)).any()


def test_strength_scales_it_and_0_is_silent():
    changes = [np.abs(heard(5, strength) - NOISE).mean() for strength in (0.0, 0.2, 1.0)]
    assert changes[0] < 1e-7 and changes[0] < changes[1] < changes[2]
    assert all(plan.identity == 0 for plan in plan_clips(5, None, 0, 1.0))
    drawn, planted = synthetic_features(50, 4), synthetic_features(50, 4, identity=0.5)
    for modality in ("visual", "text"):
        np.testing.assert_array_equal(drawn.features[modality], planted.features[modality])
    offset = planted.features["audio"] - drawn.features["audio"]
    for source in np.unique(drawn.source):
        rows = offset[drawn.source == source]
        np.testing.assert_allclose(rows, np.tile(rows[0], (len(rows), 1)), atol=1e-5)
    assert offset.std() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf")])
def test_a_strength_that_is_none_is_refused(strength, tmp_path):
    with pytest.raises(UsageError, match="identity"):
        synthesize(tmp_path / "set", 3, identity=strength)
    if strength < 0:
        with pytest.raises(UsageError, match="identity"):
            synthetic_features(5, identity=strength)


def accuracy(identity, grouped):
    """Share of nearest clips of the same source, and 1-MAE of the sound's neighbours above the constant."""
    rates, gains = [], []
    for seed in range(3):
        drawn = synthetic_features(1500, seed, identity=identity, grouped=grouped)
        train, validation, test = (np.flatnonzero(drawn.split == name) for name in ("train", "validation", "test"))
        sources = [str(source) for source in drawn.source]
        found = neighbours([drawn.features["audio"]], drawn.labels, sources, train, validation, test)
        constant = np.abs(drawn.labels[train].mean(axis=0) - drawn.labels[test]).mean()
        rates.append(found.same_source)
        gains.append(constant - np.abs(found.predicted - drawn.labels[test]).mean())
    return np.mean(rates), np.mean(gains)


def test_neighbours_find_the_cue_and_disjoint_sources_remove_it():
    plain_rate, plain_gain = accuracy(0, False)
    rate, gain = accuracy(2, False)
    assert rate > 0.95 > plain_rate and gain > plain_gain + 0.004
    unseen_rate, unseen_gain = accuracy(2, True)
    assert np.isnan(unseen_rate) and unseen_gain < gain / 3
