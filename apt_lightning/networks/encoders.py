"""One encoder per kind of modality input, each to a feature h of 256 dimensions (paper section 2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn

from apt_lightning.common.errors import UsageError
from apt_lightning.networks.frames import augment_frames, centre_crop, resize
from apt_lightning.networks.layers import dense, initialise
from apt_lightning.networks.recurrent import BidirectionalGRU

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
MAX_SIDE = 2048
"""Height and width of a frame, pixels."""


class VectorEncoder(nn.Module):
    """f_A: min-max scaled functionals, or any feature vector, -> FC 1024 -> FC 256.

    Args:
        dim: Size N of the vector; 88 for eGeMAPS functionals.
        hidden_dims: Sizes of the hidden layers.
        output_dim: Size Q of the feature.
    """

    low: Tensor
    high: Tensor

    def __init__(self, dim: int, hidden_dims: Sequence[int] = (1024,), output_dim: int = 256) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(dim))
        self.register_buffer("high", torch.ones(dim))
        self.layers = dense([dim, *hidden_dims, output_dim])
        self.output_dim = output_dim
        initialise(self)

    def fit_range(self, values: Tensor) -> None:
        """Take the minimum and maximum of the training split, (n, dim), for the scaling to [0, 1]."""
        self.low.copy_(values.amin(dim=0))
        self.high.copy_(values.amax(dim=0))

    def forward(self, values: Tensor, length: Tensor | None = None, augment: bool = False) -> Tensor:
        """Map (B, dim) raw vectors to (B, output_dim); values outside the training range are clipped."""
        span = (self.high - self.low).clamp_min(torch.finfo(self.low.dtype).tiny)
        features: Tensor = self.layers(((values - self.low) / span).clamp(0, 1))
        return features


class FrameEncoder(nn.Module):
    """f_V: a ResNet from scratch per frame -> mean over the frames -> dropout -> FC 256.

    Args:
        backbone: Name of a torchvision ResNet; the paper uses ``resnet50``.
        dropout: Dropout on the averaged 2048 (resnet18: 512) values.
        output_dim: Size Q of the feature.
        frame_size: Height and width to which frames are resized before the crop.
        crop: Side of the square crop, pixels.

    Raises:
        UsageError: If there is no such ResNet, or the crop does not fit into the frames.
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        dropout: float = 0.5,
        output_dim: int = 256,
        frame_size: Sequence[int] = (140, 248),
        crop: int = 128,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise UsageError(f"`backbone` must be one of {', '.join(BACKBONES)}, got {backbone!r:.40}")
        if not 1 <= crop <= min(frame_size) <= max(frame_size) <= MAX_SIDE or len(frame_size) != 2:
            raise UsageError(
                f"`frame_size` must be a height and a width of at most {MAX_SIDE}, and `crop` fit into it, got"
                f" {list(frame_size)} and {crop}"
            )
        self.frame_size = tuple(frame_size)
        self.crop = crop
        self.backbone = torchvision.models.get_model(backbone, weights=None)
        width = self.backbone.fc.in_features
        self.backbone.fc = nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.layers = dense([width, output_dim])
        self.output_dim = output_dim
        initialise(self)
        self.backbone.to(memory_format=torch.channels_last)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # random draws and odd sizes are not worth compiling
    def view(self, frames: Tensor, augment: bool = False) -> Tensor:
        """Turn (B, F, 3, H, W) uint8 frames into (B, F, 3, crop, crop) in [-1, 1]: the centre, or augmented."""
        change = augment_frames if augment else centre_crop
        return change(resize(frames, self.frame_size), self.crop).to(next(self.layers.parameters()).dtype)

    def forward(self, values: Tensor, length: Tensor, augment: bool = False) -> Tensor:
        """Map (B, F, 3, H, W) uint8 frames, of which the first ``length`` (B,) count, to (B, output_dim).

        Args:
            values: Stored frames of any size.
            length: Frames that count, of each clip.
            augment: Crop at random and change the colours (:func:`apt_lightning.networks.frames.augment_frames`);
                the centre crop otherwise.
        """
        values = self.view(values, augment)
        n_clips, n_frames = values.shape[:2]
        frames = values.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        per_frame = self.backbone(frames).view(n_clips, n_frames, -1)
        counts = torch.arange(n_frames, device=length.device) < length[:, None]
        mean = (per_frame * counts[..., None]).sum(1) / length.clamp_min(1)[:, None]
        features: Tensor = self.layers(self.dropout(mean))
        return features


class TokenEncoder(nn.Module):
    """f_T: word vectors -> dropout -> Bi-GRU -> feed-forward attention (Raffel and Ellis 2015) -> 256.

    The frozen word vectors and their words are buffers, so that a checkpoint can score new transcripts.

    Args:
        dim: Size G of a word vector.
        n_words: Rows of the table: row 0 pads, row 1 is the unknown word, both zero.
        words_size: Bytes of the word list, UTF-8, one word a line.
        hidden_dim: Units of the GRU per direction.
        dropout: Dropout on the word vectors.
    """

    table: Tensor
    words: Tensor
    further: Tensor

    def __init__(self, dim: int, n_words: int, words_size: int, hidden_dim: int = 128, dropout: float = 0.5) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(n_words, dim))
        self.register_buffer("words", torch.zeros(words_size, dtype=torch.uint8))
        self.register_buffer("further", torch.zeros(0, dim), persistent=False)
        self.further_words: list[str] = []
        self.dropout = nn.Dropout(dropout)
        self.gru = BidirectionalGRU(dim, hidden_dim)
        self.attention = nn.Linear(2 * hidden_dim, 1)
        self.output_dim = 2 * hidden_dim
        initialise(self)

    @property
    def vocabulary(self) -> list[str]:
        """Words of the table's rows 2, 3, ..., and after them those of :meth:`look_up`."""
        text = bytes(self.words.cpu().numpy()).decode("utf-8")
        return [*(text.split("\n") if text else []), *self.further_words]

    def look_up(self, words: Sequence[str], vectors: Tensor) -> None:
        """Take in words that the table lacks; a checkpoint keeps the table alone.

        Args:
            words: V words; those that the table has are left as they are.
            vectors: (V, G), from where the table is from; not read where there are no words.
        """
        self.further_words = []
        known = set(self.vocabulary)
        rows = [row for row, word in enumerate(words) if word not in known]
        self.further_words = [words[row] for row in rows]
        self.further = vectors[rows].to(self.table) if rows else self.further[:0]

    def forward(self, values: Tensor, length: Tensor, augment: bool = False) -> Tensor:
        """Map (B, K) word numbers, of which the first ``length`` (B,) count, to (B, 2 * hidden_dim)."""
        length = length.clamp(min=1)
        table = torch.cat([self.table, self.further]) if self.further_words else self.table
        hidden = self.gru(self.dropout(table[values]), length)
        energy = torch.tanh(self.attention(hidden)).squeeze(-1)
        padding = torch.arange(hidden.shape[1], device=length.device) >= length[:, None]
        weights = energy.masked_fill(padding, -torch.inf).softmax(dim=1)
        context: Tensor = torch.einsum("bk,bkh->bh", weights, hidden)
        return context
