"""Which columns of a stranger's file are predictions of which trait, and which are labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.common.traits import TRAITS
from apt_lightning.evaluation.external.files import Raw

FloatArray = npt.NDArray[np.float64]

_NAMES = {name: name for name in TRAITS} | {
    "extroversion": "extraversion",
    "emotionalstability": "neuroticism",
    "stability": "neuroticism",
}
_ROLES = {
    "label": "true truth gt ground groundtruth label labels target targets actual y real reference",
    "prediction": "pred preds predicted prediction predictions hat yhat output outputs estimate estimated",
    "ignored": "value values score scores trait traits to experience test val validation mean ocean",
}
_ROLE_OF = {word: role for role, words in _ROLES.items() for word in words.split()}
_EXAMPLE = "as --columns=O,C,E,A,N for an array's order, or --columns=O=first,C=second,E=third,A=fourth,N=fifth"


@dataclass(frozen=True)
class Found:
    """Predictions, labels if the file has some, and the columns that may hold clip names."""

    predicted: FloatArray
    """(N, 5) in the order of :data:`~apt_lightning.common.traits.TRAITS`; NaN where missing."""
    labels: FloatArray | None
    """(N, 5), as the file has them."""
    texts: dict[str, list[str]]
    """Column name to N texts."""


def trait_of(word: str) -> str | None:
    """Which trait a word names: in full, misspelled, by its beginning or by its initial.

    Example:
        >>> trait_of("Neurotisicm"), trait_of("EXT"), trait_of("O"), trait_of("video")
        ('neuroticism', 'extraversion', 'openness', None)
    """
    word = word.lower()
    if len(word) == 1 or len(word) >= 3:
        starts = [trait for trait in TRAITS if trait.startswith(word)]
        if len(starts) == 1:
            return starts[0]
    close = get_close_matches(word, _NAMES, n=1, cutoff=0.8) if len(word) > 5 else []
    return _NAMES[close[0]] if close else None


def _meaning(header: str) -> tuple[str, str | None] | None:
    """Role (``label``, ``prediction`` or ``bare``) and trait of a header; None if it holds words of other kinds."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", header)]
    if "emotional" in words and "stability" in words:
        words.remove("emotional")
    role, trait = "bare", None
    for word in words:
        known = _ROLE_OF.get(word)
        if known == "prediction" or (known == "label" and role == "bare"):
            role = known
        elif known is None:
            found = trait_of(word)
            if found is None or trait is not None:
                return None
            trait = found
    return role, trait


def parse_columns(text: str) -> dict[str, str | None]:
    """Read ``--columns``: traits in the order of an array's columns, or ``trait=column`` pairs.

    Example:
        >>> parse_columns("O,C,E,A,N")["openness"] is None, parse_columns("O=a,C=b,E=c,A=d,N=e")["openness"]
        (True, 'a')
    """
    order: dict[str, str | None] = {}
    for item in text.split(","):
        name, equals, column = item.partition("=")
        trait = trait_of(name.strip())
        if trait is None or trait in order:
            raise UsageError(
                f"--columns: {item.strip()[:40]!r} names no trait, or one a second time; give five, {_EXAMPLE}"
            )
        order[trait] = column.strip() if equals else None
    if len(order) != len(TRAITS) or len({column is None for column in order.values()}) > 1:
        raise UsageError(f"--columns needs all five traits, each with a column or none with one, {_EXAMPLE}")
    return order


def find_columns(raw: Raw, path: object, columns: str | None = None) -> Found:
    """Find predictions and labels.

    Args:
        raw: From :func:`~apt_lightning.evaluation.external.files.read_raw`.
        path: Of the file, for messages.
        columns: What the user says about them, see :func:`parse_columns`.

    Raises:
        DataError: If a trait has no column or two, a cell is no number, or an array's order is not known.
        UsageError: If ``columns`` cannot be read.
    """
    given = None if columns is None else parse_columns(columns)
    roles: dict[str, dict[str, list[str]]] = {"label": {}, "prediction": {}, "bare": {}}
    for name in raw.columns:
        meaning = _meaning(name)
        if meaning is not None and meaning[1] is not None:
            roles[meaning[0]].setdefault(meaning[1], []).append(name)
    chosen: Mapping[str, Sequence[str]]
    if given is not None and None not in given.values():
        chosen = {trait: [str(name)] for trait, name in given.items()}
    else:
        chosen = roles["prediction"] or roles["bare"]
    labels = roles["label"] or (roles["bare"] if roles["prediction"] else {})
    if chosen:
        predicted = _stack(raw, chosen, path)
        complete = labels and all(len(labels.get(trait, ())) == 1 for trait in TRAITS)
        true = _stack(raw, labels, path) if complete else None
    else:
        predicted, true = _from_arrays(raw, given, path)
    rows = len(predicted)
    used = {name for found in (chosen, labels) for names in found.values() for name in names}
    texts = {
        name: cells
        for name, cells in raw.columns.items()
        if len(cells) == rows and name not in used and any(isinstance(cell, str) for cell in cells)
    }
    if rows == 0:
        raise DataError(f"{path}: no row of predictions")
    return Found(predicted, true, {name: ["" if c is None else str(c) for c in cells] for name, cells in texts.items()})


def _stack(raw: Raw, chosen: Mapping[str, Sequence[str]], path: object) -> FloatArray:
    for trait in TRAITS:
        names = chosen.get(trait, ())
        if len(names) != 1 or names[0] not in raw.columns:
            found = f"{len(names)} columns ({', '.join(names)[:60]})" if len(names) > 1 else "no column"
            listed = ", ".join(list(raw.columns)[:12])[:120]
            raise DataError(f"{path}: {trait} has {found}; found {listed}; name them, as --columns=E=ext,N=neu,…")
    parts = [_numbers(raw.columns[chosen[trait][0]], chosen[trait][0], path) for trait in TRAITS]
    if len({len(part) for part in parts}) > 1:
        raise DataError(f"{path}: the five columns have {', '.join(str(len(part)) for part in parts)} rows")
    return np.stack(parts, axis=1)


def _from_arrays(raw: Raw, given: dict[str, str | None] | None, path: object) -> tuple[FloatArray, FloatArray | None]:
    roles: dict[str, list[str]] = {"label": [], "prediction": [], "bare": []}
    for name in raw.arrays:
        meaning = _meaning(name)
        roles["bare" if meaning is None else meaning[0]].append(name)
    chosen = roles["prediction"] or roles["bare"]
    if len(chosen) != 1:
        listed = ", ".join([*raw.columns, *raw.arrays][:12])[:120] or "nothing"
        raise DataError(
            f"{path}: expected columns of predictions for {', '.join(TRAITS)}, or one array of five columns; "
            f"found {listed}"
        )
    order = list(given) if given is not None else _order(raw)
    if order is None:
        raise DataError(
            f"{path}: {chosen[0]!r} has five columns without names; give their order, as --columns=O,C,E,A,N"
        )
    columns = [order.index(trait) for trait in TRAITS]
    predicted = raw.arrays[chosen[0]][:, columns]
    true = raw.arrays[roles["label"][0]][:, columns] if len(roles["label"]) == 1 else None
    if true is not None and len(true) != len(predicted):
        raise DataError(f"{path}: {len(predicted)} rows of predictions, but {len(true)} of labels")
    if np.isinf(predicted).any():
        raise DataError(f"{path}: {chosen[0]!r} holds infinite numbers; the model has diverged or the file is damaged")
    return predicted, true


def _order(raw: Raw) -> list[str] | None:
    """Traits in the order of a column of five trait names, as an NPZ may hold beside its arrays."""
    for cells in raw.columns.values():
        if len(cells) == len(TRAITS) and all(isinstance(cell, str) for cell in cells):
            meanings = [_meaning(cell) for cell in cells]
            traits = [meaning[1] for meaning in meanings if meaning is not None and meaning[1] is not None]
            if sorted(traits) == sorted(TRAITS):
                return traits
    return None


def _numbers(cells: Sequence[Any], column: str, path: object) -> FloatArray:
    values = np.empty(len(cells))
    for i, cell in enumerate(cells):
        try:
            if isinstance(cell, bool):
                raise ValueError
            values[i] = np.nan if cell is None or cell == "" else float(cell)
        except (TypeError, ValueError, OverflowError):
            values[i] = np.inf
        if np.isinf(values[i]):
            raise DataError(f"{path}: {column[:40]!r}, row {i + 1} of the data: {str(cell)[:40]!r} is no finite number")
    return values
