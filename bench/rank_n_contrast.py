"""Rank-N-Contrast, forward and backward, against the authors' form: one pass over all pairs for each row.

B clips in two views of 128 random numbers, five traits. The authors' form is written from the paper's Eq. 2; both
give the same loss.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from apt_lightning.losses import RankNContrastLoss
from bench import tell


def authors_form(embeddings: Tensor, labels: Tensor, temperature: float = 2.0) -> Tensor:
    """The loss with a mask of all farther rows for each row of the batch."""
    n = len(embeddings)
    apart = (labels[:, None] - labels).abs().sum(dim=2)
    logits = -(embeddings[:, None] - embeddings).norm(dim=2) / temperature
    other = ~torch.eye(n, dtype=torch.bool)
    apart, logits = apart[other].view(n, n - 1), logits[other].view(n, n - 1)
    weights = logits.exp()
    loss = embeddings.new_zeros(())
    for k in range(n - 1):
        farther = apart >= apart[:, k : k + 1]
        loss = loss - (logits[:, k] - (weights * farther).sum(dim=1).log()).sum()
    return loss / (n * (n - 1))


def main() -> None:
    """Measure in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[128, 256], help="Batch sizes B.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="Write the figures here.")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, dict[str, float]] = {}
    forms: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ours": RankNContrastLoss(), "authors": authors_form}
    for clips in args.clips:
        rng = np.random.default_rng(clips)
        labels = torch.tensor(rng.uniform(0, 1, (clips, 5)), dtype=torch.float32).repeat(2, 1)
        embeddings = torch.tensor(rng.standard_normal((2 * clips, 128)), dtype=torch.float32, requires_grad=True)
        times: dict[str, list[float]] = {name: [] for name in forms}
        values = {}
        for _ in range(args.rounds):
            for name, form in forms.items():
                start = time.perf_counter()
                value = form(embeddings, labels)
                torch.autograd.grad(value, embeddings)
                times[name].append(time.perf_counter() - start)
                values[name] = value.item()
        assert abs(values["ours"] - values["authors"]) < 1e-5, f"the losses differ: {values}"
        ours, authors = (1000 * float(np.median(times[name])) for name in forms)
        ratio = float(np.median(np.divide(times["authors"], times["ours"])))
        figures[f"rank_n_contrast/loss B={clips}"] = {"ms": ours, "authors_ms": authors, "ratio": ratio}
    tell(figures, args.json)


if __name__ == "__main__":
    main()
