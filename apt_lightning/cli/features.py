"""Put features made elsewhere, of any size, into a store: in place of its own, or as a modality of their own."""

from __future__ import annotations

import jsonargparse

from apt_lightning.common.console import say
from apt_lightning.common.names import shown


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt features``."""
    parser.add_argument("store", help="folder of a finished store")
    parser.add_argument("modality", help="audio, visual or text, in place of ours; another name adds a modality")
    parser.add_argument(
        "array", nargs="?", help=".npy (N, D); .npz with `features` and `names`; or CSV with a column clip"
    )
    parser.add_argument("--names", metavar="FILE", help="a clip name a line, in the order of the rows of an .npy")
    parser.add_argument("--remove", action="store_true", help="restore the store's own, or drop what was added")


def run(args: jsonargparse.Namespace) -> int:
    """Put features in place; 1 if some clips of the store get none."""
    from apt_lightning.common.errors import UsageError
    from apt_lightning.data.store.precomputed import put_features, remove_features
    from apt_lightning.data.store.reader import PREPARED, Store

    store = Store.open(args.store)
    if args.remove == (args.array is not None):
        raise UsageError("give either ARRAY or `--remove`")
    if args.remove:
        removed = remove_features(store, args.modality)
        state = "our own features" if args.modality in PREPARED else "no longer in the store"
        say(f"{args.modality}: {state}" + ("" if removed else ", as before"))
        return 0
    placed = put_features(store, args.modality, args.array, args.names)
    say(f"{args.modality}: {placed.used} of {len(store)} clips have the features of {args.array}")
    for what, names in (
        ("names are no clips of the store and are not used", placed.unknown),
        (f"clips have none and lack {args.modality} from now on", placed.missing),
    ):
        if names:
            say(f"{len(names)} {what}: {', '.join(map(shown, names[:5]))}{', …' if len(names) > 5 else ''}")
    return int(bool(placed.missing))
