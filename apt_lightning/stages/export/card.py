"""The model card, in the form of the Hugging Face hub: what the model is, is good for and must not be used for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from apt_lightning.common.traits import TRAITS, TraitStatistics
from apt_lightning.evaluation.metrics import Scores, score_by_seen, score_table
from apt_lightning.evaluation.predictions import read_predictions

KINDS = {
    "vector": "a vector of {dim} numbers a clip",
    "frames": "six frames a clip",
    "tokens": "a transcript",
    "sequences": "the feature sets {names}; `--weights SET=PATH` says where an encoder's weights are",
}
"""What the encoder of each kind reads."""

_TEXT = """\
---
{head}---

# {title}

Apparent personality traits of a person in a short video, by its {modalities}: stage `{stage}` of
[arXiv 2405.03846](https://arxiv.org/abs/2405.03846), trained by apt-lightning {version}.

*Apparent* personality is how a short clip of a talking head makes strangers rate someone on the Big Five. It is not
personality. The key `neuroticism` is *emotional stability* (high = calm), as in First Impressions V2.

## Use

Intended: research on first impressions, on multimodal learning, and on the biases of both.

Forbidden: to hire, admit, rank, pay, insure, police or diagnose people, or to decide anything about them; to score
people who have not agreed to it; to claim that a score says what someone is like. In the European Union much of this
is prohibited or high-risk by the AI Act (Regulation 2024/1689, Articles 5 and 6).

The scores follow the impressions of the raters, and with them what raters make of gender, age, ethnicity, dress,
accent and camera. A clip unlike those of training is scored all the same.

```python
import apt_lightning as apt
model = apt.load("FOLDER")            # or "hf://owner/name", allow_download=True
apt.Scorer("FOLDER").score("clip.mp4", transcript="what is said")
```

{onnx}## Inputs

{inputs}

## Training

{training}

## Metrics

{metrics}
"""

_ONNX = """\
Without apt-lightning: `python score.py clip.npz "what is said"` needs onnxruntime and NumPy. `model.onnx` differs from
the checkpoint by {difference:.1e} at most, over clips with every pattern of missing modalities.

"""


def model_card(title: str, content: dict[str, Any], run: Path, difference: float | None) -> str:
    """Write the card.

    Args:
        title: Name of the model.
        content: Of the checkpoint, see :func:`apt_lightning.stages.checkpoint.read_checkpoint`.
        run: Folder of the checkpoint; its ``config.yaml`` tells the seed, its ``predictions_test.csv`` the metrics.
        difference: Of the ONNX graph from the checkpoint; ``None`` without one.
    """
    metadata, state = content["apt"], content["state_dict"]
    encoders = metadata["networks"]["encoders"]
    scores = _scores(run, state)
    head: dict[str, Any] = {
        "library_name": "apt-lightning",
        "tags": ["apparent-personality", "big-five", "multimodal", "video", "audio", "text"],
        "license": "other",
        "license_name": "that-of-the-training-data",
    }
    if scores:
        head["model-index"] = [{"name": title, "results": _results(scores["all"])}]
    blocks = [score_table(part, name, ("1-MAE", "RMSE", "R2", "PCC", "CCC")) for name, part in scores.items()]
    return _TEXT.format(
        head=yaml.safe_dump(head, sort_keys=False),
        title=title,
        modalities=", ".join(metadata["modalities"]),
        stage=metadata["stage"],
        version=metadata["version"],
        onnx="" if difference is None else _ONNX.format(difference=difference),
        inputs="\n".join(f"- {name}: {_reads(spec)}" for name, spec in encoders.items()),
        training="\n".join(f"- {line}" for line in _training(metadata, state, run)),
        metrics="\n\n".join(blocks) or "No test predictions lay beside the checkpoint when this was written.",
    )


def _scores(run: Path, state: dict[str, Any]) -> dict[str, Scores]:
    file = run / "predictions_test.csv"
    if not file.is_file():
        return {}
    statistics = TraitStatistics(*(state[name].double().numpy() for name in ("trait_mean", "trait_sd")))
    return score_by_seen(read_predictions(file), statistics)


def _results(scores: Scores) -> list[dict[str, Any]]:
    """The metrics as the hub reads them."""
    found = [(name, float(scores.values[name][-1])) for name in ("1-MAE", "CCC")]
    metrics = [
        {"type": name, "name": f"{name}, mean of five traits", "value": round(v, 4)} for name, v in found if v == v
    ]
    data = {"type": "own", "name": f"test split, {scores.n_clips} clips of {scores.n_sources} sources", "split": "test"}
    task = {"type": "tabular-regression", "name": "apparent personality"}
    return [{"task": task, "dataset": data, "metrics": metrics}]


def _reads(specification: dict[str, Any]) -> str:
    kind = str(specification["kind"])
    names = ", ".join(one["name"] for one in specification.get("sets", ()))
    return KINDS.get(kind, kind).format(**specification, names=names)


def _training(metadata: dict[str, Any], state: dict[str, Any], run: Path) -> list[str]:
    lines = []
    config = run / "config.yaml"
    if config.is_file():
        told = yaml.safe_load(config.read_text(encoding="utf-8"))
        data = told.get("data") or {}
        lines.append(f"Data: the store `{Path(data['store']).name}`" if data.get("store") else "Data: not known")
        if data.get("folds"):
            lines.append(f"Split: source-disjoint fold {data['fold']} of {data['folds']}")
        lines.append(f"Seed: {told.get('seed_everything')}")
    words = metadata.get("text_source")
    if words:
        lines.append("Word vectors: " + ", ".join(f"{key} {value}" for key, value in words.items() if key != "path"))
    mean, sd = (np.asarray(state[name].float()) for name in ("trait_mean", "trait_sd"))
    labels = [f"{name} {m:.2f} ± {s:.2f}" for name, m, s in zip(TRAITS, mean, sd, strict=True)]
    lines.append(f"Labels of the training clips (mean ± deviation): {', '.join(labels)}")
    conformal = metadata.get("conformal")
    if conformal:
        lines.append(
            f"{conformal['level']:.0%} prediction intervals: split-conformal, from {conformal['clips']} validation"
            f" clips of {conformal['sources']} sources"
        )
    return lines
