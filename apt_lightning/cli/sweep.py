"""Search stage 3 by validation metrics of stage 4, or the joint training; the test split cannot be reached.

`apt sweep configs/sweeps/stage3.yaml --run RUN --trials 40` searches here and goes on where it stopped; joint.yaml
beside it searches the joint training. W&B agents call one trial: `apt sweep --trial --run RUN --model.margin=0.2`.
"""

from __future__ import annotations

from typing import Any

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json
from apt_lightning.common.errors import UsageError
from apt_lightning.experiments.sweep.search_space import JOINT, STAGE, plain_number, stage_of
from apt_lightning.stages.names import STAGE3


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt sweep``."""
    parser.add_argument("config", nargs="?", type=str, help="sweep YAML in W&B's form")
    parser.add_argument("--run", type=str, required=True, help="folder of a finished `apt run`, which trials build on")
    parser.add_argument("--trials", type=int, default=40, help="complete trials wanted in all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the search")
    parser.add_argument("--trial", action="store_true", help="do one trial with the flags below")
    parser.add_argument("--stage", type=str, default=STAGE3, help="what the trial searches: stage3 or joint")
    parser.add_argument("--model", type=dict[str, Any], default={}, help="of the trial, as --model.margin=0.2")
    parser.add_argument("--data", type=dict[str, Any], default={}, help="of the trial, as --data.batch_size=64")
    add_json(parser)


def run(args: jsonargparse.Namespace) -> int:
    """Search, or do one trial."""
    parameters = {
        f"{part}.{key}": plain_number(value) for part in ("model", "data") for key, value in args[part].items()
    }
    if args.stage != STAGE3:
        parameters[STAGE] = args.stage
    if args.trial == (args.config is not None) or (parameters and not args.trial):
        raise UsageError("give either a sweep YAML, or `--trial` with the flags of one trial")
    for name, least in (("trials", 1), ("seed", 0)):
        if args[name] < least:
            raise UsageError(f"`--{name}` must be {least} or more, but is {args[name]}")
    from apt_lightning.common.configs import find_config
    from apt_lightning.experiments.sweep.sweep import (
        BEST_FOLDER,
        PLOT,
        TRIALS,
        agents_run,
        run_trial,
        sweep,
        sweep_settings,
    )

    if args.trial:
        settings, _ = sweep_settings(args.run, stage_of(parameters))
        with agents_run(parameters) as tell:
            metrics = run_trial(settings, parameters)
            tell(metrics)
        for name, value in metrics.items():
            say(f"{name} {value:.5f}")
        say_json(args.json, {"parameters": parameters, "metrics": metrics})
        return 0
    folder, table, found = sweep(find_config(args.config), args.run, args.trials, args.seed)
    say(f"{table}\n\nall trials: {folder / TRIALS}\nplot: {folder / PLOT}")
    best = folder / BEST_FOLDER
    if stage_of(found["best"]) == JOINT:
        words = f"fit --config joint.yaml --config {best / JOINT}.yaml` with a new `--run_dir` trains the best"
    else:
        words = f"run --overlay {best}` with a new `--out` trains the best and tests it"
    say(f"`apt {words}")
    say_json(args.json, {"folder": str(folder), **found})
    return 0
