"""Everything that can be wrong with a clip: a code, a sentence and what happens to the clip."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What happens to a clip that has a fault; in order of severity."""

    HANDLED = "handled"
    """Nothing is lost: the clip is used in full."""
    DEGRADED = "degraded"
    """The clip is used without a part of it, or with a part that says little."""
    LEFT_OUT = "left out"
    """Nothing of the clip is used."""
    STOPS = "stops"
    """The run cannot go on before a person has decided."""


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault."""

    code: str
    """Short name, as in tables and files."""
    sentence: str
    """What was found and what is done about it, for people."""
    outcome: Outcome
    """What happens to the clip."""


@dataclass(frozen=True)
class Fault:
    """One fault of one clip."""

    code: str
    """Key of :data:`FAULTS`."""
    clip: str
    """Name of the clip."""
    detail: str
    """What was measured, for example ``"4 of 6 frames"``; may be empty."""


_HANDLED, _DEGRADED, _LEFT_OUT, _STOPS = Outcome

_KINDS = (
    # The file
    FaultKind("missing-file", "The file is not there.", _LEFT_OUT),
    FaultKind("unreadable-file", "The file may not be read, or reading it failed.", _LEFT_OUT),
    FaultKind("zero-length", "The file is empty.", _LEFT_OUT),
    FaultKind("truncated", "The file ends before its index: nothing in it can be found.", _LEFT_OUT),
    FaultKind("not-a-video", "The file is no media file.", _LEFT_OUT),
    FaultKind("too-long", "The clip is longer than a clip may be; cut it.", _LEFT_OUT),
    FaultKind("cut-short", "The file ends before its announced end; what is there is used.", _DEGRADED),
    FaultKind("damaged", "Parts of the file cannot be decoded; the rest is used.", _DEGRADED),
    FaultKind("nothing-usable", "Neither picture nor sound of the file can be used.", _LEFT_OUT),
    # The picture
    FaultKind("no-video", "There is no picture; the clip is used without it.", _DEGRADED),
    FaultKind("few-frames", "There are fewer frames than asked for; those there are are used.", _DEGRADED),
    FaultKind("frozen-picture", "The picture never changes; it is used as it is.", _DEGRADED),
    FaultKind("black-picture", "The picture is black throughout; the clip is used without it.", _DEGRADED),
    FaultKind("rotated", "The picture is stored turned; it is turned back.", _HANDLED),
    FaultKind("variable-rate", "The frame rate varies; frames are found by their times.", _HANDLED),
    FaultKind("several-video-streams", "There are several video streams; the default one is used.", _HANDLED),
    FaultKind("transparent-picture", "One sees through parts of the picture; white is put behind it.", _HANDLED),
    FaultKind("clock-restarts", "The file's clock starts anew; its parts are read one after another.", _HANDLED),
    FaultKind("wrong-aspect", "The picture is not 16:9; the whole of it is squeezed into the frame.", _HANDLED),
    # The face
    FaultKind("no-face", "No face is found in the picture; the clip is used without it.", _DEGRADED),
    FaultKind("several-faces", "There are several faces; the one that stays and is largest is used.", _HANDLED),
    # The sound
    FaultKind("no-audio", "There is no sound; the clip is used without it.", _DEGRADED),
    FaultKind("silent-audio", "The sound is silent throughout; the clip is used without it.", _DEGRADED),
    FaultKind("short-audio", "The sound is shorter than openSMILE needs; the clip is used without it.", _DEGRADED),
    FaultKind("invalid-audio", "The sound holds values that are no numbers; the clip is used without it.", _DEGRADED),
    FaultKind(
        "clipped-audio",
        "The sound is overdriven: samples stand at full scale; it is used as it is.",
        _HANDLED,
    ),
    # The encoder
    FaultKind("not-encoded", "The encoder gave no finite numbers; the clip is used without them.", _DEGRADED),
    # The words
    FaultKind("no-transcript", "There is no transcript; the clip is used without words.", _DEGRADED),
    FaultKind("empty-transcript", "The transcript is empty; the clip is used without words.", _DEGRADED),
    FaultKind("no-known-word", "No word of the transcript has a vector; the clip is used without words.", _DEGRADED),
    # The labels
    FaultKind("label-without-clip", "There are labels, but no file.", _LEFT_OUT),
    FaultKind("clip-without-label", "There is a file, but no label; the clip is scored only.", _DEGRADED),
    FaultKind("label-missing", "Some trait has no label; the clip counts for the others.", _DEGRADED),
    FaultKind("label-out-of-range", "A label is not in [0, 1]; correct the label file.", _STOPS),
    # The name
    FaultKind("duplicate-name", "Two files have this name; the first is used.", _LEFT_OUT),
    FaultKind("duplicate-content", "Another clip has the same bytes; both are used.", _HANDLED),
    FaultKind("case-collision", "Another name differs only in case; they are kept apart.", _HANDLED),
    FaultKind("leading-dash", "The name begins with '-'; it is kept as it is.", _HANDLED),
    FaultKind("non-ascii-name", "The name has characters beyond ASCII; it is kept as it is.", _HANDLED),
    FaultKind("quarantined", "The clip is on the quarantine list.", _LEFT_OUT),
    # The decoding process
    FaultKind("timeout", "Decoding took longer than the limit and was ended.", _LEFT_OUT),
    FaultKind("decoder-crash", "The decoding process died or failed on the clip.", _LEFT_OUT),
    FaultKind("out-of-memory", "Decoding needs more memory than a clip is allowed.", _LEFT_OUT),
)

FAULTS: dict[str, FaultKind] = {kind.code: kind for kind in _KINDS}
"""Every kind of fault by its code."""
