"""Faces, cut out and encoded, are a fourth modality in every stage, in the report and in `apt score`."""

import json
import shutil

import numpy as np
import pytest
from places import CONFIGS, OVERLAY, QUICK
from tiny_models import save_detector, save_onnx

from apt_lightning.cli import main
from apt_lightning.data.store.reader import Store
from apt_lightning.experiments.results import read_run
from apt_lightning.stages.load import load


@pytest.mark.slow
def test_faces_go_through_a_run_its_report_and_score(store_dir, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    store = shutil.copytree(store_dir, tmp_path / "store")
    detector = save_detector(tmp_path / "detector", gain=2.5)  # the red lips of the drawn faces
    net, _ = save_onnx(tmp_path / "net", "pictures")
    words = [
        "encode",
        str(store),
        "face",
        f"--encoder=onnx:{net}",
        f"--detector={detector}",
        "--name=look",
        "--frames=3",
    ]
    assert main(words) == 0
    found = Store.open(store).feature_set("face", "look")
    assert found.covered > 40
    crop = found.specification["take"]["crop"]
    assert len(crop["detector"]) == 64 and crop["margin"] == 1.4

    out = tmp_path / "run"
    words = [f"--store={store}", f"--out={out}", f"--stages={CONFIGS}", f"--overlay={OVERLAY}", f"--options={QUICK}"]
    assert main(["run", *words]) == 0
    four = ("audio", "visual", "text", "face")
    for stage in ("stage2", "stage3", "stage4"):
        assert load(out / "seed42" / stage / "best.ckpt").modalities == four
    assert {"face", "A+F", "V+F", "T+F", "A+V+T+F baseline (stage 2)"} <= set(read_run(out).systems)
    assert main(["report", str(out)]) == 0
    (page,) = out.glob("*.html")
    assert "face 0." in page.read_text(encoding="utf-8")

    clips = Store.open(store).clips
    seen = found.spans([clip.name for clip in clips])
    clip = next(clip for clip, (a, b) in zip(clips, seen, strict=True) if clip.split == "test" and b > a)
    words = ["score", "--json", f"--checkpoint={out}", f"--transcript={clip.transcript}"]
    capsys.readouterr()
    assert main([*words, "--", clip.path]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert tuple(told["modalities"]) == four
    table = read_run(out).systems["with embeddings (stage 4)"][0]
    row = table.predicted[list(table.clips).index(clip.name)]
    np.testing.assert_allclose(list(told["traits"].values()), np.clip(row, 0, 1), atol=5.1e-5)  # four digits
    moved = shutil.move(detector, tmp_path / "moved.onnx")
    assert main([*words, "--", clip.path]) == 2
    assert "--detector" in capsys.readouterr().err
    assert main([*words, f"--weights=detector={moved}", "--", clip.path]) == 0
    other = save_detector(tmp_path / "other", gain=2.6)
    assert main([*words, f"--weights=detector={other}", "--", clip.path]) == 2
    assert "another face detector" in capsys.readouterr().err
