"""What the studies compute beside the package: teachers that have not seen the clip, and tables."""

import numpy as np
import pytest

from apt_lightning.data.synthetic.features import synthetic_features
from studies import benchmark, teaching_study


@pytest.fixture(scope="module")
def drawn():
    return synthetic_features(1000, 3, grouped=True, planted=teaching_study.WORLDS["shared"])


def test_out_of_fold_scores_do_not_follow_the_labels_of_the_own_source(drawn):
    x, source = drawn.features["audio"].astype(np.float64), drawn.source
    before = benchmark.out_of_fold(x, drawn.labels, source, 10.0)
    changed = np.where((source == source[0])[:, None], 1 - drawn.labels, drawn.labels)
    after = benchmark.out_of_fold(x, changed, source, 10.0)
    same = (before == after).all(axis=1)
    assert same[source == source[0]].all() and not same.all()


def test_labels_that_a_teacher_gives(drawn):
    training = drawn.split == "train"
    few = teaching_study.labelled_rows(drawn, seed=0)
    own = np.isin(np.arange(len(training)), few)
    assert training[few].all() and abs(len(few) - teaching_study.LABELLED) < 6
    assert not set(drawn.source[few]) & set(drawn.source[training & ~own])
    made = teaching_study.targets(drawn, teaching_study.WORLDS["shared"], few, seed=0)
    taught = {arm: labels["audio"] for arm, labels in made.items()}
    others = training & ~own
    for arm in set(taught) - {teaching_study.SAME}:
        assert np.array_equal(taught[arm][~others], drawn.labels[~others])
    assert np.array_equal(taught[teaching_study.ALONE], drawn.labels)
    same = taught[teaching_study.SAME]
    assert np.array_equal(same[~own], drawn.labels[~own]) and (same[own] != drawn.labels[own]).any()
    error = {arm: ((labels - drawn.labels)[others] ** 2).mean() for arm, labels in taught.items()}
    assert error["taught by the best"] < error["taught by all"] < error["taught by itself"]
    assert error["taught by all"] < error["taught by all, shuffled"]
    dealt, of = (taught[arm][others] for arm in ("taught by all, shuffled", "taught by all"))
    to, by = np.nonzero((dealt[:, None] == of).all(axis=2))  # the scores of clips that have labels are not seen here
    assert len(set(to)) > others.sum() / 3 and (drawn.source[others][to] != drawn.source[others][by]).all()


def test_tables():
    rng = np.random.default_rng(0)
    figures = ("1-MAE", "R2 openness", "class-balanced", "low", "high")

    def arms(names, gain):
        return {a: {f: 0.9 + gain[a] + 1e-5 * rng.random() for f in figures} for a in names}

    teaching = [*teaching_study.ARMS, benchmark.CEILING]
    gain = dict.fromkeys(teaching, 0.0) | {"taught by all": 0.01, "ceiling": 0.02}
    found = [{subset: arms(teaching, gain) for subset in teaching_study.SUBSETS} for _ in range(5)]
    text = teaching_study.tables({"plain": found})
    rows = [row.split("|")[1:-1] for row in text.splitlines() if row.startswith("| audio ")]
    assert [cell.strip() for cell in rows[0]][1] == ".9000" and rows[0][2].strip().startswith("+0.0100")
    assert rows[0][-1].strip() == "50 %"
    names = [benchmark.BASELINE, "ridge", "ceiling"]
    gain = dict.fromkeys(names, 0.0) | {"ridge": -0.01, "ceiling": 0.02}
    text = benchmark.tables({"plain": [arms(names, gain) for _ in range(5)]})
    (ridge,) = (row.split("|")[1:-1] for row in text.splitlines() if row.startswith("| ridge"))
    assert ridge[2].strip().startswith("-0.0100") and ridge[-1].strip() == "-50 %"


def test_class_balanced_counts_every_class_alike():
    labels = np.array([[0.1] * 5, *[[0.5] * 5] * 8, [0.9] * 5])
    edges = benchmark.class_edges(labels)
    scores = np.full((10, 5), 0.5)
    assert benchmark.class_balanced(scores, labels, edges) == pytest.approx(1 - (0.4 + 0 + 0.4) / 3)
