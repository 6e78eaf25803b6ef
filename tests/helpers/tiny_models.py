"""Tiny random models of the architectures that no package carries, saved as their libraries save real ones."""

import json
from pathlib import Path

import torch

SPEECH = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 8),
    "conv_stride": (5, 64),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
SEEN = {**SMALL, "image_size": 28, "patch_size": 7}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "i", "am", "a", "calm", "and", "curious", "person", "##s", "talk"]


def save_model(folder, kind):
    """Save a model of `transformers` with its processor; returns the folder."""
    import transformers as t

    torch.manual_seed(5)
    if kind in ("wav2vec2", "wavlm", "hubert"):
        model = {"wav2vec2": t.Wav2Vec2Model, "wavlm": t.WavLMModel, "hubert": t.HubertModel}[kind]
        made = model(model.config_class(**SPEECH))
        processor = t.Wav2Vec2FeatureExtractor(do_normalize=True)
    elif kind == "whisper":
        config = t.WhisperConfig(
            d_model=16, encoder_layers=3, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=24, decoder_ffn_dim=24, vocab_size=50, pad_token_id=0, bos_token_id=1, eos_token_id=2,
            decoder_start_token_id=1, num_mel_bins=80,
        )  # fmt: skip
        made, processor = t.WhisperModel(config), t.WhisperFeatureExtractor()
    elif kind in ("clip", "siglip"):
        model, vision = {"clip": (t.CLIPModel, t.CLIPConfig), "siglip": (t.SiglipModel, t.SiglipConfig)}[kind]
        text = {**SMALL, "vocab_size": 50, "max_position_embeddings": 16, "pad_token_id": 0, "bos_token_id": 1}
        made = model(vision(text_config={**text, "eos_token_id": 2}, vision_config=SEEN))
        size = {"clip": {"shortest_edge": 28}, "siglip": {"height": 28, "width": 28}}[kind]
        extra = {"crop_size": {"height": 28, "width": 28}} if kind == "clip" else {}
        processor = {"clip": t.CLIPImageProcessor, "siglip": t.SiglipImageProcessor}[kind](size=size, **extra)
    elif kind == "dinov2":
        made = t.Dinov2Model(t.Dinov2Config(**SMALL, image_size=28, patch_size=7))
        processor = t.BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28})
    elif kind == "bert":
        made = t.BertModel(t.BertConfig(**SMALL, vocab_size=len(WORDS), max_position_embeddings=18))
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "vocab.txt").write_text("\n".join(WORDS) + "\n")
        processor = t.BertTokenizer.from_pretrained(folder)
    made.eval().save_pretrained(folder, safe_serialization=True)
    processor.save_pretrained(folder)
    return Path(folder)


def save_onnx(folder, sense):
    """A linear map of the pixels' means, or of 400 samples, as an ONNX file with its JSON; returns the file and map."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder = Path(folder)
    rng = np.random.default_rng(2)
    if sense == "pictures":
        weight = rng.normal(size=(3, 5)).astype(np.float32)
        nodes = [
            helper.make_node("GlobalAveragePool", ["x"], ["m"]),
            helper.make_node("Flatten", ["m"], ["f"]),
            helper.make_node("MatMul", ["f", "w"], ["y"]),
        ]
        shape = [1, 3, 8, 12]
        how = {"sense": "pictures", "size": [8, 12], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "channels": "BGR"}
    else:
        weight = rng.normal(size=(1, 5)).astype(np.float32)
        nodes = [
            helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
            helper.make_node("MatMul", ["m", "w"], ["y"]),
        ]
        shape, how = [1, "samples"], {"sense": "sound", "rate": 8000}
    initial = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([1]), "axes")]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        initial[: 1 + (sense == "sound")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "net.onnx")
    (folder / "net.json").write_text(json.dumps(how))
    return folder / "net.onnx", weight


def save_detector(folder, gain=1.0):
    """A face detector of CenterFace's form: a face is where red is above green, 40 pixels, the eyes level; its file."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = np.zeros((1, 3, 24, 24), np.float32)
    kernel[0, 0], kernel[0, 1] = gain / (255 * 576), -gain / (255 * 576)
    eyes = [0.35, 0.3, 0.35, 0.7, 0.6, 0.5, 0.8, 0.35, 0.8, 0.65]  # y and x of five points, in units of the box
    constants = {"sizes": np.log([10.0, 10.0]), "offsets": np.zeros(2), "points": np.array(eyes)}
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["heat"], strides=[4, 4], pads=[10, 10, 10, 10]),
        helper.make_node("Sub", ["heat", "heat"], ["zero"]),
        *(helper.make_node("Add", ["zero", f"c_{name}"], [name]) for name in constants),
    ]
    weights = [numpy_helper.from_array(kernel, "kernel")]
    weights += [
        numpy_helper.from_array(v.astype(np.float32).reshape(1, -1, 1, 1), f"c_{k}") for k, v in constants.items()
    ]
    shapes = {"heat": 1, **{name: len(value) for name, value in constants.items()}}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [10, 3, 32, 32])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [10, n, 8, 8]) for name, n in shapes.items()], weights,
    )  # fmt: skip
    Path(folder).mkdir(parents=True, exist_ok=True)
    file = Path(folder) / "detector.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
    return file
