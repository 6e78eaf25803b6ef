"""Audit of a data set before training: leaks between splits, duplicates, labels that cannot be right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Protocol

import numpy as np
import numpy.typing as npt

from apt_lightning.common.traits import SHORT
from apt_lightning.evaluation.audit.duplicates import duplicate_findings, duplicate_transcripts, group
from apt_lightning.evaluation.audit.labels import Finding, Severity, check_labels, icc
from apt_lightning.evaluation.baselines import constant, source_lookup
from apt_lightning.evaluation.metrics import COLUMNS, Scores, comparison_table, score
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.tables import number, render

FloatArray = npt.NDArray[np.float64]

SPLITS = ("train", "validation", "test")


class AuditedClip(Protocol):
    """What the audit needs of a clip; those of a collection and of a store have it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def split(self) -> str: ...  # noqa: D102
    @property
    def traits(self) -> tuple[float, ...]: ...  # noqa: D102
    @property
    def transcript(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True)
class Audit:
    """What an audit found."""

    splits: dict[str, tuple[int, int, int]]
    """Split to its clips, labelled clips and sources."""
    shared: dict[str, int]
    """"train and test" and the like to the number of sources that are in both."""
    siblings: dict[str, tuple[int, int]]
    """Split to its clips with a training clip of the same source, and all its clips."""
    duplicates: dict[str, list[list[str]]]
    """``files`` and ``transcripts`` to groups of clips that share one."""
    spread: dict[str, tuple[FloatArray, FloatArray]]
    """Split to means and deviations of its labels."""
    agreement: tuple[FloatArray, int, int]
    """ICC(1) of each trait over all labelled clips, NaN where undefined; those clips and their sources."""
    baselines: dict[str, dict[str, dict[str, Scores]]]
    """Split to ``all``, ``seen sources``, ``unseen sources`` to baseline to its scores."""
    findings: list[Finding]

    @property
    def failed(self) -> bool:
        """Whether something is wrong that makes figures wrong."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, object]:
        """Plain data for a JSON file; an undefined figure is null."""
        values, clips, sources = self.agreement
        return {
            "splits": {
                name: dict(zip(("clips", "labelled", "sources"), counts, strict=True))
                for name, counts in self.splits.items()
            },
            "shared_sources": self.shared,
            "clips_with_a_training_sibling": {name: list(counts) for name, counts in self.siblings.items()},
            "duplicates": self.duplicates,
            "labels": {name: {"mean": mean.tolist(), "sd": sd.tolist()} for name, (mean, sd) in self.spread.items()},
            "icc": {
                "values": [None if np.isnan(value) else value for value in values.tolist()],
                "clips": clips,
                "sources": sources,
            },
            "baselines": {
                split: {part: {name: s.to_dict() for name, s in found.items()} for part, found in parts.items()}
                for split, parts in self.baselines.items()
            },
            "findings": [asdict(finding) for finding in self.findings],
        }


def audit(clips: Sequence[AuditedClip], digests: dict[str, str], resamples: int = 2000) -> Audit:
    """Audit clips and labels.

    Args:
        clips: All clips of a data set.
        digests: Clip name to a digest of its file, where known; equal digests are equal files.
        resamples: Bootstrap samples of the baselines' intervals.
    """
    by_split = {s: [clip for clip in clips if clip.split == s] for s in SPLITS}
    by_split = {split: found for split, found in by_split.items() if found}
    labels = {split: (_labels(found), [clip.source for clip in found]) for split, found in by_split.items()}
    sources = {split: {clip.source for clip in found} for split, found in by_split.items()}
    shared = {f"{a} and {b}": len(sources[a] & sources[b]) for a, b in combinations(sources, 2)}
    siblings = {
        split: (sum(clip.source in sources["train"] for clip in found), len(found))
        for split, found in by_split.items()
        if split != "train" and "train" in sources
    }
    split_of = {clip.name: clip.split for clip in clips}
    duplicates = {
        "files": group({name: digest for name, digest in digests.items() if name in split_of}),
        "transcripts": duplicate_transcripts({clip.name: clip.transcript for clip in clips}),
    }
    findings = [
        *_shared_findings(shared, siblings),
        *duplicate_findings(duplicates, split_of),
        *check_labels(labels),
    ]
    return Audit(
        {
            split: (len(found), int((~np.isnan(labels[split][0]).any(axis=1)).sum()), len(sources[split]))
            for split, found in by_split.items()
        },
        shared,
        siblings,
        duplicates,
        {
            split: (np.nanmean(values, axis=0), np.nanstd(values, axis=0))
            for split, (values, _) in labels.items()
            if not np.isnan(values).all(axis=0).any()
        },
        _agreement(labels),
        _baselines(by_split, labels, resamples),
        findings,
    )


def _labels(clips: Sequence[AuditedClip]) -> FloatArray:
    return np.array([clip.traits for clip in clips], dtype=np.float64).reshape(-1, 5)


def _shared_findings(shared: dict[str, int], siblings: dict[str, tuple[int, int]]) -> list[Finding]:
    findings = []
    for pair, count in shared.items():
        if count:
            with_sibling, of = siblings.get(pair.removeprefix("train and "), (0, 0))
            more = f"; {with_sibling} of {of} clips have a training clip of the same source" if of else ""
            text = f"{count} sources are in both{more}: report unseen sources apart, or use folds"
            findings.append(Finding("warning", "shared-sources", pair, text))
    return findings


def _agreement(labels: dict[str, tuple[FloatArray, list[str]]]) -> tuple[FloatArray, int, int]:
    """ICC(1) over the training clips, or over all where there is no training split."""
    chosen = [labels["train"]] if "train" in labels else list(labels.values())
    values = np.concatenate([found for found, _ in chosen]) if chosen else np.empty((0, 5))
    rows = ~np.isnan(values).any(axis=1)
    sources = [source for _, names in chosen for source in names]
    kept = [source for source, row in zip(sources, rows.tolist(), strict=True) if row]
    figures = np.array([icc(column, kept) for column in values[rows].T])
    return figures, len(kept), len(set(kept))


def _baselines(
    by_split: dict[str, list[AuditedClip]], labels: dict[str, tuple[FloatArray, list[str]]], resamples: int
) -> dict[str, dict[str, dict[str, Scores]]]:
    """Score the training mean and the source look-up on the other splits, seen and unseen sources apart."""
    inside = {split: np.where((v >= 0) & (v <= 1), v, np.nan) for split, (v, _) in labels.items()}
    if "train" not in inside or np.isnan(inside["train"]).all(axis=0).any():
        return {}
    train, train_sources = inside["train"], labels["train"][1]
    scored: dict[str, dict[str, dict[str, Scores]]] = {}
    for split, clips in by_split.items():
        if split == "train" or np.isnan(inside[split]).all():
            continue
        sources = labels[split][1]
        seen = np.isin(sources, train_sources)
        systems = {
            "training mean": constant(train, len(clips)),
            "source look-up, no content": source_lookup(train, train_sources, sources),
        }
        names = [clip.name for clip in clips]
        tables = {name: Predictions(names, sources, seen, inside[split], values) for name, values in systems.items()}
        parts = {"all": seen | True, "seen sources": seen, "unseen sources": ~seen}
        scored[split] = {
            part: {name: score(table.select(rows), resamples=resamples) for name, table in tables.items()}
            for part, rows in parts.items()
            if rows.any()
        }
    return scored


def audit_text(result: Audit) -> str:
    """Lay out an audit.

    Args:
        result: From :func:`audit`.
    """
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
        blocks.append(render(["", *SHORT], rows, f"Labels, mean ± sd; labelled clips: {clips}", notes))
    values, clips_used, sources = result.agreement
    if clips_used:
        title = f"Agreement of labels within a source, ICC(1): {clips_used} clips of {sources} sources"
        blocks.append(render(["", *COLUMNS], [["", *(number(v, 2) for v in (*values, values.mean()))]], title))
    for split, parts in result.baselines.items():
        blocks += [comparison_table(systems, f"{split}, {part}") for part, systems in parts.items()]
    ranks: tuple[Severity, ...] = ("error", "warning", "note")
    ordered = sorted(result.findings, key=lambda finding: ranks.index(finding.severity))
    lines = [f"{f.severity}: {f.where}: {f.text} [{f.code}]" for f in ordered]
    tally = Counter(finding.severity for finding in ordered)
    summary = ", ".join(f"{tally[rank]} {rank}{'' if tally[rank] == 1 else 's'}" for rank in ranks)
    return "\n\n".join([*blocks, "\n".join([*lines, summary])])


def _of(counts: tuple[int, int] | None) -> str:
    return "" if counts is None else f"{counts[0]} of {counts[1]}"
