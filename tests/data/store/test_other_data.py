"""A trained checkpoint on another labelled folder of clips, described by a CSV."""

import csv
import shutil

import numpy as np
import pytest
from places import CONFIGS, QUICK

from apt_lightning.cli import main
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.collection.annotations import read_annotations, read_transcripts
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.preparation.share import Options
from apt_lightning.evaluation.predictions import read_predictions


@pytest.fixture
def other(clips_dir, tmp_path):
    """Ten test clips as a folder with a CSV on a scale of 1 to 7, one without a file."""
    labels = read_annotations(clips_dir / "annotation_test.pkl")
    words = read_transcripts(clips_dir / "transcription_test.pkl")
    names = sorted(words)[:10]
    with (tmp_path / "clips.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["clip", "scale", *TRAITS, "transcript"])
        for name in [*names, "gone.mp4"]:
            values = [1 + 6 * labels[trait][name] if name in words else 4 for trait in TRAITS]
            writer.writerow([name, "1-7", *values, words.get(name, "")])
    for name in names:
        shutil.copy(next(clips_dir.rglob(name)), tmp_path / name)
    prepare(tmp_path / "clips.csv", tmp_path / "store", Options(workers=1))
    return tmp_path, names


def test_tables_of_another_data_set(chain, other, capsys):
    folder, names = other
    checkpoint = chain / "seed42" / "stage4" / "best.ckpt"
    flags = [f"--config={CONFIGS / 'stage4.yaml'}", f"--ckpt_path={checkpoint}", f"--run_dir={folder / 'out'}", *QUICK]
    assert main(["test", *flags, f"--data.store={folder / 'store'}"]) == 0
    shown = capsys.readouterr().out
    assert "10 clips" in shown and "Spearman" in shown and "nan" not in shown.lower()
    ours = read_predictions(folder / "out" / "predictions_test.csv")
    theirs = read_predictions(chain / "seed42" / "stage4" / "predictions_test.csv")
    rows = [list(theirs.clips).index(name) for name in names]
    assert list(ours.clips) == names
    np.testing.assert_allclose(ours.true, theirs.true[rows], atol=1e-9)  # 1 to 7 mapped back to 0 to 1
    np.testing.assert_allclose(ours.predicted, theirs.predicted[rows], atol=1e-6)


def test_predict_writes_every_usable_clip(chain, store_dir, tmp_path):
    checkpoint = chain / "seed42" / "stage4" / "best.ckpt"
    flags = [f"--config={CONFIGS / 'stage4.yaml'}", f"--ckpt_path={checkpoint}", f"--run_dir={tmp_path}", *QUICK]
    assert main(["predict", *flags, f"--data.store={store_dir}"]) == 0
    assert len(read_predictions(tmp_path / "predictions_all.csv")) == 60
