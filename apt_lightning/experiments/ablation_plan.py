"""What ``apt ablate`` trains and shows: one part of the method changed at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from apt_lightning.evaluation.ensembles import Ensemble, average, late_fusion, ridge_stack
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.experiments.plan import Unit, initials, run_units, title_of
from apt_lightning.stages.names import STAGE2, STAGE3, STAGE4, stage1

LABEL_NOISE = 0.05
"""Standard deviation of a label for soft classes, a third of the labels' own (ours)."""
EMBEDDING_DIMS = (32, 64, 256)
"""Besides the paper's 128."""
RESEED = 1000
"""From the seed of a stage 2 to that of a second one on the same stage 1."""
FULL_LENGTH = "--patience=null"
"""No early stopping: units of the same configuration then train for the same number of steps."""


def _weights(mae: int, mse: int, bell: int) -> tuple[str, ...]:
    return tuple(f"--model.loss.{name}_weight={w}" for name, w in (("mae", mae), ("mse", mse), ("bell", bell)))


LOSSES = {
    "mae": ("MAE alone", _weights(1, 0, 0)),
    "mse": ("MSE alone", _weights(0, 1, 0)),
    "bell": ("Bell alone", _weights(0, 0, 1)),
    # As steep near zero as the paper's, but bent within the range of errors: gamma = 1.852 * 2 * sigma^2.
    "narrow_bell": (
        "Bell alone, sigma 0.15",
        (*_weights(0, 0, 1), "--model.loss.bell_sigma=0.15", "--model.loss.bell_gamma=0.08334"),
    ),
}
"""Losses in place of Bell + MSE + MAE: name to title and flags."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    group: str
    title: str
    unit: str
    """Unit whose predictions it is about, or a name of its own for an ensemble of units."""
    parts: tuple[str, ...] = ()
    """Units of an ensemble."""
    rule: Callable[[Sequence[Predictions], Sequence[Predictions]], Ensemble] | None = None
    """How their validation and test predictions are taken together."""

    @property
    def name(self) -> str:
        """Of a row of its own."""
        return f"{self.group}: {self.title}"


def stage3(name: str, modalities: Sequence[str], *options: str) -> Unit:
    """Stage 3 with further flags."""
    return Unit(f"{STAGE3}_{name}", STAGE3, "embeddings", tuple(modalities), options=options)


def stage4(name: str, *options: str, fusion: str = STAGE2, siamese: str = STAGE3) -> Unit:
    """Stage 4 with further flags, on other earlier stages."""
    needs = {"fusion_ckpt": fusion, "siamese_ckpt": siamese}
    return Unit(f"{STAGE4}_{name}", STAGE4, "with embeddings", needs=needs, options=options)


def ablation_plan(modalities: Sequence[str]) -> tuple[list[Unit], list[Variant]]:
    """What is trained, the units of ``apt run`` first, and what the table shows.

    Args:
        modalities: Of the run, in its order.
    """
    units, variants = list(run_units(modalities)), []
    base = {unit.name: unit for unit in units}
    firsts, every = tuple(map(stage1, modalities)), title_of(modalities, modalities)

    short = initials(modalities)
    variants += [Variant("modalities", f"{short[m]} (stage 1)", stage1(m)) for m in modalities]
    pairs = [unit for unit in units if unit.name.startswith(f"{STAGE2}_")]
    variants += [Variant("modalities", f"{unit.title} (stage 2)", unit.name) for unit in pairs]
    variants.append(Variant("modalities", f"{every} (stage 2)", STAGE2))
    for unit in pairs:
        name = unit.name.removeprefix(f"{STAGE2}_")
        embedded = stage3(name, unit.modalities)
        units += [embedded, stage4(name, fusion=unit.name, siamese=embedded.name)]
        variants.append(Variant("modalities", f"{unit.title} (stage 4)", f"{STAGE4}_{name}"))
    variants.append(Variant("embeddings", "trained: the method (stage 4)", STAGE4))
    for title in ("untrained", "none"):
        units.append(stage4(title, f"--model.embeddings={title}"))
        variants.append(Variant("embeddings", f"{title}, as many parameters", f"{STAGE4}_{title}"))
    for title in ("trained", "untrained", "none"):
        units.append(stage4(f"steps_{title}", f"--model.embeddings={title}", FULL_LENGTH))
        variants.append(Variant("embeddings, equal steps", f"{title}, as many parameters", f"{STAGE4}_steps_{title}"))
    units.append(replace(base[STAGE2], name=f"{STAGE2}_again", reseed=RESEED))
    variants += [
        Variant("ensembles", "mean of two stages 2", "two_stages2", (STAGE2, f"{STAGE2}_again"), average),
        Variant("ensembles", "late fusion of stage 1, weights of each trait", "late_fusion", firsts, late_fusion),
        Variant("ensembles", "ridge on the scores of stage 1", "ridge_stack", firsts, ridge_stack),
    ]
    mining = {
        "all": ("anchors", "all", "--model.anchors=all"),
        "soft": ("anchors", f"extreme, label noise {LABEL_NOISE}", f"--model.label_noise={LABEL_NOISE}"),
    }
    sizes = {f"dim{size}": ("embedding size", str(size), f"--model.embedding_dim={size}") for size in EMBEDDING_DIMS}
    for name, (group, title, option) in {**mining, **sizes}.items():
        units += [stage3(name, modalities, option), stage4(name, siamese=f"{STAGE3}_{name}")]
        variants.append(Variant(group, title, f"{STAGE4}_{name}"))
    for name, (title, options) in LOSSES.items():
        units.append(replace(base[STAGE2], name=f"{STAGE2}_{name}", options=options))
        units.append(stage4(name, *options, fusion=f"{STAGE2}_{name}"))
        variants.append(Variant("loss of stages 2 and 4", title, f"{STAGE4}_{name}"))
    return units, variants
