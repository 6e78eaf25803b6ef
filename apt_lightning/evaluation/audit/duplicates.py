"""Clips that hold the same file or the same words, in one split or, worse, in two."""

import os
from collections import Counter, defaultdict
from pathlib import Path

from apt_lightning.common.console import progress
from apt_lightning.common.files import file_digest
from apt_lightning.evaluation.audit.labels import Finding

MIN_WORDS = 5
"""A shorter transcript may occur twice by chance."""
SHOWN = 3
"""Examples named in the text of a finding; the JSON file holds all."""


def digest_duplicates(paths: dict[str, str]) -> dict[str, str]:
    """SHA-256 of the files that can be duplicates, those that share their size with another.

    Args:
        paths: Clip name to file.

    Returns:
        Clip name to hexadecimal digest; a clip whose file has a size of its own is left out.
    """
    by_size: dict[int, list[str]] = defaultdict(list)
    for name, path in paths.items():
        by_size[os.path.getsize(path)].append(name)
    names = [name for group in by_size.values() if len(group) > 1 for name in group]
    digests = {}
    for name in progress(names, "comparing files of equal size", "file"):
        digests[name] = file_digest(Path(paths[name]))
    return digests


def duplicate_transcripts(transcripts: dict[str, str | None]) -> list[list[str]]:
    """Group clips that say the same, whatever the case and the blanks.

    Args:
        transcripts: Clip name to transcript; those shorter than :data:`MIN_WORDS` words are not compared.
    """
    words = {name: (text or "").lower().split() for name, text in transcripts.items()}
    return group({name: " ".join(said) for name, said in words.items() if len(said) >= MIN_WORDS})


def group(keys: dict[str, str]) -> list[list[str]]:
    """Group names by key; a name alone with its key is left out.

    Example:
        >>> group({"a": "1", "b": "2", "c": "1"})
        [['a', 'c']]
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name, key in keys.items():
        groups[key].append(name)
    return [names for names in groups.values() if len(names) > 1]


def duplicate_findings(duplicates: dict[str, list[list[str]]], split_of: dict[str, str]) -> list[Finding]:
    """Judge duplicates: the same file in two splits is an error, anything else a warning.

    Args:
        duplicates: ``files`` and ``transcripts`` to groups of clips.
        split_of: Clip name to its split.
    """
    findings = []
    for kind, groups in duplicates.items():
        across = [group for group in groups if len({split_of[name] for name in group}) > 1]
        within = [group for group in groups if group not in across]
        what = "the same file" if kind == "files" else "the same words"
        for found, crossing in ((across, True), (within, False)):
            if found:
                pairs = Counter(" and ".join(sorted({split_of[name] for name in group})) for group in found)
                shown = "; ".join(" = ".join(group) for group in found[:SHOWN])
                more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
                findings.append(
                    Finding(
                        "error" if crossing and kind == "files" else "warning",
                        f"duplicate-{kind}",
                        ", ".join(f"{pair} ({n})" for pair, n in pairs.items()),
                        f"{what} under several names, {len(found)} times: {shown}{more}",
                    )
                )
    return findings


def near_findings(near: dict[str, list[tuple[str, str]]], split_of: dict[str, str]) -> list[Finding]:
    """Judge clips of two splits that are nearly the same: an error in two modalities, else a warning.

    Args:
        near: Modality, ``transcripts`` or ``clips`` (two modalities) to pairs of clips.
        split_of: Clip name to its split.
    """
    findings = []
    for kind, pairs in near.items():
        counts = Counter(" and ".join(sorted(split_of[name] for name in pair)) for pair in pairs)
        shown = "; ".join(" = ".join(pair) for pair in pairs[:SHOWN])
        more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
        what = "in several modalities" if kind == "clips" else f"in {kind}"
        findings.append(
            Finding(
                "error" if kind == "clips" else "warning",
                f"near-{kind}",
                ", ".join(f"{pair} ({n})" for pair, n in counts.items()),
                f"{len(pairs)} pairs of clips are nearly the same {what}: {shown}{more}",
            )
        )
    return findings
