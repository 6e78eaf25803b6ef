"""The data card: a store described in Croissant 1.1, the metadata format of MLCommons.

https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html. The card names files and counts; labels, transcripts
and media stay in the store.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np

from apt_lightning import __version__
from apt_lightning.common.files import file_digest
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.store.reader import Store
from apt_lightning.experiments.cards.statements import APPARENT, DRAWN, FORBIDDEN, INTENDED, STABILITY

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
_PLAIN = (
    "arrayShape citeAs column containedIn equivalentProperty extract field fileProperty fileObject fileSet format "
    "includes isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace "
    "samplingRate separator source subField transform"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    **{term: f"cr:{term}" for term in _PLAIN.split()},
}
"""The format's own terms, all of them, as its validator wants."""
OPTIONS = {"license": "license", "url": "url", "creator": "creator", "published": "datePublished", "cite": "citeAs"}
"""Options of ``apt card`` to the properties that Croissant asks for and that no store can know."""
CARD = "croissant.json"
INDEX = "index.jsonl"


def data_card(store: Store, name: str, known: dict[str, str]) -> dict[str, Any]:
    """Describe a store.

    Args:
        store: A finished store.
        name: What the data set is called.
        known: Those of :data:`OPTIONS` that the user gives; a property that is not known is left out.

    Returns:
        JSON-LD; its file belongs into the folder of the store, beside which it names the files.
    """
    made = datetime.datetime.fromtimestamp((store.path / INDEX).stat().st_mtime, datetime.UTC)
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "@id": "dataset",
        "conformsTo": CONFORMS_TO,
        "name": name,
        "description": _description(store),
        "version": f"1.0.0+{store.fingerprint[:16]}",
        "dateCreated": made.strftime("%Y-%m-%d"),
        "keywords": ["apparent personality", "Big Five", "first impressions"],
        **{key: value for key, value in known.items() if key != "creator"},
        **({"creator": {"@type": "sc:Organization", "name": known["creator"]}} if "creator" in known else {}),
        "rai:dataUseCases": list(INTENDED),
        "rai:dataSocialImpact": f"Not for: {' '.join(FORBIDDEN)}",
        "rai:dataBiases": [APPARENT, *_leaks(store)],
        "rai:dataLimitations": _limits(store),
        "rai:dataPreprocessingProtocol": [f"apt-lightning {__version__}: {_settings(store)}"],
        "rai:personalSensitiveInformation": [
            DRAWN if store.synthetic else "The people in the clips: features of face and voice, words, demographics."
        ],
        "distribution": [_file(store.path / INDEX)],
        "recordSet": [_clips()],
    }


def _description(store: Store) -> str:
    clips = store.clips
    splits = {split: sum(clip.split == split for clip in clips) for split in dict.fromkeys(c.split for c in clips)}
    counts = ", ".join(f"{n} {split}" for split, n in splits.items())
    usable = store.present.sum(axis=0).tolist()
    served = ", ".join(
        f"{modality} {kind} ({n} clips)" for (modality, kind), n in zip(store.kinds.items(), usable, strict=True)
    )
    return (
        f"Features of {len(clips)} talking-head clips of {len({clip.source for clip in clips})} sources ({counts}), "
        f"made by apt-lightning: {served}. Up to five labels of apparent personality a clip, in [0, 1], in the order "
        f"{', '.join(TRAITS)}. {STABILITY}{' ' + DRAWN if store.synthetic else ''}"
    )


def _leaks(store: Store) -> list[str]:
    train = {clip.source for clip in store.clips if clip.split == "train"}
    said = []
    for split in ("validation", "test"):
        own = [clip for clip in store.clips if clip.split == split]
        seen = sum(clip.source in train for clip in own)
        if seen:
            said.append(
                f"{seen} of {len(own)} {split} clips have a training clip of the same source; `apt audit` says more."
            )
    return said


def _limits(store: Store) -> list[str]:
    clips = store.clips
    left_out = sum(clip.status == "left out" for clip in clips)
    degraded = sum(clip.status == "degraded" for clip in clips)
    labels = np.array([clip.traits for clip in clips]).reshape(-1, len(TRAITS))
    labelled = int((~np.isnan(labels).any(axis=1)).sum())
    return [
        f"{left_out} clips left out and {degraded} used without a modality; reasons are in faults.csv.",
        f"{labelled} of {len(clips)} clips have all five labels.",
    ]


def _settings(store: Store) -> str:
    return ", ".join(f"{key} {value}" for key, value in store.manifest["settings"].items())


def _file(path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": "index",
        "name": "index",
        "description": "One clip a line, in the order of all arrays (docs/store.md).",
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/jsonlines",
        "sha256": file_digest(path),
    }


def _clips() -> dict[str, Any]:
    fields = [
        _field("name", "sc:Text", "Name of the clip."),
        _field("source", "sc:Text", "Source video; clips of one source belong on one side of any split."),
        _field("split", "sc:Text", "train, validation, test or unlabelled."),
        _field("traits", "sc:Float", f"Labels in the order {', '.join(TRAITS)}; null where missing.")
        | {"isArray": True, "arrayShape": str(len(TRAITS))},
    ]
    return {"@type": "cr:RecordSet", "@id": "clips", "name": "clips", "key": {"@id": "clips/name"}, "field": fields}


def _field(name: str, kind: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"clips/{name}",
        "name": name,
        "description": description,
        "dataType": kind,
        "source": {"fileObject": {"@id": "index"}, "extract": {"column": name}},
    }
