"""`apt score` opens clips in the expendable processes of preparation: their limits hold for it too."""

from dataclasses import replace

import pytest
from fake_extract import write_clip
from places import HELPERS

from apt_lightning.cli import main
from apt_lightning.common.errors import ClipError
from apt_lightning.data.preparation import share
from apt_lightning.stages import scorer

CASES = {"hang": "timeout", "memory": "out-of-memory", "die": "decoder-crash", "unreadable": "not-a-video"}
"""What a clip does to who opens it, and what is said of it."""


@pytest.fixture
def clips(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))
    for what in CASES:
        write_clip(tmp_path / f"{what}.mp4", do=what)

    def fake(every, explain):
        return replace(share.DEFAULTS, extract="fake_extract:extract", seconds=5, workers=2)

    for module in (share, scorer):
        monkeypatch.setattr(module, "in_time", fake)
    return tmp_path


def test_command(clips, feature_run, capsys):
    checkpoint = feature_run / "seed42" / "stage4" / "best.ckpt"
    assert main(["score", *[str(clips / f"{what}.mp4") for what in CASES], f"--checkpoint={checkpoint}"]) == 1
    told = capsys.readouterr().out
    assert "0 of 4 clips scored" in told and all(f"{code}: " in told for code in CASES.values())


def test_in_python(clips, feature_run):
    model = scorer.Scorer(str(feature_run / "seed42" / "stage4" / "best.ckpt"))
    for what, code in CASES.items():
        with pytest.raises(ClipError) as caught:
            model.score(clips / f"{what}.mp4")
        assert caught.value.code == code
