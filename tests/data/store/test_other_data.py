"""A trained checkpoint on another labelled folder of clips, described by a CSV."""

import csv
import shutil

import numpy as np
import pytest
from places import CONFIGS, HELPERS, QUICK

from apt_lightning.cli import main
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.collection.annotations import read_annotations, read_transcripts
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.preparation.share import Options
from apt_lightning.data.store.reader import Store
from apt_lightning.evaluation.predictions import read_predictions
from apt_lightning.stages.scorer import Scorer


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
    assert "10 clips" in shown and "CCC" in shown and "nan" not in shown.lower()
    ours = read_predictions(folder / "out" / "predictions_test.csv")
    theirs = read_predictions(chain / "seed42" / "stage4" / "predictions_test.csv")
    rows = [list(theirs.clips).index(name) for name in names]
    assert list(ours.clips) == names
    np.testing.assert_allclose(ours.true, theirs.true[rows], atol=1e-9)  # 1 to 7 mapped back to 0 to 1
    np.testing.assert_allclose(ours.predicted, theirs.predicted[rows], atol=1e-6)


def test_predict_tells_what_each_prediction_rests_on_and_accounts_for_every_clip(chain, other, capsys):
    folder, names = other
    checkpoint = chain / "seed42" / "stage4" / "best.ckpt"
    (folder / "away.txt").write_text(names[0])
    flags = [f"--ckpt_path={checkpoint}", f"--run_dir={folder}", *QUICK, f"--data.store={folder / 'store'}"]
    assert main(["predict", *flags, f"--data.quarantine={folder / 'away.txt'}"]) == 0
    told = "11 clips given = 9 predicted + 2 left out (1 quarantined, 1 missing-file)"
    assert told in capsys.readouterr().out
    with (folder / "predictions_all.csv").open(newline="") as stream:
        rows = {row["clip"]: row for row in csv.DictReader(stream)}
    assert list(rows) == names[1:]
    scorer = Scorer(str(checkpoint))
    words = {clip.name: clip.transcript for clip in Store.open(folder / "store").clips}
    for name in names[1:3]:
        scored = scorer.score(folder / name, words[name])
        assert rows[name]["modalities"].split() == scored["modalities"]
        for trait in TRAITS:
            ends = [float(rows[name][f"{end}_{trait}"]) for end in ("lower", "upper")]
            assert ends == pytest.approx(scored["intervals"][trait], abs=2e-4)
    assert len(read_predictions(folder / "predictions_all.csv")) == 9


def test_words_of_new_clips_are_looked_up_in_the_file_that_the_model_learnt_from(tmp_path, monkeypatch):
    """`zebra` has the vector of `hello`, and no clip that the model was trained on says it."""
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))
    rng = np.random.default_rng(0)
    vectors = dict(zip(["hello", "there", "number"], rng.normal(size=(3, 8)), strict=True))
    vectors["zebra"] = vectors["hello"]
    lines = [f"{word} {' '.join(map(repr, map(float, values)))}" for word, values in vectors.items()]
    (tmp_path / "vectors.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "others.txt").write_text("\n".join(lines[::-1]) + "\n")

    def store(name, splits, texts, file):
        rows = [["clip", "split", *TRAITS, "transcript"]]
        for i, (split, text) in enumerate(zip(splits, texts, strict=True)):
            (tmp_path / f"{name}{i}.json").write_text(f'{{"seed": {i}}}')
            rows.append([f"{name}{i}.json", split, *rng.uniform(0.2, 0.8, 5), text])
        with (tmp_path / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)
        options = Options(extract="fake_extract:extract", workers=1, vectors=str(tmp_path / file))
        prepare(tmp_path / f"{name}.csv", tmp_path / name, options)
        return f"--data.store={tmp_path / name}"

    splits = ["train"] * 16 + ["validation"] * 4
    known = store("known", splits, [["hello there", "there number", "number"][i % 3] for i in range(20)], "vectors.txt")
    run = [f"--run_dir={tmp_path / 'run'}", *QUICK]
    assert main(["fit", f"--config={CONFIGS / 'stage1_text.yaml'}", known, *run]) == 0
    for file, equal in (("vectors.txt", True), ("others.txt", False)):
        new = store(file[:-4], ["test"] * 2, ["hello there", "zebra there"], file)
        assert main(["predict", f"--ckpt_path={tmp_path / 'run'}", new, *run]) == 0
        said, new = read_predictions(tmp_path / "run" / "predictions_all.csv").predicted
        assert np.allclose(said, new, rtol=0, atol=1e-6) == equal
