"""Error rates of the audit's suspicion that two source ids are one person, on synthetic sets with planted pairs.

Some sources are given two ids, half of their clips each. Found are the planted pairs that the audit names, false the
others that it names. Figures are in docs/audit.md.
"""

import argparse

import numpy as np
from tqdm import tqdm

from apt_lightning.data.synthetic.features import synthetic_features
from apt_lightning.evaluation.audit.people import same_people
from apt_lightning.evaluation.tables import render

PLANTED = 0.05
"""Sources with a second id, as a share of all."""


def plant(source: np.ndarray, seed: int, share: float = PLANTED) -> tuple[list[str], set[tuple[str, str]]]:
    """Give some sources of several clips a second id.

    Args:
        source: (N,) source number of each clip.
        seed: Seed of the choice.
        share: Sources chosen, as a share of all.

    Returns:
        N source ids, and the pairs of ids that are one person.
    """
    rng = np.random.default_rng(seed)
    names, counts = np.unique(source, return_counts=True)
    chosen = rng.choice(names[counts > 1], round(share * len(names)), replace=False)
    ids = [f"s{number:05d}" for number in source]
    for name in chosen:
        rows = rng.permutation(np.flatnonzero(source == name))
        for row in rows[: len(rows) // 2]:
            ids[row] = f"t{name:05d}"
    return ids, {(f"s{name:05d}", f"t{name:05d}") for name in chosen}


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[1500, 6000])
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    rows = []
    for clips, identity in tqdm([(clips, strength) for clips in args.clips for strength in (0, 1)], unit="setting"):
        found = planted = false = sources = 0
        for seed in range(args.seeds):
            drawn = synthetic_features(clips, seed, identity=identity)
            ids, pairs = plant(drawn.source, seed)
            features = {name: drawn.features[name].astype(np.float64) for name in ("audio", "visual")}
            named = {(a, b) for a, b, _ in same_people(features, ids) or []}
            found, false = found + len(named & pairs), false + len(named - pairs)
            planted, sources = planted + len(pairs), sources + len(set(drawn.source))
        share = f"{found} of {planted} ({found / planted:.0%})"
        rows.append([f"{clips} clips, identity {identity}", share, str(false), f"{1000 * false / sources:.1f}"])
    head = ["", "planted pairs found", "false pairs", "false a 1000 sources"]
    print(render(head, rows, f"One person under two source ids: {args.seeds} sets each"))


if __name__ == "__main__":
    main()
