"""The joint training: what it computes, what rests when, and that its checkpoint is one of stage 4."""

import json

import numpy as np
import pytest
import torch
from places import CONFIGS, QUICK

from apt_lightning.cli import main
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.data.store.reader import Store
from apt_lightning.losses import RankNContrastLoss, TraitMultiSimilarityLoss
from apt_lightning.stages.checkpoint import read_stage
from apt_lightning.stages.joint import JointModule
from apt_lightning.stages.load import load
from apt_lightning.stages.metric import MetricTerm, MetricTerms, labels_of_other_sources


def fit(store, folder, *flags, start=None):
    arguments = [f"--config={CONFIGS / 'joint.yaml'}", f"--data.store={store}", f"--run_dir={folder}"]
    arguments += [f"--model.start_ckpt={start or 'null'}", *QUICK, *flags]
    assert main(["fit", *arguments]) == 0
    return folder


def test_a_warm_start_ends_in_a_checkpoint_of_stage_4(chain, store_dir, clips_dir, tmp_path, capsys):
    start = chain / "seed42" / "stage4" / "best.ckpt"
    flags = ("--model.encoder_batch=3", "--model.head_epochs=1", "--trainer.max_epochs=2", "--data.augment=false")
    run = fit(store_dir, tmp_path / "run", *flags, start=start)
    best, last, first = (read_stage(path) for path in (run / "best.ckpt", run / "last.ckpt", start))
    assert best.stage == "stage4" and best.networks["encoders"] == first.networks["encoders"]
    before, after = first.weights("encoders"), last.weights("encoders")
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert any("gru" in name for name in moved) and any("backbone" in name for name in moved)
    assert not any("running" in name for name in moved)  # frozen statistics of batch norm
    assert main(["test", f"--ckpt_path={run / 'best.ckpt'}", f"--data.store={store_dir}"]) == 0
    clip = next(clips_dir.glob("test-1/*/*.mp4"))
    capsys.readouterr()
    assert main(["score", "--json", "--explain", f"--checkpoint={run / 'best.ckpt'}", "--", str(clip)]) == 0
    assert set(json.loads(capsys.readouterr().out)[0]["traits"]) and load(run / "best.ckpt").stage == "stage4"
    again = [f"--ckpt_path={run / 'last.ckpt'}", f"--run_dir={run}", f"--data.store={store_dir}"]
    assert main(["fit", *again, *QUICK, "--trainer.max_epochs=3", "--data.augment=false"]) == 0
    assert torch.load(run / "last.ckpt", weights_only=True)["epoch"] == 2


def test_encoders_rest_while_heads_begin(feature_run, tmp_path):
    store, start = feature_run.parent / "store", feature_run / "seed42" / "stage4" / "best.ckpt"
    run = fit(store, tmp_path / "run", "--model.head_epochs=1", start=start)
    first, last = read_stage(start), read_stage(run / "last.ckpt")
    assert all(torch.equal(x, last.weights("encoders")[name]) for name, x in first.weights("encoders").items())
    for part in ("network.fusion", "network.siamese", "network.layers", "head"):
        assert any(not torch.equal(x, last.weights(part)[name]) for name, x in first.weights(part).items()), part


@pytest.mark.parametrize("metric", ["multi_similarity", "rank_n_contrast"])
def test_from_scratch_on_some_modalities(feature_run, tmp_path, metric):
    flags = ["--model.stage1={text: {hidden_dims: [32], output_dim: 16}, audio: {hidden_dims: [32], output_dim: 16}}"]
    flags += [f"--model.metric.kind={metric}", "--model.head_epochs=0", "--model.encoder_rate=1"]
    run = fit(feature_run.parent / "store", tmp_path / "run", *flags)
    module = load(run / "best.ckpt")
    assert isinstance(module, JointModule) and module.modalities == ("text", "audio")
    assert module.encoders.encoders["text"].low.abs().max() > 0  # the scaling of the training clips
    assert main(["test", f"--ckpt_path={run / 'best.ckpt'}", f"--data.store={feature_run.parent / 'store'}"]) == 0


@pytest.fixture
def joint(feature_run):
    """A module in training, in float64, and a batch."""

    def make(**options):
        torch.manual_seed(0)
        start = str(feature_run / "seed42" / "stage4" / "best.ckpt")
        module = JointModule(start, metric_weight=0.5, **options).double()
        module.network.siamese.layers[2].p = 0.0
        store = Store.open(feature_run.parent / "store")
        batch = ClipDataset(store, module.modalities)[torch.arange(24)]
        module.metric.labels = batch.traits
        module.metric.sources = torch.arange(24) // 3
        module.on_train_epoch_start = lambda: None
        module.train()
        inputs = {name: x._replace(values=x.values.double()) for name, x in batch.inputs.items()}
        return module, batch._replace(traits=batch.traits.double(), inputs=inputs)

    return make


def gradients(module, batch, part="encoders"):
    module.zero_grad()
    module.training_step(batch, 0).backward()
    return {name: p.grad.clone() for name, p in module.get_submodule(part).named_parameters()}


def test_encoders_in_parts_have_the_gradient_of_the_whole_batch(joint):
    module, batch = joint()
    whole = gradients(module, batch)
    module.encoder_batch = 7
    for name, gradient in gradients(module, batch).items():
        torch.testing.assert_close(gradient, whole[name], rtol=0, atol=1e-13)


def test_the_joined_scores_do_not_train_the_encoders_where_cut(joint):
    module, batch = joint(cut_fusion_gradient=True)
    cut = gradients(module, batch)
    score, module.score = module.score, lambda features, present: score(features, present).detach() * 0
    for name, gradient in gradients(module, batch).items():
        torch.testing.assert_close(gradient, cut[name], rtol=0, atol=1e-13)
    module.score = score
    module.cut_fusion_gradient = False
    assert any(not torch.allclose(g, cut[name]) for name, g in gradients(module, batch).items())


def test_metric_term_compares_the_stacked_modalities():
    torch.manual_seed(0)
    embeddings, labels = torch.randn(8, 2, 4, dtype=torch.float64), torch.rand(8, 5, dtype=torch.float64)
    present, sources = torch.rand(8, 2) > 0.2, torch.arange(8) // 2
    stacked = torch.cat([embeddings[:, 0], embeddings[:, 1]])
    term = MetricTerm(MetricTerms(pairs="across", other_sources=True))
    term.labels, term.sources = labels, sources
    expected = RankNContrastLoss(pairs="across")(
        stacked,
        labels.repeat(2, 1),
        torch.cat([present[:, 0], present[:, 1]]),
        sources.repeat(2),
        torch.arange(16) // 8,
    )
    assert term(embeddings, torch.arange(8), present).item() == pytest.approx(expected.item(), abs=1e-12)
    term = MetricTerm(MetricTerms("multi_similarity"))
    term.labels, term.sources = labels, sources
    term.loss.set_statistics([0.5] * 5, [0.2] * 5)
    paper = TraitMultiSimilarityLoss(mean=[0.5] * 5, sd=[0.2] * 5)
    assert term(embeddings, torch.arange(8), torch.ones(8, 2, dtype=torch.bool)) == paper(stacked, labels.repeat(2, 1))


def test_shuffled_labels_are_those_of_another_source():
    rng = np.random.default_rng(0)
    sources = np.repeat(np.arange(20), rng.integers(1, 4, 20))
    labels = sources[:, None] + rng.uniform(0, 0.5, (len(sources), 5))
    rows = np.flatnonzero(sources < 15)
    dealt = labels_of_other_sources(labels, sources, rows, 1)
    given = dealt.astype(int)[:, 0]
    assert (given[rows] != sources[rows]).all() and (given[rows] < 15).all()
    for source in range(15):
        assert len(set(given[sources == source])) == 1
    np.testing.assert_array_equal(dealt[sources >= 15], labels[sources >= 15])


@pytest.mark.parametrize("kind", ["multi_similarity", "rank_n_contrast"])
def test_stage_1_with_a_metric_loss(feature_run, tmp_path, kind):
    def weights(*flags):
        run = tmp_path / str(len(list(tmp_path.iterdir())))
        arguments = [f"--config={CONFIGS / 'stage1_audio.yaml'}", f"--data.store={feature_run.parent / 'store'}"]
        assert main(["fit", *arguments, f"--run_dir={run}", *QUICK, *flags]) == 0
        return load(run / "best.ckpt").encoder.state_dict()

    metric = ("--model.metric_weight=1", f"--model.metric.kind={kind}")
    plain, with_metric, shuffled = weights(), weights(*metric), weights(*metric, "--model.metric.shuffled=true")
    assert not torch.equal(plain["layers.0.weight"], with_metric["layers.0.weight"])
    assert not torch.equal(shuffled["layers.0.weight"], with_metric["layers.0.weight"])
