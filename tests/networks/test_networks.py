"""Sizes of the paper (section 2, computed counts) and what masks and padding must not change."""

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from apt_lightning.networks import FinalNet, FrameEncoder, FusionNet, SiameseNet, TokenEncoder, VectorEncoder
from apt_lightning.networks.recurrent import BidirectionalGRU


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_of_the_paper():
    assert count(VectorEncoder(88)) == 353_536
    frames = FrameEncoder("resnet50")
    assert count(frames.layers) == 524_544
    assert count(frames.backbone) == 23_508_032  # ResNet-50 without its classifier
    text = TokenEncoder(300, 10, 4)
    assert count(text.gru) == 330_240 and count(text.attention) == 257
    fusion, siamese = FusionNet(), SiameseNet()
    assert count(fusion.layers) == 1_312_256
    assert count(siamese) == 117_328
    final = FinalNet(fusion, siamese)
    assert count(final.layers) == 459_264
    assert final.layers[0].in_features == 896


def test_vector_encoder_scales_to_the_training_range_and_clips():
    encoder = VectorEncoder(3, hidden_dims=[], output_dim=3)
    with torch.no_grad():
        encoder.layers[0].weight.copy_(torch.eye(3))
    encoder.fit_range(torch.tensor([[0.0, 10.0, 5.0], [4.0, 20.0, 5.0]]))
    out = encoder(torch.tensor([[1.0, 25.0, 5.0], [-3.0, 15.0, 5.0]]))
    assert out.tolist() == [[0.25, 1.0, 0.0], [0.0, 0.5, 0.0]]


def test_token_encoder_ignores_padding_and_matches_a_loop():
    torch.manual_seed(0)
    encoder = TokenEncoder(5, 20, 1, hidden_dim=4).eval()
    encoder.table.copy_(torch.randn(20, 5))
    ids = torch.tensor([[3, 4, 5, 0, 0], [6, 7, 8, 9, 10]])
    length = torch.tensor([3, 5])
    both = encoder(ids, length)
    alone = encoder(ids[:1, :3], length[:1])
    torch.testing.assert_close(both[:1], alone)
    gru = torch.nn.GRU(5, 4, batch_first=True, bidirectional=True)
    gru.load_state_dict(encoder.gru.state_dict())
    hidden = gru(encoder.table[ids[1:]])[0][0]
    weight, bias = encoder.attention.weight[0], encoder.attention.bias
    energy = np.array([float(torch.tanh(weight @ h + bias).detach()) for h in hidden])
    attention = np.exp(energy) / np.exp(energy).sum()
    expected = (torch.tensor(attention, dtype=torch.float32)[:, None] * hidden).sum(0)
    torch.testing.assert_close(both[1], expected)


def packed(gru, vectors, length):
    """What torch's own bidirectional GRU says of sequences of different lengths."""
    sequences = pack_padded_sequence(vectors, length, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(gru(sequences)[0], batch_first=True)[0]


def pair():
    """Ours and torch's, with the same weights."""
    torch.manual_seed(0)
    ours, theirs = BidirectionalGRU(50, 128), torch.nn.GRU(50, 128, batch_first=True, bidirectional=True)
    theirs.load_state_dict(ours.state_dict())
    length = torch.randint(1, 41, (32,))
    length[0], length[1] = 40, 1
    counts = torch.arange(40) < length[:, None]
    return ours, theirs, torch.randn(32, 40, 50), length, counts


@pytest.mark.parametrize("autocast", [False, True])
def test_two_grus_are_the_packed_bidirectional_one(autocast):
    ours, theirs, vectors, length, counts = pair()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found, expected = ours(vectors, length)[counts], packed(theirs, vectors, length)[counts]
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-2 if autocast else 1e-6)
    found.float().square().sum().backward()
    expected.float().square().sum().backward()
    for (name, weight), (_, same) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        error = (weight.grad - same.grad).abs().max() / weight.grad.abs().max()
        assert error < (3e-2 if autocast else 1e-5), name


def test_two_grus_draw_keep_and_take_the_weights_of_one():
    ours = pair()[0]
    torch.manual_seed(0)
    fresh = torch.nn.GRU(50, 128, batch_first=True, bidirectional=True).state_dict()
    assert list(ours.state_dict()) == list(fresh)  # the order too: an optimizer's state goes by it
    assert all(torch.equal(value, fresh[name]) for name, value in ours.state_dict().items())
    changed = {name: value + 1 for name, value in fresh.items()}
    ours.load_state_dict(changed)
    assert all(torch.equal(value, changed[name]) for name, value in ours.state_dict().items())
    with pytest.raises(RuntimeError, match="Missing key"):
        ours.load_state_dict({name: value for name, value in changed.items() if name != "bias_hh_l0_reverse"})


def test_a_clip_without_words_changes_no_other_and_gives_finite_features():
    torch.manual_seed(0)
    encoder = TokenEncoder(5, 20, 1, hidden_dim=4).eval()
    encoder.table[2:] = torch.randn(18, 5)
    features = encoder(torch.tensor([[3, 4, 5], [0, 0, 0]]), torch.tensor([3, 0]))
    torch.testing.assert_close(features[:1], encoder(torch.tensor([[3, 4, 5]]), torch.tensor([3])))
    assert features.isfinite().all()
    assert encoder(torch.zeros(2, 1, dtype=torch.long), torch.tensor([0, 0])).isfinite().all()


def test_frame_encoder_averages_only_the_frames_that_count():
    torch.manual_seed(0)
    encoder = FrameEncoder("resnet18").eval()
    frames = torch.rand(1, 3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        two = encoder(frames, torch.tensor([2]))
        other = frames.clone()
        other[:, 2] = 1.0
        torch.testing.assert_close(encoder(other, torch.tensor([2])), two)
        torch.testing.assert_close(encoder(frames[:, :2], torch.tensor([2])), two)
        assert not torch.allclose(encoder(frames, torch.tensor([3])), two)


@pytest.mark.parametrize("missing", ["learned", "mean", "zero"])
def test_final_net_reads_nothing_of_a_missing_modality(missing):
    torch.manual_seed(0)
    net = FinalNet(FusionNet(), SiameseNet(), missing_embedding=missing).eval()
    features = torch.rand(4, 3, 256)
    present = torch.tensor([[True, False, True]]).expand(4, 3)
    before = net(features, present)
    changed = features.clone()
    changed[:, 1] = 9.0
    torch.testing.assert_close(net(changed, present), before)
    embeddings = net.embed(features, present)
    torch.testing.assert_close(embeddings[:, 0].norm(dim=-1), torch.ones(4))
    expected = {"learned": net.missing[1] if missing == "learned" else None, "zero": torch.zeros(128)}
    if missing == "mean":
        torch.testing.assert_close(embeddings[:, 1], (embeddings[:, 0] + embeddings[:, 2]) / 2)
    else:
        torch.testing.assert_close(embeddings[0, 1], expected[missing])


def test_final_net_without_normalisation_reads_raw_embeddings():
    siamese = SiameseNet().eval()
    net = FinalNet(FusionNet(), siamese, normalize=False).eval()
    features = torch.rand(2, 3, 256)
    torch.testing.assert_close(net.embed(features, torch.ones(2, 3, dtype=torch.bool)), siamese(features))
