"""Ablations: what they train, that they reuse what is complete, and that the table says what the files hold."""

import csv
import io
import json
from contextlib import redirect_stdout
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
import torch
from places import CONFIGS, QUICK
from wandb_file import offline_runs

from apt_lightning.cli import main
from apt_lightning.common.errors import UsageError
from apt_lightning.experiments import ablation
from apt_lightning.experiments.ablation import ablate, ablation_table, trained_parameters
from apt_lightning.experiments.ablation_plan import LOSSES, ablation_plan
from apt_lightning.experiments.plan import run_units
from apt_lightning.experiments.run_settings import read_settings
from apt_lightning.losses.regression import RegressionLoss, RegressionTerms
from apt_lightning.networks import FinalNet, FusionNet, SiameseNet
from apt_lightning.networks.fusion import matched_dims
from apt_lightning.stages.load import load
from apt_lightning.training.callbacks import best_epoch

UNITS, VARIANTS = ablation_plan(["audio", "visual", "text"])
STAGE1 = ("stage1_audio", "stage1_visual", "stage1_text")


@pytest.fixture(scope="module")
def ablated(own_run):
    """Controls only; the other variants differ by nothing but flags."""
    groups = ("embeddings", "embeddings, equal steps", "ensembles")
    kept = [variant for variant in VARIANTS if variant.group in groups or variant.unit == "stage4_av"]
    before = {file: file.stat().st_mtime_ns for file in own_run.glob("seed42/*/best.ckpt")}
    with pytest.MonkeyPatch.context() as patch:
        variants = [v for v in VARIANTS if v.unit == "stage2"] + kept
        names = {variant.unit for variant in kept} | {"stage3_av", "stage2_again"}
        units = [u for u in UNITS if u in run_units() or u.name in names]
        patch.setattr(ablation, "ablation_plan", lambda modalities: (units, variants))
        config = own_run / "ablate.json"
        config.write_text(json.dumps(asdict(read_settings(own_run))))
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        assert main(["ablate", f"--config={config}", "--log_to=wandb"]) == 0
        rows = ablate(read_settings(own_run))
    assert {file: file.stat().st_mtime_ns for file in before} == before
    return own_run, rows


def predictions(folder, unit):
    with (folder / "seed42" / unit / "predictions_test.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    true = np.array([[float(v) for k, v in row.items() if k.startswith("true_")] for row in rows])
    predicted = np.array([[float(v) for k, v in row.items() if k.startswith("pred_")] for row in rows])
    return true, predicted


def test_files_hold_what_the_prediction_tables_say(ablated):
    folder, rows = ablated
    with (folder / "ablation.csv").open() as stream:
        lines = {line["unit"]: line for line in csv.DictReader(stream)}
    plain = {line["unit"]: line for line in json.loads((folder / "ablation.json").read_text())["variants"]}
    assert list(lines) == [row.variant.unit for row in rows]
    for unit, line in lines.items():
        if unit in [variant.unit for variant in VARIANTS if variant.rule]:
            continue
        true, predicted = predictions(folder, unit)
        accuracy = 1 - np.abs(predicted - true).mean()
        assert float(line["test"]) == pytest.approx(accuracy, abs=1e-12)
        reference = 1 - np.abs(predictions(folder, "stage4")[1] - true).mean()
        if unit != "stage4":
            assert float(line["1-MAE difference from stage4"]) == pytest.approx(accuracy - reference, abs=1e-12)
            assert plain[unit]["against"]["stage 4"]["metrics"]["1-MAE"]["difference"][-1] == pytest.approx(
                accuracy - reference, abs=1e-12
            )
        assert (line["1-MAE lower from stage4"] == "") == (unit == "stage4")
        with (folder / "seed42" / unit / "metrics.csv").open() as stream:
            best = max(float(row["val/accuracy"]) for row in csv.DictReader(stream))
        assert float(line["validation"]) == pytest.approx(best)


def test_the_table_is_a_run_of_wandb_too(ablated):
    folder, rows = ablated
    (logged,) = offline_runs(folder / "wandb")
    assert (logged.run.run_group, logged.run.job_type) == (folder.name, "ablate")
    columns, data = logged.table("ablation")
    with (folder / "ablation.csv").open() as stream:
        lines = list(csv.reader(stream))
    assert columns == lines[0] and len(data) == len(rows)
    assert [["" if cell is None else str(cell) for cell in row] for row in data] == lines[1:]


def test_table_names_the_choice_by_validation_not_by_test(ablated):
    _, rows = ablated
    text = ablation_table(rows)
    best = max(rows, key=lambda row: row.validation[0]).variant
    assert f"the only split to choose by: {best.name}." in text
    names = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert names[2:] == [row.variant.name for row in rows]  # a narrow terminal repeats this column alone
    assert len(set(names)) == len(names)
    assert text.count("\n| embeddings: ") == 3 and text.count("\n| embeddings, equal steps: ") == 3


def test_the_mean_of_two_stages_2_is_of_two_trainings_on_one_stage_1(ablated):
    folder, rows = ablated
    row = next(row for row in rows if row.variant.unit == "two_stages2")
    sides = [predictions(folder, unit) for unit in ("stage2", "stage2_again")]
    mean = np.mean([predicted for _, predicted in sides], axis=0)
    np.testing.assert_allclose(row.test[0].predicted, mean, atol=1e-12)
    assert np.abs(sides[0][1] - sides[1][1]).max() > 1e-4
    one, two = (load(str(folder / "seed42" / unit / "best.ckpt")) for unit in ("stage2", "stage2_again"))
    for a, b in zip(one.encoders.parameters(), two.encoders.parameters(), strict=True):
        assert torch.equal(a, b)
    assert row.parameters == 2 * sum(p.numel() for p in one.parameters() if p.requires_grad)


def test_ensembles_of_stage_1_are_those_of_its_prediction_tables(ablated):
    from apt_lightning.evaluation.ensembles import late_fusion, ridge_stack
    from apt_lightning.evaluation.predictions import read_predictions

    folder, rows = ablated
    for unit, rule in (("late_fusion", late_fusion), ("ridge_stack", ridge_stack)):
        row = next(row for row in rows if row.variant.unit == unit)
        tables = {
            split: [read_predictions(folder / "seed42" / name / f"predictions_{split}.csv") for name in STAGE1]
            for split in ("validation", "test")
        }
        expected = rule(tables["validation"], tables["test"])
        np.testing.assert_allclose(row.test[0].predicted, expected.test.predicted)
        own = expected.validation
        assert row.validation[0] == pytest.approx(1 - np.abs(own.predicted - own.true).mean())
        assert row.parameters == expected.parameters


def test_equal_steps_are_equal_and_subsets_hold_their_modalities(ablated):
    folder, _ = ablated
    names = [f"stage4_steps_{title}" for title in ("trained", "untrained", "none")]
    files = [torch.load(folder / "seed42" / name / "last.ckpt", weights_only=True) for name in names]
    assert len({(file["global_step"], file["epoch"]) for file in files}) == 1
    for name in ("stage3_av", "stage4_av"):
        assert load(str(folder / "seed42" / name / "best.ckpt")).modalities == ("audio", "visual")


def test_controls_are_as_large_as_the_method(ablated):
    folder, _ = ablated
    counts = {}
    for name in ("stage4", "stage4_untrained", "stage4_none"):
        module = load(str(folder / "seed42" / name / "best.ckpt"))
        counts[name] = sum(p.numel() for p in module.parameters() if p.requires_grad)
        assert trained_parameters(folder / "seed42" / name / "best.ckpt") == counts[name]
    assert counts["stage4"] == counts["stage4_untrained"]
    assert abs(counts["stage4_none"] - counts["stage4"]) <= 518 / 2


def test_untrained_net_is_neither_the_trained_one_nor_moved(ablated):
    folder, _ = ablated
    third = load(str(folder / "seed42" / "stage3" / "best.ckpt")).network
    siamese = load(str(folder / "seed42" / "stage4_untrained" / "best.ckpt")).network.siamese
    weights = siamese.layers[0].weight
    assert not torch.equal(weights, third.layers[0].weight)
    assert not any(p.requires_grad for p in siamese.parameters())
    # Kaiming normal: sd of sqrt(2 / 256), and zero biases that no step has moved.
    assert float(weights.std()) == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert not siamese.layers[0].bias.any()


@pytest.mark.parametrize("hidden", [[512], [300, 40], [64]])
@pytest.mark.parametrize("missing", ["learned", "mean"])
def test_matched_dims(hidden, missing):
    fusion, siamese = FusionNet(3, 16, (32, 24)), SiameseNet(16, (8, 8), 12)

    def trained(siamese, dims):
        net = FinalNet(fusion, siamese, dims, missing)
        parts = [net.layers, torch.nn.Linear(net.output_dim, 5)]
        count = sum(p.numel() for part in parts for p in part.parameters())
        return count + (net.missing.numel() if hasattr(net, "missing") else 0)

    dims = matched_dims(24, 36, 36 if missing == "learned" else 0, hidden)
    wider = [dims[0] + 1, *dims[1:]]
    wanted = trained(siamese, hidden)
    off = abs(trained(None, dims) - wanted)
    assert off <= abs(trained(None, wider) - wanted) and off <= (trained(None, wider) - trained(None, dims)) / 2


def test_narrow_bell_is_as_steep_as_the_papers_at_zero():
    flags = dict(flag.removeprefix("--model.loss.").split("=") for flag in LOSSES["narrow_bell"][1])
    narrow = RegressionLoss(RegressionTerms(**{name: float(value) for name, value in flags.items()}))
    paper = RegressionLoss(RegressionTerms(0, 0, 1))
    small, zero = torch.full((1, 5), 1e-3), torch.zeros(1, 5)
    assert float(narrow(small, zero)) == pytest.approx(float(paper(small, zero)), rel=1e-3)
    large = torch.full((1, 5), 0.4)
    assert float(narrow(large, zero)) < 0.5 * float(paper(large, zero))


@cache
def settings(config, options=()):
    """What `apt fit` would use."""
    with redirect_stdout(io.StringIO()) as shown:
        assert main(["fit", f"--config={CONFIGS / config}.yaml", *QUICK, *options, "--print_config"]) == 0
    return shown.getvalue()


@pytest.mark.parametrize("unit", [u for u in UNITS if u not in run_units()], ids=lambda u: u.name)
def test_flags_are_accepted(unit):
    """Each unit's flags change the configuration that `apt fit` would use."""
    assert (settings(unit.config, unit.options) != settings(unit.config)) == bool(unit.options)
    original = next(u for u in run_units() if u.name == unit.config)
    assert unit.options or unit.earlier != original.earlier or unit.reseed


def test_variants_cover_the_issue():
    groups = {variant.group: [] for variant in VARIANTS}
    for variant in VARIANTS:
        groups[variant.group].append(variant.unit)
    assert len(groups["modalities"]) == 10
    assert len(groups["embeddings, equal steps"]) == len(groups["ensembles"]) == 3
    assert set(groups) >= {"embeddings", "anchors", "embedding size", "loss of stages 2 and 4"}
    names = [unit.name for unit in UNITS]
    assert len(set(names)) == len(names)
    for i, unit in enumerate(UNITS):
        assert set(unit.earlier) <= set(names[:i])
    assert {unit for variant in VARIANTS for unit in variant.parts or (variant.unit,)} <= set(names)


def test_folds_of_a_seed_are_put_together(tmp_path, monkeypatch):
    """Seeds are rows, folds are joined, in the order of the runner's jobs."""
    from apt_lightning.evaluation.predictions import Predictions, write_predictions
    from apt_lightning.experiments.runner import Job

    jobs = []
    for seed in (1, 2):
        for fold in (1, 2, 3):
            folder = tmp_path / f"seed{seed}_fold{fold}" / "stage2"
            folder.mkdir(parents=True)
            table = Predictions(
                [f"{fold}.mp4"], [str(fold)], np.zeros(1), np.full((1, 5), 0.5), np.full((1, 5), seed / 10)
            )
            for split in ("validation", "test"):
                write_predictions(folder / f"predictions_{split}.csv", table)
            jobs += [Job(unit, folder, [], "") for unit in run_units() if unit.name == "stage2"]
    monkeypatch.setattr(ablation, "best_epoch", lambda folder, *_: {"val/accuracy": float(folder.parent.name[-1])})
    monkeypatch.setattr(ablation, "trained_parameters", lambda file: 7)
    variant = next(v for v in VARIANTS if v.unit == "stage2")
    parameters, validation, (first, second), validated = ablation.result(jobs, variant, 2)
    assert (parameters, validation) == (7, [2, 2])
    assert first.clips == second.clips == ["1.mp4", "2.mp4", "3.mp4"]
    assert [table.clips for table in validated] == [first.clips, second.clips]
    assert (first.predicted == 0.1).all() and (second.predicted == 0.2).all()


def test_best_epoch(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,val/loss,val/accuracy\n0,2.0,0.5\n1,nan,0.9\n2,1.5,\n")
    assert best_epoch(tmp_path, "val/loss", "min")["epoch"] == 2
    assert best_epoch(tmp_path, "val/accuracy", "max")["epoch"] == 1
    with pytest.raises(UsageError, match="no val/ccc"):
        best_epoch(tmp_path, "val/ccc", "max")
    with pytest.raises(UsageError, match="apt run"):
        best_epoch(tmp_path / "nowhere", "val/loss", "min")
