"""Put features made elsewhere into a store: in place of its own, as a modality, or with `--name` as a feature set.

`apt features STORE` lists the feature sets that there are.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json
from apt_lightning.common.names import shown

if TYPE_CHECKING:
    from apt_lightning.data.store.reader import Store


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt features``."""
    parser.add_argument("store", help="folder of a finished store")
    parser.add_argument(
        "modality", nargs="?", help="audio, visual, text, or a name of your own; none: list the feature sets"
    )
    parser.add_argument(
        "array",
        nargs="?",
        help=".npy (N, D); .npz with `features` and `names`; CSV with a column clip; with --name also a folder of one"
        " .npy or .npz (T, D) a clip, HDF5 with a data set a clip, or Parquet",
    )
    parser.add_argument("--names", metavar="FILE", help="a clip name a line, in the order of the rows of an .npy")
    parser.add_argument("--name", help="put them in as a feature set of this name, beside what is there")
    parser.add_argument("--remove", action="store_true", help="restore the store's own, or drop what was added")
    add_json(parser)


def run(args: jsonargparse.Namespace) -> int:
    """Put features in place; 1 if some clips of the store get none."""
    from apt_lightning.common.errors import UsageError
    from apt_lightning.data.store.given_sequences import put_set
    from apt_lightning.data.store.index import PREPARED
    from apt_lightning.data.store.precomputed import put_features, remove_features
    from apt_lightning.data.store.reader import Store

    store = Store.open(args.store)
    if args.modality is None:
        return _list(store, args.json)
    if args.remove == (args.array is not None):
        raise UsageError("give either ARRAY or `--remove`")
    if args.remove and args.name:
        found = store.feature_set(args.modality, args.name)
        shutil.rmtree(found.path)
        say(f"{args.modality} {args.name}: no longer in the store")
        say_json(args.json, {"modality": args.modality, "set": args.name, "removed": True})
        return 0
    if args.remove:
        removed = remove_features(store, args.modality)
        state = "our own features" if args.modality in PREPARED else "no longer in the store"
        say(f"{args.modality}: {state}" + ("" if removed else ", as before"))
        say_json(args.json, {"modality": args.modality, "set": None, "removed": removed})
        return 0
    if args.name:
        placed = put_set(store, args.modality, args.name, args.array, args.names)
    else:
        placed = put_features(store, args.modality, args.array, args.names)
    say(f"{args.modality}: {placed.used} of {len(store)} clips have the features of {args.array}")
    lacked = args.name or args.modality
    for what, names in (
        ("names are no clips of the store and are not used", placed.unknown),
        (f"clips have none and lack {lacked} from now on", placed.missing),
    ):
        if names:
            say(f"{len(names)} {what}: {', '.join(map(shown, names[:5]))}{', …' if len(names) > 5 else ''}")
    say_json(args.json, {"modality": args.modality, "set": args.name, "clips": len(store), **placed._asdict()})
    return int(bool(placed.missing))


def _list(store: Store, json: str | None) -> int:
    """Print what feature sets there are."""
    from apt_lightning.data.store.sequences import feature_sets
    from apt_lightning.evaluation.tables import render

    found, rows = feature_sets(store.path), []
    for one in found:
        steps, layers, size = one.values.shape
        clips = f"{one.covered} of {len(one.clips)}"
        shape = f"{steps} x {layers} x {size} {one.values.dtype}"
        rows.append([one.modality, one.name, clips, shape, f"{one.bytes / 1e6:.1f}", one.source])
    say(
        render(["modality", "set", "clips", "steps x layers x size", "MB", "of"], rows)
        if rows
        else "no feature set; `apt encode`, or `--name` here, adds one"
    )
    say_json(json, {"sets": [one.to_dict() for one in found]})
    return 0
