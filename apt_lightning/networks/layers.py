"""Dense layers and their initialisation, shared by all networks."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from apt_lightning.common.errors import UsageError


def dense(sizes: Sequence[int]) -> nn.Sequential:
    """Fully connected layers, each followed by ReLU.

    Args:
        sizes: Input size, then the size of each layer.

    Raises:
        UsageError: If a size is below 1.

    Example:
        >>> sum(p.numel() for p in dense([88, 1024, 256]).parameters())
        353536
    """
    if min(sizes) < 1:
        raise UsageError(f"layer sizes must be at least 1, got {list(sizes)}")
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers)


def initialise(network: nn.Module) -> None:
    """Kaiming-normal weights and zero biases in every dense and convolutional layer (paper section 4).

    Recurrent weights keep PyTorch's uniform initialisation, on which the paper is silent.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
