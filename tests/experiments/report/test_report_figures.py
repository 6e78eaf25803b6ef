"""The figures of the page are those of an independent computation."""

import json
import shutil

import numpy as np
from fake_run import make_run
from report_page import Page

from apt_lightning.evaluation.predictions import read_predictions
from apt_lightning.evaluation.significance import compare
from apt_lightning.evaluation.tables import number
from apt_lightning.experiments.report.page import read_runs, write_report
from apt_lightning.experiments.report.run import Run
from apt_lightning.experiments.report.verdict import verdict


def test_figures_equal_an_independent_computation(run, text):
    table = read_predictions(run / "seed42" / "stage4" / "predictions_test.csv")
    base = read_predictions(run / "seed42" / "stage2" / "predictions_test.csv")
    page = Page(text)
    error, base_error = (np.abs(t.predicted - t.true) for t in (table, base))
    row = page.table("results")["with embeddings (stage 4)"]
    assert row == [number(v) for v in [1 - error.mean(), *(1 - error.mean(axis=0))]]
    assert page.table("comparison")["1-MAE, mean"][:3] == [
        number(v) for v in (1 - base_error.mean(), 1 - error.mean(), base_error.mean() - error.mean())
    ]
    statistics = json.loads((run / "seed42" / "stage4" / "statistics.json").read_text())
    low = table.true[:, 2] < statistics["mean"][2] - statistics["sd"][2]
    assert page.table("extremes")["AGR"][4] == number(1 - error[low, 2].mean())
    seen = page.table("sources")["with embeddings (stage 4)"]
    assert seen[0] == number(1 - error[table.seen_source].mean())
    assert seen[1] == number(1 - error[~table.seen_source].mean())
    r = [np.corrcoef(t, p)[0, 1] for t, p in zip(table.true.T, table.predicted.T, strict=True)]
    assert page.table("quality")["with embeddings (stage 4)"][2] == number(float(np.mean(r)), 3)
    assert page.table("quality")["constant mean"][2] == "undefined"


def test_best_and_worst_clips_are_those_of_least_and_greatest_error(run, text):
    table = read_predictions(run / "seed42" / "stage4" / "predictions_test.csv")
    error = np.abs(table.predicted - table.true).mean(axis=1)
    order = [table.clips[i] for i in np.argsort(error)]
    assert list(Page(text).table("clips"))[1:] == [*order[:5], *order[-5:]]


def test_verdict_says_what_the_tests_say(run, tmp_path, store):
    found = Run.read(run, "run")
    a, b = (found.results.systems[name] for name in (found.baseline, found.final))
    d = compare(a, b).metrics["1-MAE"]
    assert d.p[5] < 0.05 and d.difference[5] > 0.001
    assert f"Stage 4 is better than stage 2 by {number(float(d.difference[5]))}" in verdict(found)
    copy = make_run(tmp_path / "copy", store)
    shutil.copy(copy / "seed42/stage2/predictions_test.csv", copy / "seed42/stage4/predictions_test.csv")
    text = (copy / "seed42/stage1_text/predictions_test.csv").read_text().splitlines()
    head = text[0].split(",")
    rows = [dict(zip(head, line.split(","), strict=True)) for line in text[1:]]
    for row in rows:
        row |= {name: "0.9" for name in head if name.startswith("pred")}
    lines = [",".join(row.values()) for row in rows]
    (copy / "seed42/stage1_text/predictions_test.csv").write_text("\n".join([text[0], *lines]) + "\n")
    said = verdict(Run.read(copy, "copy"))
    assert "Stage 4 equals stage 2 within the margin" in said and "below the constant: text" in said


def test_clips_given_are_accounted_for(text):
    rows = Page(text).table("data")
    for split in ("train", "validation", "test"):
        given, ok, degraded, left_out = (int(cell) for cell in rows[split][:4])
        assert given == ok + degraded + left_out
    assert sum(int(rows[split][3]) for split in rows if split != "split") == 12


def test_ablations_are_taken_over_and_words_of_others_are_escaped(store, tmp_path):
    run = make_run(tmp_path / "<b>&run", store, units=("stage2", "stage4"))
    (run / "seed42" / "stage2" / "config.yaml").write_text("<script>alert(1)</script>\n")
    head = "group,title,unit,parameters,seeds,validation,test"
    keys = ("difference", "lower", "upper", "p")
    columns = [f"1-MAE {key} from {unit}" for unit in ("stage4", "stage2") for key in keys]
    lines = [f"anchors,all,stage4_all,1234,1,0.91,0.9,{','.join(['-0.01', '-0.02', '0.003', '0.04'] * 2)}"]
    lines.append(f"embeddings,trained,stage4,1234,1,0.91,0.91,,,,,{','.join(['0.01', '0', '0.02', '0.5'])}")
    (run / "ablation.csv").write_text("\n".join([",".join([head, *columns]), *lines]) + "\n")
    text = write_report(read_runs([run])).read_text(encoding="utf-8")
    rows = Page(text).table("ablations")
    assert rows["anchors: all"] == ["1,234", ".9100", ".9000", "-.0100", ".040", "-.0100", ".040"]
    assert rows["embeddings: trained"][3:5] == ["", ""]
    assert "<script" not in text and "<b>&run" not in text and "&lt;b&gt;&amp;run" in text


def test_folds_are_put_together(store, tmp_path):
    run = make_run(tmp_path / "folds", store, units=("stage2", "stage4"), folds=3)
    page = Page(write_report(read_runs([run])).read_text(encoding="utf-8"))
    tables = [read_predictions(path) for path in run.glob("seed42_fold*/stage4/predictions_test.csv")]
    errors = np.concatenate([np.abs(table.predicted - table.true) for table in tables])
    assert len(errors) == 588
    assert page.table("results")["with embeddings (stage 4)"][0] == number(1 - errors.mean())
    assert "588 test clips" in page.text["results"] and "does not leak" in page.text["sources"]
    assert "3 source-disjoint folds" in page.text["settings"] and "first seed and fold" in page.text["intervals"]
