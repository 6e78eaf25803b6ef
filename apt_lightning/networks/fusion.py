"""M1 and M2: the dense nets that join the modalities (paper section 2, Eq. 8 and Figure 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apt_lightning.common.traits import TRAITS
from apt_lightning.networks.layers import dense, initialise
from apt_lightning.networks.siamese import SiameseNet


class LinearPath(nn.Module):
    """Inputs of a joining net, standardised, for p to read beside the net's output.

    They are divided by the root of their number, so that one step of Adam, whose size is the same for every weight,
    moves the scores little from where the ridge solution put them.

    Args:
        size: Number of inputs D.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def set_statistics(self, mean: Tensor, sd: Tensor) -> None:
        """Take the (D,) means and deviations over the training clips."""
        self.centre.copy_(mean)
        self.scale.copy_(1 / (sd.clamp_min(1e-6) * len(sd) ** 0.5))

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        return (inputs - self.centre) * self.scale


class FusionNet(nn.Module):
    """M1: modality features side by side -> FC 1024 -> FC 512.

    A missing modality's feature is a learned vector, one per modality (ours; the paper is silent).

    Args:
        n_modalities: Modalities M that are joined.
        feature_dim: Size Q of one modality's feature.
        hidden_dims: Sizes of the layers; the last is the size O of the output.
        linear_path: Put the inputs beside the output (:class:`LinearPath`), which has O + M Q numbers then.
    """

    def __init__(
        self,
        n_modalities: int = 3,
        feature_dim: int = 256,
        hidden_dims: Sequence[int] = (1024, 512),
        linear_path: bool = False,
    ) -> None:
        super().__init__()
        self.missing = nn.Parameter(torch.zeros(n_modalities, feature_dim))
        width = n_modalities * feature_dim
        self.layers = dense([width, *hidden_dims])
        self.path = LinearPath(width) if linear_path else None
        self.output_dim = hidden_dims[-1] + linear_path * width
        initialise(self)

    def inputs(self, features: Tensor, present: Tensor) -> Tensor:
        """(B, M Q) features side by side, with missing ones filled in."""
        return torch.where(present[..., None], features, self.missing).flatten(1)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """Join (B, M, Q) features, where ``present`` (B, M), to (B, O)."""
        return _joined(self.layers, self.path, self.inputs(features, present))


class FinalNet(nn.Module):
    """M2: M1(h) beside the embeddings of each modality -> FC 512.

    Args:
        fusion: M1; stage 4 freezes it.
        siamese: S; stage 4 freezes it. Without it M2 reads M1(h) alone, a control.
        hidden_dims: Sizes of the layers.
        missing_embedding: What stands for the embedding of a missing modality: a ``learned`` vector,
            the ``mean`` of the clip's other embeddings, or ``zero``.
        normalize: Whether M2 reads embeddings of unit length, as the loss of stage 3 does.
        linear_path: Put the inputs of M2 beside its output, see :class:`FusionNet`.
    """

    def __init__(
        self,
        fusion: FusionNet,
        siamese: SiameseNet | None,
        hidden_dims: Sequence[int] = (512,),
        missing_embedding: str = "learned",
        normalize: bool = True,
        linear_path: bool = False,
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.siamese = siamese
        self.missing_embedding = missing_embedding
        self.normalize = normalize
        n_modalities = fusion.missing.shape[0]
        width = fusion.output_dim
        if siamese is not None:
            width += n_modalities * siamese.embedding_dim
            if missing_embedding == "learned":
                self.missing = nn.Parameter(torch.zeros(n_modalities, siamese.embedding_dim))
        self.layers = dense([width, *hidden_dims])
        self.path = LinearPath(width) if linear_path else None
        self.output_dim = hidden_dims[-1] + linear_path * width
        initialise(self.layers)

    def embed(self, features: Tensor, present: Tensor) -> Tensor:
        """Embeddings (B, M, E) that M2 reads, with missing ones filled in."""
        assert self.siamese is not None
        embeddings: Tensor = self.siamese(features)
        if self.normalize:
            embeddings = F.normalize(embeddings, dim=-1)
        mask = present[..., None]
        filler: Tensor
        match self.missing_embedding:
            case "learned":
                filler = self.missing
            case "mean":
                filler = (embeddings * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp_min(1)
            case _:
                filler = torch.zeros_like(embeddings)
        return torch.where(mask, embeddings, filler)

    def inputs(self, features: Tensor, present: Tensor) -> Tensor:
        """What M2 reads: M1(h) and the embeddings, side by side."""
        parts = [self.fusion(features, present)]
        if self.siamese is not None:
            parts.append(self.embed(features, present).flatten(1))
        return torch.cat(parts, dim=1)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """Join (B, M, Q) features, where ``present`` (B, M), to (B, O)."""
        return _joined(self.layers, self.path, self.inputs(features, present))


def _joined(layers: nn.Module, path: LinearPath | None, inputs: Tensor) -> Tensor:
    joined: Tensor = layers(inputs)
    return joined if path is None else torch.cat([joined, path(inputs)], dim=1)


def matched_dims(fusion_dim: int, embedded: int, filled: int, hidden_dims: Sequence[int]) -> list[int]:
    """Widen the first layer of M2 so that without embeddings it has as many parameters as with them.

    Args:
        fusion_dim: Size O of M1's output.
        embedded: Inputs of M2 that the embeddings would take, M * E.
        filled: Parameters of the vectors for missing embeddings, M * E if they are learned.
        hidden_dims: Sizes of M2's layers with embeddings.

    Returns:
        Sizes without; the counts differ by less than one unit of the first layer.

    Example:
        >>> matched_dims(512, 3 * 128, 3 * 128, [512])
        [892]
    """
    first, *later = hidden_dims
    per_unit = fusion_dim + 1 + (later[0] if later else len(TRAITS))
    return [first + round((embedded * first + filled) / per_unit), *later]
