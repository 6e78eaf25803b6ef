"""Sweep YAMLs: those of the repository, and the content of a small one."""

from places import CONFIGS

SWEEPS = sorted(CONFIGS.glob("sweeps/*.yaml"))
GOOD = {
    "method": "bayes",
    "metric": {"name": "val/accuracy", "goal": "maximize"},
    "parameters": {"model.margin": {"min": 0.0, "max": 0.5}},
}


def ends(given):
    """Values at the ends of a range of the YAML."""
    return given.get("values") or [given["value"]] if "min" not in given else [given["min"], given["max"]]
