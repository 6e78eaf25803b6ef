"""Each fault is planted in a set that has none, and must be found under its own name and nowhere else."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.stats

from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.data.collection.official import CORRELATION, MEAN, SD, STEPS
from apt_lightning.evaluation.audit.audit import audit
from apt_lightning.evaluation.audit.duplicates import digest_duplicates
from apt_lightning.evaluation.audit.labels import check_labels, icc
from apt_lightning.evaluation.audit.text import audit_text, summary

ICC = np.array([0.64, 0.62, 0.52, 0.71, 0.59])


@dataclasses.dataclass(frozen=True)
class Clip:
    name: str
    source: str
    split: str
    traits: tuple
    transcript: str | None = None


def labels_like_the_real_ones(rng, sources, steps=True):
    """Correlated within a clip and within a source, as in the tables of First Impressions."""
    shared = CORRELATION * np.sqrt(np.outer(ICC, ICC))
    of_source = rng.multivariate_normal(np.zeros(5), shared, size=max(sources) + 1)[sources]
    of_clip = rng.multivariate_normal(np.zeros(5), CORRELATION - shared, size=len(sources))
    labels = np.clip(MEAN + SD * (of_source + of_clip), 0, 1)
    return np.round(labels * STEPS) / STEPS if steps else labels


def clips(seed=0, n_sources=300, steps=True, disjoint=True):
    rng = np.random.default_rng(seed)
    sources = np.repeat(np.arange(n_sources), rng.integers(1, 7, n_sources))
    labels = labels_like_the_real_ones(rng, sources, steps)
    unit = np.arange(n_sources)[sources] if disjoint else np.arange(len(sources))
    split = np.array(["train", "validation", "test"])[rng.choice(3, unit.max() + 1, p=[0.6, 0.2, 0.2])[unit]]
    return [
        Clip(f"s{s}.{i:03}.mp4", f"s{s}", str(p), tuple(row), f"this is what person {s} says in clip {i}")
        for i, (s, p, row) in enumerate(zip(sources, split, labels.tolist(), strict=True))
    ]


def change(found, split, function):
    """Replace the labels of one split by a function of them."""
    rows = [i for i, clip in enumerate(found) if clip.split == split]
    new = function(np.array([found[i].traits for i in rows]), np.random.default_rng(9))
    changed = list(found)
    for i, row in zip(rows, new.tolist(), strict=True):
        changed[i] = dataclasses.replace(changed[i], traits=tuple(row))
    return changed


def codes(found, digests=()):
    return {(f.code, f.where) for f in audit(found, dict(digests), resamples=0).findings if f.severity != "note"}


@pytest.mark.parametrize("steps", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_a_sound_set_has_no_finding(seed, steps):
    result = audit(clips(seed, steps=steps), {}, resamples=0)
    assert result.findings == [] and not result.failed


@pytest.mark.parametrize("n_sources", [40, 1500])
@pytest.mark.parametrize("seed", range(4))
def test_a_sound_set_of_another_size_has_no_error(n_sources, seed):
    assert not audit(clips(seed, n_sources), {}, resamples=0).failed


def shuffle(*columns):
    def function(labels, rng):
        for column in columns:
            labels[:, column] = rng.permutation(labels[:, column])
        return labels

    return function


def swap(a, b):
    def function(labels, rng):
        labels[:, [a, b]] = labels[:, [b, a]]
        return labels

    return function


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("column", range(5))
def test_a_shuffled_column_is_found(split, column):
    found = audit(change(clips(), split, shuffle(column)), {}, resamples=0).findings
    assert [(f.severity, f.code, f.where) for f in found] == [("error", "shuffled", split)]
    assert found[0].text.startswith(f"{TRAIT_CODES[column]} correlates with no other trait")


def test_several_shuffled_columns_are_found():
    (found,) = audit(change(clips(), "test", shuffle(0, 3)), {}, resamples=0).findings
    assert found.text.startswith("EXT, CON correlates")


def test_rows_under_other_names_are_found():
    changed = change(clips(), "train", lambda labels, rng: rng.permutation(labels))
    assert codes(changed) == {("no-agreement", "train")}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_uniform_placeholder_split_is_found(split):
    found = audit(change(clips(), split, lambda labels, rng: rng.random(labels.shape)), {}, resamples=0).findings
    assert [(f.severity, f.code, f.where) for f in found] == [("error", "placeholder", split)]
    assert "EXT, NEU, AGR, CON, OPE spread evenly" in found[0].text


@pytest.mark.parametrize("steps", [True, False])
@pytest.mark.parametrize(("a", "b"), [(0, 1), (0, 3), (1, 3), (1, 4), (2, 3), (2, 4)])
def test_swapped_columns_are_found(a, b, steps):
    # Without the steps, only means, spreads and correlations tell, and that takes more clips.
    base = clips(n_sources=300 if steps else 2500, steps=steps)
    for split in ("train", "test"):
        found = audit(change(base, split, swap(a, b)), {}, resamples=0).findings
        assert [(f.severity, f.code, f.where) for f in found] == [("error", "swapped", split)]
        assert f"{TRAIT_CODES[a]} holds {TRAIT_CODES[b]}, {TRAIT_CODES[b]} holds {TRAIT_CODES[a]}" in found[0].text


def test_a_source_in_two_splits_is_found():
    found = clips()
    moved = next(i for i, clip in enumerate(found) if clip.split == "train" and clip.name.startswith("s7"))
    found[moved] = dataclasses.replace(found[moved], source=next(c.source for c in found if c.split == "test"))
    result = audit(found, {}, resamples=0)
    assert result.shared == {"train and validation": 0, "train and test": 1, "validation and test": 0}
    assert [(f.severity, f.code, f.where) for f in result.findings] == [("warning", "shared-sources", "train and test")]
    siblings = sum(clip.source == found[moved].source and clip.split == "test" for clip in found)
    assert result.siblings["test"][0] == siblings >= 1


def test_a_duplicated_clip_across_splits_is_found(tmp_path):
    found = clips()[:200]
    paths = {}
    for i, clip in enumerate(found):
        paths[clip.name] = tmp_path / clip.name
        paths[clip.name].write_bytes(b"clip %04d" % i)
    a = next(clip.name for clip in found if clip.split == "train")
    b = next(clip.name for clip in found if clip.split == "test")
    paths[b].write_bytes(paths[a].read_bytes())
    (tmp_path / "longer").write_bytes(b"of a size of its own")
    paths["longer"] = tmp_path / "longer"
    digests = digest_duplicates({name: str(path) for name, path in paths.items()})
    assert digests[a] == digests[b] and len(set(digests.values())) == 199 and "longer" not in digests
    result = audit(found, digests, resamples=0)
    assert sorted(result.duplicates["files"][0]) == sorted([a, b]) and len(result.duplicates["files"]) == 1
    (error,) = [f for f in result.findings if f.code == "duplicate-files"]
    assert error.severity == "error" and error.where == "test and train (1)" and a in error.text and b in error.text


def test_a_repeated_transcript_is_found_and_short_ones_are_not():
    found = clips()
    found[0] = dataclasses.replace(found[0], transcript="One  sentence that Two people say")
    found[1] = dataclasses.replace(found[1], transcript="one sentence that two people say ")
    found[2], found[3] = (dataclasses.replace(clip, transcript="thank you") for clip in found[2:4])
    result = audit(found, {}, resamples=0)
    assert result.duplicates["transcripts"] == [[found[0].name, found[1].name]]
    assert [f.code for f in result.findings] == ["duplicate-transcripts"]


def test_constant_missing_and_outside_labels_are_found():
    def constant(labels, rng):
        labels[:, 2] = 0.5
        return labels

    assert codes(change(clips(), "test", constant)) == {("constant", "test")}
    assert codes(change(clips(), "test", lambda labels, rng: 1 + 6 * labels)) == {("range", "test")}
    base = clips()
    base[0] = dataclasses.replace(base[0], traits=(np.nan, *base[0].traits[1:]))
    (note,) = audit(base, {}, resamples=0).findings
    assert (note.severity, note.code) == ("note", "missing-labels") and "EXT 1" in note.text


def test_another_spread_and_edited_labels_are_warned_of():
    shrunk = change(clips(), "test", lambda labels, rng: 0.5 + 0.5 * (labels - 0.5))
    assert {code for code, _ in codes(shrunk)} == {"spread"}

    def edited(labels, rng):
        labels[:, 1] = np.clip(labels[:, 1] + 0.003 * rng.random(len(labels)), 0, 1)
        return labels

    assert codes(change(clips(), "test", edited)) == {("lattice", "test")}


def test_icc_equals_the_analysis_of_variance():
    rng = np.random.default_rng(0)
    sources = np.repeat(np.arange(40), rng.integers(1, 7, 40))
    values = rng.normal(size=40)[sources] + rng.normal(size=len(sources))
    sizes = np.bincount(sources)
    f = scipy.stats.f_oneway(*[values[sources == s] for s in range(40)]).statistic
    n0 = (len(values) - (sizes**2).sum() / len(values)) / 39
    assert icc(values, [str(s) for s in sources]) == pytest.approx((f - 1) / (f - 1 + n0))
    # by hand: means 8, 5, 2; mean squares 18 between and 4/3 within
    assert icc(np.array([9, 7, 5, 5, 1, 3.0]), list("aabbcc")) == pytest.approx((18 - 4 / 3) / (18 + 4 / 3))
    for values, names in (([1, 2.0], "ab"), ([1, 2.0], "aa"), ([1, 1, 1.0], "aab"), ([], "")):
        assert np.isnan(icc(np.array(values), list(names)))


def test_look_up_gains_on_seen_sources_only():
    result = audit(clips(n_sources=600, disjoint=False), {}, resamples=50)
    mean = {
        (part, name): scores.values["1-MAE"][5]
        for part, systems in result.floors.scores["test"].items()
        for name, scores in systems.items()
    }
    look_up = "source look-up, no content"
    assert mean["seen sources", look_up] > mean["seen sources", "training mean"] + 0.02
    assert mean["unseen sources", look_up] == mean["unseen sources", "training mean"]
    assert abs(result.agreement[0] - ICC).max() < 0.1


def test_empty_and_unlabelled_sets_are_audited():
    unlabelled = [dataclasses.replace(clip, traits=(np.nan,) * 5, split="unlabelled") for clip in clips()]
    for found in ([], unlabelled, [dataclasses.replace(clip, split="train") for clip in unlabelled]):
        result = audit(found, {}, resamples=0)
        assert not result.failed and "nan" not in audit_text(result, tables=True)
    assert check_labels({}) == []


def test_text_and_json_hold_everything():
    result = audit(clips(disjoint=False), {}, resamples=20)
    text = audit_text(result, tables=True)
    assert text.startswith(audit_text(result)) and "| " not in audit_text(result)
    assert "Shared sources" in text and "ICC(1)" in text and "source look-up, no content" in text
    lines = text.splitlines()
    assert lines[:10] == summary(result) and len(summary(result)) == 10 and lines[10] == ""
    assert lines[0].endswith("0 errors, 3 warnings, 0 notes")
    assert [line.split(":")[0] for line in lines[11:14]] == ["warning"] * 3 and lines[14] == ""
    assert text.index("warning:") < text.index("| split")  # what is wrong first, tables after
    assert "nan" not in text.replace("unseen", "")
    again = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert again["shared_sources"]["train and test"] == result.shared["train and test"] > 0
