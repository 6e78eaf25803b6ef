"""The benches run; what they measure is looked at, never asserted."""

import json
import os
import subprocess
import sys

import pytest
from places import ROOT

from bench import train

FEW = ["--clips=60", "--validation=20", "--epochs=1", "--rounds=1"]


def run(module, *words):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", module, *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_train_compares_every_stage_with_a_bare_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train", *FEW, f"--json={tmp_path / 'train.json'}"])
    monkeypatch.setitem(train.ENCODERS["visual"], "backbone", "resnet18")
    train.main()
    found = json.loads((tmp_path / "train.json").read_text())
    assert set(found) == {"train/stage 2", "train/stage 3", "train/stage 4", "train/together"}
    assert all(row["ratio"] == pytest.approx(row["seconds"] / row["bare_seconds"]) for row in found.values())


@pytest.mark.slow
def test_scale_gpu_and_processes_run_on_a_processor(tmp_path):
    assert "scale/300" in run("bench.scale", "--sizes", "300", "--epochs=1")
    stages = ["stage 1 audio", "stage 1 text", "stage 2"]
    said = run("bench.gpu", "--accelerator=cpu", "--clips=300", "--steps=1", "--stages", *stages)
    assert all(stage in said for stage in stages)
    assert "stage 1 visual" in run("bench.processes", "--clips=4", "--seconds=2")


@pytest.mark.slow
def test_encode_compares_with_bare_loops_and_decoding(tmp_path):
    run("bench.encode", "--clips=2", "--more=2", "--texts=3", "--seconds=1", f"--json={tmp_path / 'encode.json'}")
    found = json.loads((tmp_path / "encode.json").read_text())
    models = [f"encode/{name}" for name in ("WavLM-base", "DINOv2-S", "MiniLM")]
    assert list(found) == [*models, "encode/decoding of sound", "encode/decoding of pictures"]
    for name, row in found.items():
        bare = row["bare_per_second" if name in models else "decoding_per_second"]
        assert row["ratio"] == pytest.approx(row["per_second"] / bare) and row["cpu_ratio"] > 0 < row["kb_a_clip"]
    assert "3 clips" in run("bench.encode_memory", "--sizes", "3")


@pytest.mark.slow
def test_onnx_compares_with_torch(chain, tmp_path):
    pytest.importorskip("onnxscript")
    checkpoint = f"--checkpoint={chain / 'seed42' / 'stage4' / 'best.ckpt'}"
    run("bench.onnx", checkpoint, "--batches", "2", "--rounds=1", f"--json={tmp_path / 'onnx.json'}")
    found = json.loads((tmp_path / "onnx.json").read_text())
    assert len(found["onnx/difference"]) == 8 and max(found["onnx/difference"].values()) < 1e-4
    assert found["onnx/batch 2"]["ratio"] > 0
