"""A scoring model as one ONNX graph: from functionals, frames and word numbers to traits and their intervals."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from apt_lightning.common.batch import Inputs
from apt_lightning.common.errors import CheckpointError, UsageError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.media.extraction import ExtractionSettings
from apt_lightning.data.text.tokens import MAX_TOKENS
from apt_lightning.evaluation.conformal import RANGE, Conformal
from apt_lightning.networks.encoders import FrameEncoder, TokenEncoder, VectorEncoder
from apt_lightning.networks.recurrent import BidirectionalGRU
from apt_lightning.stages.frozen import encode_inputs
from apt_lightning.stages.scorer import ClipFeatures, Scorer

CLIPS = 32
"""Least number of clips on which a graph is compared with its checkpoint."""
TOLERANCE = 1e-4
"""Largest difference of a trait or an end of an interval, in label units."""


class _OnnxGRU(nn.Module):
    """The GRU of ONNX, both directions in one node that heeds the lengths; PyTorch's would be unrolled."""

    weights: Tensor
    recurrent: Tensor
    biases: Tensor

    def __init__(self, gru: BidirectionalGRU) -> None:
        super().__init__()
        self.hidden_size = gru.ahead.hidden_size
        state = gru.state_dict()

        def both(name: str) -> list[Tensor]:  # PyTorch's gates are reset, update, new; those of ONNX update, reset, new
            gates = (state[f"{name}_l0{direction}"].chunk(3) for direction in ("", "_reverse"))
            return [torch.cat([update, reset, new]) for reset, update, new in gates]

        self.register_buffer("weights", torch.stack(both("weight_ih")))
        self.register_buffer("recurrent", torch.stack(both("weight_hh")))
        biases = [torch.cat(pair) for pair in zip(both("bias_ih"), both("bias_hh"), strict=True)]
        self.register_buffer("biases", torch.stack(biases))

    def forward(self, values: Tensor, length: Tensor) -> Tensor:
        n_clips, n_words, _ = values.shape
        hidden: Tensor = torch.onnx.ops.symbolic(
            "GRU",
            (values.transpose(0, 1), self.weights, self.recurrent, self.biases, length.to(torch.int32)),
            attrs={"hidden_size": self.hidden_size, "direction": "bidirectional", "linear_before_reset": 1},
            dtype=torch.float32,
            shape=(n_words, 2, n_clips, self.hidden_size),
        )
        return hidden.permute(2, 0, 1, 3).flatten(2)


class TraitGraph(nn.Module):
    """What :class:`Scorer` computes, for a batch and in one piece.

    Args:
        scorer: A model; it is copied.
    """

    mean: Tensor

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.encoders = copy.deepcopy(scorer.encoders).float()
        for encoder in self.encoders.encoders.values():
            if isinstance(encoder, TokenEncoder):
                encoder.gru = _OnnxGRU(encoder.gru)  # type: ignore[assignment]
        self.network = copy.deepcopy(scorer.network)
        self.head = copy.deepcopy(scorer.head)
        self.register_buffer("mean", torch.tensor(scorer.statistics.mean))
        fitted = scorer.metadata.get("conformal")
        self.conformal = None if fitted is None else Conformal.from_dict(fitted)
        self.float()

    @property
    def input_names(self) -> list[str]:
        """``present``, and of each modality its name, and the name of its lengths if it has some."""
        names = ["present"]
        for name, encoder in self.encoders.encoders.items():
            names += [name] if isinstance(encoder, VectorEncoder) else [name, f"{name}_length"]
        return names

    @property
    def output_names(self) -> list[str]:
        """``traits``, and the ends of their intervals if the model has some."""
        return ["traits"] if self.conformal is None else ["traits", "lower", "upper"]

    def forward(self, present: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map (B, M) bool and the inputs that :attr:`input_names` names to (B, 5) each of :attr:`output_names`."""
        left = iter(inputs)
        columns = []
        for encoder in self.encoders.encoders.values():
            columns.append(encoder(next(left), None if isinstance(encoder, VectorEncoder) else next(left)))
        features = torch.stack(columns, dim=1)
        if self.network is None:
            scores = torch.where(present, self.head(features[:, 0]), self.mean)
        else:
            scores = self.head(self.network(features, present))
        scores = scores.clamp(0, 1)
        return scores, *self._ends(scores)

    def _ends(self, scores: Tensor) -> tuple[Tensor, ...]:
        """As :meth:`Conformal.intervals`."""
        if self.conformal is None:
            return ()
        weights, centre, scale, error, quantile = (
            torch.tensor(getattr(self.conformal, name)) for name in ("weights", "centre", "scale", "error", "quantile")
        )
        standard = (torch.cat([scores, scores**2], dim=1) - centre) / scale
        low, high = RANGE
        half = quantile * (error + standard @ weights.T).clamp(low * error, high * error)
        return (scores - half).clamp(0, 1), (scores + half).clamp(0, 1)


def write_onnx(scorer: Scorer, path: Path) -> float:
    """Write a model as ONNX, and compare it with the checkpoint on drawn inputs.

    Batch, frames and words are dynamic. The inputs: ``present`` (B, M) bool; of vectors (B, D) float32; of frames
    (B, F, 3, H, W) uint8 of the encoder's size and ``..._length`` (B,) int64; of words (B, K) int64 and ``..._length``.

    Args:
        scorer: The model, on the CPU.
        path: File to write.

    Returns:
        Largest difference of any output over at least :data:`CLIPS` clips, among them every pattern of missing
        modalities.

    Raises:
        UsageError: If the extra ``export`` is not installed, or the model reads feature sets.
        CheckpointError: If the difference is larger than :data:`TOLERANCE`.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed: pip install 'apt-lightning[export]'") from None
    if scorer.encoders.sets:
        raise UsageError(
            "the model reads features of pretrained encoders, which no ONNX is made of: leave out `--onnx`"
        )
    graph = TraitGraph(scorer).eval()
    present, inputs = drawn_inputs(scorer, 3)
    batch = torch.export.Dim("batch")
    shapes: list[dict[int, Any]] = []
    flat: list[Tensor] = []
    for name, given in inputs.items():
        if given.length is None:
            flat, shapes = [*flat, given.values], [*shapes, {0: batch}]
        else:
            flat = [*flat, given.values, given.length]
            shapes = [*shapes, {0: batch, 1: torch.export.Dim(f"{name}_steps")}, {0: batch}]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter about itself
        torch.onnx.export(
            graph,
            (present, *flat),
            str(path),
            input_names=graph.input_names,
            output_names=graph.output_names,
            dynamic_shapes=({0: batch}, tuple(shapes)),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    difference = _difference(scorer, session, graph.input_names)
    if not difference <= TOLERANCE:
        raise CheckpointError(f"the ONNX graph differs from its checkpoint by {difference:.2g}, more than {TOLERANCE}")
    return difference


def drawn_inputs(scorer: Scorer, n_clips: int) -> tuple[Tensor, dict[str, Inputs]]:
    """Random inputs of many lengths, and every pattern of missing modalities in turn."""
    generator = torch.Generator().manual_seed(0)

    def whole(high: int, *shape: int, low: int = 0) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    inputs = {}
    for name, encoder in scorer.encoders.encoders.items():
        match encoder:
            case VectorEncoder():
                low, high = encoder.low.float(), encoder.high.float()
                part = 1.2 * torch.rand(n_clips, len(low), generator=generator) - 0.1
                inputs[name] = Inputs(low + part * (high - low), None)
            case FrameEncoder():
                n_frames = ExtractionSettings().n_frames
                frames = whole(256, n_clips, n_frames, 3, *encoder.frame_size).to(torch.uint8)
                inputs[name] = Inputs(frames, whole(n_frames + 1, n_clips, low=1))
            case TokenEncoder():
                words = whole(len(encoder.table), n_clips, MAX_TOKENS)
                inputs[name] = Inputs(words, whole(MAX_TOKENS + 1, n_clips))
            case _:
                raise CheckpointError(f"the encoder of {name} has no form in ONNX")
    n_modalities = len(inputs)
    pattern = torch.arange(n_clips)[:, None] >> torch.arange(n_modalities)
    return (pattern & 1).bool(), inputs


def _difference(scorer: Scorer, session: Any, names: list[str]) -> float:
    """Largest difference of the graph, on one padded batch, from the model clip by clip and without padding."""
    n_clips = max(CLIPS, 2 ** len(scorer.modalities))
    present, inputs = drawn_inputs(scorer, n_clips)
    fed = [present]
    for given in inputs.values():
        fed += [given.values] if given.length is None else [given.values, given.length]
    found = session.run(None, {name: value.numpy() for name, value in zip(names, fed, strict=True)})
    largest = 0.0
    for i in range(n_clips):
        columns = []
        for name, encoder in scorer.encoders.encoders.items():
            values, length = inputs[name].values[i : i + 1], inputs[name].length
            if length is not None:
                values, length = values[:, : max(1, int(length[i]))], length[i : i + 1]
            with torch.inference_mode():
                columns.append(encode_inputs(encoder, Inputs(values, length), torch.device("cpu")))
        scores = scorer.scores(ClipFeatures(torch.stack(columns, dim=1), present[i : i + 1]))
        expected = [scores]
        if "conformal" in scorer.metadata:
            ends = Conformal.from_dict(scorer.metadata["conformal"]).intervals(scores[None])
            expected += [end[0] for end in ends]
        gaps = [np.abs(output[i] - row).max() for output, row in zip(found, expected, strict=True)]
        largest = max(largest, *map(float, gaps))
    assert all(output.shape == (n_clips, len(TRAITS)) for output in found)
    return largest
