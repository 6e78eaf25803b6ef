"""What a planted identity cue is worth: trained stages against neighbours, with and without it, on both protocols.

The sound of each source gets an offset of its own, the same in all its clips, that tells nothing of its traits. On the
official-style split it can be recognised in training clips of the same source; over folds of whole sources it cannot.
What is found is in docs/identity.md.
"""

import argparse
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from apt_lightning.evaluation.metrics import score
from apt_lightning.evaluation.neighbours import same_source_note
from apt_lightning.evaluation.tables import number, render
from apt_lightning.experiments.plan import run_units
from apt_lightning.experiments.results import RunResults, read_run
from apt_lightning.experiments.run_settings import RunSettings
from apt_lightning.experiments.runner import run
from studies.embedding_study import Condition, build_store
from studies.leak_study import QUICK

STRENGTHS = (0.0, 2.0)
"""Without and with the cue, in standard deviations of the sound's features."""
PROTOCOLS = {"official": None, "disjoint": 3}
"""Name to the number of source-disjoint folds."""


def train(out: Path, n_clips: int, seed: int) -> dict[tuple[str, float], RunResults]:
    """Train one draw of clips with and without the cue under both protocols; what is complete is not done again."""
    units = [unit for unit in run_units() if not unit.name.startswith("stage2_")]
    units = [replace(unit, options=QUICK) if unit.name.startswith("stage1") else unit for unit in units]
    found = {}
    for strength in STRENGTHS:
        folder = out / f"seed{seed}-identity{strength:g}"
        store = folder / "store"
        if not (store / "features").is_dir():
            build_store(folder, n_clips, Condition("official", False, seed, strength))
        for protocol, folds in PROTOCOLS.items():
            settings = RunSettings(
                str(store),
                str(folder / protocol),
                seeds=[seed],
                folds=folds,
                options=["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"],
            )
            with (folder / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
                run(settings, units)
            found[protocol, strength] = read_run(settings.out)
    return found


def figure(results: list[RunResults], system: str, seen: bool | None) -> float:
    """Mean 1-MAE of a system over draws, on all clips or on those of seen or unseen sources; NaN without a clip."""
    values = []
    for result in results:
        (table,) = result.systems[system]
        part = table if seen is None else table.select(table.seen_source == seen)
        values.append(score(part, resamples=0).values["1-MAE"][-1] if len(part) else np.nan)
    return float(np.mean(values))


def tables(found: dict[tuple[str, float], list[RunResults]]) -> str:
    """1-MAE of all systems, and the rates at which the nearest clip is of the same source."""
    columns: list[tuple[str, str, bool | None]] = [
        ("official, all", "official", None),
        ("official, seen sources", "official", True),
        ("official, unseen sources", "official", False),
        ("folds of whole sources", "disjoint", None),
    ]
    systems = list(found["official", 0.0][0].systems)
    rows = []
    for name in systems:
        row = [name]
        for _, protocol, seen in columns:
            plain, planted = (figure(found[protocol, strength], name, seen) for strength in STRENGTHS)
            row += [number(plain), number(planted), number(planted - plain)]
        rows.append(row)
    head = ["", *(h for title, *_ in columns for h in (title, "with the cue", "difference"))]
    clips = len(found["official", 0.0][0].systems[systems[0]][0])
    draws = len(found["official", 0.0])
    title = f"1-MAE, mean over traits and {draws} draws of {clips} test clips; of the folds, all clips are tested"
    notes = []
    for strength, what in zip(STRENGTHS, ("Without the cue", "With it"), strict=True):
        rates = [result.same_source for result in found["official", strength]]
        mean = {name: tuple(np.mean([r[name] for r in rates], axis=0).tolist()) for name in rates[0]}
        notes += [f"{what}: {line}" for line in same_source_note(mean)]
    return render(head, rows, title, notes)


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="identity", help="Folder; what is complete in it is not trained again.")
    parser.add_argument("--clips", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    out = Path(args.out)
    started = time.monotonic()
    trained = [train(out, args.clips, seed) for seed in tqdm(args.seeds, desc="draws of clips", unit="draw")]
    found = {key: [draw[key] for draw in trained] for key in trained[0]}
    minutes = (time.monotonic() - started) / 60
    text = f"{tables(found)}\n\n{args.clips} clips a draw, seeds {args.seeds}, {minutes:.1f} minutes on one thread."
    (out / "tables.md").write_text(f"{text}\n")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
