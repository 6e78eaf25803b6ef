"""What `apt compare`, `report` and `ablate` send to W&B, read back from its offline files."""

import json

import pytest
from fake_run import make_run, make_store
from wandb_file import offline_runs

from apt_lightning.cli import main
from apt_lightning.common.traits import TRAIT_CODES


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A finished run whose stages 2 and 4 were logged to W&B."""
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    run = make_run(tmp_path / "study", make_store(tmp_path / "data"))
    for stage in ("stage2", "stage4"):
        record = {"id": f"id-{stage}", "project": "faces"}
        (run / "seed42" / stage / "wandb_run.json").write_text(json.dumps(record))
    return run


def test_a_comparison_stands_in_the_group_of_the_stages(recorded, capsys):
    stages = [recorded / "seed42" / stage for stage in ("stage2", "stage4")]
    assert main(["compare", *map(str, stages), "--log_to=wandb", "--json=-"]) == 0
    found = json.loads(capsys.readouterr().out)
    (logged,) = offline_runs(recorded)
    assert (logged.run.project, logged.run.run_group, logged.run.job_type) == ("faces", "study", "compare")
    assert logged.config["stages"] == {f"study/seed42/{stage}": f"id-{stage}" for stage in ("stage2", "stage4")}
    columns, data = logged.table("comparison")
    rows = {tuple(row[:3]): dict(zip(columns, row, strict=True)) for row in data}
    assert {key[0] for key in rows} == {"all clips", "seen sources", "unseen sources", "equal spread"}
    assert {key[2] for key in rows} == {*TRAIT_CODES, "mean"}
    mean = rows["all clips", "1-MAE", "mean"]
    for key in ("difference", "lower", "upper"):
        assert mean[key] == found["all clips"]["metrics"]["1-MAE"][key][-1] == logged.summary[key]
    assert logged.summary["verdict"] == found["all clips"]["metrics"]["1-MAE"]["verdict"][-1]


def test_a_report_is_shown_there_whole(recorded):
    assert main(["report", str(recorded), "--log_to=wandb"]) == 0
    (logged,) = offline_runs(recorded)
    assert (logged.run.run_group, logged.run.job_type, logged.run.display_name) == ("study", "report", "study report")
    (entry,) = [row["report"] for row in logged.history if "report" in row]
    assert (logged.files / entry["path"]).read_text() == (recorded / "report.html").read_text()
    assert "tage 4" in logged.summary["verdict"]["study"]


def test_a_table_alone_belongs_to_the_run_around_it(recorded, tmp_path):
    table = recorded / "seed42" / "stage4" / "predictions_test.csv"
    elsewhere = tmp_path / "theirs.csv"
    elsewhere.write_bytes(table.read_bytes())
    assert main(["compare", str(elsewhere), str(table), "--log_to=wandb"]) == 0
    (logged,) = offline_runs(recorded)
    assert logged.run.run_group == "study" and len(logged.config["of"]) == 2
