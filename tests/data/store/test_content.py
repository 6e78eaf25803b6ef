"""Plain features of a store against the same metrics computed the long way from what the store serves."""

import io

import numpy as np
from PIL import Image

from apt_lightning.data.store.content import COLUMNS, HASH_BITS, ROWS, frame_hashes, read_content
from apt_lightning.data.store.reader import Store
from apt_lightning.data.text.tokens import UNKNOWN


def test_features_are_functionals_mean_colours_and_moments_of_words(store_dir):
    store = Store.open(store_dir)
    content = read_content(store)
    assert list(content.features) == list(store.kinds) == list(content.kinds)
    present = dict(zip(store.kinds, store.present.T, strict=True))
    for modality, values in content.features.items():
        np.testing.assert_array_equal(np.isnan(values).all(axis=1), ~present[modality])
    assert content.joined.shape == (len(store), sum(v.shape[1] for v in content.features.values()))
    for i in np.flatnonzero(store.present.all(axis=1))[:10]:
        np.testing.assert_allclose(content.features["audio"][i], store.vectors("audio")[i])
        pictures = [np.asarray(Image.open(io.BytesIO(data)), dtype=np.float64) for data in store.frames(i)]
        cells = content.features["visual"][i].reshape(ROWS, COLUMNS, 3)
        height, width, _ = pictures[0].shape
        for row, column in ((0, 0), (2, 4), (5, 9)):
            rows = slice(row * height // ROWS, (row + 1) * height // ROWS)
            columns = slice(column * width // COLUMNS, (column + 1) * width // COLUMNS)
            mean = np.mean([picture[rows, columns].mean(axis=(0, 1)) for picture in pictures], axis=0)
            np.testing.assert_allclose(cells[row, column], mean, atol=12)  # of 255; decoded at another size
        ids = store.text.ids[i]
        vectors = store.text.vectors[ids[ids > UNKNOWN]].astype(np.float64)
        expected = np.concatenate([vectors.mean(axis=0), vectors.std(axis=0)])
        np.testing.assert_allclose(content.features["text"][i], expected, atol=1e-6)


def test_hashes_are_signs_of_cosine_sums_and_ignore_brightness():
    cells = np.random.default_rng(0).uniform(0, 200, (2, 3, ROWS, COLUMNS, 3))
    bits = frame_hashes(cells)
    assert bits.shape == (2, 3 * HASH_BITS)
    grey = cells[1, 2].mean(axis=-1)
    r, c = np.arange(ROWS) + 0.5, np.arange(COLUMNS) + 0.5
    waves = [
        (grey * np.outer(np.cos(np.pi * u * r / ROWS), np.cos(np.pi * v * c / COLUMNS))).sum()
        for u in range(ROWS)
        for v in range(COLUMNS)
    ]
    np.testing.assert_array_equal(bits[1, 2 * HASH_BITS :], np.array(waves[1:]) > 0)
    np.testing.assert_array_equal(frame_hashes(cells + 30), bits)
    cells[0, 1:] = np.nan
    assert not frame_hashes(cells)[0, HASH_BITS:].any()
    assert frame_hashes(cells[:0]).shape == (0, 3 * HASH_BITS)


def test_the_hash_of_a_picture_coded_anew_is_nearly_the_same(store_dir):
    store = Store.open(store_dir)
    own, again = [], []
    for i in np.flatnonzero(store.present[:, 1])[:20]:
        picture = Image.open(io.BytesIO(store.frames(i)[0])).convert("RGB")
        other = io.BytesIO()
        picture.resize((200, 112)).save(other, "JPEG", quality=40)
        for kept, image in ((own, picture), (again, Image.open(other))):
            kept.append(np.asarray(image.resize((COLUMNS, ROWS), Image.Resampling.BOX), dtype=np.float64))
    first, second = (frame_hashes(np.array(cells)[:, None]) for cells in (own, again))
    assert (first != second).mean(axis=1).max() < 0.1
    apart = (first[:, None] != first[None]).mean(axis=-1)[np.triu_indices(len(first), 1)]
    assert np.median(apart) > 0.2
