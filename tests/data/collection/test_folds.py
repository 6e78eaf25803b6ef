import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.data.collection.folds import Folds, grouped_folds, read_folds, write_folds

SOURCES = [f"s{i}" for i in np.random.default_rng(0).integers(60, size=200)]


def test_each_clip_is_tested_once_and_no_source_is_on_two_sides():
    folds = grouped_folds(SOURCES, 5, seed=1)
    tested = Counter()
    for fold in range(1, 6):
        splits = folds.splits(SOURCES, fold)
        sides = {}
        for source, split in zip(SOURCES, splits, strict=True):
            assert sides.setdefault(source, split) == split
        assert set(splits) == {"train", "validation", "test"}
        tested.update(i for i, split in enumerate(splits) if split == "test")
    assert tested == Counter(range(200))


def test_folds_have_about_as_many_clips_each():
    folds = grouped_folds(SOURCES, 5)
    sizes = [folds.splits(SOURCES, fold).count("test") for fold in range(1, 6)]
    assert max(sizes) - min(sizes) <= 2


def test_order_of_the_clips_does_not_matter_and_the_seed_does():
    assert grouped_folds(SOURCES, 4, 7) == grouped_folds(SOURCES[::-1], 4, 7)
    assert grouped_folds(SOURCES, 4, 7).groups != grouped_folds(SOURCES, 4, 8).groups


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=1).filter(lambda s: len(set(s)) >= 3), st.integers(0, 99))
def test_any_sources_can_be_cut_in_three(sources, seed):
    folds = grouped_folds(sources, 3, seed)
    assert sorted(source for group in folds.groups for source in group) == sorted(set(sources))


def test_the_file_holds_them(tmp_path):
    folds = grouped_folds(SOURCES, 5, seed=1)
    write_folds(tmp_path / "folds.json", folds)
    assert read_folds(tmp_path / "folds.json") == folds


def test_refusals(tmp_path):
    with pytest.raises(UsageError, match="between 3 and 2, the number of sources; got 3"):
        grouped_folds(["a", "b"], 3)
    folds = grouped_folds(SOURCES, 3)
    with pytest.raises(UsageError, match="numbered 1 to 3"):
        folds.splits(SOURCES, 0)
    with pytest.raises(DataError, match="1 sources are in no fold, as 'new'"):
        folds.splits([*SOURCES, "new"], 1)
    with pytest.raises(DataError, match="'a' is in 2 groups"):
        Folds(0, (("a",), ("b",), ("a", "c")))
    with pytest.raises(DataError, match="three groups or more"):
        Folds(0, (("a",), ("b",), ()))
    for content in (
        "{",
        "[]",
        json.dumps({"format": "other"}),
        json.dumps({"format": "apt-lightning folds 1"}),
    ):
        (tmp_path / "f.json").write_text(content)
        with pytest.raises(DataError, match="is no folds file"):
            read_folds(tmp_path / "f.json")
