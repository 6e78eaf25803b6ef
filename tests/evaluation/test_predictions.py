import numpy as np
import pytest

from apt_lightning.common.errors import DataError
from apt_lightning.common.traits import TraitStatistics, trait_classes
from apt_lightning.evaluation.predictions import (
    Predictions,
    read_predictions,
    read_statistics,
    write_predictions,
    write_statistics,
)


def table(n=4, **changes):
    rng = np.random.default_rng(0)
    parts = {
        "clips": [f"-id,{i}.000.mp4" for i in range(n)],
        "sources": [f"-id,{i // 2}" for i in range(n)],
        "seen_source": np.arange(n) % 2 == 0,
        "true": rng.random((n, 5)),
        "predicted": rng.random((n, 5)),
    }
    return Predictions(**parts | changes)


def test_a_table_comes_back_to_the_last_bit(tmp_path):
    before = table()
    before.true[1, 2] = np.nan
    write_predictions(tmp_path / "p.csv", before)
    after = read_predictions(tmp_path / "p.csv")
    assert after.clips == before.clips and after.sources == before.sources
    np.testing.assert_array_equal(after.seen_source, before.seen_source)
    np.testing.assert_array_equal(after.true, before.true)
    np.testing.assert_array_equal(after.predicted, before.predicted)
    assert [file.name for file in tmp_path.iterdir()] == ["p.csv"]


def test_an_empty_table_comes_back(tmp_path):
    write_predictions(tmp_path / "p.csv", table(0))
    assert len(read_predictions(tmp_path / "p.csv")) == 0


def test_predictions_are_clipped_and_labels_are_not():
    assert table(predicted=np.full((4, 5), -3.0)).predicted.min() == 0
    with pytest.raises(DataError, match=r"label extraversion of clip '-id,0.000.mp4' is 1\.5"):
        table(true=np.full((4, 5), 1.5))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_prediction_that_is_no_number_is_refused(bad):
    predicted = np.full((4, 5), 0.5)
    predicted[2, 3] = bad
    with pytest.raises(DataError, match=r"'-id,2.000.mp4' is not finite \(1 of 4 clips\)"):
        table(predicted=predicted)


def test_duplicates_and_other_lengths_are_refused():
    with pytest.raises(DataError, match="'a' occurs more than once"):
        table(clips=["a", "b", "a", "c"])
    with pytest.raises(DataError, match="4 clips need 4 sources"):
        table(sources=["a"])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("pred_openness", "openness", "has no column pred_openness"),
        ("0.5", "half", "could not convert"),
        (",1,", ",yes,", "'yes'"),
        (",0.5\n", ",\n", "is not finite"),
        (",0.5\n", "\n", "is not finite|prediction table"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, before, after, message):
    path = tmp_path / "p.csv"
    write_predictions(path, table(predicted=np.full((4, 5), 0.5)))
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(DataError, match=message):
        read_predictions(path)


def test_rows_can_be_taken_and_joined():
    whole = table()
    again = Predictions.join([whole.select(np.array([2, 3])), whole.select(whole.seen_source & (np.arange(4) < 1))])
    assert again.clips == [whole.clips[i] for i in (2, 3, 0)]
    np.testing.assert_array_equal(again.predicted, whole.predicted[[2, 3, 0]])
    with pytest.raises(DataError, match="more than once"):
        Predictions.join([whole, whole])
    assert again.classes is None
    part = whole.with_statistics(TraitStatistics(np.full(5, 0.5), np.full(5, 0.1)))
    np.testing.assert_array_equal(Predictions.join([part.select(np.array([3])), table(0)]).true, whole.true[3:])
    np.testing.assert_array_equal(part.select(np.array([3, 1])).classes, part.classes[[3, 1]])
    assert Predictions.join([part.select(np.array([3])), whole.select(np.array([1]))]).classes is None


def test_statistics_come_back(tmp_path):
    assert read_statistics(tmp_path) is None
    statistics = TraitStatistics(np.linspace(0.1, 0.5, 5) / 3, np.linspace(0.1, 0.2, 5) / 7)
    write_statistics(tmp_path, statistics)
    np.testing.assert_array_equal(np.stack(read_statistics(tmp_path)), np.stack(statistics))
    write_predictions(tmp_path / "p.csv", table())
    expected = trait_classes(table().true, statistics)
    np.testing.assert_array_equal(read_predictions(tmp_path / "p.csv").classes, expected)
    (tmp_path / "statistics.json").write_text('{"mean": [1], "sd": [1]}')
    with pytest.raises(DataError, match="five means"):
        read_statistics(tmp_path)
    (tmp_path / "statistics.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        read_statistics(tmp_path)
