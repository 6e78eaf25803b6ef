"""Five apparent traits for your own videos, by the modalities that each has."""

import json
from pathlib import Path
from typing import Any

import jsonargparse

from apt_lightning.cli.prepare import add_transcription_arguments
from apt_lightning.common.console import say
from apt_lightning.common.errors import ClipError, DataError, UsageError
from apt_lightning.common.files import write_text
from apt_lightning.common.names import name_form
from apt_lightning.common.traits import TRAIT_CODES, TRAITS

NOTICE = "Apparent, not actual, personality: how strangers may rate these clips. Not for hiring or ranking people."


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt score``."""
    parser.add_argument(
        "clips",
        nargs="+",
        help="Videos or sounds, folders or patterns of them, a CSV (clip, transcript), `-` for names on stdin.",
    )
    parser.add_argument(
        "--checkpoint", required=True, help="Checkpoint of stage 1, 2 or 4, folder, or hf://owner/name."
    )
    parser.add_argument(
        "--transcript",
        help="What is said: the text itself, a text file, .srt or .vtt, or a CSV (clip, transcript) for several clips.",
    )
    add_transcription_arguments(parser)
    add_weights_argument(parser)
    parser.add_argument("--output", help="Also write the scores to this .csv or .json file.")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")
    parser.add_argument(
        "--explain", action="store_true", help="Add what each modality does, and its seconds, frames and words."
    )
    parser.add_argument(
        "--neighbours",
        metavar="STORE",
        help="Also name the training clips of this store that are scored from nearly the same; explains.",
    )
    parser.add_argument("--report", metavar="FILE.html", help="Also write a page with each clip's picture; explains.")
    parser.add_argument("--pictures", metavar="FOLDER", help="Also write each clip's picture, a PNG; explains.")
    parser.add_argument("--every", type=float, help="Also score each window of so many seconds: the course over time.")
    parser.add_argument("--trainer.accelerator", default="cpu", help="Lightning's accelerator: cpu, gpu, auto, ...")


def add_weights_argument(parser: jsonargparse.ArgumentParser) -> None:
    """Declare where the weights of pretrained encoders are."""
    parser.add_argument(
        "--weights",
        metavar="SET=PATH",
        action="append",
        default=[],
        help="Weights of the encoder of a feature set that the model reads; for each that is no longer where it was.",
    )


def weights_of(args: jsonargparse.Namespace) -> dict[str, str]:
    """Feature set to weights.

    Raises:
        UsageError: If a word is no SET=PATH.
    """
    pairs = [word.partition("=") for word in args.weights]
    if wrong := [word for word, (name, _, path) in zip(args.weights, pairs, strict=True) if not (name and path)]:
        raise UsageError(f"expected `--weights SET=PATH`, but got {wrong[0]!r}")
    return {name: path for name, _, path in pairs}


def run(args: jsonargparse.Namespace) -> int:
    """Score clips; 1 if any of them could not be scored."""
    if args.output and Path(args.output).suffix not in (".csv", ".json"):
        raise UsageError(f"`--output` must end in .csv or .json, got {args.output}")
    from apt_lightning.data.collection.folder import others_text
    from apt_lightning.data.collection.given import given_clips
    from apt_lightning.data.text.transcripts import read_transcripts

    clips, transcripts, others = given_clips(args.clips)
    transcripts |= read_transcripts(args.transcript, clips)
    heard, source = _heard(args, [clip for clip in clips if clip not in transcripts])
    transcripts |= heard
    from apt_lightning.common.processes import limit_threads
    from apt_lightning.data.preparation.share import extracting, in_time

    explain = bool(args.explain or args.neighbours or args.report or args.pictures)
    extractions = {}
    with extracting(clips, in_time(args.every, explain)) as extracted:
        from apt_lightning.stages.scorer import Scorer  # 2 s, in which the clips are decoded

        limit_threads()
        from apt_lightning.stages.export.hub import local_copy

        checkpoint = local_copy(args.checkpoint, args.allow_download)
        scorer = Scorer(checkpoint, device(args.trainer.accelerator), weights_of(args), args.neighbours)
        scored = {}
        for found in extracted:
            path = found.task.path
            scored[path] = _score(scorer, found, transcripts.get(path), explain)
            if args.report or args.pictures:
                extractions[path] = found.extraction
    for clip in heard:
        if "traits" in scored[clip]:
            scored[clip]["transcribed"] = source | {"text": heard[clip]}
            scored[clip]["notes"].append(f"{source['model']} {'found the words' if heard[clip] else 'hears no speech'}")
    results = [scored[clip] for clip in clips]
    if extractions:
        _show(args, scorer, results, [extractions[clip] for clip in clips])
    if args.output:
        _write(Path(args.output), results)
    say(json.dumps(results, indent=1) if args.json else _table(results))
    if others:
        say(others_text(others), error=args.json)
    return int(any("error" in result for result in results))


def _show(args: jsonargparse.Namespace, scorer: Any, results: list[dict[str, Any]], clips: list[Any]) -> None:
    """Write the page and the pictures."""
    from apt_lightning.common.files import write_bytes
    from apt_lightning.experiments.clips.page import card, write_page
    from apt_lightning.experiments.clips.picture import draw

    ratings = scorer.training_clips and scorer.training_clips.ratings
    if args.report:
        cards = [card(told, clip, ratings) for told, clip in zip(results, clips, strict=True)]
        write_page(args.report, cards)
    if args.pictures:
        for i, (told, clip) in enumerate(zip(results, clips, strict=True), start=1):
            if "traits" in told:
                name = f"{i:0{len(str(len(clips)))}d}-{Path(told['clip']).stem}.png"
                write_bytes(Path(args.pictures, name), draw(told, clip, ratings, "png"))


def _heard(args: jsonargparse.Namespace, clips: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What a model hears in clips that come without words, and which model it is."""
    if args.transcribe is None or not clips:
        return {}, {}
    from apt_lightning.data.preparation.speech import transcribe_clips
    from apt_lightning.data.text.transcribe import Transcriber

    transcriber = Transcriber(args.transcribe, args.language, args.allow_download)
    found = transcribe_clips(transcriber, clips)
    return {clip: text for clip, text in found if text is not None}, transcriber.source


def device(accelerator: str) -> Any:
    """First device of an accelerator; the import that finds it takes longer than scoring a clip on the CPU."""
    if accelerator == "cpu":
        return accelerator
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import Trainer

    from apt_lightning.common.console import quiet

    quiet()
    try:
        trainer = Trainer(accelerator=accelerator, devices=1, logger=False, enable_checkpointing=False)
    except (ValueError, MisconfigurationException) as error:
        raise UsageError(f"`--trainer.accelerator={accelerator}` cannot be used: {error}") from error
    return trainer.strategy.root_device


def _score(scorer: Any, found: Any, transcript: str | None, explain: bool) -> dict[str, Any]:
    clip = found.task.path
    try:
        result: dict[str, Any] = scorer.judge(clip, found, transcript, explain)
    except ClipError as error:
        what = str(error).removeprefix(f"{Path(clip).name}: ")
        return {"clip": name_form(clip), "error": f"{error.code}: {what}"}
    except DataError as error:
        return {"clip": name_form(clip), "error": str(error)}
    return result


def _write(path: Path, results: list[dict[str, Any]]) -> None:
    import csv
    import io

    if path.suffix == ".json":
        text = json.dumps(results, indent=1) + "\n"
    else:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["clip", "from", "to", *TRAITS, "modalities", "notes"])
        for result in _with_windows(results):
            traits: list[Any] = [result["traits"][t] for t in TRAITS] if "traits" in result else [""] * len(TRAITS)
            notes = result.get("error") or "; ".join([*result["notes"], *result["warnings"]])
            by = " ".join(result.get("modalities", []))
            writer.writerow([result["clip"], result.get("from"), result.get("to"), *traits, by, notes])
        text = stream.getvalue()
    write_text(path, text)


def _with_windows(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each clip, followed by its windows."""
    return [one for r in results for one in (r, *({"clip": r["clip"], **w} for w in r.get("windows", ())))]


PARTS = {"from": "second", "at": "frame", "word": "word"}
"""Key of a part of a clip to what it is."""


def _most(parts: list[dict[str, Any]], trait: str) -> str:
    part = max(parts, key=lambda part: abs(part["effects"][trait]))
    name = part.get("word") or (
        f"{round(part['from'], 1):g}-{round(part['to'], 1):g} s" if "from" in part else f"{part['at']:.1f} s"
    )
    return f"{name} {part['effects'][trait]:+.3f}"


def _changes(values: dict[str, float]) -> list[str]:
    return [f"{values[name]:+.3f}" for name in TRAITS]


def _like_it(like: dict[str, Any]) -> str:
    """Which training clips a clip is scored like."""
    from apt_lightning.evaluation.tables import number

    clips = ", ".join(f"{one['clip']} ({number(one['distance'], 3)})" for one in like["clips"])
    sources = "one source" if like["sources"] == 1 else f"{like['sources']} sources"
    usual = number(like["usual_distance"], 3)
    return f"scored like {clips}, of {sources}; a distance of {usual} is usual between sources"


def clock(seconds: float) -> str:
    """Minutes and seconds.

    Example:
        >>> clock(75.04), clock(3661)
        ('1:15', '61:01')
    """
    return f"{int(seconds + 0.5) // 60}:{int(seconds + 0.5) % 60:02d}"


def short_names(paths: list[str], longest: int = 24) -> list[str]:
    """Names of clips for a table: without the folders that tell none apart, the middle left out where that is too long.

    Args:
        paths: Of the clips.
        longest: Characters; a name that would then stand for two clips stays as it is.

    Example:
        >>> short_names(["a/b/x.mp4", "a/c/x.mp4", "a/c/a-video-of-a-long-afternoon.mp4"])
        ['b/x.mp4', 'c/x.mp4', 'c/a-video-o…fternoon.mp4']
    """
    parts = [Path(path).parts for path in paths]
    tails = ([str(Path(*part[-depth:])) for part in parts] for depth in range(1, 1 + max(map(len, parts), default=0)))
    names = next((tail for tail in tails if len(set(tail)) == len(set(paths))), paths)
    half = longest // 2
    shorter = [n if len(n) <= longest else f"{n[: half - 1]}…{n[-half:]}" for n in names]
    return [s if shorter.count(s) == names.count(n) else n for s, n in zip(shorter, names, strict=True)]


def _table(results: list[dict[str, Any]]) -> str:
    from apt_lightning.evaluation.tables import number, render

    rows: list[list[str]] = []
    failed: list[str] = []
    warned: list[str] = []
    notes: list[str] = []
    for result, name in zip(results, short_names([result["clip"] for result in results]), strict=True):
        if "error" in result:
            rows.append([name, *["-"] * len(TRAITS)])
            failed.append(f"{name}: {result['error']}")
            continue
        rows.append([name, *[number(result["traits"][trait], 3) for trait in TRAITS]])
        notes.append(f"{name}: by {'; '.join([', '.join(result['modalities']), *result['notes']])}")
        if "intervals" in result:
            ends = [result["intervals"][trait] for trait in TRAITS]
            rows.append(["- 90 % interval", *[f"{number(a, 2)}-{number(b, 2)}" for a, b in ends]])
        if "higher_than" in result:
            rows.append(["- training clips below", *[f"{result['higher_than'][trait]:.0%}" for trait in TRAITS]])
        for modality, values in result.get("shapley", {}).items():
            rows.append([f"- Shapley value, {modality}", *_changes(values)])
        for modality, found in result.get("explanation", {}).items():
            count = len(found["parts"])
            noun = next(noun for key, noun in PARTS.items() if key in found["parts"][0])
            rows.append([f"- {modality}, {count} {noun}{'' if count == 1 else 's'}", *_changes(found["sum"])])
            rows.append([f"- {noun} of most effect", *[_most(found["parts"], trait) for trait in TRAITS]])
        if "scored_like" in result:
            like = result["scored_like"]
            rows.append(["- like it, rated", *[number(like["traits"][trait], 3) for trait in TRAITS]])
            notes.append(f"{name}: {_like_it(like)}.")
        for window in result.get("windows", ()):
            when = f"{clock(window['from'])}-{clock(window['to'])}"
            scores = [number(window["traits"][trait], 3) if "traits" in window else "-" for trait in TRAITS]
            rows.append([f"- {when} {' '.join(window.get('modalities', []))}".rstrip(), *scores])
            if "error" in window:
                failed.append(f"{name}, {when}: {window['error']}")
        warned += [f"{name}: {text}." for text in result.get("warnings", ())]
    scored = sum("traits" in result for result in results)
    title = f"{scored} of {len(results)} clips scored. NEU is emotional stability (high = calm)."
    return render(["clip", *TRAIT_CODES], rows, title, [*failed, *warned, *notes, NOTICE])
