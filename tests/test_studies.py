"""What the studies compute beside the package: teachers that have not seen the clip, and tables."""

import numpy as np
import pytest

from apt_lightning.data.synthetic.features import synthetic_features
from studies import benchmark, teaching_study


@pytest.fixture(scope="module")
def drawn():
    return synthetic_features(400, 3, grouped=True, planted=teaching_study.WORLDS["shared"])


def test_out_of_fold_scores_do_not_follow_the_labels_of_the_own_source(drawn):
    x, source = drawn.features["audio"].astype(np.float64), drawn.source
    before = benchmark.out_of_fold(x, drawn.labels, source, 10.0)
    changed = np.where((source == source[0])[:, None], 1 - drawn.labels, drawn.labels)
    after = benchmark.out_of_fold(x, changed, source, 10.0)
    same = (before == after).all(axis=1)
    assert same[source == source[0]].all() and not same.all()


def test_teachers_and_mixed_labels(drawn):
    planted = teaching_study.WORLDS["shared"]
    taught = teaching_study.teachers(drawn, planted, seed=0)
    training = drawn.split == "train"
    mixed = {arm: teaching_study.mixed(drawn, scores["audio"]) for arm, scores in taught.items()}
    for arm, labels in mixed.items():
        assert np.array_equal(labels[~training], drawn.labels[~training])
        own = taught[arm]["audio"][training].clip(0, 1)
        for score in (0.3, 0.6):  # MSE to label and teacher is MSE to what is mixed, up to a constant
            both = (score - drawn.labels[training]) ** 2 + (score - own) ** 2
            rest = both - 2 * (score - labels[training]) ** 2
            assert np.allclose(rest, (drawn.labels[training] - own) ** 2 / 2)
    assert np.allclose(mixed[teaching_study.ALONE], drawn.labels)
    error = {arm: ((scores["audio"] - drawn.labels)[training] ** 2).mean() for arm, scores in taught.items()}
    assert error["taught by the best"] < error["taught by all"] < error["taught by itself"]
    assert error["taught by all"] < error["taught by all, shuffled"]
    pairs = taught["taught by all, shuffled"]["text"][training][:, None] == taught["taught by all"]["text"][training]
    dealt, of = np.nonzero(pairs.all(axis=2))
    assert len(set(dealt)) == training.sum() and (drawn.source[training][dealt] != drawn.source[training][of]).all()


def test_tables():
    rng = np.random.default_rng(0)
    figures = ("1-MAE", "R2", "R2 openness", "low", "high")

    def arms(names, gain):
        return {a: {f: 0.9 + gain[a] + 1e-5 * rng.random() for f in figures} for a in names}

    teaching = [*teaching_study.ARMS, teaching_study.CEILING]
    gain = dict.fromkeys(teaching, 0.0) | {"taught by all": 0.01, "ceiling": 0.02}
    found = [{subset: arms(teaching, gain) for subset in teaching_study.SUBSETS} for _ in range(5)]
    text = teaching_study.tables({"plain": found})
    rows = [row.split("|")[1:-1] for row in text.splitlines() if row.startswith("| audio ")]
    assert [cell.strip() for cell in rows[0]][1] == ".9000" and rows[0][2].strip().startswith("+0.0100")
    assert rows[0][8].strip() == "50 %"
    names = [benchmark.BASELINE, "ridge", "ceiling"]
    gain = dict.fromkeys(names, 0.0) | {"ridge": -0.01, "ceiling": 0.02}
    text = benchmark.tables({"plain": [arms(names, gain) for _ in range(5)]})
    (ridge,) = (row.split("|")[1:-1] for row in text.splitlines() if row.startswith("| ridge"))
    assert ridge[2].strip().startswith("-0.0100") and ridge[-1].strip() == "-50 %"
