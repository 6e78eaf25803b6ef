"""Sweep YAMLs: W&B's form is read and accepted, and what is wrong in one is named."""

import importlib.util
import json
from pathlib import Path

import pytest
import yaml
from places import CONFIGS
from sweep_files import GOOD, SWEEPS, ends

from apt_lightning.cli import main
from apt_lightning.common.errors import UsageError
from apt_lightning.experiments.sweep.search_space import read_search


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_parameters_are_accepted_as_flags(path, capsys):
    """By `apt fit` for what is searched, at the ends of each range, changing what they name."""
    search = read_search(path)
    assert search.stage == path.stem
    first = {"stage3": ["model.margin", "model.embedding_dim"], "joint": ["model.metric_weight", "model.encoder_rate"]}
    parameters = {name: given for name, given in search.parameters.items() if name != "stage"}
    assert list(parameters)[:2] == first[path.stem]
    for name, given in parameters.items():
        for value in ends(given):
            assert main(["fit", f"--config={CONFIGS / path.name}", f"--{name}={value}", "--print_config"]) == 0
            part, key = name.split(".")
            config = yaml.safe_load(capsys.readouterr().out)[part]
            assert (config["init_args"] if part == "model" else config)[key] == value


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_yaml_fits_the_schema_that_wandb_publishes(path):
    """In the package `sweeps`, which wants an older NumPy: `pip install --no-deps sweeps`."""
    found = importlib.util.find_spec("sweeps")
    if found is None:
        pytest.skip("the package sweeps is not installed")
    schema = json.loads((Path(found.origin).parent / "config" / "schema.json").read_text())
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(yaml.safe_load(path.read_text()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(path.read_text()) | {"method": "guess"}, schema)


def test_a_number_may_be_written_as_1e_4(tmp_path):
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(GOOD).replace("min: 0.0", "min: 1e-4"))
    assert yaml.safe_load((tmp_path / "s.yaml").read_text())["parameters"]["model.margin"]["min"] == "1e-4"
    assert read_search(tmp_path / "s.yaml").parameters["model.margin"]["min"] == 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": None}, "sweep form"),
        ({"method": "grid"}, "bayes, random"),
        ({"metric": {"name": "test/accuracy", "goal": "maximize"}}, "not for choosing"),
        ({"metric": {"name": "val/accuracy"}}, "goal"),
        ({"early": 1}, "unknown key 'early'"),
        ({"parameters": {"model.marginn": {"value": 1}}}, "did you mean 'model.margin'"),
        ({"parameters": {"data.store": {"value": "x"}}}, "no parameter of stage 3"),
        ({"parameters": {"data.withhold_test": {"values": [True, False]}}}, "no parameter of stage 3"),
        ({"parameters": {"model.checkpoints": {"value": "x"}}}, "no parameter of stage 3"),
        ({"parameters": {"stage": {"value": "joint"}, "model.margin": {"value": 0.1}}}, "of the joint training"),
        ({"parameters": {"stage": {"value": "joint"}, "model.start_ckpt": {"value": "x"}}}, "of the joint training"),
        ({"parameters": {"stage": {"value": "stage2"}, "model.lr": {"value": 0.1}}}, "stage3 or joint"),
        ({"parameters": {"stage": {"value": ["joint"]}, "model.lr": {"value": 0.1}}}, "stage3 or joint"),
        ({"parameters": {"stage": {"values": ["joint", "stage3"]}, "model.lr": {"value": 0.1}}}, "must be one value"),
        ({"parameters": {"model.margin": 0.1}}, "expected `value`"),
        ({"parameters": {"model.margin": {"min": 0.5, "max": 0.1}}}, "`min` below `max`"),
        ({"parameters": {"model.margin": {"min": "a", "max": 1}}}, "`min` below `max`"),
        ({"parameters": {"model.margin": {"values": []}}}, "expected `value`"),
        ({"parameters": {"model.margin": {"mu": 0, "sigma": 1, "distribution": "normal"}}}, "'normal' is not"),
        (
            {"parameters": {"model.beta": {"min": 0, "max": 1, "distribution": "log_uniform_values"}}},
            "`min` above 0",
        ),
    ],
)
def test_bad_sweeps_are_named(change, message, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(GOOD | change))
    with pytest.raises(UsageError, match=message) as caught:
        read_search(path)
    assert str(path) in str(caught.value)


def test_unreadable_sweep(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [1,")
    for name in ("bad.yaml", "absent.yaml"):
        with pytest.raises(UsageError, match="readable YAML"):
            read_search(tmp_path / name)
