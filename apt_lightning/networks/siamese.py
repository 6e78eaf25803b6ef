"""S: one net shared by the modalities, from a feature h to an embedding e (paper section 2)."""

from collections.abc import Sequence

from torch import Tensor, nn

from apt_lightning.networks.layers import initialise


class SiameseNet(nn.Module):
    """256 -> FC 200 -> dropout 0.5 -> FC 200 -> linear 128, applied to one modality's feature at a time.

    Args:
        feature_dim: Size Q of a modality feature.
        hidden_dims: Sizes of the two hidden layers.
        embedding_dim: Size E of the embedding.
        dropout: Dropout after the first hidden layer.

    Example:
        >>> sum(p.numel() for p in SiameseNet().parameters())
        117328
    """

    def __init__(
        self,
        feature_dim: int = 256,
        hidden_dims: Sequence[int] = (200, 200),
        embedding_dim: int = 128,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        first, second = hidden_dims
        self.embedding_dim = embedding_dim
        self.layers = nn.Sequential(
            nn.Linear(feature_dim, first),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, embedding_dim),
        )
        initialise(self)

    def forward(self, features: Tensor) -> Tensor:
        """Map (..., Q) features to (..., E) embeddings, not normalised."""
        embeddings: Tensor = self.layers(features)
        return embeddings
