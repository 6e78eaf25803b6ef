"""What is said in a clip, found by a Whisper model on this machine (faster-whisper); nothing is sent anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import file_digest
from apt_lightning.common.processes import core_count

FILES = ("model.bin", "config.json", "tokenizer.json")
"""Files of a model in the form of CTranslate2, without which one would be fetched or none be found."""
REPETITIVE = 2.4
"""How much shorter gzip makes a text from which Whisper itself does not believe it (Radford et al., 2022, 4.5)."""


class Transcriber:
    """A Whisper model: in int8 on the CPU, in float16 on a GPU of NVIDIA where there is one.

    Only what its voice activity filter (Silero) takes for speech is heard: without it, Whisper makes up words in
    silence and noise. Nothing is sampled, so that a clip gives the same words twice.

    Args:
        model: Folder of a model in the form of CTranslate2; or its name, such as ``small.en`` or ``owner/name``, which
            is looked for in the cache of the Hugging Face hub.
        language: Code of what is spoken, such as ``en``; found by the model if not given.
        allow_download: Fetch a model of that name from the hub if it is not in the cache.

    Raises:
        UsageError: If the extra ``transcribe`` is not installed, or there is no such model or language.
    """

    source: dict[str, str]
    """``model``, its name, and ``sha256``, the digest of its weights: what a transcript is marked with."""

    def __init__(self, model: str, language: str | None = None, allow_download: bool = False) -> None:
        try:
            import ctranslate2
            from faster_whisper import WhisperModel
        except ModuleNotFoundError:
            raise UsageError("faster-whisper is not installed: pip install 'apt-lightning[transcribe]'") from None
        folder = _folder(model, allow_download)
        on_gpu = ctranslate2.get_cuda_device_count() > 0
        try:
            self._model = WhisperModel(
                str(folder),
                device="cuda" if on_gpu else "cpu",
                compute_type="float16" if on_gpu else "int8",
                cpu_threads=core_count(),
                local_files_only=True,
            )
        # CTranslate2 and its tokenizer raise RuntimeError and bare Exception.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"{folder} holds no Whisper model in the form of CTranslate2: {reason}") from None
        if language is not None and language not in self._model.supported_languages:
            known = ", ".join(self._model.supported_languages)
            raise UsageError(f"{model} knows no language {language!r}; it knows {known}")
        self._language = language
        name = folder.resolve().name if Path(model).is_dir() else model
        self.source = {"model": name, "sha256": file_digest(folder / "model.bin")}

    def transcribe(self, samples: npt.NDArray[np.float32]) -> str:
        """Write down what is said.

        Args:
            samples: (T,) mono samples in [-1, 1], :data:`apt_lightning.data.media.extraction.SPEECH_RATE` a second.

        Returns:
            The words; empty where nobody speaks.
        """
        segments: Any
        segments, _ = self._model.transcribe(
            samples, language=self._language, vad_filter=True, temperature=0.0, condition_on_previous_text=False
        )
        return " ".join(part.text.strip() for part in segments if part.compression_ratio < REPETITIVE)


def _folder(model: str, allow_download: bool) -> Path:
    folder = Path(model)
    if not folder.is_dir():
        from faster_whisper import download_model

        try:
            folder = Path(download_model(model, local_files_only=not allow_download))
        # Each version of the hub's client has errors of its own for a wrong name, a missing file and a dead network.
        except Exception as error:
            reason = " ".join(str(error).split())[:120]
            remedy = "" if allow_download else "; give a folder, or let it be fetched by `--allow-download`"
            raise UsageError(f"no Whisper model at {model} ({reason}){remedy}") from None
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise UsageError(
            f"{folder} holds no {missing[0]}; a Whisper model in the form of CTranslate2 has {', '.join(FILES)}"
        )
    return folder
