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
from apt_lightning.common.traits import SHORT, TRAITS

NOTICE = "Apparent, not actual, personality: how strangers may rate these clips. Not for hiring or ranking people."


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt score``."""
    parser.add_argument("clips", nargs="+", help="Video files.")
    parser.add_argument(
        "--checkpoint", required=True, help="Checkpoint of stage 1, 2 or 4, folder, or hf://owner/name."
    )
    parser.add_argument(
        "--transcript",
        help="What is said: the text itself, a text file, .srt or .vtt, or a CSV (clip, transcript) for several clips.",
    )
    add_transcription_arguments(parser)
    parser.add_argument("--output", help="Also write the scores to this .csv or .json file.")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")
    parser.add_argument("--explain", action="store_true", help="Add each modality's Shapley value.")
    parser.add_argument("--trainer.accelerator", default="cpu", help="Lightning's accelerator: cpu, gpu, auto, ...")


def run(args: jsonargparse.Namespace) -> int:
    """Score clips; 1 if any of them could not be scored."""
    if args.output and Path(args.output).suffix not in (".csv", ".json"):
        raise UsageError(f"`--output` must end in .csv or .json, got {args.output}")
    from apt_lightning.data.text.transcripts import read_transcripts

    transcripts = read_transcripts(args.transcript, args.clips)
    heard, source = _heard(args, [clip for clip in args.clips if clip not in transcripts])
    transcripts |= heard
    from apt_lightning.common.processes import limit_threads
    from apt_lightning.data.preparation.share import extracting

    with extracting(args.clips) as extracted:
        from apt_lightning.stages.scorer import Scorer  # 2 s, in which the clips are decoded

        limit_threads()
        from apt_lightning.stages.export.hub import local_copy

        scorer = Scorer(local_copy(args.checkpoint, args.allow_download), _device(args.trainer.accelerator))
        scored = {
            found.task.path: _score(scorer, found, transcripts.get(found.task.path), args.explain)
            for found in extracted
        }
    for clip in heard:
        if "traits" in scored[clip]:
            scored[clip]["transcribed"] = source | {"text": heard[clip]}
            scored[clip]["notes"].append(f"{source['model']} {'found the words' if heard[clip] else 'hears no speech'}")
    results = [scored[clip] for clip in args.clips]
    if args.output:
        _write(Path(args.output), results)
    say(json.dumps(results, indent=1) if args.json else _table(results))
    return int(any("error" in result for result in results))


def _heard(args: jsonargparse.Namespace, clips: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What a model hears in clips that come without words, and which model it is."""
    if args.transcribe is None or not clips:
        return {}, {}
    from apt_lightning.data.preparation.speech import transcribe_clips
    from apt_lightning.data.text.transcribe import Transcriber

    transcriber = Transcriber(args.transcribe, args.language, args.allow_download)
    found = transcribe_clips(transcriber, clips)
    return {clip: text for clip, text in found if text is not None}, transcriber.source


def _device(accelerator: str) -> Any:
    """First device of an accelerator; the import that finds it takes longer than scoring a clip on the CPU."""
    if accelerator == "cpu":
        return accelerator
    from lightning.pytorch import Trainer

    from apt_lightning.common.console import quiet

    quiet()
    return Trainer(accelerator=accelerator, devices=1, logger=False, enable_checkpointing=False).strategy.root_device


def _score(scorer: Any, found: Any, transcript: str | None, explain: bool) -> dict[str, Any]:
    clip = found.task.path
    try:
        result: dict[str, Any] = scorer.judge(clip, found, transcript, explain)
    except ClipError as error:
        return {"clip": name_form(clip), "error": f"{error.code}: {error}"}
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
        writer.writerow(["clip", *TRAITS, "modalities", "notes"])
        for result in results:
            traits = [result["traits"][t] for t in TRAITS] if "traits" in result else [""] * len(TRAITS)
            notes = result.get("error") or "; ".join(result["notes"])
            writer.writerow([result["clip"], *traits, " ".join(result.get("modalities", [])), notes])
        text = stream.getvalue()
    write_text(path, text)


def _table(results: list[dict[str, Any]]) -> str:
    from apt_lightning.evaluation.tables import number, render

    rows = []
    for result in results:
        if "error" in result:
            rows.append([result["clip"], *["-"] * len(TRAITS), result["error"]])
            continue
        by = "; ".join([" ".join(result["modalities"]), *result["notes"]])
        rows.append([result["clip"], *[number(result["traits"][name], 3) for name in TRAITS], by])
        if "intervals" in result:
            ends = [result["intervals"][name] for name in TRAITS]
            rows.append(["", *[f"{number(a, 2)}-{number(b, 2)}" for a, b in ends], "90 % interval"])
        for modality, values in result.get("shapley", {}).items():
            rows.append(["", *[f"{values[name]:+.3f}" for name in TRAITS], f"Shapley value of {modality}"])
    scored = sum("traits" in result for result in results)
    title = f"{scored} of {len(results)} clips scored. NEU is emotional stability (high = calm)."
    return render(["clip", *SHORT, "by"], rows, title, [NOTICE])
