import re

from apt_lightning.data.faults import FAULTS, Outcome

# Item 1 of the requirement: what must be named.
REQUIRED = [
    "missing-file",
    "label-without-clip",
    "clip-without-label",
    "zero-length",
    "truncated",
    "not-a-video",
    "no-video",
    "no-audio",
    "silent-audio",
    "short-audio",
    "clipped-audio",
    "few-frames",
    "frozen-picture",
    "black-picture",
    "rotated",
    "variable-rate",
    "several-video-streams",
    "wrong-aspect",
    "empty-transcript",
    "no-known-word",
    "duplicate-content",
    "case-collision",
    "leading-dash",
    "non-ascii-name",
    "label-out-of-range",
    "label-missing",
    "timeout",
    "decoder-crash",
    "out-of-memory",
]


def test_every_required_fault_has_a_sentence_and_an_outcome():
    assert set(REQUIRED) <= set(FAULTS)
    for code, kind in FAULTS.items():
        assert kind.code == code and re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", code)
        assert kind.sentence.endswith(".") and isinstance(kind.outcome, Outcome)


def test_rotation_and_rate_are_handled():
    assert {FAULTS[code].outcome for code in ("rotated", "variable-rate")} == {Outcome.HANDLED}


def test_outcomes_stand_in_order_of_severity():
    assert [str(outcome) for outcome in Outcome] == ["handled", "degraded", "left out", "stops"]
