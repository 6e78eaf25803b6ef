"""Files that show the embedding space of stage 3: arrays, retrieval metrics and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import Logger

from apt_lightning.common.files import replacing, write_csv
from apt_lightning.common.traits import TRAIT_CODES, trait_classes
from apt_lightning.evaluation.embedding_plot import plot_embeddings
from apt_lightning.evaluation.retrieval import Retrieval, retrieve
from apt_lightning.stages.siamese import SiameseModule
from apt_lightning.training.loggers import log_chart, log_picture, log_table


def write_embeddings(folder: Path, split: str, module: SiameseModule) -> Path:
    """Write ``embeddings_<split>.npz``.

    It holds ``clips`` (N,), ``embeddings`` (N, M, E) of unit length, ``present`` (N, M), ``labels`` (N, 5) and
    ``modalities`` (M,).

    Args:
        folder: Run folder.
        split: Name of the split that the module has just passed over.
        module: Stage 3.

    Returns:
        The file.
    """
    index, embeddings, present = module.embedded()
    target = folder / f"embeddings_{split}.npz"
    with replacing(target) as part, part.open("wb") as stream:
        np.savez(
            stream,
            clips=np.array([module.data.store.clips[i].name for i in index]),
            embeddings=embeddings.astype(np.float32),
            present=present,
            labels=module.data.labels[index],
            modalities=np.array(module.modalities),
        )
    return target


def write_retrieval(folder: Path, split: str, module: SiameseModule, loggers: list[Logger]) -> list[Retrieval]:
    """Write ``retrieval_<split>.csv`` and ``embeddings_<split>.png``; log one table, one chart and five pictures.

    A clip's own source video is no answer in the retrieval.

    Args:
        folder: Run folder.
        split: Name of the split that the module has just passed over.
        module: Stage 3.
        loggers: Loggers that are on.

    Returns:
        The retrieval metrics.
    """
    index, embeddings, present = module.embedded()
    classes = trait_classes(module.data.labels[index], module.statistics)
    sources = [module.data.store.clips[i].source for i in index]
    metrics = retrieve(embeddings, present, classes, module.modalities, sources)
    write_csv(folder / f"retrieval_{split}.csv", Retrieval._fields, metrics)
    plot_embeddings(folder / f"embeddings_{split}.png", embeddings, present, classes, module.modalities)
    if loggers:
        log_table(loggers, f"{split}/retrieval", Retrieval._fields, metrics)
        bars = {f"{f.trait} {f.query} to {f.answer}": f.map_at_r for f in metrics if f.queries}
        log_chart(loggers, f"{split}/retrieval_map_at_r", "trait, query to answer", "MAP@R", bars)
        for number, trait in enumerate(TRAIT_CODES):
            picture = folder / f"embeddings_{split}_{trait}.png"
            plot_embeddings(picture, embeddings, present, classes, module.modalities, number)
            log_picture(loggers, f"{split}/embeddings_{trait}", picture)
    return metrics
