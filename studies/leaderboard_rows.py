"""Write our own rows of the leaderboard from the run of ``make demo``; ``make leaderboard`` then computes the page.

``python -m studies.leaderboard_rows demo/run``
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from apt_lightning.common.files import write_csv, write_json
from apt_lightning.common.traits import TRAITS
from apt_lightning.evaluation.baselines import CONTENT_FREE
from apt_lightning.evaluation.leaderboard.page import SYSTEMS
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.experiments.results import read_run

FOLDER = Path("leaderboard", SYSTEMS)
STAGE1 = ("audio", "visual", "text")
PAPER = "arXiv 2405.03846"


def mean_of(tables: Sequence[Predictions]) -> Predictions:
    return replace(tables[0], predicted=np.mean([table.predicted for table in tables], axis=0))


def averages(found: dict[str, list[Predictions]]) -> dict[str, tuple[list[Predictions], str]]:
    """Ensembles: what averaging alone is worth."""
    stage2, stage4 = (next(name for name in found if unit in name) for unit in ("(stage 2)", "(stage 4)"))
    pairs = zip(found[stage2], found[stage4], strict=True)
    rows = {
        "mean of audio, visual and text (late fusion)": [
            mean_of(t) for t in zip(*(found[s] for s in STAGE1), strict=True)
        ],
        "mean of stage 2 and stage 4": [mean_of(pair) for pair in pairs],
    }
    made = {name: (tables, "seed by seed") for name, tables in rows.items()}
    if len(found[stage2]) > 1:
        made["mean of the seeds, stage 2"] = ([mean_of(found[stage2])], "over the seeds")
        made["mean of the seeds, stage 4"] = ([mean_of(found[stage4])], "over the seeds")
    return made


def write_row(
    name: str, test: Sequence[Predictions], validation: Sequence[Predictions], how: str, seeds: list[int]
) -> None:
    slug = "".join(c if c.isalnum() else "_" for c in name.lower()).strip("_")
    files = []
    for i, tables in enumerate(zip(test, validation, strict=True)):
        files.append(f"{slug}.csv" if len(test) == 1 else f"{slug}_{seeds[i]}.csv")
        rows = [
            [clip, *(f"{value:.5f}" for value in values)]
            for table in tables
            for clip, values in zip(table.clips, table.predicted, strict=True)
        ]
        write_csv(FOLDER / files[-1], ("clip", *(f"pred_{t}" for t in TRAITS)), rows)
    entry = {
        "name": name,
        "paper": PAPER if "stage" in name or "+" in name or name in STAGE1 else None,
        "how": how,
        "pretrained": "none",
        "other_data": "none",
        "selected_on": "validation",
        "protocol": "synthetic",
        "seeds": seeds,
        "predictions": files,
    }
    write_json(FOLDER / f"{slug}.json", entry)


def main(folder: str) -> None:
    test, validation = (read_run(folder, split) for split in ("test", "validation"))
    seeds = test.settings["seeds"]
    for name, tables in test.systems.items():
        if name not in CONTENT_FREE:
            own = seeds[:1] if name in test.floors else seeds  # without a network there is no chance
            write_row(name, tables, validation.systems[name], "`make demo`, `apt run --seeds`", own)
    held_out = averages(validation.systems)
    for name, (tables, over) in averages(test.systems).items():
        write_row(
            name, tables, held_out[name][0], f"averages of predictions {over}, studies/leaderboard_rows.py", seeds
        )


if __name__ == "__main__":
    main(sys.argv[1])
