"""The words of clips by a Whisper model: files are opened by the expendable workers, words are found here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from apt_lightning.data.preparation.share import DEFAULTS, Options, extracting
from apt_lightning.data.text.transcribe import Transcriber


def transcribe_clips(
    transcriber: Transcriber, clips: Sequence[str | os.PathLike[str]], options: Options = DEFAULTS
) -> Iterator[tuple[str, str | None]]:
    """Write down what is said in clips.

    Args:
        transcriber: The model.
        clips: Files; one given twice is heard once.
        options: Number of workers and time limit.

    Yields:
        Path and words of each clip, in order of completion: empty words where nobody speaks or there is no sound,
        ``None`` where the file cannot be read.

    Raises:
        StoreError: If the workers cannot start.
    """
    hearing = replace(options, extract="apt_lightning.data.media.extract:extract_speech")
    with extracting(clips, hearing) as results:
        for result in results:
            heard = result.extraction
            said = None if heard is None or heard.speech is None else transcriber.transcribe(heard.speech)
            yield result.task.path, said
