"""Search stage 3's hyperparameters by the validation metric of stage 4; the test split cannot be reached.

`apt sweep configs/sweeps/stage3.yaml --run RUN --trials 40` searches here and goes on where it stopped. W&B agents
call one trial: `apt sweep --trial --run RUN --model.margin=0.2`.
"""

from __future__ import annotations

from typing import Any

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json
from apt_lightning.common.errors import UsageError
from apt_lightning.experiments.sweep.search_space import plain_number


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt sweep``."""
    parser.add_argument("config", nargs="?", type=str, help="sweep YAML in W&B's form")
    parser.add_argument("--run", type=str, required=True, help="folder of a finished `apt run`, which trials build on")
    parser.add_argument("--trials", type=int, default=40, help="complete trials wanted in all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the search")
    parser.add_argument("--trial", action="store_true", help="do one trial with the flags below")
    parser.add_argument("--model", type=dict[str, Any], default={}, help="stage 3, as --model.margin=0.2")
    parser.add_argument("--data", type=dict[str, Any], default={}, help="stage 3, as --data.batch_size=64")
    add_json(parser)


def run(args: jsonargparse.Namespace) -> int:
    """Search, or do one trial."""
    parameters = {
        f"{part}.{key}": plain_number(value) for part in ("model", "data") for key, value in args[part].items()
    }
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
        settings, _ = sweep_settings(args.run)
        with agents_run(parameters) as tell:
            metrics = run_trial(settings, parameters)
            tell(metrics)
        for name, value in metrics.items():
            say(f"{name} {value:.5f}")
        say_json(args.json, {"parameters": parameters, "metrics": metrics})
        return 0
    folder, table, found = sweep(find_config(args.config), args.run, args.trials, args.seed)
    say(f"{table}\n\nall trials: {folder / TRIALS}\nplot: {folder / PLOT}")
    say(f"`apt run --overlay {folder / BEST_FOLDER}` with a new `--out` trains the best and tests it")
    say_json(args.json, {"folder": str(folder), **found})
    return 0
