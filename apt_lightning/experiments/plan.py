"""Names and order of the runs that make the paper's tables, for the modalities of a store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from apt_lightning.data.store.index import PREPARED
from apt_lightning.stages.names import BEST, STAGE2, STAGE3, STAGE4, stage1


@dataclass(frozen=True)
class Unit:
    """One training run of ``apt run``: a stage's YAML, with earlier units' checkpoints put in."""

    name: str
    """Folder name, unique in a run."""
    config: str
    """Name of the YAML in the folder of stage configurations."""
    title: str
    """Row of the results table."""
    modalities: tuple[str, ...] = ()
    """Modalities whose stage-1 ``best.ckpt`` it takes."""
    needs: dict[str, str] = field(default_factory=dict)
    """Another model argument to the unit whose ``best.ckpt`` it takes."""
    options: tuple[str, ...] = ()
    """Further flags."""
    test: bool = True
    """Evaluate it on the test split; sweeps must not."""
    reseed: int = 0
    """Added to the seed: the same training from other weights, on the same earlier stages."""
    firsts: dict[str, str] = field(default_factory=dict)
    """Modality to the unit whose ``best.ckpt`` it takes, where that is not the usual stage 1."""
    sets: tuple[tuple[str, str], ...] = ()
    """Modality and name of the feature sets that it reads, where its options say which."""

    @property
    def encoders(self) -> dict[str, str]:
        """Modality to the unit of stage 1 that it takes."""
        return {modality: self.firsts.get(modality, stage1(modality)) for modality in self.modalities}

    @property
    def earlier(self) -> list[str]:
        """Units whose checkpoints it takes."""
        return [*self.encoders.values(), *self.needs.values()]

    def inputs(self, folder: Path) -> list[str]:
        """Flags that give it the earlier units' checkpoints, in the folder of their seed and fold."""
        flags = [f"--model.{name}={folder / unit / BEST}" for name, unit in self.needs.items()]
        if self.modalities:
            paths = {modality: str(folder / unit / BEST) for modality, unit in self.encoders.items()}
            flags.append(f"--model.checkpoints={json.dumps(paths)}")
        return flags


def initials(modalities: Sequence[str]) -> dict[str, str]:
    """Short names of modalities in titles: the initial, or the whole name where two share it.

    Example:
        >>> initials(["audio", "visual", "text", "face", "voice"])
        {'audio': 'A', 'visual': 'visual', 'text': 'T', 'face': 'F', 'voice': 'voice'}
    """
    letters = [modality[0].upper() for modality in modalities]
    return {m: letter if letters.count(letter) == 1 else m for m, letter in zip(modalities, letters, strict=True)}


def title_of(modalities: Sequence[str], all_modalities: Sequence[str]) -> str:
    """Joined short names, as ``A+V``, of some of a run's modalities."""
    short = initials(all_modalities)
    return "+".join(short[modality] for modality in modalities)


def run_units(modalities: Sequence[str] = tuple(PREPARED)) -> tuple[Unit, ...]:
    """The runs of paper Table 1, in the order in which they can be trained.

    Args:
        modalities: Of the store, in its order. Stage 1 of one that ``apt prepare`` does not make trains with
            ``stage1_audio.yaml``, whose dense encoder takes vectors of any size; or with a YAML of its own name.

    Example:
        >>> [unit.name for unit in run_units(["audio", "text"])]
        ['stage1_audio', 'stage1_text', 'stage2', 'stage3', 'stage4']
    """
    every, short = tuple(modalities), initials(modalities)
    units = [
        Unit(stage1(m), stage1(m), m)
        if m in PREPARED
        else Unit(stage1(m), stage1("audio"), m, options=(f"--model.modality={m}",))
        for m in every
    ]
    if len(every) > 2:
        for pair in combinations(every, 2):
            code = "".join(short[m].lower() if len(short[m]) == 1 else f"_{m}" for m in pair)
            units.append(Unit(f"{STAGE2}_{code.removeprefix('_')}", STAGE2, title_of(pair, every), pair))
    return (
        *units,
        Unit(STAGE2, STAGE2, f"{title_of(every, every)} baseline (stage 2)", every),
        Unit(STAGE3, STAGE3, "embeddings (stage 3)", every),
        Unit(STAGE4, STAGE4, "with embeddings (stage 4)", needs={"fusion_ckpt": STAGE2, "siamese_ckpt": STAGE3}),
    )
