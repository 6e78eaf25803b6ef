"""Encoders of `transformers`, from a local folder: speech models, picture models, and models of words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from apt_lightning.common.errors import UsageError
from apt_lightning.data.encoding.encoder import Choice, Encoded
from apt_lightning.data.encoding.pictures import AT_ONCE
from apt_lightning.data.encoding.weights import folder_digests, model_folder
from apt_lightning.data.media.material import Material, Reads

SPEECH = ("data2vec-audio", "hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm", "whisper")
"""Model types whose steps follow one another in time."""
CHUNK = 30
"""Seconds of sound in one forward pass; what Whisper takes, and a bound to memory for the others."""


def transformers_encoder(name: str, choice: Choice) -> Any:
    """The encoder of a model folder for the sense of the choice.

    Raises:
        UsageError: If the folder lacks safetensors or a processor, or the model is of another sense.
    """
    folder = model_folder(name, choice.weights, choice.allow_download)
    made = {"sound": SoundModel, "pictures": PictureModel, "words": WordModel}[choice.sense]
    try:
        return made(folder, choice)
    except UsageError:
        raise
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{folder} holds no {choice.sense} model in safetensors with its processor and no code of its own ({why})"
        ) from error


class _Model:
    """What the three have in common: the network and its specification."""

    def __init__(self, folder: Path, choice: Choice, auto: str) -> None:
        import transformers

        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self.processor: Any = getattr(transformers, auto).from_pretrained(folder, **local)
        model, found = transformers.AutoModel.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **local
        )
        lacking = [key for key in found["missing_keys"] if "pooler" not in key]
        if lacking or found["mismatched_keys"]:
            raise UsageError(
                f"{folder} lacks {len(lacking)} tensors of its model, {lacking[:1]}; copy the folder again"
            )
        self.has_pooler = not found["missing_keys"]
        self.config: Any = model.config
        self.device, self.layers = choice.device, choice.layers
        whole = model.get_encoder() if model.config.is_encoder_decoder else model
        self.network: Any = getattr(whole, "vision_model", whole) if choice.sense == "pictures" else whole
        self.network.eval().requires_grad_(False).to(choice.device)
        self._about = {
            "encoder": f"transformers:{self.config.model_type}",
            "library": f"transformers {transformers.__version__}",
            "architecture": type(self.network).__name__,
            "weights": folder_digests(folder),
            "preprocessing": type(self.processor).__name__,
            "layers": list(choice.layers),
        }

    def specification(self) -> dict[str, Any]:
        """See :class:`~apt_lightning.data.encoding.encoder.Encoder`."""
        return self._about

    def _run(self, inputs: dict[str, torch.Tensor], own: Callable[[Any], torch.Tensor]) -> torch.Tensor:
        """(B, T, L, D) hidden states of the layers asked for, or what ``own`` takes of the output as one."""
        moved = {key: value.to(self.device) for key, value in inputs.items()}
        output = self.network(**moved, output_hidden_states=bool(self.layers))
        if not self.layers:
            return own(output).unsqueeze(2)
        states = output.hidden_states
        if not all(-len(states) <= layer < len(states) for layer in self.layers):
            raise UsageError(f"expected `--layers` within 0 and {len(states) - 1}, but got {list(self.layers)}")
        return torch.stack([states[layer] for layer in self.layers], dim=2)


class SoundModel(_Model):
    """wav2vec 2.0, HuBERT, WavLM, Whisper's encoder: about 50 steps a second.

    Models normalised over the whole sound change with padding, so only chunks of one length share a pass.
    """

    def __init__(self, folder: Path, choice: Choice) -> None:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind not in SPEECH:
            raise UsageError(f"{folder} is a {kind}; models of sound are {', '.join(SPEECH)}, others go by `python:`")
        super().__init__(folder, choice, "AutoFeatureExtractor")
        self.reads = Reads("sound", rate=self.processor.sampling_rate)

    @torch.inference_mode()
    def encode(self, batch: Sequence[Material]) -> list[Encoded]:
        """Encode sounds in chunks of equal length, none longer than :data:`CHUNK`."""
        rate = self.reads.rate
        chunks = [np.array_split(clip.samples, -(-len(clip.samples) // (CHUNK * rate))) for clip in batch]
        by_length: dict[int, list[tuple[int, int]]] = {}
        for i, parts in enumerate(chunks):
            for k, part in enumerate(parts):
                by_length.setdefault(len(part), []).append((i, k))
        found: dict[tuple[int, int], Encoded] = {}
        for length, places in by_length.items():
            inputs = self.processor([chunks[i][k] for i, k in places], sampling_rate=rate, return_tensors="pt")
            values = self._run(dict(inputs), lambda output: output.last_hidden_state).float().cpu().numpy()
            heard = CHUNK if self.config.model_type == "whisper" else length / rate  # it hears silence after the end
            times = (np.arange(values.shape[1]) + 0.5) * heard / values.shape[1]
            kept = times < length / rate
            for place, row in zip(places, values, strict=True):
                found[place] = Encoded(row[kept], times[kept])
        return [self._joined(i, parts, found) for i, parts in enumerate(chunks)]

    def _joined(self, i: int, parts: Sequence[Any], found: dict[tuple[int, int], Encoded]) -> Encoded:
        starts = np.cumsum([0, *map(len, parts)]) / self.reads.rate
        steps = [found[i, k] for k in range(len(parts))]
        return Encoded(
            np.concatenate([one.values for one in steps]),
            np.concatenate([one.times + start for one, start in zip(steps, starts, strict=False)]),
        )


class PictureModel(_Model):
    """CLIP, SigLIP, DINOv2, ViT: one step a picture, the model's pooled output.

    Of layers, and of models without a trained pooler, the class token; the mean over patches where there is none.
    """

    def __init__(self, folder: Path, choice: Choice) -> None:
        super().__init__(folder, choice, "AutoImageProcessor")
        size = dict(self.processor.size)
        self.reads = Reads("pictures", side=size.get("shortest_edge") or size["height"], dense=False)
        parts = getattr(self.network, "embeddings", None)
        self.has_class = any(hasattr(parts, name) for name in ("cls_token", "class_embedding"))

    @torch.inference_mode()
    def encode(self, batch: Sequence[Material]) -> list[Encoded]:
        """Encode the pictures of clips, each by itself."""
        pictures = [picture for clip in batch for picture in clip.pictures]
        found = []
        for start in range(0, len(pictures), AT_ONCE):
            inputs = self.processor(images=pictures[start : start + AT_ONCE], return_tensors="pt")
            tokens = self._run({"pixel_values": inputs["pixel_values"]}, self._own)
            pooled = tokens[:, 0] if tokens.shape[1] == 1 or self.has_class else tokens.mean(dim=1)
            found.append(pooled.float().cpu().numpy())
        ends = np.cumsum([len(clip.pictures) for clip in batch])[:-1]
        parts = np.split(np.concatenate(found), ends)
        return [Encoded(values, np.array(clip.times)) for values, clip in zip(parts, batch, strict=True)]

    def _own(self, output: Any) -> torch.Tensor:
        pooled = getattr(output, "pooler_output", None)
        return output.last_hidden_state if pooled is None or not self.has_pooler else pooled[:, None]  # type: ignore[no-any-return]


class WordModel(_Model):
    """BERT's family and sentence models: one step a token, special ones included; long texts in several windows."""

    def __init__(self, folder: Path, choice: Choice) -> None:
        super().__init__(folder, choice, "AutoTokenizer")
        if not self.processor.is_fast:
            raise UsageError(f"{folder} has no fast tokenizer (tokenizer.json), which cuts long texts into windows")
        self.reads = Reads("words")
        places = getattr(self.config, "max_position_embeddings", 512) - 2  # RoBERTa begins to count at 2
        self.longest = min(self.processor.model_max_length, max(8, places))

    @torch.inference_mode()
    def encode(self, batch: Sequence[Material]) -> list[Encoded]:
        """Encode transcripts."""
        inputs = dict(
            self.processor(
                [clip.words for clip in batch],
                truncation=True,
                max_length=self.longest,
                return_overflowing_tokens=True,
                padding=True,
                return_tensors="pt",
            )
        )
        owner = inputs.pop("overflow_to_sample_mapping").numpy()
        mask = inputs["attention_mask"].numpy().astype(bool)
        found = []
        for start in range(0, len(owner), AT_ONCE):
            part = {key: value[start : start + AT_ONCE] for key, value in inputs.items()}
            found.append(self._run(part, lambda output: output.last_hidden_state).float().cpu().numpy())
        values = np.concatenate(found)
        encoded = []
        for i in range(len(batch)):
            steps = values[owner == i][mask[owner == i]]
            encoded.append(Encoded(steps, np.full(len(steps), np.nan)))
        return encoded
