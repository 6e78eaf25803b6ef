"""What the encoder of a modality reads of one clip, or why there is nothing."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import nn

from apt_lightning.common.batch import Inputs
from apt_lightning.data.loading.pictures import decode_pictures
from apt_lightning.data.media.extraction import Extraction
from apt_lightning.data.store.rows import N_FUNCTIONALS
from apt_lightning.data.text.tokens import MAX_TOKENS, encode
from apt_lightning.data.text.word_vectors import WordVectors
from apt_lightning.networks import FrameEncoder, TokenEncoder, VectorEncoder


def clip_inputs(
    modality: str, encoder: nn.Module, extraction: Extraction | None, transcript: str | None
) -> tuple[Inputs | None, str]:
    """What an encoder reads of a clip, or None and why there is nothing."""
    match encoder:
        case TokenEncoder():
            if transcript is None:
                return None, "no transcript given"
            if not transcript.strip():
                return None, "no words in the transcript"
            ids, lengths = encode([transcript], _vectors(encoder), MAX_TOKENS)
            if not (ids > 1).any():
                return None, "the model knows no word of the transcript"
            words = ids[:, : lengths[0]].astype(np.int64)
            return Inputs(torch.from_numpy(words), torch.from_numpy(lengths.astype(np.int64))), ""
        case FrameEncoder():
            if extraction is None or not extraction.frames:
                return None, _reason(extraction, "video")
            frames = decode_pictures(extraction.frames)[None]
            return Inputs(frames, torch.tensor([frames.shape[1]])), ""
        case VectorEncoder() if modality == "audio" and len(encoder.low) == N_FUNCTIONALS:
            if extraction is None or extraction.functionals is None:
                return None, _reason(extraction, "audio")
            return Inputs(torch.tensor(extraction.functionals)[None], None), ""
    return None, f"the model was trained on {modality} features made elsewhere"


@lru_cache(1)
def _vectors(encoder: TokenEncoder) -> WordVectors:
    """Its words, which take long to read; an explanation asks for them hundreds of times."""
    return WordVectors(encoder.vocabulary, encoder.table[2:].cpu().numpy(), {})


def _reason(extraction: Extraction | None, part: str) -> str:
    if extraction is None:
        return "the file cannot be read"
    faults = [fault.detail or fault.code for fault in extraction.faults if part in fault.code or "stream" in fault.code]
    return faults[0] if faults else f"no usable {part}"
