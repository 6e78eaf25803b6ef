"""How an audit is printed: ten lines of summary, what is wrong with the gravest first, tables where asked for."""

from __future__ import annotations

from collections import Counter

import numpy as np

from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.evaluation.audit.audit import Audit
from apt_lightning.evaluation.audit.floors import LOOK_UP, MEAN, NEIGHBOURS
from apt_lightning.evaluation.audit.labels import Severity
from apt_lightning.evaluation.metrics import TRAIT_COLUMNS, comparison_table
from apt_lightning.evaluation.neighbours import same_source_note
from apt_lightning.evaluation.tables import number, render

RANKS: tuple[Severity, ...] = ("error", "warning", "note")


def audit_text(result: Audit, tables: bool = False) -> str:
    """Lay out an audit.

    Args:
        result: From :func:`~apt_lightning.evaluation.audit.audit.audit`.
        tables: With the tables that the summary rests on.
    """
    ordered = sorted(result.findings, key=lambda finding: RANKS.index(finding.severity))
    wrong = [f"{f.severity + ':':<10}{f.where}: {f.text} [{f.code}]" for f in ordered]
    blocks = ["\n".join(summary(result)), "\n".join(wrong), *(_tables(result) if tables else [])]
    return "\n\n".join(block for block in blocks if block)


def summary(result: Audit) -> list[str]:
    """Ten lines that say everything in short, in an order that never changes."""
    tally = Counter(finding.severity for finding in result.findings)
    values, clips, sources = result.agreement
    lines = {
        "verdict": ", ".join(f"{tally[rank]} {rank}{'' if tally[rank] == 1 else 's'}" for rank in RANKS),
        "clips": _listed({split: f"{n[0]}" for split, n in result.splits.items()}),
        "labelled": _listed({split: f"{n[1]}" for split, n in result.splits.items()}),
        "shared sources": _listed({pair: str(n) for pair, n in result.shared.items()}),
        "with a training sibling": _listed({split: _of(counts) for split, counts in result.siblings.items()}),
        "copies, near copies": f"{len(result.duplicates['files'])}, {len(result.near.get('clips', []))}",
        "transcripts that repeat": f"{len(result.duplicates['transcripts'])}, "
        f"nearly {len(result.near.get('transcripts', []))} across splits",
        "sources of one person": "not looked for" if result.people is None else f"{len(result.people)} suspected",
        "agreement in a source": f"ICC(1) {number(float(values.mean()), 2)}, {clips} clips of {sources} sources",
        "1-MAE without a network": _without(result),
    }
    return [f"{name + ':':<26}{text}" for name, text in lines.items()]


def _without(result: Audit) -> str:
    """Floors of the last split that has some."""
    if not result.floors.scores:
        return "no labels to score"
    split, parts = list(result.floors.scores.items())[-1]
    metrics = {name: float(s.values["1-MAE"][-1]) for name, s in parts["all"].items()}
    rates = result.floors.same_source.get(split, {})
    content = {name: value for name, value in metrics.items() if name.removeprefix(f"{NEIGHBOURS}, ") in rates}
    shown = {"mean": metrics[MEAN], "look-up": metrics[LOOK_UP]}
    if content:
        best = max(content, key=lambda name: content[name])
        shown[best.replace(",", "")] = content[best]
    return f"{split}: " + _listed({name: number(value) for name, value in shown.items()})


def _listed(parts: dict[str, str]) -> str:
    return ", ".join(f"{name} {text}" for name, text in parts.items()) or "none"


def _tables(result: Audit) -> list[str]:
    counts = [
        [split, *(str(n) for n in numbers), _of(result.siblings.get(split))] for split, numbers in result.splits.items()
    ]
    blocks = [render(["split", "clips", "labelled", "sources", "with a training sibling"], counts, "Clips")]
    if result.shared:
        rows = [[pair, str(n)] for pair, n in result.shared.items()]
        blocks.append(render(["splits", "sources in both"], rows, "Shared sources"))
    if result.spread:
        rows = [
            [split, *(f"{number(m, 3)} ± {number(s, 3)}" for m, s in zip(mean, sd, strict=True))]
            for split, (mean, sd) in result.spread.items()
        ]
        clips = ", ".join(f"{split} {result.splits[split][1]}" for split in result.spread)
        notes = ["NEU holds emotional stability: high is calm."]
        blocks.append(render(["", *TRAIT_CODES], rows, f"Labels, mean ± sd; labelled clips: {clips}", notes))
    values, clips_used, sources = result.agreement
    if clips_used:
        title = f"Agreement of labels within a source, ICC(1): {clips_used} clips of {sources} sources"
        blocks.append(render(["", *TRAIT_COLUMNS], [["", *(number(v, 2) for v in (*values, np.mean(values)))]], title))
    for split, parts in result.floors.scores.items():
        blocks += [comparison_table(systems, f"{split}, {part}") for part, systems in parts.items()]
        blocks += same_source_note(result.floors.same_source.get(split, {}))
    return blocks


def _of(counts: tuple[int, int] | None) -> str:
    return "" if counts is None else f"{counts[0]} of {counts[1]}"
