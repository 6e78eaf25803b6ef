import numpy as np
import pytest

from apt_lightning.common.errors import DataError
from studies.retrieval_head import RetrievalHead, fit_retrieval_head


def world(n, seed, by_source=0.0):
    """Clips on a circle; a model that is wrong by a wave over it, and by an offset of the source."""
    rng = np.random.default_rng(seed)
    source = np.repeat(np.arange(n // 4), 4) + 1000 * (seed if not by_source else 0)
    angle = rng.uniform(0, 2 * np.pi, n)
    if by_source:
        angle = np.random.default_rng(9).uniform(0, 2 * np.pi, n // 4).repeat(4) + 0.01 * rng.standard_normal(n)
    offset = np.random.default_rng(5).standard_normal((n // 4, 5)).repeat(4, axis=0) * by_source
    wrong = 0.1 * np.sin(3 * angle)[:, None] * (not by_source) + offset + 0.05 * rng.standard_normal((n, 5))
    scores = rng.uniform(0.4, 0.6, (n, 5))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1), scores, scores + wrong, [str(s) for s in source]


def fitted(train, validation, **options):
    keys, scores, labels, sources = train
    space, asked, answers, others = validation
    return fit_retrieval_head(keys, labels - scores, sources, space, asked, answers, others, **options)


def error(head, clips):
    space, scores, labels, sources = clips
    return np.abs(scores - labels).mean(), np.abs(head.correct(space, scores, sources) - labels).mean()


def test_scores_and_evidence_are_those_of_the_formula():
    keys, scores, labels, sources = world(40, 0)
    space, asked, _, _ = world(8, 1)
    asking = sources[:4] + ["new"] * 4
    head = RetrievalHead(keys, labels - scores, np.array(sources), 5, 0.3, 0.7, other_sources=True)
    corrected, (rows, weights) = head.correct(space, asked, asking), head.evidence(space, asking)
    for i, (x, source) in enumerate(zip(space, asking, strict=True)):
        distance = [np.inf if s == source else np.linalg.norm(x - k) for k, s in zip(keys, sources, strict=True)]
        near = np.argsort(distance)[:5]
        w = np.exp(-(np.array(distance)[near] ** 2) / (2 * 0.3**2))
        mean = (w[:, None] * (labels - scores)[near]).sum(axis=0) / w.sum()
        assert corrected[i] == pytest.approx(np.clip(asked[i] + 0.7 * mean, 0, 1), abs=1e-12)
        assert sorted(rows[i]) == sorted(near)
        assert weights[i] == pytest.approx(np.sort(w / w.sum())[::-1], abs=1e-12)


def test_errors_that_vary_over_the_space_are_corrected():
    head = fitted(world(800, 1), world(200, 2))
    before, after = error(head, world(400, 3))
    assert after < 0.75 * before
    assert head.gate > 0.7


def test_errors_that_do_not_are_left_alone():
    train, validation = world(800, 1), world(400, 2)
    rng = np.random.default_rng(0)
    keys, scores, labels, sources = train
    shuffled = (keys, scores, scores + rng.permutation(labels - scores), sources)
    head = fitted(shuffled, validation)
    before, after = error(head, world(400, 3))
    assert after < before * 1.01


def test_the_own_source_is_left_out_unless_asked_for():
    clips = [world(400, seed, by_source=0.15) for seed in (1, 2, 3)]
    apart, joined = (fitted(*clips[:2], other_sources=other) for other in (True, False))
    assert error(joined, clips[2])[1] < 0.7 * error(joined, clips[2])[0]
    assert error(apart, clips[2])[1] > 0.9 * error(apart, clips[2])[0]
    rows, weights = apart.evidence(clips[2][0], clips[2][3])
    own = np.array(clips[0][3])[rows] == np.array(clips[2][3])[:, None]
    assert not own[weights > 0].any()


def test_nothing_to_learn_from_is_refused_and_a_missing_label_is_left_out():
    train, validation = world(80, 1), world(40, 2)
    keys, scores, labels, sources = train
    gap = labels.copy()
    gap[3, 2] = np.nan
    head = fitted((keys, scores, gap, sources), validation)
    assert len(head.keys) == 79
    with pytest.raises(DataError, match="residuals"):
        fitted((keys, scores, labels * np.nan, sources), validation)


def test_evidence_of_a_clip_with_fewer_neighbours_than_asked_for_is_of_those_there():
    """All but two training clips are of the asking clip's own source."""
    keys = np.array([[0.0], [100.0], *[[50.0 + i] for i in range(8)]])
    head = RetrievalHead(keys, np.ones((10, 5)), np.array(["a", "b", *"c" * 8]), 10, 1.0, 1.0, True)
    with np.errstate(over="raise", invalid="raise"):
        rows, weights = head.evidence(np.array([[49.0]]), ["c"])
    assert rows[0, 0] == 0 and weights[0].sum() == pytest.approx(1) and np.isfinite(weights).all()
    assert (weights[0, 2:] == 0).all()
