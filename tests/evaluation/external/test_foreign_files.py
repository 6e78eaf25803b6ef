import re

import numpy as np
import pytest
from fake_labels import FORMS, challenge, five_files, full_names, initials, json_lists, make_labels, npz_named, predict
from mutants import mutate

from apt_lightning.common.errors import AptError, DataError
from apt_lightning.evaluation.external.columns import find_columns, parse_columns, trait_of
from apt_lightning.evaluation.external.files import read_raw
from apt_lightning.evaluation.external.match import on_common_clips, read_submission
from apt_lightning.evaluation.external.reference import read_reference
from apt_lightning.evaluation.metrics import score


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    return make_labels(folder), read_reference(folder)


def same(submission, predicted):
    for i, clip in enumerate(submission.test.clips):
        np.testing.assert_allclose(submission.test.predicted[i], np.clip(predicted[clip], 0, 1), atol=1e-6)
    assert set(submission.test.clips) == set(predicted)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_published_form_is_read_right(labelled, tmp_path, form):
    splits, reference = labelled
    predicted = predict(splits["test"])
    submission = read_submission(form(tmp_path, predicted, splits["test"]), reference)
    same(submission, predicted)
    assert submission.remarks == [] and submission.validation is None
    # against arithmetic on what the file was made from
    true = np.array([splits["test"][clip] for clip in predicted])
    values = np.clip(list(predicted.values()), 0, 1)
    found = score(submission.test, resamples=0).values["1-MAE"][-1]
    assert found == pytest.approx(1 - np.abs(true - values).mean(), abs=1e-6)


@pytest.mark.parametrize("form", [json_lists, five_files])
def test_arrays_without_names_are_asked_for_their_order(labelled, tmp_path, form):
    splits, reference = labelled
    predicted = predict(splits["test"])
    path = form(tmp_path, predicted, splits["test"])
    match = "labels" if form is five_files else "names"
    with pytest.raises(DataError, match="--columns=O,C,E,A,N"):
        read_submission(path, reference, match=match)
    same(read_submission(path, reference, columns="O,C,E,A,N", match=match), predicted)


@pytest.mark.parametrize("form", [initials, full_names])
def test_matching_by_labels_finds_the_clips_without_their_names(labelled, tmp_path, form):
    splits, reference = labelled
    predicted = predict(splits["test"])
    anonymous = {f"sample {i}": values for i, values in enumerate(predicted.values())}
    labels = {f"sample {i}": splits["test"][clip] for i, clip in enumerate(predicted)}
    path = form(tmp_path, anonymous, labels)
    with pytest.raises(DataError, match="--match=labels"):
        read_submission(path, reference)
    same(read_submission(path, reference, match="labels"), predicted)


def test_equal_label_vectors_are_matched_with_nobody(tmp_path):
    splits = make_labels(tmp_path / "data", 60)
    reference = read_reference(tmp_path / "data")
    twin = reference.clips.index(next(iter(splits["test"])))
    reference.labels[twin] = reference.labels[(twin + 1) % 60]
    predicted = predict(splits["test"])
    path = initials(tmp_path, predicted, splits["test"])
    found = read_submission(path, reference, match="labels")
    assert reference.clips[twin] not in found.test.clips
    assert any("rows are of no clip" in remark for remark in found.remarks)


def test_named_columns_of_any_kind(labelled, tmp_path):
    splits, reference = labelled
    predicted = predict(splits["test"])
    lines = ["who,a,b,c,d,e"] + [f"{c}," + ",".join(map(repr, v.tolist())) for c, v in predicted.items()]
    path = tmp_path / "odd.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"no column; found who, a, b, c, d, e"):
        read_submission(path, reference)
    same(read_submission(path, reference, columns="E=a,N=b,A=c,C=d,O=e"), predicted)


def remarks_of(reference, path, **options):
    return " ".join(read_submission(path, reference, **options).remarks)


def test_what_is_odd_is_said(labelled, tmp_path):
    splits, reference = labelled
    whole = predict(splits["test"])
    n = len(whole)
    some = dict(list(whole.items())[: n - 7])
    assert f"covers {n - 7} of the {n} labelled clips" in remarks_of(
        reference, challenge(tmp_path, some, splits["test"])
    )
    more = whole | predict(splits["train"]) | predict(splits["validation"])
    found = read_submission(challenge(tmp_path, more, None), reference)
    assert f"{len(splits['train'])} clips of the training split" in " ".join(found.remarks)
    assert set(found.validation.clips) == set(splits["validation"]) and set(found.test.clips) == set(splits["test"])
    stranger = whole | {"nobody.000.mp4": np.full(5, 0.5)}
    assert f"1 of its {n + 1} rows are of no clip" in remarks_of(reference, challenge(tmp_path, stranger, None))
    first = next(iter(whole))
    wide = whole | {first: np.array([1.7, 0.5, 0.5, 0.5, -0.2])}
    assert "1 clips have predictions outside [0, 1], from -0.2 to 1.7" in remarks_of(
        reference, challenge(tmp_path, wide, None)
    )
    missing = whole | {first: np.array([np.nan, 0.5, 0.5, 0.5, 0.5])}
    assert "1 clips lack a prediction" in remarks_of(reference, npz_named(tmp_path, missing, None))
    wrong = {c: np.array([v[0], 1 - v[1], *v[2:]]) for c, v in splits["test"].items()}
    said = remarks_of(reference, initials(tmp_path, whole, wrong))
    assert f"labels differ from those of {reference.name} for " in said and "(neuroticism)" in said


def test_repeated_rows(labelled, tmp_path):
    splits, reference = labelled
    predicted = predict(splits["test"])
    path = challenge(tmp_path, predicted, None)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]))
    assert "1 rows repeat a clip with the same predictions" in remarks_of(reference, path)
    path.write_text("\n".join([*lines, lines[1] + "1"]))
    with pytest.raises(DataError, match="twice with other predictions"):
        read_submission(path, reference)


def test_inverted_neuroticism_is_said_and_turned_only_if_asked(labelled, tmp_path):
    splits, reference = labelled
    predicted = predict(splits["test"])
    turned = {c: np.array([v[0], 1 - v[1], *v[2:]]) for c, v in predicted.items()}
    path = challenge(tmp_path, turned, None)
    found = read_submission(path, reference)
    same(found, turned)
    assert (
        "neuroticism correlates with its labels at -0." in found.remarks[-1]
        and "nothing was turned" in found.remarks[-1]
    )
    asked = read_submission(path, reference, invert_neuroticism=True)
    same(asked, predicted)
    assert "was turned, as asked" in asked.remarks[0] and len(asked.remarks) == 1
    # the file's labels have it the other way round too
    labels = {c: np.array([v[0], 1 - v[1], *v[2:]]) for c, v in splits["test"].items()}
    path = initials(tmp_path, turned, labels)
    with pytest.raises(DataError, match="with neuroticism turned they do"):
        read_submission(path, reference, match="labels")
    same(read_submission(path, reference, match="labels", invert_neuroticism=True), predicted)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pkl", b"\x80\x04K\x01.", "a pickle can run code"),
        ("a.csv", b"", "empty"),
        ("a.csv", b"clip,E,N,A,C\nx,1,1,1,1\n", "openness has no column"),
        ("a.csv", b"clip,E,N,A,C,O\nx,1,1,1,1\n", "row 2: expected 6 columns"),
        ("a.csv", b"clip,E,N,A,C,O\nx,1,1,1,1,hello\n", "'O', row 1 of the data: 'hello' is no finite number"),
        ("a.csv", b"clip,E,N,A,C,O\nx,1,1,1,1,inf\n", "no finite number"),
        ("a.csv", b"clip,E,N,A,C,O,openness\nx,1,1,1,1,1,1\n", r"openness has 2 columns \(O, openness\)"),
        ("a.csv", b"clip,E,N,A,C,O,O\nx,1,1,1,1,1,1\n", "'O' stands twice"),
        ("a.csv", b"clip,E,N,A,C,O\n", "no row"),
        ("a.csv", b"clip,E,N,A,C,O\nx,1,1,1,1,1\n", "the first is 'x', clips are named as"),
        ("a.csv", b"\xff\xfe\x00", "UTF-16"),
        ("a.json", b"[1, 2", "no JSON"),
        ("a.json", b"[" * 100_000, "no JSON"),
        ("a.json", b'{"a": 1}', "JSON in no known form"),
        ("a.json", b'[{"clip": "x", "E": true, "N": 1, "A": 1, "C": 1, "O": 1}]', "no finite number"),
        ("a.npz", b"PK\x03\x04 and then nothing", "its end is missing"),
        ("a.npy", b"\x93NUMPY\x01\x00", "no readable NumPy file"),
        ("a.parquet", b"PAR1PAR1", "damaged"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(labelled, tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_submission(path, labelled[1])
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))


def test_predictions_on_another_scale_are_refused(labelled, tmp_path):
    splits, reference = labelled
    path = challenge(tmp_path, {c: 1 + 6 * v for c, v in predict(splits["test"]).items()}, None)
    with pytest.raises(DataError, match="map them to it first"):
        read_submission(path, reference)


def test_object_arrays_and_large_contents_are_refused(labelled, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, pred=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="pickled arrays are refused"):
        read_submission(path, labelled[1])
    np.savez_compressed(path, pred=np.zeros((7_000_000, 5)))
    assert path.stat().st_size < 2**20
    with pytest.raises(DataError, match="holds more than 256 MiB"):
        read_submission(path, labelled[1])


def test_words_for_traits():
    assert [trait_of(w) for w in ("Neurotisicm", "extroversion", "con", "consc", "A", "clip", "id", "scores")] == [
        "neuroticism",
        "extraversion",
        "conscientiousness",
        "conscientiousness",
        "agreeableness",
        None,
        None,
        None,
    ]
    for text in ("O,C,E,A", "O,C,E,A,A", "O=a,C,E,A,N", "x,C,E,A,N"):
        with pytest.raises(AptError, match="--columns"):
            parse_columns(text)


def test_spread_and_error_columns_are_no_predictions(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("clip,E,N,A,C,O,E_std,openness_error,pred_E_upper\nx,.1,.2,.3,.4,.5,9,9,9\n")
    assert find_columns(read_raw(path), path).predicted.tolist() == [[0.1, 0.2, 0.3, 0.4, 0.5]]


def test_several_files_meet_on_their_common_clips(labelled, tmp_path):
    splits, reference = labelled
    whole = predict(splits["test"])
    names = list(whole)
    parts = [dict(list(whole.items())[:-3]), {c: whole[c] for c in reversed(names[2:])}]
    one, two = (read_submission(challenge(tmp_path, part, None), reference) for part in parts)
    tables = on_common_clips([one, two])
    assert tables[0].clips == tables[1].clips and set(tables[0].clips) == set(names[2:-3])
    with pytest.raises(DataError, match="no clip in common"):
        halves = [{c: whole[c] for c in part} for part in (names[:5], names[5:])]
        on_common_clips([read_submission(challenge(tmp_path, half, None), reference) for half in halves])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_mutants_are_read_or_refused_in_one_line(labelled, tmp_path, form):
    splits, reference = labelled
    predicted = dict(list(predict(splits["test"]).items())[:12])
    path = form(tmp_path, predicted, splits["test"])
    content, rng = path.read_bytes(), np.random.default_rng(FORMS.index(form))
    refused = 0
    for _ in range(50):
        path.write_bytes(mutate(content, rng))
        try:
            submission = read_submission(path, reference)
            assert np.isfinite(submission.test.predicted).all()
        except AptError as error:
            refused += 1
            assert not re.search(r"[\r\n]", str(error)) and len(str(error)) < 500
    if form in FORMS[:4]:  # a changed digit of a CSV goes unseen; other forms hardly survive any damage
        assert refused < 50
