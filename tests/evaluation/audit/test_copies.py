"""Near copies, repeated words and people under several ids: planted in features, found, and not found elsewhere."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from test_audit import Clip, clips

from apt_lightning.data.store.content import Content
from apt_lightning.data.synthetic.features import synthetic_features
from apt_lightning.evaluation.audit import copies
from apt_lightning.evaluation.audit.audit import audit
from apt_lightning.evaluation.audit.copies import near_copies, near_pairs, near_transcripts
from apt_lightning.evaluation.audit.people import same_people
from studies.people_study import plant

KINDS = {"audio": "functionals", "visual": "frames", "text": "tokens"}


def content(n, seed=0):
    """Features and hashes of clips that have nothing in common."""
    rng = np.random.default_rng(seed)
    features = {name: rng.normal(size=(n, 12)) for name in KINDS}
    return Content(features, {"visual": rng.random((n, 59)) < 0.5}, KINDS)


def copied(found, a, b, *modalities, noise=0.0):
    """The same content with clip b a copy of a in these modalities."""
    features = {name: values.copy() for name, values in found.features.items()}
    hashes = {name: bits.copy() for name, bits in found.hashes.items()}
    for name in modalities:
        features[name][b] = features[name][a] + noise * np.random.default_rng(1).normal(size=12)
        if name in hashes:
            hashes[name][b] = hashes[name][a]
    return dataclasses.replace(found, features=features, hashes=hashes)


def test_near_pairs_are_those_within_the_distance():
    x = np.random.default_rng(0).normal(size=(80, 4)) * [1, 10, 0.1, 0] + 5
    x[7, 1] = np.nan
    kept = np.flatnonzero(~np.isnan(x).any(axis=1))
    z = (x - x[kept].mean(axis=0))[:, :3] / x[kept].std(axis=0)[:3]
    expected = {(i, j) for i in kept for j in kept if i < j and np.sqrt(((z[i] - z[j]) ** 2).mean()) <= 0.25}
    assert expected and near_pairs(x, 0.25) == expected


@pytest.mark.parametrize("x", [np.ones((9, 3)), np.full((9, 3), np.nan), np.empty((0, 3)), np.ones((1, 3))])
def test_nothing_is_near_where_nothing_varies(x):
    assert near_pairs(x, 1) == set()


def test_a_set_of_equal_clips_costs_no_more_than_another():
    x = np.repeat(np.random.default_rng(0).normal(size=(2, 3)), 300, axis=0)
    assert 0 < len(near_pairs(x, 0.1)) <= 600 * (copies.NEIGHBOURS + 1)


def test_pictures_need_their_hashes_to_agree_too():
    found = copied(content(50), 3, 9, "visual", "audio", "text", noise=0.02)
    assert near_copies(found) == {"audio": {(3, 9)}, "visual": {(3, 9)}}  # words have a search of their own
    found.hashes["visual"][9] ^= True
    assert near_copies(found) == {"audio": {(3, 9)}}
    assert near_copies(content(50)) == {}


def test_transcripts_are_near_by_the_cosine_of_their_three_word_runs():
    words = np.random.default_rng(0).choice([f"w{i}" for i in range(500)], (20, 30))
    texts = [" ".join(row) for row in words]
    texts[4] = " ".join([*words[9][:27], "quite", "another", "end"]).upper()
    texts[5] = " ".join([*words[9][:15], *words[5][15:]])
    texts += ["so it is", None, "", "word"]
    runs = [{tuple(t.lower().split()[i : i + 3]) for i in range(len(t.split()) - 2)} for t in texts[:20]]
    every = sorted(set().union(*runs))
    cosine = cosine_similarity([[run in own for run in every] for own in runs])
    expected = {(i, j) for i in range(20) for j in range(i + 1, 20) if cosine[i, j] >= copies.NEAR_WORDS}
    assert near_transcripts(texts) == expected == {(4, 9)}
    assert near_transcripts(["so it is", None]) == near_transcripts([]) == set()
    assert near_transcripts(["a b c d e", ". , ; : !"]) == set()


def find(result, code):
    return [f for f in result.findings if f.code == code]


def test_the_audit_names_copies_across_splits_only():
    found = clips(disjoint=False)
    train = [i for i, clip in enumerate(found) if clip.split == "train"]
    test = [i for i, clip in enumerate(found) if clip.split == "test"]
    both = copied(content(len(found)), train[0], test[0], "audio", "visual", noise=0.02)
    one = copied(both, train[1], test[1], "audio")
    within = copied(one, train[2], train[3], "audio", "visual")
    result = audit(found, {}, within, resamples=0)
    pair, single = (sorted((found[train[k]].name, found[test[k]].name)) for k in (0, 1))
    assert {kind: [sorted(p) for p in pairs] for kind, pairs in result.near.items()} == {
        "clips": [pair],
        "audio": [single],
    }
    (error,) = find(result, "near-clips")
    (warning,) = find(result, "near-audio")
    assert (error.severity, warning.severity) == ("error", "warning") and result.failed
    assert error.where == "test and train (1)" and all(name in error.text for name in pair)
    # The same bytes are an error of their own and are not named twice.
    again = audit(found, dict.fromkeys(pair, "same"), within, resamples=0)
    assert not find(again, "near-clips") and find(again, "duplicate-files")


def test_the_audit_names_nearly_repeated_words():
    found = clips()
    a = next(i for i, clip in enumerate(found) if clip.split == "train")
    b = next(i for i, clip in enumerate(found) if clip.split == "test")
    said = "the first thing I do when I wake up is to open all the windows and to make coffee"
    found[a] = dataclasses.replace(found[a], transcript=said)
    found[b] = dataclasses.replace(found[b], transcript=f"{said} today")
    result = audit(found, {}, resamples=0)
    assert [sorted(p) for p in result.near["transcripts"]] == [sorted((found[a].name, found[b].name))]
    assert [f.code for f in result.findings] == ["near-transcripts"]


@pytest.mark.parametrize("identity", [0, 1])
def test_people_under_two_ids_are_suspected_and_others_are_not(identity):
    """The error rates that the finding quotes are of more draws: `python -m studies.people_study`."""
    drawn = synthetic_features(1500, seed=2, identity=identity)
    features = {name: drawn.features[name].astype(float) for name in ("audio", "visual")}
    n_sources = len(set(drawn.source))
    assert len(same_people(features, [str(s) for s in drawn.source])) <= 0.005 * n_sources
    ids, planted = plant(drawn.source, 0)
    suspected = {(a, b) for a, b, _ in same_people(features, ids)}
    assert len(suspected - planted) <= 0.005 * n_sources and len(suspected & planted) >= 0.5 * len(planted) > 5


def test_one_modality_or_too_few_siblings_are_no_ground_for_suspicion():
    drawn = synthetic_features(300, seed=2)
    features = {name: drawn.features[name].astype(float) for name in ("audio", "visual")}
    ids = [str(s) for s in drawn.source]
    assert same_people({"audio": features["audio"]}, ids) is None
    assert same_people(features, [str(i) for i in range(300)]) is None
    assert same_people({"a": np.ones((300, 3)), "b": features["audio"]}, ids) is None
    assert same_people({"a": np.full((300, 3), np.nan), "b": features["audio"]}, ids) is None


def test_the_audit_reports_a_suspicion_with_its_error_rate():
    drawn = synthetic_features(800, seed=2, grouped=True)
    ids, planted = plant(drawn.source, 1)
    found = [
        Clip(f"{i}.mp4", s, str(p), tuple(row))
        for i, (s, p, row) in enumerate(zip(ids, drawn.split, drawn.labels, strict=True))
    ]
    features = {name: values.astype(float) for name, values in drawn.features.items()}
    whole = Content(features, {}, dict.fromkeys(features, "vector") | {"text": "tokens"})
    result = audit(found, {}, whole, resamples=0)
    (finding,) = find(result, "one-person")
    assert finding.severity == "warning" and "a suspicion" in finding.text and result.people
    assert len({(a, b) for a, b, _ in result.people} & planted) > 0
    scored = result.floors.scores["test"]["all"]
    assert {"training mean", "ridge", "neighbours, joined", "neighbours, audio, other sources"} <= set(scored)
    assert scored["ridge"].values["1-MAE"][-1] > scored["training mean"].values["1-MAE"][-1]
