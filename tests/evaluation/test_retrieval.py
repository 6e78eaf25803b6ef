import numpy as np
import pytest

from apt_lightning.evaluation.retrieval import retrieval_table, retrieve

MODALITIES = ("audio", "visual", "text")


def collection(n=40, seed=0):
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((n, 3, 4))
    present = rng.random((n, 3)) > 0.15
    classes = rng.integers(-1, 4, (n, 5))
    sources = [f"s{i // 3}" for i in range(n)]
    return embeddings, present, classes, sources


def by_hand(embeddings, present, classes, sources, trait, q, a, k):
    """One query at a time, from the definitions."""
    n = len(embeddings)
    rows = []
    for i in range(n):
        if classes[i, trait] not in (0, 3) or not present[i, q]:
            continue
        answers = [j for j in range(n) if classes[j, trait] >= 0 and present[j, a] and sources[j] != sources[i]]

        def cosine(j, i=i):
            x, y = embeddings[i, q], embeddings[j, a]
            return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

        answers.sort(key=cosine, reverse=True)
        hits = [classes[j, trait] == classes[i, trait] for j in answers]
        r = sum(hits)
        if r:
            top = hits[:k]
            precisions = [sum(hits[: p + 1]) / (p + 1) for p in range(r) if hits[p]]
            rows.append((sum(top) / len(top), r / len(hits), sum(precisions) / r))
    return len(rows), np.mean(rows, axis=0)


@pytest.mark.parametrize("own_source", [True, False])
def test_figures_are_those_of_the_definitions(own_source):
    embeddings, present, classes, sources = collection()
    given = None if own_source else sources
    names = list(range(40)) if own_source else sources
    metrics = retrieve(embeddings, present, classes, MODALITIES, given, k=5)
    assert len(metrics) == 5 * 9
    for index, metric in enumerate(metrics):
        trait, q, a = index // 9, index // 3 % 3, index % 3
        count, (precision, chance, map_at_r) = by_hand(embeddings, present, classes, names, trait, q, a, 5)
        assert (metric.query, metric.answer) == (MODALITIES[q], MODALITIES[a])
        assert metric.queries == count
        assert metric.precision == pytest.approx(precision)
        assert metric.precision_chance == pytest.approx(chance)
        assert metric.map_at_r == pytest.approx(map_at_r)


def test_chance_is_what_random_embeddings_reach():
    _, present, classes, sources = collection(30, 1)
    runs = [
        retrieve(np.random.default_rng(s).standard_normal((30, 3, 4)), present, classes, MODALITIES, sources, k=5)
        for s in range(60)
    ]
    for reached, expected in (("precision", "precision_chance"), ("map_at_r", "map_at_r_chance")):
        mean = np.mean([[getattr(f, reached) for f in run] for run in runs])
        assert mean == pytest.approx(np.mean([getattr(f, expected) for f in runs[0]]), rel=0.03)


def test_perfect_and_collapsed_embeddings():
    classes = np.repeat(np.arange(4), 25)[:, None].repeat(5, axis=1)
    present = np.ones((100, 3), dtype=bool)
    perfect = np.eye(4)[classes[:, 0]][:, None].repeat(3, axis=1)
    for metric in retrieve(perfect, present, classes, MODALITIES):
        assert (metric.queries, metric.precision, metric.map_at_r) == (50, 1.0, pytest.approx(1.0))
    collapsed = retrieve(np.ones((100, 3, 4)), present, classes, MODALITIES)
    assert max(abs(f.precision - f.precision_chance) for f in collapsed) < 0.15


def test_no_query_gives_nan_and_a_table_says_so():
    embeddings, present, _, _ = collection()
    metrics = retrieve(embeddings, present, np.full((40, 5), 1), MODALITIES)
    assert {f.queries for f in metrics} == {0}
    assert all(np.isnan(f.precision) and np.isnan(f.map_at_r) for f in metrics)
    table = retrieval_table(metrics)
    assert "undefined" in table
    assert table.count("\n") > 45


def test_few_answers_and_wrong_k():
    embeddings, present, classes, _ = collection(4, 2)
    retrieve(embeddings, present, classes, MODALITIES, k=50)
    retrieve(embeddings[:0], present[:0], classes[:0], MODALITIES)
    with pytest.raises(ValueError, match="`k`"):
        retrieve(embeddings, present, classes, MODALITIES, k=0)
