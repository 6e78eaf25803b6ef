"""The text encoder's two GRUs against torch's bidirectional GRU on packed sequences, forward and with backward."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from apt_lightning.networks.recurrent import BidirectionalGRU
from bench import tell

WORDS = (43, 14)
"""Mean and deviation of the words of a clip of First Impressions, at most 80."""


def seconds(run: Callable[[], Tensor], backward: bool) -> float:
    start = time.perf_counter()
    with torch.set_grad_enabled(backward):
        hidden = run()
    if backward:
        hidden.sum().backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start


def main() -> None:
    """Measure interleaved and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", help="Write the figures here.")
    args = parser.parse_args()
    torch.manual_seed(0)
    ours, theirs = BidirectionalGRU(300, 128), nn.GRU(300, 128, batch_first=True, bidirectional=True)
    theirs.load_state_dict(ours.state_dict())

    def packed(vectors: Tensor, length: Tensor) -> Tensor:
        sequences = pack_padded_sequence(vectors, length.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(theirs(sequences)[0], batch_first=True)[0]

    figures = {}
    print(f"{torch.get_num_threads()} threads, median of {args.rounds}")
    for size in (1, 32, 128):
        length = torch.normal(*map(float, WORDS), (size,)).round().long().clamp(1, 80)
        vectors = torch.randn(size, int(length.max()), 300)
        for backward in (False, True):
            pairs = [
                (seconds(lambda: ours(vectors, length), backward), seconds(lambda: packed(vectors, length), backward))  # noqa: B023
                for _ in range(args.rounds)
            ]
            two, one = np.median(pairs, axis=0) * 1e3
            name = f"{size} clips, {'with backward' if backward else 'forward'}"
            figures[f"text/{name}"] = {"ms": float(two), "packed_ms": float(one), "ratio": float(one / two)}
    tell(figures, args.json)


if __name__ == "__main__":
    main()
