"""Sizes of the paper (section 2, computed counts) and what masks and padding must not change."""

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from apt_lightning.networks import FinalNet, FrameEncoder, FusionNet, SiameseNet, TokenEncoder, VectorEncoder


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
    hidden = encoder.gru(pack_padded_sequence(encoder.table[ids[1:]], [5], batch_first=True))[0].data
    weight, bias = encoder.attention.weight[0], encoder.attention.bias
    energy = np.array([float(torch.tanh(weight @ h + bias).detach()) for h in hidden])
    attention = np.exp(energy) / np.exp(energy).sum()
    expected = (torch.tensor(attention, dtype=torch.float32)[:, None] * hidden).sum(0)
    torch.testing.assert_close(both[1], expected)


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
