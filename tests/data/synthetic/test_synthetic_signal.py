"""Each modality tells something of the traits, and together they tell more: checked by ridge regression."""

import re

import av
import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from apt_lightning.common.errors import UsageError
from apt_lightning.data.synthetic import synthesize, synthetic_features
from apt_lightning.data.synthetic.build import plan_clips


def _r2(x, y, train, test):
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 11))).fit(x[train], y[train])
    floor = ((y[test] - y[train].mean(axis=0)) ** 2).sum()
    return float(1 - ((y[test] - model.predict(x[test])) ** 2).sum() / floor)


def _grouped_r2(x, y, source):
    return float(np.mean([_r2(x, y, *fold) for fold in GroupKFold(4).split(x, groups=source)]))


def test_words_alone_beat_the_floor_on_unseen_sources():
    plans = plan_clips(None, 800, 0, 15.0)
    counts = CountVectorizer().fit_transform([plan.transcript for plan in plans]).toarray()
    labels, source = np.array([plan.labels for plan in plans]), [plan.source for plan in plans]
    assert 0.15 < _grouped_r2(np.sqrt(counts), labels, source) < 0.45


def test_feature_vectors_of_each_modality_beat_the_floor_and_all_beat_each():
    drawn = synthetic_features(3000, seed=1, grouped=True)
    train, test = drawn.split == "train", drawn.split == "test"
    scores = {name: _r2(x, drawn.labels, train, test) for name, x in drawn.features.items()}
    assert min(scores.values()) > 0.05 and max(scores.values()) < 0.5
    assert _r2(np.hstack(list(drawn.features.values())), drawn.labels, train, test) > max(scores.values()) + 0.05


def test_another_seed_is_another_sample_of_the_same_world():
    first, second = synthetic_features(1500, seed=1), synthetic_features(1500, seed=2)
    assert not np.array_equal(first.labels, second.labels)
    x, y = (
        np.concatenate([d.features["visual"] for d in (first, second)]),
        np.concatenate([first.labels, second.labels]),
    )
    assert _r2(x, y, np.arange(1500), np.arange(1500, 3000)) > 0.2


def test_noise_and_gaps_change_only_their_modality():
    plain = synthetic_features(400, seed=3)
    noisy = synthetic_features(400, seed=3, noise={"visual": 3.0})
    gaps = synthetic_features(400, seed=3, missing={"text": 0.25})
    np.testing.assert_array_equal(plain.labels, noisy.labels)
    np.testing.assert_array_equal(plain.features["audio"], noisy.features["audio"])
    assert noisy.features["visual"].std() > 2 * plain.features["visual"].std()
    assert gaps.present["text"].sum() == 300 and gaps.present["audio"].all()
    np.testing.assert_array_equal(np.isnan(gaps.features["text"]).all(axis=1), ~gaps.present["text"])
    np.testing.assert_array_equal(
        gaps.features["text"][gaps.present["text"]], plain.features["text"][gaps.present["text"]]
    )


@pytest.mark.parametrize("wrong", [{"noise": {"smell": 1.0}}, {"missing": {"audio": 1.5}}, {"noise": {"text": -1.0}}])
def test_wrong_regimes_are_refused(wrong):
    with pytest.raises(UsageError):
        synthetic_features(10, **wrong)


def _visual(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    picks = [frames[int((k + 0.5) * len(frames) / 6)] for k in range(6)]
    small = np.stack([f.reformat(16, 9, format="rgb24", interpolation="AREA").to_ndarray() for f in picks])
    return np.concatenate([small.mean(axis=0).ravel(), small.std(axis=0).mean(axis=(0, 1))])


@pytest.mark.slow
def test_media_of_each_modality_beat_the_floor_and_all_beat_each(tmp_path):
    import opensmile

    synthesize(tmp_path / "set", None, n_clips=300, seed=0, seconds=5.0, size=(160, 90), fps=12.0, workers=1)
    plans = plan_clips(None, 300, 0, 5.0)
    smile = opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02)
    audio, visual = [], []
    for plan in plans:
        path = tmp_path / "set" / plan.folder / plan.name
        visual.append(_visual(path))
        with av.open(str(path)) as container:
            sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        audio.append(smile.process_signal(sound, 44100).to_numpy()[0])
    heard = np.array(audio)
    heard = np.clip(heard, *np.quantile(heard, [0.02, 0.98], axis=0))  # rare pitch errors are far outliers
    said = [re.sub(r"\[.*?\]", "", plan.transcript) for plan in plans]
    inputs = {
        "audio": heard,
        "visual": np.array(visual),
        "text": np.sqrt(CountVectorizer().fit_transform(said).toarray()),
    }
    labels, source = np.array([plan.labels for plan in plans]), [plan.source for plan in plans]
    scores = {name: _grouped_r2(x, labels, source) for name, x in inputs.items()}
    together = _grouped_r2(np.hstack(list(inputs.values())), labels, source)
    print(
        "R2 on unseen sources:",
        {name: round(r2, 3) for name, r2 in scores.items()},
        "all",
        round(together, 3),
    )
    assert scores["audio"] > 0.1 and scores["visual"] > 0.1 and scores["text"] > 0.03, scores
    assert together > max(scores.values()) + 0.05, (together, scores)
