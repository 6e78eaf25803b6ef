"""The section on groups of people: errors by how others judged somebody's gender, ethnicity and age."""

from __future__ import annotations

from collections.abc import Sequence

from apt_lightning.evaluation.fairness import GROUP_METRICS, MIN_GROUP_SOURCES, Group, fairness, verdict
from apt_lightning.experiments.cards.statements import DRAWN
from apt_lightning.experiments.report.blocks import Block, Forest, Mark, Note, Section, Table, TableRow, value_cell
from apt_lightning.experiments.report.run import Shown


def groups(runs: Sequence[Shown]) -> Section:
    """Errors by group of people."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        found = fairness(run.shown[run.final], run.demographics)
        if not found:
            blocks[run.name] = [Note("There is no gender, ethnicity or age of any of these clips.")]
            continue
        single = [group for group in found if " x " not in group.attribute]
        small = sum(group.small for group in found)
        parts: list[Block] = [Note(f"{DRAWN} Groups too.", warning=True)] if run.synthetic else []
        parts += [_group_chart(run, single, metric) for metric in ("signed error", "MAE")]
        if small:
            few = f"they or their rest have fewer than {MIN_GROUP_SOURCES} sources"
            parts.append(Note(f"no verdict on {small} of {len(found)} groups: {few}.", warning=True))
        for attribute in dict.fromkeys(group.attribute for group in found):
            chosen = [group for group in found if group.attribute == attribute]
            folded = f"Intersection: {attribute}" if " x " in attribute else ""
            parts.append(_group_table(chosen, attribute, folded))
        blocks[run.name] = parts
    intro = (
        "Groups are other people's judgements of how somebody looks, from the data set's files; they are no input "
        "of the model. Signed error is prediction minus label: above 0 the model flatters the group. No difference "
        "shown does not mean that there is none."
    )
    return Section("fairness", "Groups of people", intro, runs=blocks)


def _group_chart(run: Shown, found: Sequence[Group], metric: str) -> Forest:
    marks = []
    for group in found:
        f = group.metrics[metric]
        label = f"{group.attribute}: {group.name} ({group.clips} clip{'' if group.clips == 1 else 's'})"
        ends = float(f.value[-1]), float(f.lower[-1]), float(f.upper[-1])
        marks.append(Mark(label, *ends, "" if group.small else "final"))
    caption = f"Mean over traits, {run.final}: {run.clips}, 95 % intervals over sources.{run.seed_note}"
    alt = f"{run.name}: {metric} of {len(found)} groups of people with intervals; the table below has the metrics"
    title = "Signed error" if metric == "signed error" else "Mean absolute error"
    axis = "prediction - label" if metric == "signed error" else "mean absolute error"
    return Forest(caption, title, alt, marks, axis, 0.0 if metric == "signed error" else None)


def _group_table(found: Sequence[Group], attribute: str, folded: str) -> Table:
    rows = []
    for group in found:
        cells = [
            value_cell(float(f.value[-1]), float(f.lower[-1]), float(f.upper[-1]), 3)
            for metric in GROUP_METRICS
            for f in (group.metrics[metric], group.gaps[metric])
        ]
        rows.append(TableRow([group.name, f"{group.clips} of {group.sources}", *cells, verdict(group)]))
    heads = [head for metric in GROUP_METRICS for head in (metric, "gap")]
    clips = sum(group.clips for group in found)
    return Table(
        f"By {attribute}, mean over traits: {clips} clips of a known group, 95 % intervals over sources",
        [attribute, "clips of sources", *heads, "verdict"],
        rows,
        ["Gap: to all other clips whose group is known. Verdict: on signed error and MAE, corrected by Holm's method."],
        folded,
    )
