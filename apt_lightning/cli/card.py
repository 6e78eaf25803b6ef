"""Write the cards of a store (Croissant 1.1) or of a run (model card, reproducibility checklist).

A store's card names files and counts; labels and media stay in the store. An item of a run's checklist is ticked by
what lies in its folder.
"""

from __future__ import annotations

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt card``."""
    parser.add_argument("folder", type=str, help="store of `apt prepare`, or run folder of `apt run`")
    parser.add_argument("--name", type=str | None, help="of the data set; the folder's name if not given")
    parser.add_argument("--license", type=str | None, help="of the data set, as a URL")
    parser.add_argument("--url", type=str | None, help="page of the data set")
    parser.add_argument("--creator", type=str | None, help="who made the data set")
    parser.add_argument("--published", metavar="YYYY-MM-DD", type=str | None, help="when it was published")
    parser.add_argument("--cite", type=str | None, help="how to cite it")
    add_json(parser)


def run(args: jsonargparse.Namespace) -> int:
    """Write the cards and say where they are, and what is still to be given."""
    from pathlib import Path

    from apt_lightning.common.files import write_json, write_text

    folder = Path(args.folder)
    if (folder / "run.json").is_file():
        from apt_lightning.experiments.cards.checklist import checklist, items
        from apt_lightning.experiments.cards.model import model_card

        cards = {folder / "MODEL_CARD.md": model_card(folder), folder / "REPRODUCIBILITY.md": checklist(folder)}
        for file, text in cards.items():
            write_text(file, text)
            say(f"card: {file}")
        say_json(args.json, {"cards": [*map(str, cards)], "checklist": [item._asdict() for item in items(folder)]})
        return 0
    from apt_lightning.data.store.reader import Store
    from apt_lightning.experiments.cards.croissant import CARD, OPTIONS, data_card

    known = {key: args[option] for option, key in OPTIONS.items() if args[option] is not None}
    write_json(folder / CARD, data_card(Store.open(folder), args.name or folder.resolve().name, known))
    say(f"card: {folder / CARD}")
    missing = [f"--{option}" for option, key in OPTIONS.items() if key not in known]
    if missing:
        say(f"Croissant also asks for {', '.join(missing)}, which no store knows")
    say_json(args.json, {"cards": [str(folder / CARD)], "not_given": missing})
    return 0
