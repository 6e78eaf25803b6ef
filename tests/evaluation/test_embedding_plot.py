import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from apt_lightning.evaluation.embedding_plot import CLASS_COLOURS, MARKERS, plot_embeddings

MODALITIES = ("audio", "visual", "text")


def collection(n=200):
    rng = np.random.default_rng(0)
    classes = rng.integers(-1, 4, (n, 5))
    embeddings = rng.standard_normal((n, 3, 8)) * 0.1
    angle = classes[:, 1, None] * 0.5  # the classes of NEU in their order along an arc
    embeddings[..., 0] += np.cos(angle)
    embeddings[..., 1] += np.sin(angle)
    return embeddings, rng.random((n, 3)) > 0.1, classes


@pytest.fixture
def drawn(monkeypatch):
    calls = []
    scatter = Axes.scatter

    def recorded(axes, x, y, **style):
        calls.append((np.stack([x, y], axis=1), style["c"], style["marker"]))
        return scatter(axes, x, y, **style)

    monkeypatch.setattr(Axes, "scatter", recorded)
    return calls


def test_colours_are_classes_and_markers_modalities(tmp_path, drawn):
    embeddings, present, classes = collection()
    plot_embeddings(tmp_path / "space.png", embeddings, present, classes, MODALITIES)
    assert {(c, m) for _, c, m in drawn} == {(c, m) for c in CLASS_COLOURS for m in list(MARKERS)[:3]}
    assert sum(len(points) for points, _, _ in drawn) == 300
    centres = [np.concatenate([p for p, c, _ in drawn if c == colour]).mean(axis=0) for colour in CLASS_COLOURS]
    spread = np.mean([np.concatenate([p for p, c, _ in drawn if c == x]).std(axis=0) for x in CLASS_COLOURS])
    assert np.linalg.norm(centres[0] - centres[3]) > 3 * spread
    with Image.open(tmp_path / "space.png") as image:
        assert min(image.size) > 500
    assert [p.name for p in tmp_path.iterdir()] == ["space.png"]


def test_a_fourth_modality_has_a_marker_of_its_own(tmp_path, drawn):
    embeddings, present, classes = collection()
    embeddings, present = (np.concatenate([x, x[:, :1]], axis=1) for x in (embeddings, present))
    plot_embeddings(tmp_path / "space.png", embeddings, present, classes, (*MODALITIES, "face"))
    points = {marker: sum(len(p) for p, _, m in drawn if m == marker) for marker in MARKERS}
    assert [points[marker] for marker in MARKERS] == [100] * 4 + [0] * 4


def test_svg_and_the_same_points_for_the_same_seed(tmp_path, drawn):
    data = collection()
    plot_embeddings(tmp_path / "a.svg", *data, MODALITIES, trait=0)
    first = list(drawn)
    drawn.clear()
    plot_embeddings(tmp_path / "b.svg", *data, MODALITIES, trait=0)
    for (points, _, _), (again, _, _) in zip(first, drawn, strict=True):
        np.testing.assert_array_equal(points, again)
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_empty_classes_are_left_out_and_too_few_points_refused(tmp_path, drawn):
    embeddings, present, classes = collection()
    plot_embeddings(tmp_path / "space.png", embeddings, present, np.minimum(classes, 2), MODALITIES)
    assert CLASS_COLOURS[3] not in {c for _, c, _ in drawn}
    with pytest.raises(ValueError, match="two embeddings"):
        plot_embeddings(tmp_path / "none.png", embeddings, np.zeros_like(present), classes, MODALITIES)
