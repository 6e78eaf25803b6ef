import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from apt_lightning.cli import main
from apt_lightning.common.traits import TraitStatistics
from apt_lightning.evaluation.predictions import (
    Predictions,
    read_predictions,
    write_predictions,
    write_statistics,
)


def write_stage(folder, noise, seed, clips=range(60), split="test", mean=0.5):
    true = np.clip(np.random.default_rng(0).normal(0.5, 0.15, (200, 5)), 0, 1)[list(clips)]
    predicted = true + noise * np.random.default_rng(seed).normal(size=true.shape)
    names, sources = [f"c{i}" for i in clips], [f"s{i // 3}" for i in clips]
    folder.mkdir(parents=True, exist_ok=True)
    table = Predictions(names, sources, np.array([i // 3 % 2 == 0 for i in clips]), true, predicted)
    write_predictions(folder / f"predictions_{split}.csv", table)
    write_statistics(folder, TraitStatistics(np.full(5, mean), np.full(5, 0.15)))
    return folder


def test_two_stages(tmp_path, capsys):
    a, b = write_stage(tmp_path / "a", 0.2, 1), write_stage(tmp_path / "b", 0.05, 2)
    assert main(["compare", str(a), str(b), "--json", str(tmp_path / "c.json"), "--resamples", "500"]) == 0
    out = capsys.readouterr().out
    assert "All clips" in out and "Seen sources" in out and "Unseen sources" in out
    assert "1-MAE: 60 clips of 20 sources, 95% intervals" in out and "1-MAE: 30 clips of 10 sources" in out
    assert "low: 60 clips" in out and "high: 60 clips" in out
    metrics = json.loads((tmp_path / "c.json").read_text())
    gain = metrics["all clips"]["metrics"]["1-MAE"]
    assert gain["lower"][5] > 0.05 and gain["p"][5] < 0.001 and metrics["unseen sources"]["clips"] == 30


def test_extremes_are_compared_at_equal_spread_too(tmp_path, capsys):
    """B is A, only louder: raw it gains at both ends, at equal spread it is A again."""
    a, b = tmp_path / "a", tmp_path / "b"
    for split, clips in (("test", range(100)), ("validation", range(100, 200))):
        table = read_predictions(write_stage(a, 0.05, 1, clips, split) / f"predictions_{split}.csv")
        centre = table.predicted.mean(axis=0)
        for folder, factor in ((a, 0.5), (b, 0.7)):
            folder.mkdir(exist_ok=True)
            scaled = replace(table, predicted=centre + factor * (table.predicted - centre), classes=None)
            write_predictions(folder / f"predictions_{split}.csv", scaled)
    write_statistics(b, TraitStatistics(np.full(5, 0.5), np.full(5, 0.15)))
    assert main(["compare", str(a), str(b), "--json", str(tmp_path / "c.json")]) == 0
    out = capsys.readouterr().out
    assert "extremes at equal spread" in out and "Factors fitted on validation." in out
    assert "low, at equal spread: 100 clips" in out
    found = json.loads((tmp_path / "c.json").read_text())
    for metric in ("low", "high"):
        raw, even = (found[part]["metrics"][metric]["difference"][5] for part in ("all clips", "equal spread"))
        assert raw > 0.02 and abs(even) < 0.004
    assert found["all clips"]["margin"] == 0.001 and found["equal spread"]["metrics"]["low"]["verdict"]
    assert main(["compare", str(a / "predictions_test.csv"), str(b / "predictions_test.csv")]) == 0
    assert "Factors fitted on the clips themselves" in capsys.readouterr().out
    assert main(["compare", str(a), str(b), "--margin", "0"]) == 2


def test_two_runs_over_seeds_and_folds(tmp_path, capsys):
    for run, noise in (("a", 0.2), ("b", 0.1)):
        for seed in (1, 2):
            for fold in (1, 2):
                clips = range(30 * fold, 30 * fold + 30)
                folder = tmp_path / run / f"seed{seed}_fold{fold}"
                for stage in ("stage2", "stage4"):
                    # each fold has its own training split, hence its own thresholds
                    write_stage(folder / stage, noise, seed, clips, mean=0.5 + fold / 100)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    out = capsys.readouterr().out
    assert "2 and 2 seeds, paired" in out and "60 clips of 20 sources" in out and "(stage4)" in out
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "a"), "--stage_a", "stage2"]) == 0
    assert "A: " + str(tmp_path / "a") + " (stage2)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: (write_stage(p / "a", 0.1, 1), write_stage(p / "b", 0.1, 2, range(59))), "'c59'"),
        (lambda p: (write_stage(p / "a", 0.1, 1), p / "none"), "holds no predictions_test.csv"),
        (
            lambda p: (
                write_stage(p / "a", 0.1, 1),
                write_stage(p / "b" / "seed1" / "stage2", 0.1, 1).parents[1],
            ),
            "no ",
        ),
        (
            lambda p: (write_stage(p / "a", 0.1, 1), write_stage(p / "b", 0.1, 2, mean=0.6)),
            "other thresholds",
        ),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_status_2(tmp_path, capsys, make, message):
    a, b = make(tmp_path)
    assert main(["compare", str(a), str(b)]) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("apt: error: ") and err.count("\n") == 1


@pytest.mark.parametrize("module", ["compare", "audit"])
def test_command_starts_without_torch(module):
    code = (
        f"import sys, apt_lightning.cli.{module}\n"
        "from apt_lightning.evaluation import significance\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
