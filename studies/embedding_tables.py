"""Tables of the embedding study: means over seeds, paired differences, retrieval and convergence."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from apt_lightning.evaluation.tables import interval, number, render
from apt_lightning.experiments.ablation_plan import LABEL_NOISE

Records = list[dict[str, Any]]

MAX_EPOCHS, PATIENCE = 100, 20
"""Stage 3 counts as converged if it stopped because ``PATIENCE`` epochs did not raise the validation precision."""

CONTROLS = {
    "stage2": "stage 2",
    "stage4_none": "stage 4, no embeddings",
    "stage4_untrained": "stage 4, untrained",
    "stage4": "stage 4, trained (extreme anchors, normalised)",
}
VARIANTS = {
    "stage4_all": "stage 4, all anchors",
    "stage4_soft": f"stage 4, soft classes (noise {LABEL_NOISE})",
    "stage4_raw": "stage 4, raw embeddings",
}
DROPPED = {
    "stage2_drop": "stage 2",
    "stage4_drop_none": "stage 4, no embeddings",
    "stage4_drop_untrained": "stage 4, untrained, mean of present",
    "stage4_drop_learned": "stage 4, learned vector",
    "stage4_drop_zero": "stage 4, zero",
    "stage4_drop_mean": "stage 4, mean of present",
}
"""Trained with modality dropout; what stands for a missing embedding differs."""
STAGE3 = {"stage3": "extreme anchors", "stage3_all": "all anchors", "stage3_soft": "soft classes"}
PROTOCOLS = ("official", "disjoint")


def cell(differences: np.ndarray) -> str:
    """Mean of paired differences over seeds with its 95 % t interval."""
    mean, error = differences.mean(), stats.sem(differences)
    half = error * stats.t.ppf(0.975, len(differences) - 1)
    return interval(float(mean), float(mean - half), float(mean + half))


def values(records: Records, protocol: str, noisy: bool, system: str, mask: str) -> np.ndarray:
    """(seeds, 2): 1-MAE of all and of extreme clips."""
    kept = [r for r in records if r["condition"]["protocol"] == protocol and r["condition"]["noisy"] == noisy]
    return np.array([r["accuracy"][system][mask] for r in kept])


REGIMES = {"clean": (False, "all"), "one noisy": (True, "all"), "one missing at test time": (False, "missing")}


def system_table(cells: dict[str, np.ndarray], titles: dict[str, str], references: dict[str, str], title: str) -> str:
    """Rows of systems, with mean and sd over seeds and the differences from each reference."""
    rows = []
    for name, label in titles.items():
        row = [label]
        for column in (0, 1):
            own = cells[name][:, column]
            row.append(f"{number(float(own.mean()))} ±{number(float(own.std(ddof=1)))}")
            row += ["" if r == name else cell(own - cells[r][:, column]) for r in references]
        rows.append(row)
    head = ["", "1-MAE", *(f"- {label}" for label in references.values())]
    head += ["extreme 1-MAE", *(f"- {label}" for label in references.values())]
    return render(head, rows, title)


def case_values(records: Records) -> dict[str, dict[str, np.ndarray]]:
    """Figures of every system, by split and regime."""
    cases = {}
    for protocol in PROTOCOLS:
        for regime, (noisy, mask) in REGIMES.items():
            titles = CONTROLS if noisy else {**CONTROLS, **VARIANTS}
            cases[f"{protocol}, {regime}"] = {name: values(records, protocol, noisy, name, mask) for name in titles}
    return cases


def control_tables(cases: dict[str, dict[str, np.ndarray]]) -> list[str]:
    """Every split and regime, their mean, and stage 4 against each control."""
    references = {"stage2": "stage 2", "stage4_none": "no embeddings", "stage4_untrained": "untrained"}
    labels = {**CONTROLS, **VARIANTS}
    blocks = []
    for name, case in cases.items():
        blocks.append(system_table(case, {n: labels[n] for n in case}, references, f"Split {name}"))
    mean = {name: np.mean([case[name] for case in cases.values()], axis=0) for name in CONTROLS}
    blocks.append(system_table(mean, CONTROLS, references, "Mean over the two splits and three regimes"))
    rows = []
    for name, case in {**cases, "mean": mean}.items():
        changes = [case["stage4"] - case[reference] for reference in references]
        rows.append([name, *(cell(change[:, column]) for column in (0, 1) for change in changes)])
    head = ["split, regime", *(f"- {label}" for label in references.values())]
    head += [f"extreme - {label}" for label in references.values()]
    blocks.append(render(head, rows, "Stage 4 with trained embeddings, 1-MAE minus that of each control"))
    return blocks


def variant_table(cases: dict[str, dict[str, np.ndarray]]) -> str:
    """Other anchors, soft classes and raw embeddings."""
    rows = []
    for name, label in VARIANTS.items():
        change = np.mean([case[name] - case["stage4"] for case in cases.values() if name in case], axis=0)
        rows.append([label, cell(change[:, 0]), cell(change[:, 1])])
    title = "Minus stage 4 with extreme anchors and normalised embeddings, mean over splits, clean and missing"
    return render(["", "1-MAE", "extreme 1-MAE"], rows, title)


def dropout_tables(records: Records) -> list[str]:
    """What stands for a missing embedding, for nets trained with modality dropout."""
    subsets = ["A", "V", "T", "AV", "AT", "VT", "all", "missing"]
    drawn = {
        name: {m: np.mean([values(records, p, False, name, m)[:, 0] for p in PROTOCOLS], axis=0) for m in subsets}
        for name in DROPPED
    }
    rows = [[label, *(number(float(drawn[n][m].mean())) for m in subsets)] for n, label in DROPPED.items()]
    title = "With modality dropout: 1-MAE where only these modalities are given, mean over the two splits"
    table = render(["", *subsets], rows, title)
    contrasts = [(name, "stage4_drop_none") for name in DROPPED if name != "stage4_drop_none"]
    contrasts += [("stage4_drop_mean", "stage4_drop_learned"), ("stage4_drop_mean", "stage4_drop_zero")]
    rows = [[f"{DROPPED[a]} - {DROPPED[b]}", *(cell(drawn[a][m] - drawn[b][m]) for m in subsets)] for a, b in contrasts]
    return [table, render(["", *subsets], rows, "The same, paired differences")]


def retrieval_tables(records: Records) -> list[str]:
    """Precision and MAP by pair of modalities, and precision minus chance."""
    blocks = []
    pairs = list(records[0]["retrieval"]["stage3"])
    spaces = {"untrained": "untrained", **STAGE3}
    for protocol in PROTOCOLS:
        rows = []
        kept = [
            r["retrieval"] for r in records if r["condition"]["protocol"] == protocol and not r["condition"]["noisy"]
        ]
        for pair in pairs:
            found = {name: np.array([r[name][pair] for r in kept]) for name in spaces}
            row = [pair, number(float(found["stage3"][:, 1].mean()))]
            row += [f"{number(float(f[:, 0].mean()))} ±{number(float(f[:, 0].std(ddof=1)))}" for f in found.values()]
            row += [number(float(found["stage3"][:, 3].mean()))]
            row += [number(float(f[:, 2].mean())) for f in found.values()]
            rows.append(row)
        head = ["query -> answer", "P@10 chance", *spaces.values(), "MAP@R chance", *spaces.values()]
        blocks.append(render(head, rows, f"Retrieval of extreme clips, clean, split {protocol}, mean over traits"))
    clean = [r for r in records if not r["condition"]["noisy"]]
    cross = [pair for pair in pairs if len(set(pair.split(" -> "))) == 2]
    rows = []
    for name, label in spaces.items():
        gains = {pair: [] for pair in cross}
        for seed in sorted({r["condition"]["seed"] for r in clean}):
            found = [r["retrieval"][name] for r in clean if r["condition"]["seed"] == seed]
            for pair in cross:
                gains[pair].append(np.mean([f[pair][0] - f[pair][1] for f in found]))
        rows.append(
            [label, *(cell(np.array(gains[pair])) for pair in cross), cell(np.mean(list(gains.values()), axis=0))]
        )
    title = "Precision at 10 minus chance across modalities, clean, mean over traits and splits"
    blocks.append(render(["", *cross, "mean"], rows, title))
    return blocks


def convergence_table(records: Records) -> str:
    """Whether and when stage 3 converged."""
    epochs = {name: np.array([r["epochs"][name] for r in records if name in r["epochs"]]) for name in STAGE3}
    rows = [
        [
            STAGE3[name],
            f"{int((e[:, 0] < MAX_EPOCHS).sum())} of {len(e)}",
            f"{np.median(e[:, 1]):.0f}",
            f"{e[:, 1].max():.0f}",
        ]
        for name, e in epochs.items()
    ]
    return render(["stage 3", "converged", "median best epoch", "latest"], rows, "Convergence")


def tables(records: Records) -> str:
    """All tables of the study."""
    cases = case_values(records)
    blocks = [*control_tables(cases), variant_table(cases), *dropout_tables(records), *retrieval_tables(records)]
    return "\n\n".join([*blocks, convergence_table(records)])
