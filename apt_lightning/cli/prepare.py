"""Turn clips into one feature store: voice functionals, frames and words of each clip.

A second run does only what is missing or changed. Exit status: 0 every clip is in the store, 1 some are left
out.
"""

from __future__ import annotations

import jsonargparse

from apt_lightning.cli.doctor import add_extraction_arguments, options_of
from apt_lightning.common.console import add_json, say, say_json


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt prepare``."""
    parser.add_argument("data", help="folder of the data set (official layout, zipped or not), or a CSV of clips")
    parser.add_argument("store", help="folder of the store, made if absent")
    parser.add_argument("--vectors", help="GloVe or word2vec file; vectors are trained on the transcripts without")
    parser.add_argument("--max-tokens", type=int, default=80, help="words kept per clip")
    parser.add_argument("--retry", action="store_true", help="open clips again that timed out or crashed a decoder")
    parser.add_argument("--quarantine", metavar="FILE", help="clip names to leave out unopened, one a line")
    add_transcription_arguments(parser)
    parser.add_argument("--only", choices=["missing"], help="with --transcribe: clips without a transcript alone")
    add_extraction_arguments(parser)
    parser.add_argument("--trainer.devices", type=int, default=1, help="processes a machine, as given to the launcher")
    parser.add_argument("--trainer.num_nodes", type=int, default=1, help="machines, as given to the launcher")
    add_json(parser)
    parser.add_argument(
        "--strict", action="store_true", help="exit status 1 if a clip is degraded, not only if left out"
    )


def add_transcription_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options that ``apt prepare`` and ``apt score`` share."""
    parser.add_argument("--transcribe", metavar="MODEL", help="find the words by this Whisper model: folder, or name")
    parser.add_argument("--language", metavar="CODE", help="what is spoken, `en` say; found by the model if not given")
    parser.add_argument("--allow-download", action="store_true", help="fetch what is named and not on this machine")


def run(args: jsonargparse.Namespace) -> int:
    """Prepare; 0 if every clip is in the store, 1 if some are left out."""
    from apt_lightning.common.errors import UsageError
    from apt_lightning.common.files import locked
    from apt_lightning.data.preparation.doctor import diagnosis_of
    from apt_lightning.data.preparation.prepare import prepare
    from apt_lightning.data.store.reader import Store

    if args.only and args.transcribe is None:
        raise UsageError("`--only missing` says which clips `--transcribe MODEL` is for; give both")
    names = ("vectors", "max_tokens", "retry", "quarantine", "transcribe", "language", "allow_download")
    others = {name: args[name] for name in names} | {"only_missing": args.only == "missing"}
    to_do = prepare(args.data, args.store, options_of(args, **others, **args.trainer))
    if to_do:
        say(f"{to_do} clips of other processes are still to do; this process's share is done")
        return 0
    store = Store.open(args.store)
    diagnosis = diagnosis_of(store)
    with locked(store.path / "store.lock", blocking=True):
        diagnosis.write(store.path / "faults.csv")
    say_json(args.json, diagnosis.to_dict() | {"store": str(store.path), "fingerprint": store.fingerprint})
    bad = {"left out", "degraded"} if args.strict else {"left out"}
    status = int(bool(bad & set(diagnosis.statuses.values())))
    say(f"{diagnosis.summary()}\n")
    if args.vectors is None and store.text.words:
        say("words: vectors trained on the training transcripts; the paper's: `--vectors glove.6B.300d.txt`")
    elif args.vectors is None:
        say(
            "words: no vectors, since no training transcript is there to train them on; `apt predict` uses those of"
            " its checkpoint, training needs `--vectors FILE`"
        )
    skipped = store.text_source.get("skipped", 0)
    if skipped:
        say(f"words: {skipped} rows of {args.vectors} hold no word and are skipped")
    transcribed = [clip for clip in store.clips if clip.transcribed]
    if transcribed:
        silent = sum(not clip.transcript for clip in transcribed)
        say(f"words: {len(transcribed)} clips transcribed by {args.transcribe}, in {silent} of them nobody speaks")
    say(f"store: {store.path}; every fault: {store.path / 'faults.csv'}")
    return status
