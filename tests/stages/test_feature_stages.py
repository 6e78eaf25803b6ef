"""Stage 1 on feature sets, and its way through stages 2 to 4 with a fourth modality that has nothing but a set."""

import json

import numpy as np
import pytest
import torch
from feature_sets import put_set

from apt_lightning.cli import main
from apt_lightning.common.errors import StoreError
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.data.store.reader import Store
from apt_lightning.networks import build
from apt_lightning.stages.checkpoint import read_stage

RNG = np.random.default_rng(4)


@pytest.fixture(scope="module")
def copy(store_dir, tmp_path_factory):
    import shutil

    folder = tmp_path_factory.mktemp("sets") / "store"
    shutil.copytree(store_dir, folder)
    store = Store.open(folder)
    put_set(store, "visual", "one")
    put_set(store, "visual", "two", layers=1, dim=3, lacking=(0, 1))
    put_set(store, "face", "three", lacking=(0,))
    return folder


def network(sets=((2, 6), (1, 3))):
    torch.manual_seed(0)
    about = [{"name": f"s{i}", "layers": n, "dim": d, "key": "k"} for i, (n, d) in enumerate(sets)]
    return build({"kind": "sequences", "sets": about, "set_dim": 8, "output_dim": 5}).eval()


def test_masked_steps_change_nothing():
    net, values, length = network(), torch.randn(3, 4, 15), torch.tensor([[4, 2], [1, 1], [2, 0]])
    alone = [net(values[i : i + 1, : int(length[i].max())], length[i : i + 1]) for i in range(3)]
    other = values.clone()
    for i in range(3):
        other[i, length[i, 0] :, :12] = torch.nan
        other[i, length[i, 1] :, 12:] = 1e9
    torch.testing.assert_close(net(other, length), torch.cat(alone))


def test_encoder_is_the_formula():
    net, values = network(((2, 6),)), torch.randn(1, 3, 12)
    net.mean.normal_(), net.sd.uniform_(0.5, 2), net.mixes[0].data.normal_()
    x = ((values - net.mean) / net.sd)[0].detach().numpy().reshape(3, 2, 6)
    mix = np.exp(net.mixes[0].detach().numpy())
    w, b = (p.detach().numpy() for p in (net.linear[0][0].weight, net.linear[0][0].bias))
    h = np.maximum(np.einsum("tld,l->td", x, mix / mix.sum()) @ w.T + b, 0)
    a, c = (p.detach().numpy() for p in (net.attention[0].weight, net.attention[0].bias))
    energy = np.exp(np.tanh(h @ a.T + c)[:, 0])
    v, d = (p.detach().numpy() for p in (net.layers[0].weight, net.layers[0].bias))
    expected = np.maximum((energy / energy.sum()) @ h @ v.T + d, 0)
    np.testing.assert_allclose(net(values, torch.tensor([[3]]))[0].detach(), expected, atol=1e-5)


def test_batches_hold_the_steps_and_what_is_missing(copy):
    store = Store.open(copy)
    assert store.kinds["face"] == "sequences" and not store.present[0, 3] and store.present[1:, 3].all()
    clips = ClipDataset(store, ["visual", "face"], sets={"visual": {"one": "", "two": ""}})
    batch = clips[torch.arange(6)]
    values, length, _ = batch.inputs["visual"]
    assert values.shape == (6, 5, 15) and length.tolist() == [[1, 0], [2, 0], [3, 3], [4, 4], [5, 5], [1, 1]]
    found = store.feature_set("visual", "one")
    np.testing.assert_array_equal(values[2, :3, :12], found.values[3:6].reshape(3, 12).astype(np.float32))
    assert batch.present.tolist() == [[True, False], *([[True, True]] * 5)]
    with pytest.raises(StoreError, match=r"of another encoder"):
        ClipDataset(store, ["visual"], sets={"visual": {"one": "other"}})


def fit(name, config, store, out, *more):
    options = [
        f"--data.store={store}",
        f"--run_dir={out / name}",
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
    ]
    options += ["--data.batch_size=16", "--trainer.enable_progress_bar=false"]
    return main(["fit", f"--config={config}.yaml", *options, *more])


def test_four_modalities_through_all_stages(copy, tmp_path):
    for modality, features in (("visual", "[one,two]"), ("face", "[three]")):
        words = [f"--model.modality={modality}", f"--model.features={features}", "--model.dropout=0"]
        assert fit(f"stage1_{modality}", "stage1_features", copy, tmp_path, *words) == 0
    file = read_stage(tmp_path / "stage1_visual" / "best.ckpt")
    about = file.networks["encoders"]["visual"]["sets"]
    assert [one["name"] for one in about] == ["one", "two"] and about[0]["specification"]["weights"] == {"w": "1"}
    store = Store.open(copy)
    rows = [i for i, clip in enumerate(store.clips) if clip.split == "train" and store.present[i].any()]
    found = store.feature_set("visual", "one")
    steps = np.concatenate([found.values[s:e] for s, e in found.spans([store.clips[i].name for i in rows])])
    expected = steps.reshape(len(steps), -1).astype(np.float64)
    np.testing.assert_allclose(file.state["encoder.mean"][:12], expected.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(file.state["encoder.sd"][:12], expected.std(axis=0), atol=1e-5)

    for name in ("stage1_audio", "stage1_text"):
        assert fit(name, name, copy, tmp_path) == 0
    names = ("audio", "text", "visual", "face")
    encoders = {name: str(tmp_path / f"stage1_{name}" / "best.ckpt") for name in names}
    given = f"--model.checkpoints={json.dumps(encoders)}"
    assert fit("stage2", "stage2", copy, tmp_path, given) == 0
    assert fit("stage3", "stage3", copy, tmp_path, given) == 0
    joined = [f"--model.fusion_ckpt={tmp_path / 'stage2' / 'best.ckpt'}"]
    joined += [f"--model.siamese_ckpt={tmp_path / 'stage3' / 'best.ckpt'}"]
    assert fit("stage4", "stage4", copy, tmp_path, *joined) == 0
    assert read_stage(tmp_path / "stage4" / "best.ckpt").metadata["modalities"] == ["audio", "text", "visual", "face"]
    assert len(list((copy / "frozen").glob("face-*"))) == 1

    checkpoint = str(tmp_path / "stage4" / "best.ckpt")
    assert main(["export", checkpoint, str(tmp_path / "model")]) == 0
    assert "- visual: the feature sets one, two" in (tmp_path / "model" / "README.md").read_text()
