"""The feature sets of a new clip: what `apt encode` would store of it, by the encoders that a checkpoint names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import cached_property
from typing import Any, NamedTuple

from torch import nn

from apt_lightning.common.batch import Inputs
from apt_lightning.common.errors import CheckpointError, UsageError
from apt_lightning.common.names import name_form
from apt_lightning.data.encoding.recipe import NOTHING, TAKE, Recipe, restored
from apt_lightning.data.faults import FAULTS
from apt_lightning.data.loading.sequences import padded
from apt_lightning.data.media.material import Material, Take, Taken
from apt_lightning.data.preparation.child import PoolJob, Task
from apt_lightning.data.preparation.pool import Pool, Result
from apt_lightning.data.preparation.share import SECONDS, size_and_time
from apt_lightning.networks import SequenceEncoder

DETECTOR = "detector"
"""Name under which the file of the face detector is given."""


class SetInputs(NamedTuple):
    """What the feature sets of a modality hold of one clip."""

    inputs: Inputs | None
    """None if they hold nothing."""
    reason: str
    """What of them is missing, and why; empty if nothing is."""
    faults: list[str]
    """Codes of what was found on the way."""


UNMADE = SetInputs(None, "no feature sets were made of it", [])
"""Of a clip on which the encoders were not run."""


class ClipSets:
    """Runs the encoders of feature sets on new clips; they are loaded when the first clip comes.

    Args:
        encoders: Modality to network; those that read no feature sets are passed over.
        weights: Set, or ``modality/set``, to its weights, see :func:`apt_lightning.data.encoding.recipe.restored`;
            ``detector`` to the file of the face detector.
        device: Where the encoders run.

    Raises:
        UsageError: If weights are given for a set that no network reads.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], weights: Mapping[str, str], device: str) -> None:
        self._sets = {
            name: encoder.described for name, encoder in encoders.items() if isinstance(encoder, SequenceEncoder)
        }
        self._weights, self._device = weights, device
        names = [f"{modality}/{one['name']}" for modality, sets in self._sets.items() for one in sets]
        known = {DETECTOR, *names, *(name.partition("/")[2] for name in names)}
        if unknown := [name for name in weights if name not in known]:
            there = f"the feature sets {', '.join(names)}" if names else "no feature set"
            raise UsageError(f"`--weights` names {unknown[0]!r:.60}, but the checkpoint reads {there}")
        self.warnings: list[str] = []
        """What may change the values a little: another version of a library."""

    @cached_property
    def _recipes(self) -> dict[str, dict[str, Recipe]]:
        """Modality to set to recipe; without the modalities of which a set was made elsewhere."""
        found: dict[str, dict[str, Recipe]] = {}
        for modality, sets in self._sets.items():
            if not all(one.get("origin") for one in sets):
                continue
            for one in sets:
                name = one["name"]
                given = self._weights.get(f"{modality}/{name}", self._weights.get(name))
                made, warning = restored(one, given, self._device, self._weights.get(DETECTOR))
                found.setdefault(modality, {})[name] = made
                self.warnings += [warning] if warning else []
        return found

    def inputs(
        self, clip: str | os.PathLike[str], transcript: str | None, span: tuple[float, float] | None = None
    ) -> dict[str, SetInputs]:
        """Decode a clip as `apt encode` does, in processes that may die, and encode it.

        Args:
            clip: The file.
            transcript: What is said in it; None if not known.
            span: Seconds of a window of it; the whole clip if not given.

        Returns:
            By modality, those that read feature sets.

        Raises:
            UsageError: If an encoder cannot be loaded.
        """
        recipes = self._recipes
        wanted = {recipe.take for sets in recipes.values() for recipe in sets.values()}
        taken = _taken(clip, [take for take in wanted if take.sense != "words"], span)
        told = {}
        for modality, sets in self._sets.items():
            if modality in recipes:
                told[modality] = _encoded(sets, recipes[modality], taken, transcript)
            else:
                elsewhere = next(one["name"] for one in sets if not one.get("origin"))
                why = f"the model was trained on {modality} features made elsewhere, the set {elsewhere!s:.40}"
                told[modality] = SetInputs(None, why, [])
        return told


def _encoded(
    sets: list[dict[str, Any]], recipes: Mapping[str, Recipe], taken: Mapping[Take, Result], transcript: str | None
) -> SetInputs:
    """The sets of one modality."""
    values, reasons, faults, widths = [], [], [], []
    for about in sets:
        recipe, made, reason = recipes[about["name"]], NOTHING, ""
        shape = (int(about["layers"]), int(about["dim"]))
        if recipe.take.sense == "words":
            material = Material(words=transcript) if transcript is not None and transcript.strip() else None
            reason = "no transcript given" if transcript is None else "no words in the transcript"
        else:
            result = taken[recipe.take]
            material = result.extraction.material if isinstance(result.extraction, Taken) else None
            faults += [fault.code for fault in result.faults]
            reason = next((fault.detail or FAULTS[fault.code].sentence for fault in result.faults), "")
        if material is not None:
            (made,) = recipe.make([material])
            faults += [code for code, _ in made.faults]
            reason = "; ".join(detail for _, detail in made.faults)
        if len(made.values) and made.values.shape[1:] != shape:
            raise CheckpointError(f"the encoder of {about['name']!r:.40} gives {made.values.shape[1:]}, not {shape}")
        if not len(made.values):
            reasons.append(reason if len(sets) == 1 else f"{about['name']}: {reason}")
        values.append(made.values)
        widths.append(shape[0] * shape[1])
    there = any(len(one) for one in values)
    return SetInputs(Inputs(*padded([values], widths)) if there else None, "; ".join(reasons), faults)


def _taken(clip: str | os.PathLike[str], takes: list[Take], span: tuple[float, float] | None) -> dict[Take, Result]:
    """What each of some takes gets of a clip, each in a process of its own."""
    path = os.fspath(clip)
    task = Task(name_form(os.path.basename(path)), path, size_and_time(path)[0])
    with ExitStack() as stack:
        jobs = [PoolJob(asdict(take), extract=TAKE, deliver=True, arguments={"span": span}) for take in takes]
        pools = [stack.enter_context(closing(Pool([task], job, 1, SECONDS))) for job in jobs]
        return {take: next(pool.results()) for take, pool in zip(takes, pools, strict=True)}
