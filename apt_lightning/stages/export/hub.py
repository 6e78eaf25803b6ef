"""Models of the Hugging Face hub by their name, from its cache on this machine; fetched only where asked for."""

from __future__ import annotations

import re

from apt_lightning.common.errors import CheckpointError, UsageError
from apt_lightning.stages.export.folder import CONFIG, WEIGHTS

PREFIX = "hf://"
_NAME = re.compile(r"hf://([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w][\w./-]*))?")


def local_copy(path: str, allow_download: bool = False) -> str:
    """Folder of a model of the hub.

    Args:
        path: ``hf://owner/name``, or ``hf://owner/name@revision`` for a branch, tag or commit; any other path is
            returned as it is.
        allow_download: Ask the hub, and fetch the model if the cache does not have it or an older one.

    Raises:
        UsageError: If the name is none, or the extra ``hub`` is not installed.
        CheckpointError: If the model is not in the cache and may not, or cannot, be fetched.
    """
    if not path.startswith(PREFIX):
        return path
    named = _NAME.fullmatch(path)
    if named is None:
        raise UsageError(f"a model of the hub is named hf://owner/name or hf://owner/name@revision, got {path}")
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        raise UsageError("huggingface_hub is not installed: pip install 'apt-lightning[hub]'") from None
    try:
        folder = snapshot_download(
            named[1], revision=named[2], local_files_only=not allow_download, allow_patterns=[CONFIG, WEIGHTS]
        )
    # Each version of the client has errors of its own for a wrong name, a missing file and a dead network.
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        remedy = "look at the name and the network" if allow_download else "let it be fetched by `--allow-download`"
        raise CheckpointError(f"{path} is not in the cache of the hub ({reason}); {remedy}") from None
    return str(folder)
