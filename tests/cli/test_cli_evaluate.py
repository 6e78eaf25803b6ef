import json
import re
import subprocess
import sys

import numpy as np
import pytest
from fake_labels import challenge, full_names, make_labels, predict

from apt_lightning.cli import main
from apt_lightning.evaluation.baselines import source_lookup


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    return folder / "data", make_labels(folder / "data", 600)


def test_two_files_beside_floors(data, tmp_path, capsys):
    folder, splits = data
    labels = splits["test"] | splits["validation"]
    good, poor = predict(labels, 1, 0.04), predict(labels, 2, 0.12)
    one = challenge(tmp_path, good, None).rename(tmp_path / "good.csv")
    two = full_names(tmp_path, poor, labels).rename(tmp_path / "poor.csv")
    words = ["evaluate", str(one), str(two), "--data", str(folder), "--json", str(tmp_path / "e.json")]
    assert main([*words, "--report", str(tmp_path / "e.html")]) == 0
    out = capsys.readouterr().out
    for part in (
        "good:\n- nothing odd.",
        "source look-up, no content",
        "seen sources",
        "unseen sources",
        "Holm's family",
    ):
        assert part in out
    for part in ("extremes at equal spread", "over the factor", "coverage of 90% intervals", "gender", "implied by"):
        assert part in out
    assert re.search(r"poor - good +\| -\.0.*\| +worse \|", out)
    found = json.loads((tmp_path / "e.json").read_text())
    true = np.array([splits["test"][c] for c in splits["test"]])
    for name, made in (("good", good), ("poor", poor)):
        values = np.clip([made[c] for c in splits["test"]], 0, 1)
        metric = found["systems"][name]["all"]["metrics"]["1-MAE"]["value"][-1]
        assert metric == pytest.approx(1 - np.abs(values - true).mean(), abs=1e-9)
    train = np.array(list(splits["train"].values()))
    looked = source_lookup(train, [c[:11] for c in splits["train"]], [c[:11] for c in splits["test"]])
    metric = found["systems"]["source look-up, no content"]["all"]["metrics"]["1-MAE"]["value"][-1]
    assert metric == pytest.approx(1 - np.abs(looked - true).mean(), abs=1e-9)
    page = (tmp_path / "e.html").read_text()
    for part in (
        "Extremes at equal spread",
        "Distributions",
        "Prediction intervals",
        "Groups of people",
        "Nothing odd",
    ):
        assert part in page
    assert (
        "<script" not in page
        and 'id="card"' not in page
        and "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S)
    )


def test_labels_of_a_csv_without_a_training_split(data, tmp_path, capsys):
    _, splits = data
    predicted = predict(splits["test"])
    lines = ["clip,extraversion,neuroticism,agreeableness,conscientiousness,openness"]
    lines += [f"{c}," + ",".join(map(repr, v.tolist())) for c, v in splits["test"].items()]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    path = challenge(tmp_path, predicted, None)
    report = str(tmp_path / "e.html")
    assert main(["evaluate", str(path), "--data", str(tmp_path / "labels.csv"), "--report", report]) == 0
    out = capsys.readouterr().out
    assert "no training labels: low, high and the look-up are not known" in out
    assert "thresholds are not known" in out and "constant mean" not in out


def test_a_store_gives_the_same_figures_as_the_label_files(data, tmp_path, capsys):
    folder, splits = data
    path = challenge(tmp_path, predict(splits["test"]), None)
    assert main(["prepare", str(folder), str(tmp_path / "store")]) in (0, 1)
    capsys.readouterr()
    assert main(["evaluate", str(path), "--data", str(tmp_path / "store")]) == 0
    of_store = capsys.readouterr().out
    assert main(["evaluate", str(path), "--data", str(folder)]) == 0
    assert capsys.readouterr().out == of_store


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.csv", "--data", "{data}"], "no such file"),
        (["{file}", "--data", "{data}/annotation_test.pkl"], "give the folder that holds it"),
        (["{file}", "--data", "none"], "no such file or folder"),
        (["{file}", "--data", "{data}", "--split", "tset"], "`--split` is one of"),
        (["{file}", "--data", "{data}", "--split", "train"], "covers no labelled clip of the train split"),
        (["{file}", "--data", "{data}", "--match", "labels"], "no labels of all five traits"),
    ],
)
def test_what_cannot_be_judged_is_one_line_and_status_2(data, tmp_path, capsys, words, message):
    folder, splits = data
    file = challenge(tmp_path, predict(splits["test"]), None)
    assert main(["evaluate", *(word.format(file=file, data=folder) for word in words)]) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("apt: error: ") and err.count("\n") == 1


def test_tables_need_no_torch(data, tmp_path):
    folder, splits = data
    file = challenge(tmp_path, predict(splits["test"]), None)
    code = (
        "import sys\nfrom apt_lightning.cli import main\n"
        f"main(['evaluate', {str(file)!r}, '--data', {str(folder)!r}])\n"
        "sys.exit('torch' in sys.modules or 'pandas' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
