"""Names and order of the runs that make the paper's tables."""

from __future__ import annotations

from dataclasses import dataclass, field

STAGE1 = ("stage1_audio", "stage1_visual", "stage1_text")


@dataclass(frozen=True)
class Unit:
    """One training run of ``apt run``: a stage's YAML, with earlier units' checkpoints put in."""

    name: str
    """Folder name, unique in a run."""
    config: str
    """Name of the YAML in the folder of stage configurations."""
    title: str
    """Row of the results table."""
    needs: dict[str, str] = field(default_factory=dict)
    """Model argument to the unit whose ``best.ckpt`` it takes."""
    options: tuple[str, ...] = ()
    """Further flags."""
    test: bool = True
    """Evaluate it on the test split; sweeps must not."""
    reseed: int = 0
    """Added to the seed: the same training from other weights, on the same earlier stages."""


_STAGE1 = {"audio_ckpt": "stage1_audio", "visual_ckpt": "stage1_visual", "text_ckpt": "stage1_text"}


def _pair(name: str, title: str, *modalities: str) -> Unit:
    needs = {f"{m}_ckpt": f"stage1_{m}" for m in modalities}
    return Unit(name, "stage2", title, needs, (f"--model.modalities={list(modalities)}",))


UNITS = (
    Unit("stage1_audio", "stage1_audio", "audio"),
    Unit("stage1_visual", "stage1_visual", "visual"),
    Unit("stage1_text", "stage1_text", "text"),
    _pair("stage2_av", "A+V", "audio", "visual"),
    _pair("stage2_at", "A+T", "audio", "text"),
    _pair("stage2_vt", "T+V", "visual", "text"),
    Unit("stage2", "stage2", "A+V+T baseline (stage 2)", _STAGE1),
    Unit("stage3", "stage3", "embeddings (stage 3)", _STAGE1),
    Unit(
        "stage4",
        "stage4",
        "with embeddings (stage 4)",
        {"fusion_ckpt": "stage2", "siamese_ckpt": "stage3"},
    ),
)
"""The runs of paper Table 1, in the order in which they can be trained."""
