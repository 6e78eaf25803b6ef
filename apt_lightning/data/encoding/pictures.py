"""Encoders of pictures by architecture and file of weights: torchvision's and timm's, with their own preprocessing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from apt_lightning.common.errors import UsageError
from apt_lightning.data.encoding.encoder import Choice, Encoded
from apt_lightning.data.encoding.weights import digests, read_state, weights_file
from apt_lightning.data.media.material import Material, Reads

AT_ONCE = 64
"""Pictures in one forward pass."""


class PictureEncoder:
    """A network that takes one picture at a time.

    Args:
        network: (B, 3, H, W) to (B, L, D).
        transform: A picture to (3, H, W), the library's own.
        side: Pixels of the shorter side of the pictures it is given.
        about: The specification.
        device: Where the network is.
    """

    def __init__(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        transform: Callable[[Image.Image], torch.Tensor],
        side: int,
        about: dict[str, Any],
        device: str,
    ) -> None:
        self.reads = Reads("pictures", side=side, dense=False)
        self._network, self._transform, self._about, self._device = network, transform, about, device

    def specification(self) -> dict[str, Any]:
        """See :class:`~apt_lightning.data.encoding.encoder.Encoder`."""
        return self._about

    @torch.inference_mode()
    def encode(self, batch: Sequence[Material]) -> list[Encoded]:
        """Encode the pictures of clips, each by itself: T pictures, L layers, D numbers."""
        pictures = [picture for clip in batch for picture in clip.pictures]
        found = []
        for start in range(0, len(pictures), AT_ONCE):
            inputs = torch.stack([self._transform(Image.fromarray(p)) for p in pictures[start : start + AT_ONCE]])
            found.append(self._network(inputs.to(self._device)).float().cpu().numpy())
        ends = np.cumsum([len(clip.pictures) for clip in batch])[:-1]
        parts = np.split(np.concatenate(found), ends)
        return [Encoded(values, np.array(clip.times)) for values, clip in zip(parts, batch, strict=True)]


def torchvision_encoder(name: str, choice: Choice) -> PictureEncoder:
    """What the classifier of a torchvision network reads, without the classifier."""
    from torchvision import models

    file = weights_file(choice.weights, choice.encoder)
    if name not in models.list_models(module=models):
        raise UsageError(
            f"torchvision has no network {name!r} for pictures; `torchvision.models.list_models()` names them"
        )
    if choice.layers:
        raise UsageError("torchvision: encoders give their last layer; leave out `--layers`")
    preset: Any = models.get_model_weights(name).DEFAULT.transforms()
    network = models.get_model(name, weights=None)
    _fill(network, read_state(file), file)
    at, _ = [(key, part) for key, part in network.named_modules() if isinstance(part, nn.Linear)][-1]
    parent, _, last = at.rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    return _encoder(network, preset, max(preset.resize_size), repr(preset), name, file, "torchvision", choice)


def timm_encoder(name: str, choice: Choice) -> PictureEncoder:
    """The pooled output of a timm network; with layers, the mean over space of its blocks."""
    timm: Any = importlib.import_module("timm")

    if not timm.is_model(name):
        raise UsageError(f"timm has no network {name!r}; `timm.list_models()` names them")
    network = timm.create_model(name, pretrained=False, num_classes=0)
    file = _cached(network, choice) if choice.weights is None else weights_file(choice.weights, choice.encoder)
    _fill(network, read_state(file), file)
    settings = timm.data.resolve_data_config({}, model=network)
    transform = timm.data.create_transform(**settings, is_training=False)
    side = round(settings["input_size"][-1] / settings["crop_pct"])
    return _encoder(network, transform, side, repr(transform), name, file, "timm", choice)


def _encoder(
    network: nn.Module,
    transform: Callable[[Any], torch.Tensor],
    side: int,
    preprocessing: str,
    name: str,
    file: Path,
    library: str,
    choice: Choice,
) -> PictureEncoder:
    network.eval().requires_grad_(False).to(choice.device)

    def run(inputs: torch.Tensor) -> torch.Tensor:
        if not choice.layers:
            own: torch.Tensor = network(inputs)
            return own.flatten(1)[:, None]
        parts = network.forward_intermediates(inputs, indices=list(choice.layers), intermediates_only=True)  # type: ignore[operator]
        means = [part.flatten(2).mean(-1) for part in parts]
        if len({part.shape[1] for part in means}) > 1:
            raise UsageError(f"the layers {choice.layers} of {name} differ in size; name one, or layers of one size")
        return torch.stack(means, dim=1)

    about = {
        "encoder": f"{library}:{name}",
        "library": f"{library} {version(library)}",
        "architecture": name,
        "weights": digests(file),
        "preprocessing": preprocessing,
        "layers": list(choice.layers),
    }
    return PictureEncoder(run, transform, side, about, choice.device)


def _fill(network: nn.Module, state: dict[str, torch.Tensor], file: Path) -> None:
    """Load weights; those of a classifier that is not there are left over, anything else is an error."""
    own = network.state_dict()
    missing = [key for key in own if key not in state]
    wrong = [key for key in own if key in state and own[key].shape != state[key].shape]
    heads = ("classifier.", "fc.", "head.", "head_dist.", "heads.")
    strange = [key for key in state if key not in own and not key.startswith(heads)]
    if missing or wrong or strange:
        raise UsageError(
            f"{file} is not of this architecture: {len(missing)} tensors are missing {missing[:1]}, {len(wrong)} have "
            f"another shape {wrong[:1]}, {len(strange)} are not of it {strange[:1]}; name the one it was saved from"
        )
    network.load_state_dict({key: state[key] for key in own})


def _cached(network: nn.Module, choice: Choice) -> Path:
    """The hub's file for a timm network in its local cache."""
    from huggingface_hub import hf_hub_download

    where: Any = network.pretrained_cfg
    if not where.get("hf_hub_id"):
        raise UsageError(f"{choice.encoder} needs `--weights FILE`: timm names no file for it")
    try:
        return Path(
            hf_hub_download(where["hf_hub_id"], "model.safetensors", local_files_only=not choice.allow_download)
        )
    except Exception as error:  # the hub's client raises many kinds
        raise UsageError(
            f"{where['hf_hub_id']} is not in the local cache ({type(error).__name__}); give `--weights FILE`, or fetch "
            "it with `--allow-download`"
        ) from error
