"""Seeded damage to files: what transfer errors, editors and attackers do."""

import numpy as np

INTERESTING = [
    b"\x00",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x00" * 8,
    b"\n",
    b",",
    b'"',
    b"nan",
    b"1e999",
    b"../",
]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file in one to four places, in one of seven ways each."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        if not out:
            break
        at = int(rng.integers(len(out)))
        length = int(min(rng.geometric(0.05), len(out) - at))
        piece = out[at : at + length]
        match rng.integers(7):
            case 0:
                out[at] ^= 1 << int(rng.integers(8))
            case 1:
                out[at : at + length] = rng.bytes(length)
            case 2:
                del out[at : at + length]
            case 3:
                out[at:at] = piece * int(rng.integers(1, 4))
            case 4:
                value = INTERESTING[rng.integers(len(INTERESTING))]
                out[at : at + len(value)] = value
            case 5:
                del out[at:]
            case 6:
                other = int(rng.integers(len(out)))
                out[other:other] = piece
    return bytes(out)
