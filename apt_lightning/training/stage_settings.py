"""Flags of the stages' own settings, which follow from the class that ``--model`` or a YAML names."""

from __future__ import annotations

from inspect import signature

from apt_lightning.stages.final import FinalModule
from apt_lightning.stages.fusion import FusionModule
from apt_lightning.stages.joint import JointModule
from apt_lightning.stages.modality import ModalityModule
from apt_lightning.stages.siamese import SiameseModule


def stage_options() -> list[str]:
    """The flags, with their dashes."""
    return [f"--model.{name}" for name in sorted(_stage_settings())]


def stage_lists() -> list[str]:
    """Those of :func:`stage_options` that take a list."""
    return [f"--model.{name}" for name, kind in _stage_settings().items() if "list[" in kind]


def _stage_settings() -> dict[str, str]:
    """Names of the stages' settings to their annotations."""
    stages = (ModalityModule, FusionModule, SiameseModule, FinalModule, JointModule)
    return {name: str(p.annotation) for stage in stages for name, p in signature(stage).parameters.items()}
