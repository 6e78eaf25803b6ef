"""Damaged checkpoints and stores: a result or a typed error."""

import shutil
import warnings

import numpy as np
import pytest
import torch
from mutants import mutate
from places import HELPERS

from apt_lightning.common.errors import AptError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.preparation.share import Options
from apt_lightning.data.store.reader import Store
from apt_lightning.stages.checkpoint import FORMAT, read_stage


def attack(seeds, number, tmp_path, read):
    """Damage one file at a time of {relative path: bytes} and read the whole."""
    rng = np.random.default_rng(5)
    names = sorted(seeds)
    refused = 0
    for i in range(number):
        root = tmp_path / "mutant"
        name = names[i % len(names)]
        for file, data in seeds.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(mutate(data, rng) if file == name else data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(root)
        except AptError as error:
            refused += 1
            assert "\n" not in str(error)
        except Exception as error:
            raise AssertionError(f"mutant {i} of {name}: {(root / name).read_bytes()[:300]!r}") from error
        shutil.rmtree(root)
    assert refused > number // 20


def checkpoint(tmp_path):
    content = {
        "apt": {
            "format": FORMAT,
            "stage": "stage1_audio",
            "traits": list(TRAITS),
            "networks": {"audio": {"sizes": [88, 4]}},
        },
        "state_dict": {"net.weight": torch.arange(12.0).reshape(3, 4), "net.bias": torch.zeros(3)},
        "hyper_parameters": {"lr": 0.001},
    }
    torch.save(content, tmp_path / "best.ckpt")
    assert read_stage(str(tmp_path / "best.ckpt"), "stage1_audio").hparams == {"lr": 0.001}
    return {"best.ckpt": (tmp_path / "best.ckpt").read_bytes()}


def read_checkpoint(root):
    found = read_stage(str(root / "best.ckpt"), "stage1_audio")
    assert found.stage == "stage1_audio" and all(isinstance(name, str) for name in found.state)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Files of a store of four made-up clips."""
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))
    lines = [f"clip,split,{','.join(TRAITS)},transcript"]
    for i in range(4):
        (tmp_path / f"{i}.json").write_text(f'{{"seed": {i}}}')
        lines.append(f"{i}.json,train,.1,.2,.3,.4,.5,hello number there")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    folder = tmp_path / "store"
    assert prepare(tmp_path / "clips.csv", folder, Options(extract="fake_extract:extract", workers=1)) == 0
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def read_store(root):
    found = Store.open(root)
    assert found.present.shape == (len(found.clips), 3)
    vectors = found.vectors("audio")
    assert len(vectors) == len(found.clips)
    for i in range(len(found.clips)):
        assert all(isinstance(frame, bytes) for frame in found.frames(i))
    assert found.text.ids.shape[0] == len(found.clips)


def test_some_mutants_of_checkpoints(tmp_path):
    attack(checkpoint(tmp_path), 60, tmp_path, read_checkpoint)


@pytest.mark.slow
def test_many_mutants_of_checkpoints(tmp_path):
    attack(checkpoint(tmp_path), 500, tmp_path, read_checkpoint)


def test_some_mutants_of_stores(tmp_path, store):
    attack(store, 60, tmp_path, read_store)


@pytest.mark.slow
def test_many_mutants_of_stores(tmp_path, store):
    attack(store, 500, tmp_path, read_store)
