"""The picture and the page of scored clips: every metric is there, nothing foreign is markup, nothing is loaded."""

import io
import re
from html import unescape

import numpy as np
import pytest
from PIL import Image

from apt_lightning.common.traits import TRAITS
from apt_lightning.data.media.extraction import Extraction
from apt_lightning.data.media.parts import SoundParts, orders
from apt_lightning.experiments.clips.page import NOTICE, card, render
from apt_lightning.experiments.clips.picture import draw

RATINGS = np.quantile(np.random.default_rng(0).beta(4, 4, (500, 5)), np.linspace(0, 1, 101), axis=0)


def effects(rng):
    return {"effects": dict(zip(TRAITS, rng.normal(0, 0.02, 5).tolist(), strict=True))}


def jpeg(grey):
    stream = io.BytesIO()
    Image.new("RGB", (248, 140), (grey, 80, 90)).save(stream, "JPEG")
    return stream.getvalue()


def clip_and_told(name="/some/where/a.mp4", words="so <b>bold</b> &amp; $x$ \u202e fine"):
    rng = np.random.default_rng(1)
    sound = SoundParts(
        [1.0, 2.0, 3.0], orders(3, 1), np.ones((0, 3), bool), np.ones((0, 88)), np.abs(np.sin(range(99)))
    )
    times = [0.5 * k for k in range(6)]
    clip = Extraction(np.zeros(88, np.float32), [jpeg(40 * k) for k in range(6)], times, 3.0, [], "", parts=sound)
    scores = dict(zip(TRAITS, [0.123, 0.456, 0.5, 0.789, 1.0], strict=True))
    parts = {
        "audio": [{"from": float(i), "to": i + 1.0, **effects(rng)} for i in range(3)],
        "visual": [{"at": time, **effects(rng)} for time in times],
        "text": [{"word": word, **effects(rng)} for word in words.split()],
    }
    told = {
        "clip": name,
        "traits": scores,
        "intervals": {t: [0.1, 0.9] for t in TRAITS},
        "higher_than": dict.fromkeys(TRAITS, 0.71),
        "modalities": list(parts),
        "notes": [],
        "faults": ["variable-rate"],
        "warnings": ["its text is unlike the training clips"],
        "shapley": {name: effects(rng)["effects"] for name in parts},
        "explanation": {name: {"parts": found, "sum": {}} for name, found in parts.items()},
        "windows": [{"from": 0.0, "to": 2.0, "traits": scores}, {"from": 2.0, "to": 3.0, "error": "nothing"}],
    }
    return clip, told


def texts(svg):
    return [unescape(text) for text in re.findall(r"<text[^>]*>(.*?)</text>", svg, re.DOTALL)]


@pytest.mark.parametrize("columns", [1, 2])
def test_a_picture_says_all_of_it(columns):
    clip, told = clip_and_told()
    found = texts(draw(told, clip, RATINGS, columns=columns).decode())
    for text in ("a.mp4", ".12", ".46", ".50", ".79", "1.00", "audio", "visual", "text", "Frames", "Sound, s", "Words"):
        assert text in found, text
    assert "openness: higher than 71% of the training clips" in found
    assert "emotional stability: higher than 71% of the training clips" in found
    for word in ("<b>bold</b>", "&amp;", "$x$", "\\u202e", "fine"):
        assert word in found, word
    assert " ".join(found).count("Not for hiring") == 1


@pytest.mark.parametrize("columns", [1, 2])
def test_nothing_is_cut_off(columns):
    clip, told = clip_and_told(words="few words")
    del told["windows"]
    pixels = np.asarray(Image.open(io.BytesIO(draw(told, clip, RATINGS, "png", columns))).convert("L"))
    for edge in (pixels[:4], pixels[-4:], pixels[:, :4], pixels[:, -4:]):
        assert edge.min() == 255


def test_a_png_has_the_size_of_its_columns():
    clip, told = clip_and_told()
    wide, narrow = (Image.open(io.BytesIO(draw(told, clip, RATINGS, "png", columns))) for columns in (2, 1))
    assert wide.width == 2 * narrow.width and wide.height < narrow.height


def test_without_explanation_intervals_and_training_clips():
    clip, told = clip_and_told()
    for key in ("explanation", "windows", "shapley", "intervals", "higher_than"):
        told.pop(key)
    found = texts(draw(told, clip, None).decode())
    assert "extraversion" in found and "Frames" not in found


def test_a_page_holds_what_it_shows_and_no_markup_of_strangers():
    clip, told = clip_and_told("/x/<script>alert(1)<script>.mp4")
    bad = {"clip": "b.mp4", "error": "not-a-video: <i>it</i> begins as a text does"}
    page = render([card(told, clip, RATINGS), card(bad, None, RATINGS)])
    assert page.count(NOTICE) == 2 and "<script" not in page and "<i>" not in page
    assert "Not scored: not-a-video: &lt;i&gt;it" in page
    assert "its text is unlike the training clips" in page and "The frame rate varies" in page
    for cell in (".123", ".456", ".789", ".10 to .90", "71%"):
        assert f"<td>{cell}</td>" in page, cell
    for reference in re.findall(r'(?:src|href|srcset|action)="([^"]*)"', page):
        assert reference.startswith("data:")
    assert "default-src 'none'" in page


def test_a_page_names_the_training_clips_that_a_clip_is_scored_like():
    clip, told = clip_and_told()
    ratings = dict(zip(TRAITS, [0.11, 0.22, 0.33, 0.44, 0.55], strict=True))
    one = {"clip": "<b>x</b>.001.mp4", "source": "<b>x</b>", "distance": 0.123456, "traits": ratings}
    told["scored_like"] = {"clips": [one] * 5, "traits": ratings, "sources": 1, "usual_distance": 2.5}
    page = render([card(told, clip, RATINGS)])
    assert "<b>x" not in page and page.count("<td>.44</td>") == 6
    assert (
        page.count('<th scope="row">&lt;b&gt;x&lt;/b&gt;.001.mp4</th>') == 5 and page.count("<td>.123</td>") == 6
    )  # one is a score
    assert "<td>one source</td><td>usual between sources: 2.500</td>" in page
    del told["scored_like"]
    assert "Scored like" not in render([card(told, clip, RATINGS)])
