"""Checkpoints of earlier versions, brought into today's form: names of stages, kinds of networks, settings."""

from __future__ import annotations

from typing import Any

from apt_lightning.stages.names import STAGE2, STAGE3, STAGE4, stage1

_STAGES = {name: stage1(name) for name in ("audio", "visual", "text")} | {
    "fusion": STAGE2,
    "siamese": STAGE3,
    "final": STAGE4,
}
_TERMS = ("mae_weight", "mse_weight", "bell_weight", "bell_sigma", "bell_gamma")
_OF_STAGE4 = ("fusion_ckpt", "siamese_ckpt", "missing_embedding", "normalize_embeddings", "embeddings")
"""Settings that stage 2 had too, while one class stood for both."""

_GONE = {"mixup", "ccc_weight", "density_weighted", "balanced_weight", "balanced_noise"}
"""Settings of training that docs/benchmark.md found useless; the networks do not depend on them."""


def drop_settings(hparams: dict[Any, Any]) -> None:
    """Take settings that are no longer there out of a checkpoint's, in place."""
    for part in (hparams, hparams.get("loss")):
        if isinstance(part, dict):
            for name in _GONE & part.keys():
                del part[name]


def upgrade(content: dict[Any, Any]) -> None:
    """Change a checkpoint of format 1 in place, as far as its parts have the form that they should have.

    What has not is left as it is, for the checks that follow.

    Args:
        content: The whole file, with a dictionary ``apt``.
    """
    metadata, hparams = content["apt"], content.get("hyper_parameters")
    stage = _STAGES.get(metadata.get("stage")) if isinstance(metadata.get("stage"), str) else None
    networks = metadata.get("networks")
    if stage is None or not isinstance(hparams, dict) or not isinstance(networks, dict):
        return
    metadata |= {"format": 2, "stage": stage}
    if stage not in (STAGE2, STAGE3, STAGE4):
        _group_terms(hparams)
        return
    for name in ("audio_ckpt", "visual_ckpt", "text_ckpt", "modalities", *(_OF_STAGE4 if stage == STAGE2 else ())):
        hparams.pop(name, None)
    own = {name: networks.pop(name) for name in ("fusion", "siamese") if name in networks}
    own = {name: {"kind": name, **part} for name, part in own.items() if isinstance(part, dict)}
    if stage == STAGE4:
        _group_terms(hparams)
        settings = {name: hparams.get(name) for name in ("hidden_dims", "missing_embedding")}
        networks["network"] = {"kind": "final", "siamese": None, **own, **settings}
        networks["network"]["normalize"] = hparams.get("normalize_embeddings")
        hparams["upstream"] = {"encoders": networks.get("encoders"), **own}
    else:
        networks["network"] = own.get("siamese" if stage == STAGE3 else "fusion")
        hparams["upstream"] = {"encoders": networks.get("encoders")}
        if stage == STAGE2:
            _group_terms(hparams)


def _group_terms(hparams: dict[Any, Any]) -> None:
    hparams["loss"] = {name: hparams.pop(name) for name in _TERMS if name in hparams}
