"""Encoders of the user's own: a class of any module, checked against the protocol before and while it runs."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apt_lightning.common.errors import UsageError
from apt_lightning.data.encoding.encoder import Choice, Encoded, Encoder
from apt_lightning.data.media.material import Material, Reads

_FORM = "see docs/encoders.md, 'An encoder of your own'"


@dataclass(frozen=True)
class OwnEncoder:
    """An object of the user's class, which may fail or give anything."""

    name: str
    """``python:module:Class``."""
    own: Encoder

    @property
    def reads(self) -> Reads:
        """What it reads."""
        return self.own.reads

    def specification(self) -> dict[str, Any]:
        """The class's own.

        Raises:
            UsageError: If it fails or gives no plain data with ``weights``.
        """
        try:
            found: Any = self.own.specification()
            json.dumps(found)
        except Exception as error:
            raise _failed(f"{self.name}: specification()", error) from error
        if not isinstance(found, dict) or not isinstance(found.get("weights"), dict):
            raise UsageError(f"{self.name}: specification() must give a dict with a dict `weights` in it; {_FORM}")
        return found

    def encode(self, batch: Sequence[Material]) -> list[Encoded]:
        """What the class makes of the clips.

        Raises:
            UsageError: If it fails or gives something else than an Encoded a clip.
        """
        try:
            found = list(self.own.encode(batch))
        except Exception as error:
            raise _failed(f"{self.name}: encode()", error) from error
        if len(found) != len(batch) or not all(isinstance(one, Encoded) for one in found):
            kinds = ", ".join(sorted({type(one).__name__ for one in found}))
            raise UsageError(
                f"{self.name}: encode() must give a list of one Encoded a clip, but gives {len(found)} ({kinds}) for"
                f" {len(batch)}; {_FORM}"
            )
        return found


def python_encoder(name: str, choice: Choice) -> OwnEncoder:
    """An object of the user's own class ``module:Class``, made as ``Class(weights, device)``.

    Raises:
        UsageError: If it is no class, does not follow the protocol, or cannot be made.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        raise UsageError(f"expected `--encoder python:module:Class`, but got {choice.encoder!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the folder of the user, as for `python -m`
    try:
        made: Any = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise _failed(f"{choice.encoder}: its import", error) from error
    if not isinstance(made, type):
        raise UsageError(f"{choice.encoder} is a {type(made).__name__}, but a class is needed; {_FORM}")
    missing = [f"{part}()" for part in ("specification", "encode") if not callable(getattr(made, part, None))]
    if missing:
        raise UsageError(f"{choice.encoder} is no encoder: it lacks {' and '.join(missing)}; {_FORM}")
    try:
        encoder: Encoder = made(choice.weights, choice.device)
    except Exception as error:
        raise _failed(f"{choice.encoder}: {attribute}(weights, device)", error) from error
    if not isinstance(getattr(encoder, "reads", None), Reads):
        raise UsageError(f"{choice.encoder} lacks `reads`, which must be a Reads(...); {_FORM}")
    return OwnEncoder(choice.encoder, encoder)


def _failed(what: str, error: Exception) -> UsageError:
    return UsageError(f"{what} fails ({type(error).__name__}: {error}); `--debug` shows where, and {_FORM}")
