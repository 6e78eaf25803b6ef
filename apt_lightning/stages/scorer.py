"""Five traits for a person's own video, from a checkpoint alone; Lightning is not imported, so it starts fast."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from apt_lightning.common.errors import CheckpointError, ClipError, DataError
from apt_lightning.common.names import name_form
from apt_lightning.common.traits import TRAITS, TraitStatistics, by_trait
from apt_lightning.data.faults import FAULTS, Outcome
from apt_lightning.data.media.extraction import Extraction
from apt_lightning.data.preparation.pool import Result
from apt_lightning.data.preparation.share import extracting, in_time
from apt_lightning.networks import SequenceEncoder
from apt_lightning.stages import explanation
from apt_lightning.stages.among_training import among_training
from apt_lightning.stages.checkpoint import read_stage
from apt_lightning.stages.clip_inputs import clip_inputs
from apt_lightning.stages.clip_sets import UNMADE, ClipSets, SetInputs
from apt_lightning.stages.frozen import encode_inputs
from apt_lightning.stages.names import STAGE1, STAGE2, STAGE4
from apt_lightning.stages.scored_like import TrainingExamples
from apt_lightning.stages.upstream import scoring_networks

FloatArray = npt.NDArray[np.float64]
NONE: Mapping[str, Any] = {}
"""No feature sets."""


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
        weights: Feature set, or ``modality/set``, to the weights of the pretrained encoder that made it; where it was
            made they are found without. ``detector`` to the file of the face detector.
        store: Feature store with its training clips, of which those nearest to a clip are then named in explanations.

    Raises:
        CheckpointError: If the file is absent, damaged, or of stage 3, which gives no traits.
        StoreError: If the store cannot be read, or lacks a modality.
        UsageError: If weights are given for a set that the checkpoint does not read; with the first clip, if weights
            are not there or not those that it was trained on.
    """

    def __init__(
        self,
        path: str,
        device: str | torch.device = "cpu",
        weights: Mapping[str, str] = NONE,
        store: str | None = None,
    ) -> None:
        file = read_stage(path, STAGE4, STAGE2, STAGE1)
        self.metadata = file.metadata
        self.training_clips = file.training_clips
        try:
            self.encoders, self.network, self.head = scoring_networks(file, torch.device(device))
            mean, sd = file.state["trait_mean"], file.state["trait_sd"]
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path} describes no network of this program: {error}") from None
        self.statistics = TraitStatistics(mean.double().numpy(), sd.double().numpy())
        self.sets = ClipSets(dict(self.encoders.encoders.items()), weights, str(device))
        self.examples: TrainingExamples | None = None
        if store is not None:
            self.examples = TrainingExamples(store, self.encoders, self._space, self._device)
        self._other_store: list[str] = []
        if self.examples and self.training_clips and not self.examples.are_rated_as(self.training_clips):
            self._other_store.append(f"the training clips of {store} are not those that the model was trained on")

    def score(
        self,
        clip: str | os.PathLike[str],
        transcript: str | None = None,
        explain: bool = False,
        every: float | None = None,
    ) -> dict[str, Any]:
        """Five apparent traits of one video, by the modalities that it has.

        Args:
            clip: Video or sound file.
            transcript: What is said in it; None if not known.
            explain: Add each modality's Shapley value, and what each second, frame and word does.
            every: Also score each window of so many seconds, by sound and picture.

        Returns:
            Plain data: ``clip``; ``traits`` by name, in [0, 1]; ``intervals``, the ends of each trait's 90 %
            prediction interval, if the checkpoint has some; ``modalities`` used; ``notes`` on those missing;
            ``faults`` found; ``higher_than``, the share of the training clips that were rated lower, by trait;
            ``distances``, by modality its ``distance`` from the middle of the training clips and the share of them
            that it is ``farther_than``; ``warnings`` if it is unlike them; ``windows`` with ``from``, ``to`` and
            the same where asked for; ``shapley`` by modality and trait, ``explanation``
            (:func:`apt_lightning.stages.explanation.explain`), and ``scored_like``
            (:meth:`apt_lightning.stages.scored_like.TrainingExamples.like`) with a store, where asked for.

        Raises:
            ClipError: If the clip cannot be read.
            DataError: If it holds nothing to score by.
        """
        with extracting([clip], in_time(every, explain)) as results:
            return self.judge(clip, next(results), transcript, explain)

    def judge(
        self, clip: str | os.PathLike[str], result: Result, transcript: str | None = None, explain: bool = False
    ) -> dict[str, Any]:
        """As :meth:`score`, for a clip that has been extracted.

        Args:
            clip: Video or sound file.
            result: What :func:`apt_lightning.data.preparation.share.extracting` yields for it.
            transcript: What is said in it; None if not known.
            explain: As for :meth:`score`; ``result`` must have been extracted so.
        """
        extraction = result.extraction
        if extraction is None:
            fault = next(fault for fault in result.faults if FAULTS[fault.code].outcome == Outcome.LEFT_OUT)
            raise ClipError(fault.code, f"{fault.clip}: {fault.detail or FAULTS[fault.code].sentence}")
        sets = self.sets.inputs(clip, transcript)
        told = {"clip": name_form(os.fspath(clip)), **self._judge(extraction, transcript, explain, sets)}
        if extraction.windows:
            told["windows"] = [self._window(clip, window) for window in extraction.windows]
        return told

    def _window(self, clip: str | os.PathLike[str], window: Extraction) -> dict[str, Any]:
        span = window.start, window.start + window.duration
        ends = {"from": round(span[0], 3), "to": round(span[1], 3)}
        try:
            return ends | self._judge(window, None, False, self.sets.inputs(clip, None, span))
        except DataError as error:
            return ends | {"error": str(error)}

    def _judge(
        self, extraction: Extraction, transcript: str | None, explain: bool, sets: Mapping[str, SetInputs]
    ) -> dict[str, Any]:
        features = self.features(extraction, transcript, sets)
        if not features.present.any():
            raise DataError(f"nothing to score by: {'; '.join(features.notes)}")
        values = self.scores(features)
        told: dict[str, Any] = {"traits": by_trait(values)}
        intervals = self.intervals(values)
        if intervals is not None:
            told["intervals"] = {name: [lower, upper] for name, lower, upper in zip(TRAITS, *intervals, strict=True)}
        columns = zip(self.modalities, features.present[0], features.features[0], strict=True)
        there = {name: column.double().cpu().numpy() for name, present, column in columns if present}
        told["modalities"] = list(there)
        told["notes"] = features.notes
        found = [code for modality in sets.values() for code in modality.faults]
        told["faults"] = list(dict.fromkeys([*(fault.code for fault in extraction.faults), *found]))
        told |= among_training(self.training_clips, there, values)
        told["warnings"] += self.sets.warnings
        if explain:
            told["shapley"] = {name: by_trait(values) for name, values in self.shapley(features).items()}
            told["explanation"] = self.explain(features, extraction, transcript)
            if self.examples is not None:
                place = self._space(features.features, features.present)[0]
                told["scored_like"] = self.examples.like(place.double().cpu().numpy())
                told["warnings"] += self._other_store
        return told

    def explain(self, clip: ClipFeatures, extraction: Extraction, transcript: str | None) -> dict[str, Any]:
        """What its seconds, frames and words do: :func:`apt_lightning.stages.explanation.explain`.

        Args:
            clip: From :meth:`features`.
            extraction: What it was made of, with the sound in parts.
            transcript: What is said in it.
        """

        def score(name: str, feature: Tensor | None) -> FloatArray:
            if feature is None:
                return self.scores(clip, [other != name for other in self.modalities])
            changed = clip.features.clone()
            changed[:, self.modalities.index(name)] = feature
            return self.scores(ClipFeatures(changed, clip.present))

        def encode(name: str, extraction: Extraction, transcript: str | None) -> Tensor | None:
            return self._encode(name, extraction, transcript)[0]

        there = {
            name: self.encoders.encoders[name]
            for name, here in zip(self.modalities, clip.present[0], strict=True)
            if here
        }
        return explanation.explain(extraction, transcript, there, score, encode)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the model reads, in the order of the columns of :class:`ClipFeatures`."""
        return self.encoders.modalities

    @torch.inference_mode()
    def features(
        self, extraction: Extraction | None, transcript: str | None, sets: Mapping[str, SetInputs] = NONE
    ) -> ClipFeatures:
        """Encode one clip.

        Args:
            extraction: Functionals and frames of the clip; None if its file cannot be read.
            transcript: What is said in it; None if not known.
            sets: Feature sets of the clip, of the modalities that read some.
        """
        columns: list[Tensor | None] = []
        present, notes = [], []
        for name in self.modalities:
            column, reason = self._encode(name, extraction, transcript, sets)
            columns.append(column)
            present.append(column is not None)
            if reason:
                notes.append(f"{'no' if column is None else 'not all of'} {name}: {reason}")
        absent = torch.zeros(1, self.encoders.output_dim, device=self._device)
        stacked = torch.stack([absent if c is None else c for c in columns], dim=1)
        return ClipFeatures(stacked, torch.tensor([present], device=self._device), notes)

    @torch.inference_mode()
    def _encode(
        self,
        name: str,
        extraction: Extraction | None,
        transcript: str | None,
        sets: Mapping[str, SetInputs] = NONE,
    ) -> tuple[Tensor | None, str]:
        """Feature (1, Q) of one modality, or None, and what is missing of it."""
        encoder = self.encoders.encoders[name]
        if isinstance(encoder, SequenceEncoder):
            inputs, reason, _ = sets.get(name, UNMADE)
        else:
            inputs, reason = clip_inputs(name, encoder, extraction, transcript)
        return (None if inputs is None else encode_inputs(encoder, inputs, self._device)), reason

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
        if self.network is None and not present.any():
            return np.clip(self.statistics.mean, 0, 1)
        scores = self.head(self._space(clip.features, present))
        values: FloatArray = scores[0].cpu().double().clamp(0, 1).numpy()
        return values

    @torch.inference_mode()
    def _space(self, features: Tensor, present: Tensor) -> Tensor:
        """What p reads of (B, M, Q) features, where ``present`` (B, M): (B, D)."""
        return features[:, 0] if self.network is None else self.network(features, present)

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
