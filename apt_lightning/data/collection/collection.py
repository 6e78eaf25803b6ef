"""What a data set lists before any clip is opened: official folders, a CSV of clips, or a folder of clips."""

from __future__ import annotations

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from apt_lightning.common.errors import DataError
from apt_lightning.common.names import name_form, raw_name
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.collection.annotations import read_annotations, read_demographics, read_transcripts
from apt_lightning.data.collection.folder import BESIDE, SECOND, list_folder, others_text, sounds_of_films
from apt_lightning.data.collection.formats import SUFFIXES
from apt_lightning.data.collection.hints import alike, difference, hint
from apt_lightning.data.collection.tables import CsvRow, cell_error, parse_number, read_table
from apt_lightning.data.faults import Fault

SPLITS = ("train", "validation", "test", "unlabelled")
GROUPS = ("gender", "ethnicity", "age")
NO_LABELS = (math.nan,) * len(TRAITS)

_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}
_SCALE = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:-|\.\.|to)\s*(-?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Clip:
    """One clip as the data set lists it."""

    name: str
    """Unique: the file name in a folder, the path as written in a CSV; in the form of
    :func:`~apt_lightning.common.names.name_form`, which any file and terminal can hold."""
    source: str
    """Source video: the name up to the first dot of its file name. No source is ever split between folds."""
    split: str
    """One of :data:`SPLITS`."""
    path: str | None
    """Absolute path of the media file; ``None`` if it is missing."""
    traits: tuple[float, ...]
    """Five labels in [0, 1] in the order of :data:`~apt_lightning.common.traits.TRAITS`; NaN where missing."""
    transcript: str | None
    """``None`` if none was given, "" if it is empty."""


SYNTHETIC = "synthetic.json"
"""File by which a data set says that its clips are drawn and its labels random; written by ``apt synthesize``."""


class Collection(NamedTuple):
    """A data set, in a fixed order."""

    clips: list[Clip]
    """Each clip and each label without a clip, once."""
    faults: list[Fault]
    """What is wrong or remarkable before any file is opened."""
    kind: str
    """``official``, ``csv`` or ``folder``."""
    demographics: dict[str, dict[str, str]]
    """Clip name to any of ``gender``, ``ethnicity`` and ``age``."""
    others: dict[str, int]
    """Files of a folder that are no clips: kind -> how many."""


def source_of(name: str) -> str:
    """Source video of a clip: its name up to the first dot of the file name.

    Example:
        >>> source_of("J4GQm9j0JZ0.003.mp4"), source_of("room.1/anna.mp4")
        ('J4GQm9j0JZ0', 'room.1/anna')
    """
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.partition(".")[0] or file)


def read_collection(data: str | os.PathLike[str]) -> Collection:
    """List the clips of a data set with their splits, labels and transcripts.

    * A folder with ``annotation_*.pkl`` or ``transcription_*.pkl`` anywhere below it, or with folders
      named ``train*``, ``val*`` or ``test*``, is the *official* layout. Clips are found by file name,
      wherever they lie; the split of a clip is that of the label or transcript file that names it, else of
      its folder.
    * A CSV has the column ``clip`` (path relative to the CSV) and may have ``source``, ``split``, any of the
      five traits, ``scale`` ("1-7": labels are mapped from it to [0, 1]), ``transcript``, ``gender``,
      ``ethnicity`` and ``age``. Without ``split``, a clip with a label is in ``test`` and one without in
      ``unlabelled``.
    * Any other folder is a set of unlabelled clips, found by :data:`~apt_lightning.data.collection.formats.SUFFIXES`.

    Hidden files are no clips, nor is a sound that is named like a film; these and all other files are counted.

    Args:
        data: Folder or CSV.

    Returns:
        Clips in the order of the CSV, or sorted by split and name.

    Raises:
        DataError: If there is no clip, a file is damaged, or a clip is given twice.
    """
    path = Path(data)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give the data set's folder or a CSV with the column clip")
    if path.suffix.lower() in SUFFIXES and path.is_file():
        raise DataError(f"{path}: one clip; give its folder or a CSV with the column clip, or use `apt score`")
    if path.suffix.lower() == ".zip" and path.is_file():
        raise DataError(f"{path}: an archive; give the folder that holds it")
    collection = _read_folder(path) if path.is_dir() else _read_csv(path)
    if not collection.clips:
        there = others_text(collection.others)
        there = there and f" ({there})"
        raise DataError(f"{path}: holds no clip; expected files as <id>.003.mp4 below it, or a CSV with rows{there}")
    return _check(collection)


def _read_folder(root: Path) -> Collection:
    listing = list_folder(root)
    labels: dict[str, dict[str, float]] = defaultdict(dict)
    texts: dict[str, str] = {}
    splits: dict[str, str] = {}
    for path in _unlike(listing.labels):
        if path.name.startswith("annotation"):
            for trait, values in read_annotations(path).items():
                for name, value in values.items():
                    labels[name_form(name)][trait] = value
                _set_split(splits, path, map(name_form, values))
        else:
            found = {name_form(name): text for name, text in read_transcripts(path).items()}
            texts |= found
            _set_split(splits, path, found)
    people: dict[str, dict[str, str]] = {}
    for path in listing.people:
        for name, groups in read_demographics(path).items():
            people.setdefault(name_form(name), {}).update(groups)

    named = {*labels, *texts}
    beside = set(sounds_of_films(listing.media, named))
    media: dict[str, Path] = {}
    faults: list[Fault] = []
    for path in listing.media:
        name = name_form(path.name)
        if path in beside:
            continue
        if name in media:
            second = name_form(path.relative_to(root).as_posix())
            faults.append(Fault("duplicate-name", second, f"{media[name]} is used"))
        media.setdefault(name, path)

    clips = []
    similar = {alike(name): name for name in media if name not in named}
    for name in sorted({*media, *named}):
        file = media.get(name)
        folder = "" if file is None else file.parent.relative_to(root).as_posix()
        split = splits.get(name) or _split_in(folder) or "unlabelled"
        traits = [labels[name].get(trait, math.nan) for trait in TRAITS] if name in labels else NO_LABELS
        text = texts.get(name)
        clips.append(Clip(name, source_of(name), split, str(file.absolute()) if file else None, tuple(traits), text))
        if file is None:
            other = similar.get(alike(name))
            hinted = f"; {other!r} is there, which differs in {difference(name, other)}" if other else ""
            faults.append(Fault("label-without-clip", name, f"no file of this name below {root}{hinted}"))
    clips.sort(key=lambda clip: (SPLITS.index(clip.split), clip.name))
    official = bool(listing.labels) or any(clip.split != "unlabelled" for clip in clips)
    seconds = sum(fault.code == "duplicate-name" for fault in faults)
    others = listing.others | ({BESIDE: len(beside)} if beside else {}) | ({SECOND: seconds} if seconds else {})
    return Collection(clips, faults, "official" if official else "folder", people, others)


def _unlike(files: list[Path]) -> list[Path]:
    """Label files, each name once; copies must agree."""
    first: dict[str, Path] = {}
    for path in files:
        if first.setdefault(path.name, path) != path and first[path.name].read_bytes() != path.read_bytes():
            raise DataError(f"{path}: differs from {first[path.name]}; keep one")
    return list(first.values())


def _split_in(text: str) -> str | None:
    """Split that a folder or file name speaks of: train-1, validation, test-2 ..."""
    found = re.search(r"(?:^|[/_-])(train(?:ing)?|val(?:id(?:ation)?)?|test)(?![a-z])", text.lower())
    return _ALIASES[found[1]] if found else None


def _set_split(splits: dict[str, str], path: Path, names: Iterable[str]) -> None:
    split = _split_in(path.stem)
    for name in names if split else ():
        if splits.setdefault(name, str(split)) != split:
            raise DataError(f"{path}: {name!r} is in a file of the {splits[name]} split too; keep one")


def _read_csv(path: Path) -> Collection:
    optional = ("source", "split", *TRAITS, "scale", "transcript", *GROUPS)
    clips: list[Clip] = []
    faults: list[Fault] = []
    people: dict[str, dict[str, str]] = {}
    lines: dict[str, int] = {}
    listings: dict[Path, dict[str, str]] = {}
    for row in read_table(path, required=("clip",), optional=optional):
        cell = row.cells["clip"]
        if not cell:
            raise cell_error(path, row.line, "clip", "empty; expected a file name")
        # The file's name itself, or its form as our tables hold it. False, too, for what can be no name.
        raw = cell if os.path.isfile(path.parent / cell) else raw_name(cell)
        name, file = name_form(raw), path.parent / raw
        if lines.setdefault(name, row.line) != row.line:
            raise cell_error(path, row.line, "clip", f"{cell!r} stands in row {lines[name]} already")
        exists = os.path.lexists(file)  # a FIFO, a folder or a loop of links is named when it is to be opened
        traits = _csv_labels(path, row)
        labelled = not all(map(math.isnan, traits))
        split = _csv_split(path, row) or ("test" if labelled else "unlabelled")
        source = row.cells.get("source") or source_of(name)
        located = str(file.absolute()) if exists else None
        clips.append(Clip(name, source, split, located, traits, row.cells.get("transcript")))
        groups = {group: row.cells[group] for group in GROUPS if row.cells.get(group)}
        if groups:
            people[name] = groups
        if not exists:
            hinted = hint(path.parent, raw, listings)
            faults.append(Fault("missing-file", name, f"row {row.line}: no file {file}{hinted}"))
    return Collection(clips, faults, "csv", people, {})


def _csv_split(path: Path, row: CsvRow) -> str | None:
    text = row.cells.get("split", "").lower()
    split = _ALIASES.get(text, text)
    if split and split not in SPLITS:
        raise cell_error(path, row.line, "split", f"expected one of {', '.join(SPLITS)}, but got {text!r}")
    return split or None


def _csv_labels(path: Path, row: CsvRow) -> tuple[float, ...]:
    """Labels as they stand, mapped linearly from ``scale`` to [0, 1] if the row has one."""
    values = [parse_number(row.cells.get(trait, ""), path, row.line, trait) for trait in TRAITS]
    scale = row.cells.get("scale", "")
    if not scale:
        return tuple(values)
    found = _SCALE.fullmatch(scale)
    if not found or float(found[1]) >= float(found[2]):
        raise cell_error(path, row.line, "scale", f"expected the least and the greatest label as 1-7, got {scale!r}")
    low, high = float(found[1]), float(found[2])
    return tuple((value - low) / (high - low) for value in values)


def _check(collection: Collection) -> Collection:
    """Name the faults that any layout can have; labels out of range become missing."""
    faults = list(collection.faults)
    alike = Counter(clip.name.casefold() for clip in collection.clips)
    labelled = any(not math.isnan(value) for clip in collection.clips for value in clip.traits)
    clips = []
    for clip in collection.clips:
        if clip.name.startswith("-"):
            faults.append(Fault("leading-dash", clip.name, ""))
        if not clip.name.isascii():
            faults.append(Fault("non-ascii-name", clip.name, ""))
        if alike[clip.name.casefold()] > 1:
            faults.append(Fault("case-collision", clip.name, "another name differs only in upper and lower case"))
        if clip.transcript is None:
            faults.append(Fault("no-transcript", clip.name, ""))
        elif not clip.transcript.strip():
            faults.append(Fault("empty-transcript", clip.name, ""))
        pairs = list(zip(TRAITS, clip.traits, strict=True))
        outside = [f"{trait} {value:g}" for trait, value in pairs if not (0 <= value <= 1 or math.isnan(value))]
        missing = [trait for trait, value in pairs if math.isnan(value)]
        if outside:
            faults.append(Fault("label-out-of-range", clip.name, ", ".join(outside)))
        if labelled and len(missing) == len(TRAITS):
            faults.append(Fault("clip-without-label", clip.name, ""))
        elif labelled and missing:
            faults.append(Fault("label-missing", clip.name, ", ".join(missing)))
        traits = tuple(value if 0 <= value <= 1 else math.nan for value in clip.traits)
        clips.append(replace(clip, traits=traits))
    return collection._replace(clips=clips, faults=faults)
