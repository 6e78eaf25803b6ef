"""Positive controls: strength 0 changes nothing, each does what it says, and the ceiling is the best there is."""

import hashlib

import numpy as np
import pytest

from apt_lightning.common.errors import UsageError
from apt_lightning.data.collection.official import CORRELATION, MEAN, SD
from apt_lightning.data.synthetic import synthetic_features
from apt_lightning.data.synthetic.build import plan_clips
from apt_lightning.data.synthetic.ceiling import best_balanced_scores, best_scores, posterior
from apt_lightning.data.synthetic.latents import CUE_SHARE, draw_latents
from apt_lightning.data.synthetic.planted import AGREEMENT_TRAIT, CLEAR, FEW, Planted

N = 40_000
CONTROLS = {
    "none": Planted(),
    "agreement": Planted(agreement=0.8),
    "shared": Planted(shared=0.3),
    "extremes": Planted(extremes=2.0),
    "all": Planted(0.6, 0.4, 1.0),
}


def drawn(planted, n=N, seed=7):
    return draw_latents(np.arange(n), np.random.default_rng(seed), planted=planted)


def r2(labels, scores):
    return 1 - ((labels - scores) ** 2).sum(axis=0) / ((labels - labels.mean(axis=0)) ** 2).sum(axis=0)


def test_without_controls_the_set_is_that_of_earlier_versions():
    plans, features = plan_clips(None, 60, 3, 5.0), synthetic_features(80, 3).features
    steps = [107, 96, 91, 103, 90]
    text = "\n".join(
        f"{p.name} {p.split} {p.said} {np.round(p.labels * steps).astype(int).tolist()}"
        f" {np.round([*p.audio_cues, *p.visual_cues], 6).tolist()}"
        for p in plans
    )
    text += str([np.round(x, 4).tolist() for x in features.values()])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "282e3ab5fabb04e0"


def test_controls_leave_all_else_as_it_was():
    plain = drawn(Planted(), 500)
    for planted in (CONTROLS["agreement"], CONTROLS["shared"]):
        changed = drawn(planted, 500)
        np.testing.assert_array_equal(plain.labels, changed.labels)
        np.testing.assert_array_equal(plain.cues["text"][:, :4], changed.cues["text"][:, :4])
        assert (plain.cues["audio"] != changed.cues["audio"]).any()
    first, second = (plan_clips(None, 40, 0, 5.0, planted=p) for p in (Planted(), CONTROLS["all"]))
    for a, b in zip(first, second, strict=True):
        assert (a.name, a.split, a.clip_seed) == (b.name, b.split, b.clip_seed)


def test_agreement_is_in_no_modality_alone():
    latents = drawn(Planted(agreement=0.8))
    trait, k = latents.traits[:, AGREEMENT_TRAIT], AGREEMENT_TRAIT
    alone = [abs(np.corrcoef(trait, cue[:, k])[0, 1]) for cue in latents.cues.values()]
    together = np.corrcoef(trait, latents.cues["audio"][:, k] * latents.cues["visual"][:, k])[0, 1]
    assert max(alone) < 0.02 and together == pytest.approx(np.sqrt(0.8), abs=0.01)
    with_both, picture = (
        r2(latents.labels, best_scores(latents.cues, CUE_SHARE, CONTROLS["agreement"], keep))[k]
        for keep in (["audio", "visual"], ["visual"])
    )
    assert with_both > picture + 0.3


def test_shared_errors_make_the_picture_a_better_teacher_than_the_labels():
    latents = drawn(Planted(shared=0.3))
    picture, voice, label = latents.cues["visual"][:, 0], latents.cues["audio"][:, 0], latents.traits[:, 0]
    assert np.corrcoef(voice, picture)[0, 1] == pytest.approx(np.sqrt(0.3), abs=0.02)
    assert np.corrcoef(picture, label)[0, 1] == pytest.approx(np.sqrt(CLEAR), abs=0.02)
    assert np.corrcoef(voice, label)[0, 1] == pytest.approx(np.sqrt(0.3 * CLEAR), abs=0.02)
    assert latents.cues["audio"].std(axis=0) == pytest.approx(np.ones(5), abs=0.02)


def test_extremes_are_few_and_the_spread_stays():
    labels = [drawn(planted).labels for planted in (Planted(), Planted(extremes=2.0))]
    assert labels[1].std(axis=0) == pytest.approx(labels[0].std(axis=0), abs=0.01)  # some end at 0 or 1
    beyond = [(np.abs(x - MEAN) > 1.0 * SD).mean() for x in labels]
    assert beyond[1] < 0.85 * beyond[0]
    far = [(np.abs(x - MEAN) > 2.7 * SD).mean() for x in labels]
    assert far[1] > 2 * far[0]
    scales = Planted(extremes=2.0).scales
    assert sum(share * scale**2 for scale, share in scales.items()) == pytest.approx(1)
    assert max(scales) / min(scales) == pytest.approx(3) and scales[max(scales)] == FEW


@pytest.mark.parametrize("keep", [["audio"], ["text"], ["audio", "visual", "text"]])
def test_ceiling_without_controls_is_that_of_gaussians(keep):
    latents = drawn(Planted())
    told = sum(CUE_SHARE[name] / (1 - CUE_SHARE[name]) for name in keep)
    found = r2(MEAN + SD * latents.traits, best_scores(latents.cues, CUE_SHARE, Planted(), keep))
    assert found == pytest.approx(np.full(5, told / (1 + told)), abs=0.015)


@pytest.mark.parametrize("keep", [["audio"], ["visual"], ["audio", "text"], ["audio", "visual", "text"]])
@pytest.mark.parametrize("name", CONTROLS)
def test_nothing_in_the_cues_tells_the_ceilings_error(name, keep):
    """An error is orthogonal to every function of what is read exactly if the score is the conditional mean."""
    planted = CONTROLS[name]
    latents = drawn(planted, seed=8)
    scores = best_scores(latents.cues, CUE_SHARE, planted, keep)
    error = MEAN + SD * latents.traits - scores
    read = np.hstack([latents.cues[modality] for modality in keep])
    products = (read[:, :, None] * read[:, None]).reshape(N, -1)
    functions = np.hstack([np.ones((N, 1)), read, products, np.tanh(read), np.abs(scores - MEAN), read**3, scores**3])
    for column in error.T:
        terms = functions * column[:, None]
        z = terms.mean(axis=0) / (terms.std(axis=0) / np.sqrt(N) + 1e-12)
        assert np.abs(z).max() < 4.7  # of a few hundred


@pytest.mark.parametrize("name", ["none", "extremes", "all"])
def test_nothing_in_the_cues_tells_the_balanced_ceilings_weighted_error(name):
    """The score is the least weighted square exactly if the weighted error is orthogonal to what is read."""
    planted, keep = CONTROLS[name], ["audio", "visual"]
    latents = drawn(planted, seed=9)
    labels = MEAN + SD * latents.traits
    bounds = MEAN + SD * np.array([[-1.5], [0.2], [1.0]])
    weights = np.array([[8.0] * 5, [1.0] * 5, [2.0] * 5, [5.0] * 5])
    scores = best_balanced_scores(posterior(latents.cues, CUE_SHARE, planted, keep), bounds, weights)
    error = weights[(labels[None] >= bounds[:, None]).sum(axis=0), np.arange(5)] * (labels - scores)
    read = np.hstack([latents.cues[modality] for modality in keep])
    functions = np.hstack([np.ones((N, 1)), read, read**2, np.tanh(read), np.abs(scores - MEAN), scores**3])
    for column in error.T:
        terms = functions * column[:, None]
        z = terms.mean(axis=0) / (terms.std(axis=0) / np.sqrt(N) + 1e-12)
        assert np.abs(z).max() < 4.5
    even = best_balanced_scores(posterior(latents.cues, CUE_SHARE, planted, keep), bounds, np.ones((4, 5)))
    np.testing.assert_allclose(even, best_scores(latents.cues, CUE_SHARE, planted, keep), atol=1e-12)


def test_features_hold_their_cues_and_correlation_is_kept():
    features = synthetic_features(300, 1, planted=CONTROLS["all"])
    assert {name: cue.shape for name, cue in features.cues.items()} == dict.fromkeys(CUE_SHARE, (300, 5))
    assert np.corrcoef(drawn(CONTROLS["extremes"]).traits.T) == pytest.approx(CORRELATION, abs=0.03)


@pytest.mark.parametrize("wrong", [{"agreement": 1.5}, {"shared": -0.1}, {"extremes": -1.0}, {"extremes": np.inf}])
def test_wrong_strengths_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Planted(**wrong)
