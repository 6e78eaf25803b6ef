"""Values of every kind of encoder are those of the library's own pipeline, batched or not; what is missing is said."""

import json
import os
import sys

import numpy as np
import pytest
import torch
from media import voice
from PIL import Image
from tiny_models import save_model, save_onnx

from apt_lightning.common.errors import UsageError
from apt_lightning.data.encoding.encoder import Choice, Encoded, checked, load_encoder
from apt_lightning.data.encoding.pooling import Pooling, pooled
from apt_lightning.data.encoding.recipe import recipe
from apt_lightning.data.media.material import Material, Take

RNG = np.random.default_rng(0)
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def sounds():
    return [Material(samples=voice(seconds, 16000, seed=i)) for i, seconds in enumerate((1.0, 2.3, 1.0, 0.4))]


def films():
    return [
        Material(pictures=RNG.integers(0, 256, (n, 36, 64, 3), np.uint8), times=[0.5 + k for k in range(n)])
        for n in (3, 1, 2)
    ]


def texts():
    words = ("hello i am calm", "persons talk", "", "i am a calm and curious person " * 5)
    return [Material(words=text) for text in words]


def same(a, b):
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one.values, other.values, **CLOSE)
        np.testing.assert_array_equal(one.times, other.times)


def one_by_one(encoder, batch):
    return [encoder.encode([clip])[0] for clip in batch]


def transformers_encoder(folder, sense, **choice):
    return load_encoder(Choice(f"transformers:{folder}", sense=sense, **choice))


@pytest.mark.parametrize("kind", ["wav2vec2", "wavlm", "hubert", "whisper"])
def test_speech_model_as_the_library_runs_it(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    folder = save_model(tmp_path / kind, kind)
    encoder = transformers_encoder(folder, "sound", layers=(1, -1))
    batch = sounds()
    found = encoder.encode(batch)
    same(found, one_by_one(encoder, batch))
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    model = model.get_encoder() if kind == "whisper" else model
    last = transformers_encoder(folder, "sound").encode(batch)
    for clip, one, own in zip(batch, found, last, strict=True):
        with torch.no_grad():
            output = model(
                **extractor(clip.samples, sampling_rate=16000, return_tensors="pt"), output_hidden_states=True
            )
        steps = len(one.values)
        expected = [output.hidden_states[layer][0, :steps].numpy() for layer in (1, -1)]
        np.testing.assert_allclose(one.values, np.stack(expected, axis=1), **CLOSE)
        np.testing.assert_allclose(own.values[:, 0], output.last_hidden_state[0, :steps].numpy(), **CLOSE)
        seconds = len(clip.samples) / 16000
        assert 0 < one.times[0] < one.times[-1] < seconds
        if kind == "whisper":
            assert steps == pytest.approx(50 * seconds, abs=1)
        else:
            assert steps == output.last_hidden_state.shape[1]


def test_long_sound_is_cut_into_equal_chunks(tmp_path):
    pytest.importorskip("transformers")
    encoder = transformers_encoder(save_model(tmp_path / "m", "whisper"), "sound")
    samples = voice(61, 16000)
    whole = encoder.encode([Material(samples=samples)])[0]
    parts = [encoder.encode([Material(samples=part)])[0] for part in np.array_split(samples, 3)]
    np.testing.assert_allclose(whole.values, np.concatenate([part.values for part in parts]), **CLOSE)
    assert (np.diff(whole.times) > 0).all() and 60 < whole.times[-1] < 61


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2"])
def test_picture_model_as_the_library_runs_it(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    folder = save_model(tmp_path / kind, kind)
    batch = films()
    encoder = transformers_encoder(folder, "pictures")
    found = encoder.encode(batch)
    same(found, one_by_one(encoder, batch))
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    model = getattr(model, "vision_model", model)
    layered = transformers_encoder(folder, "pictures", layers=(2,)).encode(batch)
    for clip, one, layer in zip(batch, found, layered, strict=True):
        with torch.no_grad():
            output = model(
                **processor([*map(Image.fromarray, clip.pictures)], return_tensors="pt"), output_hidden_states=True
            )
        np.testing.assert_allclose(one.values[:, 0], output.pooler_output.numpy(), **CLOSE)
        state = output.hidden_states[2]
        np.testing.assert_allclose(layer.values[:, 0], state.mean(1) if kind == "siglip" else state[:, 0], **CLOSE)
        assert one.times.tolist() == clip.times


def test_words_as_the_library_runs_them(tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = save_model(tmp_path / "bert", "bert")
    encoder = transformers_encoder(folder, "words")
    batch = texts()
    found = encoder.encode(batch)
    same(found, one_by_one(encoder, batch))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    for clip, one in zip(batch[:3], found, strict=False):
        with torch.no_grad():
            expected = model(**tokenizer(clip.words, return_tensors="pt")).last_hidden_state[0].numpy()
        np.testing.assert_allclose(one.values[:, 0], expected, **CLOSE)
        mean = pooled(one, Pooling(segment=None))
        np.testing.assert_allclose(mean.values[0, 0], expected.mean(axis=0), **CLOSE)
    assert len(found[3].values) > 35, "a long text is read to its end"


def test_timm_as_the_library_runs_it(tmp_path):
    timm = pytest.importorskip("timm")
    safetensors = pytest.importorskip("safetensors.torch")
    torch.manual_seed(1)
    network = timm.create_model("vit_tiny_patch16_224", pretrained=False).eval()
    safetensors.save_file(network.state_dict(), tmp_path / "w.safetensors")
    encoder = load_encoder(
        Choice("timm:vit_tiny_patch16_224", weights=str(tmp_path / "w.safetensors"), sense="pictures")
    )
    batch = films()[1:]
    found = encoder.encode(batch)
    same(found, one_by_one(encoder, batch))
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    for clip, one in zip(batch, found, strict=True):
        inputs = torch.stack([transform(Image.fromarray(picture)) for picture in clip.pictures])
        with torch.no_grad():
            expected = network.forward_head(network.forward_features(inputs), pre_logits=True)
        np.testing.assert_allclose(one.values[:, 0], expected.numpy(), **CLOSE)
    with pytest.raises(UsageError, match=r"not of this architecture"):
        load_encoder(Choice("timm:resnet18", weights=str(tmp_path / "w.safetensors"), sense="pictures"))


def test_torchvision_as_the_library_runs_it(tmp_path):
    from torchvision import models

    torch.manual_seed(1)
    network = models.resnet18(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    encoder = load_encoder(Choice("torchvision:resnet18", weights=str(tmp_path / "w.pth"), sense="pictures"))
    batch = films()
    found = encoder.encode(batch)
    preset = models.ResNet18_Weights.DEFAULT.transforms()
    read = []
    network.fc.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].detach()))
    for clip, one in zip(batch, found, strict=True):
        network(torch.stack([preset(Image.fromarray(picture)) for picture in clip.pictures]))
        np.testing.assert_allclose(one.values[:, 0], read[-1].numpy(), **CLOSE)


def test_onnx_file_with_its_stated_preprocessing(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    file, weight = save_onnx(tmp_path / "p", "pictures")
    clip = films()[0]
    found = load_encoder(Choice(f"onnx:{file}", sense="pictures")).encode([clip])[0]
    small = [np.asarray(Image.fromarray(p).resize((12, 8), Image.Resampling.BILINEAR)) for p in clip.pictures]
    scaled = (np.stack(small) / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    np.testing.assert_allclose(found.values[:, 0], scaled.mean(axis=(1, 2))[:, ::-1] @ weight, atol=1e-5)
    file, weight = save_onnx(tmp_path / "s", "sound")
    encoder = load_encoder(Choice(f"onnx:{file}", sense="sound"))
    assert encoder.reads.rate == 8000
    clip = Material(samples=voice(1, 8000) + np.float32(0.1))
    np.testing.assert_allclose(encoder.encode([clip])[0].values[0, 0], clip.samples.mean() * weight[0], atol=1e-5)
    file.with_suffix(".json").unlink()
    with pytest.raises(UsageError, match=r"state it in .*net\.json"):
        load_encoder(Choice(f"onnx:{file}", sense="sound"))


def test_class_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "mine_encoder.py").write_text(
        "import numpy as np\n"
        "from apt_lightning.data.encoding.encoder import Encoded\n"
        "from apt_lightning.data.media.material import Reads\n"
        "class Length:\n"
        "    reads = Reads('words')\n"
        "    def __init__(self, weights, device): self.weights = weights\n"
        "    def specification(self): return {'weights': {}}\n"
        "    def encode(self, batch): return [Encoded(np.full((1, 1, 1), len(c.words)), np.zeros(1)) for c in batch]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    encoder = load_encoder(Choice("python:mine_encoder:Length", sense="words"))
    assert encoder.encode([Material(words="four")])[0].values.item() == 4
    with pytest.raises(UsageError, match=r"reads words, but the modality is of sound"):
        load_encoder(Choice("python:mine_encoder:Length", sense="sound"))
    with pytest.raises(UsageError, match=r"No module named 'no_such_module'"):
        load_encoder(Choice("python:no_such_module:Length", sense="words"))


GOOD_CLASS = """
import numpy as np
from apt_lightning.data.encoding.encoder import Encoded
from apt_lightning.data.media.material import Reads
class Mine:
    reads = Reads('words')
    def __init__(self, weights, device): pass
    def specification(self): return {'weights': {}}
    def encode(self, batch): return [Encoded(np.ones((1, 1, 1)), np.zeros(1)) for _ in batch]
"""
WRONG_CLASSES = {
    "class Mine:": ("class Mine", "import fails .SyntaxError"),
    "import numpy": ("import numpi", "import fails .ModuleNotFoundError: No module named 'numpi'"),
    "class Mine": ("class Theirs", "import fails .AttributeError"),
    "reads = Reads('words')": ("pass", r"lacks `reads`, which must be a Reads\(\.\.\.\)"),
    "Reads('words')": ("'words'", "lacks `reads`"),
    "(self, weights, device)": ("(self)", r"Mine\(weights, device\) fails .TypeError"),
    "def specification": ("def about", r"lacks specification\(\)"),
    "def encode": ("encode = 1\n    def encoder", r"lacks encode\(\)"),
    "return {'weights': {}}": ("return {}", r"specification\(\) must give a dict with a dict `weights`"),
    "{'weights': {}}": ("{'weights': {}, 'a': {1}}", r"specification\(\) fails .TypeError: .*JSON"),
    "return [": ("return 3 + [", r"encode\(\) fails .TypeError"),
    "for _ in batch]": ("for _ in batch[1:]]", r"gives 0 \(\) for 1"),
    "[Encoded(np.ones((1, 1, 1)), np.zeros(1))": ("[np.ones((1, 1, 1))", r"gives 1 \(ndarray\) for 1"),
    "(1, 1, 1)": ("(1, 1)", r"expected values \(T, L, D\) .* got \(1, 1\), \(1,\)"),
    "np.zeros(1)": ("'now'", "expected arrays of numbers"),
}


@pytest.mark.parametrize("right", WRONG_CLASSES)
def test_a_class_that_does_not_follow_the_protocol_is_told_what_it_lacks(right, tmp_path, monkeypatch):
    wrong, line = WRONG_CLASSES[right]
    assert right in GOOD_CLASS
    module = f"own_{list(WRONG_CLASSES).index(right)}"
    (tmp_path / f"{module}.py").write_text(GOOD_CLASS.replace(right, wrong, 1))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=rf"{line}.*docs/encoders\.md"):
        made = recipe(Choice(f"python:{module}:Mine", sense="words"), Take("words"), None, "float32")
        assert made.specification["weights"] == {}
        made.make([Material(words="one")])


@pytest.mark.parametrize("name", ["os:system", "os:environ", "os:path", "json:JSONDecoder"])
def test_nothing_is_called_that_is_no_encoder(name, monkeypatch):
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("was called"))
    monkeypatch.setattr(json.JSONDecoder, "__init__", lambda *_: pytest.fail("was called"))
    with pytest.raises(UsageError, match=r"a class is needed|lacks specification\(\) and encode\(\)"):
        load_encoder(Choice(f"python:{name}", sense="words"))


def test_masked_and_pooled_steps_are_a_plain_mean_and_deviation():
    values = RNG.normal(size=(150, 2, 3)).astype(np.float32)
    times = (np.arange(150) + 0.5) / 50
    found = pooled(Encoded(values, times), Pooling(segment=1.0, hop=0.5))
    assert found.values.shape == (6, 2, 6) and found.times.tolist() == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    np.testing.assert_allclose(found.values[1, :, :3], values[25:75].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.values[1, :, 3:], values[25:75].std(axis=0), atol=1e-6)


def test_weights_are_told_apart(tmp_path):
    pytest.importorskip("transformers")
    folder = save_model(tmp_path / "bert", "bert")
    about = transformers_encoder(folder, "words").specification()
    assert len(about["weights"]["model.safetensors"]) == 64 and json.dumps(about)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert transformers_encoder(folder, "words").specification()["weights"] != about["weights"]


def test_code_and_pickles_in_a_model_folder_are_refused(tmp_path):
    pytest.importorskip("transformers")
    folder = save_model(tmp_path / "bert", "bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"no words model in safetensors"):
        transformers_encoder(folder, "words")
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Config"}
    config["model_type"] = "evil"
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"no code of its own"):
        transformers_encoder(folder, "words")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("encoder", "sense", "message"),
    [
        ("nothing", "sound", r"KIND:NAME with KIND of torchvision, timm, transformers, onnx, python"),
        ("transformers:./no/folder", "sound", r"no model folder at no/folder"),
        ("torchvision:resnet18", "pictures", r"needs `--weights FILE`"),
        ("onnx:none.onnx", "pictures", r"no file of weights at none\.onnx"),
    ],
)
def test_what_is_missing_is_one_line(encoder, sense, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_encoder(Choice(encoder, sense=sense))
    assert "\n" not in str(caught.value)


def test_library_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install 'apt-lightning\[encoders\]'"):
        load_encoder(Choice("timm:resnet18", weights=str(tmp_path), sense="pictures"))


def test_no_network_is_asked_unless_allowed(monkeypatch):
    pytest.importorskip("huggingface_hub")
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection"))
    with pytest.raises(UsageError, match=r"not in the local cache .*--allow-download"):
        load_encoder(Choice("transformers:nobody/nothing", sense="sound"))


def test_shapes_that_are_not_the_protocol_are_refused():
    with pytest.raises(UsageError, match=r"values \(T, L, D\)"):
        checked(Encoded(np.zeros((3, 4)), np.zeros(3)))
