"""A metric that tells whether stage 3 learns, cheap enough for every epoch."""

from __future__ import annotations

import torch
from torch import Tensor

QUERIES = 512
"""Clips that ask, evenly spaced; all others only answer."""


def cross_modal_precision(embeddings: Tensor, present: Tensor, classes: Tensor, sources: Tensor, k: int = 10) -> Tensor:
    """Precision at ``k`` of extreme clips of one modality that ask for clips of their class in another.

    The loss itself cannot choose an epoch: the hard pairs that it is taken over change with the embeddings, and
    it stays where it was while retrieval doubles (docs/embedding-study.md).

    Args:
        embeddings: (N, M, E) of unit length.
        present: (N, M) bool.
        classes: (N, T) classes of each trait, 0 and 3 the extreme ones; -1 without a label.
        sources: (N,) numbers; clips of the query's own source are no answers.
        k: Answers that count.

    Returns:
        Scalar in [0, 1], mean over queries, traits and ordered pairs of modalities; 0 if nobody can ask.

    Example:
        >>> e = torch.eye(2).repeat_interleave(2, 0)[:, None].expand(4, 2, 2)  # two clusters of two clips
        >>> classes = torch.tensor([[0], [0], [3], [3]])
        >>> cross_modal_precision(e, torch.ones(4, 2, dtype=torch.bool), classes, torch.arange(4), k=1)
        tensor(1.)
    """
    n_clips, n_modalities = present.shape
    asking = torch.linspace(0, n_clips - 1, min(n_clips, QUERIES), device=present.device).round().long()
    extreme = (classes[asking] == 0) | (classes[asking] == 3)
    right, counted = (torch.zeros((), device=embeddings.device) for _ in range(2))
    for query in range(n_modalities):
        for answer in range(n_modalities):
            if query == answer:
                continue
            similarity = embeddings[asking, query] @ embeddings[:, answer].T
            similarity[(sources[asking, None] == sources) | ~present[:, answer]] = -torch.inf
            values, found = similarity.topk(min(k, n_clips), dim=1)
            allowed = (values > -torch.inf)[..., None]
            hits = ((classes[found] == classes[asking, None]) & allowed).sum(1) / allowed.sum(1).clamp_min(1)
            valid = extreme & present[asking, query, None] & allowed.any(1)
            right += hits[valid].sum()
            counted += valid.sum()
    return right / counted.clamp_min(1)
