"""Five traits for a person's own video, from a checkpoint alone; Lightning is not imported, so it starts fast."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from apt_lightning.common.batch import Inputs
from apt_lightning.common.errors import CheckpointError, ClipError, DataError
from apt_lightning.common.names import name_form
from apt_lightning.common.traits import TRAITS, TraitStatistics
from apt_lightning.data.faults import FAULTS, Outcome
from apt_lightning.data.loading.pictures import decode_pictures
from apt_lightning.data.media.extract import Extraction
from apt_lightning.data.preparation.pool import Result
from apt_lightning.data.preparation.share import extracting
from apt_lightning.data.store.rows import N_FUNCTIONALS
from apt_lightning.data.text.tokens import MAX_TOKENS, encode
from apt_lightning.data.text.word_vectors import WordVectors
from apt_lightning.networks import FinalNet, FrameEncoder, FusionNet, ModalityEncoders, TokenEncoder, VectorEncoder
from apt_lightning.stages.checkpoint import StageFile, read_stage, restore
from apt_lightning.stages.frozen import encode_inputs
from apt_lightning.stages.names import STAGE1, STAGE2, STAGE4
from apt_lightning.stages.upstream import stage_encoders, stage_network

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClipFeatures:
    """What the frozen encoders say of one clip."""

    features: Tensor
    """(1, M, Q)."""
    present: Tensor
    """(1, M) bool."""
    notes: list[str] = field(default_factory=list)
    """Modalities that are missing, with the reason."""


class Scorer:
    """A trained stage 1, 2 or 4 for single clips.

    Args:
        path: Checkpoint; the files of earlier stages are not needed.
        device: Where the networks run.

    Raises:
        CheckpointError: If the file is absent, damaged, or of stage 3, which gives no traits.
    """

    def __init__(self, path: str, device: str | torch.device = "cpu") -> None:
        file = read_stage(path, STAGE4, STAGE2, STAGE1)
        self.metadata = file.metadata
        try:
            self.encoders, self.network, self.head = _networks(file, torch.device(device))
            mean, sd = file.state["trait_mean"], file.state["trait_sd"]
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path} describes no network of this program: {error}") from None
        self.statistics = TraitStatistics(mean.double().numpy(), sd.double().numpy())

    def score(
        self, clip: str | os.PathLike[str], transcript: str | None = None, explain: bool = False
    ) -> dict[str, Any]:
        """Five apparent traits of one video, by the modalities that it has.

        Args:
            clip: Video or sound file.
            transcript: What is said in it; None if not known.
            explain: Add each modality's Shapley value.

        Returns:
            Plain data: ``clip``; ``traits`` by name, in [0, 1]; ``intervals``, the ends of each trait's 90 %
            prediction interval, if the checkpoint has some; ``modalities`` used; ``notes`` on those missing;
            ``faults`` found; ``shapley`` by modality and trait where asked for.

        Raises:
            ClipError: If the clip cannot be read.
            DataError: If it holds nothing to score by.
        """
        with extracting([clip]) as results:
            return self.judge(clip, next(results), transcript, explain)

    def judge(
        self, clip: str | os.PathLike[str], result: Result, transcript: str | None = None, explain: bool = False
    ) -> dict[str, Any]:
        """As :meth:`score`, for a clip that has been extracted.

        Args:
            clip: Video or sound file.
            result: What :func:`apt_lightning.data.preparation.share.extracting` yields for it.
            transcript: What is said in it; None if not known.
            explain: Add each modality's Shapley value.
        """
        extraction = result.extraction
        if extraction is None:
            fault = next(fault for fault in result.faults if FAULTS[fault.code].outcome == Outcome.LEFT_OUT)
            raise ClipError(fault.code, f"{fault.clip}: {fault.detail or FAULTS[fault.code].sentence}")
        features = self.features(extraction, transcript)
        if not features.present.any():
            raise DataError(f"nothing to score by: {'; '.join(features.notes)}")
        values = self.scores(features)
        told: dict[str, Any] = {"clip": name_form(os.fspath(clip)), "traits": _by_trait(values)}
        intervals = self.intervals(values)
        if intervals is not None:
            told["intervals"] = {name: [lower, upper] for name, lower, upper in zip(TRAITS, *intervals, strict=True)}
        there = zip(self.modalities, features.present[0].tolist(), strict=True)
        told["modalities"] = [modality for modality, present in there if present]
        told["notes"] = features.notes
        told["faults"] = [fault.code for fault in extraction.faults]
        if explain:
            told["shapley"] = {name: _by_trait(values) for name, values in self.shapley(features).items()}
        return told

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the model reads, in the order of the columns of :class:`ClipFeatures`."""
        return self.encoders.modalities

    @torch.inference_mode()
    def features(self, extraction: Extraction | None, transcript: str | None) -> ClipFeatures:
        """Encode one clip.

        Args:
            extraction: Functionals and frames of the clip; None if its file cannot be read.
            transcript: What is said in it; None if not known.
        """
        columns: list[Tensor | None] = []
        present, notes = [], []
        for name, encoder in self.encoders.encoders.items():
            inputs, reason = _inputs(name, encoder, extraction, transcript)
            if inputs is None:
                notes.append(f"no {name}: {reason}")
                columns.append(None)
            else:
                columns.append(encode_inputs(encoder, inputs, self._device))
            present.append(inputs is not None)
        absent = torch.zeros(1, self.encoders.output_dim, device=self._device)
        stacked = torch.stack([absent if c is None else c for c in columns], dim=1)
        return ClipFeatures(stacked, torch.tensor([present], device=self._device), notes)

    @property
    def _device(self) -> torch.device:
        return self.head.weight.device

    @torch.inference_mode()
    def scores(self, clip: ClipFeatures, keep: Sequence[bool] | None = None) -> FloatArray:
        """Five scores in [0, 1] for one clip.

        Args:
            clip: From :meth:`features`.
            keep: (M,) modalities to use of those present; all if not given.

        Returns:
            (5,) in the order of :data:`apt_lightning.common.traits.TRAITS`.
        """
        present = clip.present if keep is None else clip.present & torch.tensor([keep], device=self._device)
        if self.network is None:
            if not present.any():
                return np.clip(self.statistics.mean, 0, 1)
            scores = self.head(clip.features[:, 0])
        else:
            scores = self.head(self.network(clip.features, present))
        values: FloatArray = scores[0].cpu().double().clamp(0, 1).numpy()
        return values

    def intervals(self, scores: FloatArray) -> tuple[list[float], list[float]] | None:
        """Ends of the prediction interval of each trait, from validation; None if the checkpoint has none."""
        from apt_lightning.evaluation.conformal import Conformal

        if "conformal" not in self.metadata:
            return None
        lower, upper = Conformal.from_dict(self.metadata["conformal"]).intervals(scores[None])
        return lower[0].round(4).tolist(), upper[0].round(4).tolist()

    def shapley(self, clip: ClipFeatures) -> dict[str, FloatArray]:
        """Exact Shapley value of each modality, (5,) in label units; 0 for one that the clip lacks."""
        from apt_lightning.evaluation.contributions import shapley

        found = shapley(lambda mask: self.scores(clip, mask)[None], len(self.modalities))
        return {name: found.values[0, :, column] for column, name in enumerate(self.modalities)}


def _by_trait(values: FloatArray) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in zip(TRAITS, values, strict=True)}


def _inputs(
    modality: str, encoder: nn.Module, extraction: Extraction | None, transcript: str | None
) -> tuple[Inputs | None, str]:
    """What an encoder reads of a clip, or None and why there is nothing."""
    match encoder:
        case TokenEncoder():
            if not transcript or not transcript.strip():
                return None, "no transcript given"
            vectors = WordVectors(encoder.vocabulary, encoder.table[2:].cpu().numpy(), {})
            ids, lengths = encode([transcript], vectors, MAX_TOKENS)
            if not (ids > 1).any():
                return None, "the model knows no word of the transcript"
            return Inputs(torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(lengths.astype(np.int64))), ""
        case FrameEncoder():
            if extraction is None or not extraction.frames:
                return None, _reason(extraction, "video")
            frames = decode_pictures(extraction.frames)[None]
            return Inputs(frames, torch.tensor([frames.shape[1]])), ""
        case VectorEncoder() if modality == "audio" and len(encoder.low) == N_FUNCTIONALS:
            if extraction is None or extraction.functionals is None:
                return None, _reason(extraction, "audio")
            return Inputs(torch.tensor(extraction.functionals)[None], None), ""
    return None, f"the model was trained on {modality} features made elsewhere"


def _reason(extraction: Extraction | None, part: str) -> str:
    if extraction is None:
        return "the file cannot be read"
    faults = [fault.detail or fault.code for fault in extraction.faults if part in fault.code or "stream" in fault.code]
    return faults[0] if faults else f"no usable {part}"


def _networks(file: StageFile, device: torch.device) -> tuple[ModalityEncoders, FusionNet | FinalNet | None, nn.Linear]:
    """Rebuild encoders, joining net and head of a checkpoint, in eval mode."""
    network: FusionNet | FinalNet | None = None
    if file.stage in (STAGE2, STAGE4):
        encoders = stage_encoders(file)
        network = stage_network(file).to(device).eval()
    else:
        modality = file.stage.removeprefix(f"{STAGE1}_")
        weights = {f"encoders.{modality}.{name}": value for name, value in file.weights("encoder").items()}
        encoders = restore(lambda: ModalityEncoders(file.networks["encoders"]), weights, file.path)
    width = network.output_dim if network else encoders.output_dim
    head = restore(lambda: nn.Linear(width, len(TRAITS)), file.weights("head"), file.path)
    return encoders.to(device).eval(), network, head.to(device).eval()
