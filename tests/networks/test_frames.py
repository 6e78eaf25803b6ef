"""Crop and colour changes against Python's colorsys and plain loops."""

import colorsys

import numpy as np
import torch

from apt_lightning.networks.frames import _shift_hue, augment_frames, centre_crop, resize


def test_hue_shift_equals_colorsys():
    rng = np.random.default_rng(0)
    pixels = rng.random((2, 1, 3, 4, 5))
    pixels[0, 0, :, 0, 0] = 0.3  # grey has no hue
    turns = np.array([0.13, -0.07])
    ours = _shift_hue(torch.tensor(pixels), torch.tensor(turns).view(-1, 1, 1, 1, 1)).numpy()
    for clip in range(2):
        for y in range(4):
            for x in range(5):
                h, s, v = colorsys.rgb_to_hsv(*pixels[clip, 0, :, y, x])
                expected = colorsys.hsv_to_rgb((h + turns[clip]) % 1, s, v)
                np.testing.assert_allclose(ours[clip, 0, :, y, x], expected, atol=1e-9)


def test_centre_crop_is_the_middle_scaled_to_minus_one_and_one():
    frames = torch.zeros(1, 1, 3, 10, 12, dtype=torch.uint8)
    frames[..., 3:7, 4:8] = 255
    out = centre_crop(frames, 4)
    assert out.shape == (1, 1, 3, 4, 4) and bool((out == 1).all())
    assert float(centre_crop(torch.zeros_like(frames), 4).max()) == -1


def test_augmentation_is_one_draw_a_clip_and_stays_in_range():
    torch.manual_seed(0)
    picture = torch.randint(0, 256, (8, 1, 3, 20, 24), dtype=torch.uint8)
    out = augment_frames(picture.expand(8, 6, 3, 20, 24), 16)
    assert out.shape == (8, 6, 3, 16, 16)
    assert float(out.min()) >= -1 and float(out.max()) <= 1
    torch.testing.assert_close(out, out[:, :1].expand_as(out))
    same = augment_frames(picture[:1].expand(8, 1, 3, 20, 24), 16)
    assert len({tuple(row.flatten().tolist()) for row in same}) > 4


def test_augmentation_without_colour_is_a_crop_or_its_mirror(monkeypatch):
    monkeypatch.setattr("apt_lightning.networks.frames.HUE", 0.0)
    monkeypatch.setattr("apt_lightning.networks.frames.BRIGHTNESS", 0.0)
    monkeypatch.setattr("apt_lightning.networks.frames.GAIN", (1.0, 1.0))
    torch.manual_seed(1)
    frames = torch.randint(0, 256, (6, 2, 3, 12, 14), dtype=torch.uint8)
    out = (augment_frames(frames, 10) + 1) / 2 * 255
    mirrored = 0
    for clip in range(6):
        crops = {}
        for top in range(3):
            for left in range(5):
                crop = frames[clip, :, :, top : top + 10, left : left + 10].float()
                crops[top, left, False], crops[top, left, True] = crop, crop.flip(-1)
        found = [key for key, crop in crops.items() if torch.allclose(crop, out[clip], atol=1e-2)]
        assert found
        mirrored += found[0][2]
    assert 0 < mirrored < 6


def test_resize_keeps_frames_that_fit_and_halves_others():
    frames = torch.full((1, 2, 3, 140, 248), 7, dtype=torch.uint8)
    assert resize(frames, (140, 248)) is frames
    assert resize(frames, (70, 124)).shape == (1, 2, 3, 70, 124)
