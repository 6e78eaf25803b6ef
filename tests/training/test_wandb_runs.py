"""The offline W&B files of a small chain, read back: group, job types, summary, tables, test metrics, artifacts."""

import csv
import json
import shutil

import pytest
import yaml
from places import CONFIGS, QUICK
from wandb_file import offline_runs

from apt_lightning.cli import main
from apt_lightning.common.traits import TRAIT_CODES

MODALITIES = ("audio", "visual", "text")


@pytest.fixture(scope="module")
def logged(feature_run, tmp_path_factory):
    """Folder of a seed whose stages 1 (audio), 3 and 4 were trained and tested with W&B, each command on its own."""
    base = tmp_path_factory.mktemp("wandb") / "study" / "seed42"
    shutil.copytree(feature_run / "seed42", base)
    paths = json.dumps({m: str(base / f"stage1_{m}" / "best.ckpt") for m in MODALITIES})
    inputs = {
        "stage1_audio": ["--log_model=true"],
        "stage3": [f"--model.checkpoints={paths}"],
        "stage4": [  # of the run that was copied, whose encoders stage 2 has too
            f"--model.{name}_ckpt={feature_run / 'seed42' / stage / 'best.ckpt'}"
            for name, stage in (("fusion", "stage2"), ("siamese", "stage3"))
        ],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        patch.delenv("WANDB_API_KEY", raising=False)
        for stage, flags in inputs.items():
            words = [f"--run_dir={base / stage}", "--log_to=wandb", *QUICK[:1]]
            own = [f"--config={CONFIGS / stage}.yaml", f"--data.store={feature_run.parent / 'store'}", *QUICK, *flags]
            assert main(["fit", *own, *words, "--overwrite=true", "--trainer.max_epochs=3"]) == 0
            assert main(["test", *words, "--tables=false", "--log_predictions=true"]) == 0
    return base


def test_every_stage_is_a_run_of_one_group_and_its_test_goes_on_with_it(logged):
    for stage in ("stage1_audio", "stage3", "stage4"):
        fit, test = offline_runs(logged / stage)
        for one in (fit, test):
            assert (one.run.run_group, one.run.job_type, one.run.project) == ("study", stage, "apt-lightning")
            assert one.run.display_name == f"study {stage} seed 42"
            assert "official split" in one.run.tags and any(tag.endswith("/store") for tag in one.run.tags)
            assert one.exit_code == 0
        assert fit.run.run_id == test.run.run_id


def test_the_configuration_is_that_of_the_run_folder(logged):
    fit, _ = offline_runs(logged / "stage3")
    kept = yaml.safe_load((logged / "stage3" / "config.yaml").read_text())
    assert fit.config["data"] == kept["data"] and fit.config["model"] == kept["model"]
    assert fit.config["trainer"]["max_epochs"] == 3 and fit.config["seed_everything"] == 42
    assert fit.config["uses"] == ["study-seed42-stage1_audio"]


def test_curves_have_a_point_an_epoch_and_the_summary_is_of_the_best(logged):
    fit, _ = offline_runs(logged / "stage4")
    with (logged / "stage4" / "metrics.csv").open() as stream:
        table = {int(row["epoch"]): float(row["val/accuracy"]) for row in csv.DictReader(stream)}
    logged_points = [(row["epoch"], row["val/accuracy"]) for row in fit.history if "val/accuracy" in row]
    assert logged_points == [(epoch, pytest.approx(value)) for epoch, value in table.items()] and len(table) == 3
    best = max(table, key=table.get)
    assert fit.summary["best/epoch"] == best and fit.summary["best/val/accuracy"] == pytest.approx(table[best])
    assert fit.metrics["val/accuracy"].summary.max and fit.metrics["val/accuracy"].step_metric == "epoch"
    assert fit.metrics["val/*"].step_metric == "epoch"


def test_test_metrics_come_with_intervals(logged):
    _, test = offline_runs(logged / "stage4")
    assert test.summary["test/1-MAE_lower"] < test.summary["test/1-MAE"] < test.summary["test/1-MAE_upper"]
    with (logged / "stage4" / "predictions_test.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    traits = [name.removeprefix("true_") for name in rows[0] if name.startswith("true_")]
    errors = [abs(float(row[f"true_{t}"]) - float(row[f"pred_{t}"])) for row in rows for t in traits]
    assert test.summary["test/1-MAE"] == pytest.approx(1 - sum(errors) / len(errors))
    columns, data = test.table("test/scores")
    assert columns == ["metric", "of", "value", "lower", "upper"]
    assert {row[1] for row in data} == {*TRAIT_CODES, "mean"}
    columns, data = test.table("test/predictions")
    assert len(data) == len(rows) and columns[:3] == ["clip", "source", "seen_source"]
    assert data[0][0] == rows[0]["clip"] and data[0][3] == float(rows[0][columns[3]])


def test_retrieval_is_one_table_one_chart_and_five_pictures(logged):
    for one, split in zip(offline_runs(logged / "stage3"), ("validation", "test"), strict=True):
        names = {name for row in one.history for name in row if name.startswith(f"{split}/")} - {"test/precision"}
        pictures = {f"{split}/embeddings_{trait}" for trait in TRAIT_CODES}
        assert names == {f"{split}/retrieval", f"{split}/retrieval_map_at_r_table", *pictures}
        _, data = one.table(f"{split}/retrieval")
        assert len(data) == 5 * 3 * 3


def test_a_checkpoint_is_an_artifact(logged):
    fit, _ = offline_runs(logged / "stage1_audio")
    (artifact,) = [artifact for artifact in fit.artifacts if artifact.type == "model"]
    assert artifact.name == "study-seed42-stage1_audio"
