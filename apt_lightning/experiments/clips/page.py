"""The page about scored clips: for each its picture, what is to be minded about it, and its metrics."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from apt_lightning.common.files import write_text
from apt_lightning.common.names import shown
from apt_lightning.common.traits import TRAIT_CODES, TRAITS
from apt_lightning.common.version import __version__
from apt_lightning.data.faults import FAULTS
from apt_lightning.data.media.extraction import Extraction
from apt_lightning.evaluation.tables import number
from apt_lightning.experiments.clips.picture import NOTICE, Ratings, draw


class Card(NamedTuple):
    """One clip as it is shown."""

    name: str
    error: str
    """Why it has no scores; empty if it has."""
    mind: list[str]
    """Sentences: what is missing, faults, warnings."""
    rows: list[tuple[str, str, str, str]]
    """Trait, score, interval, share of the training clips that are rated lower."""
    wide: str
    """Picture in two columns, as a URI that holds it."""
    narrow: str
    like: Sequence[tuple[str, ...]] = ()
    """Training clips that it is scored like: name, source, distance and five ratings; their mean last."""


def card(told: dict[str, Any], clip: Extraction | None, ratings: Ratings | None) -> Card:
    """Make a clip's card.

    Args:
        told: What :meth:`apt_lightning.stages.scorer.Scorer.judge` says, or ``clip`` and ``error``.
        clip: What was extracted; None if nothing was.
        ratings: (101, 5) quantiles of the training clips' ratings, if known.
    """
    name = shown(told["clip"]).rpartition("/")[2]
    if "error" in told or clip is None:
        return Card(name, told.get("error", ""), [], [], "", "")
    mind = [*told["warnings"], *told["notes"], *(FAULTS[code].sentence for code in told["faults"])]
    rows = []
    for trait in TRAITS:
        ends = told.get("intervals", {}).get(trait)
        share = told.get("higher_than", {}).get(trait)
        interval = "" if ends is None else f"{number(ends[0], 2)} to {number(ends[1], 2)}"
        label = "emotional stability (key neuroticism)" if trait == "neuroticism" else trait
        rows.append((label, number(told["traits"][trait], 3), interval, "" if share is None else f"{share:.0%}"))
    wide, narrow = (
        f"data:image/svg+xml;base64,{b64encode(draw(told, clip, ratings, columns=columns)).decode()}"
        for columns in (2, 1)
    )
    return Card(name, "", mind, rows, wide, narrow, _like(told["scored_like"]) if "scored_like" in told else ())


def _like(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Rows of the training clips that a clip is scored like; their mean last."""
    sources = "one source" if found["sources"] == 1 else f"{found['sources']} sources"
    usual = f"usual between sources: {number(found['usual_distance'], 3)}"
    heads = [(shown(one["clip"]), shown(one["source"]), number(one["distance"], 3)) for one in found["clips"]]
    every = [*zip(heads, found["clips"], strict=True), (("their mean", sources, usual), found)]
    return [(*head, *(number(one["traits"][trait], 2) for trait in TRAITS)) for head, one in every]


def render(cards: Sequence[Card], template: str = "page.html", **values: Any) -> str:
    """Render a page that needs nothing from anywhere else.

    Args:
        cards: What to show.
        template: Of this folder.
        values: What else it needs.
    """
    loader = PackageLoader("apt_lightning.experiments.clips", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    values |= {"cards": cards, "codes": TRAIT_CODES, "notice": NOTICE, "version": __version__}
    return environment.get_template(template).render(**values)


def write_page(path: str | os.PathLike[str], cards: Sequence[Card]) -> None:
    """Write the page about scored clips."""
    write_text(path, render(cards))
