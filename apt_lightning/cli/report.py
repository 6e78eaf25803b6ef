"""One self-contained HTML page about one or more runs: tables, charts, settings and a model card."""

import jsonargparse

from apt_lightning.common.console import say


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt report``."""
    parser.add_argument("runs", nargs="+", help="Folders of `apt run`; several are shown side by side.")
    parser.add_argument("--output", help="File to write; report.html in the first run's folder if not given.")


def run(args: jsonargparse.Namespace) -> int:
    """Write the page and say where it is."""
    from apt_lightning.experiments.report.page import write_report

    say(f"report: {write_report(args.runs, args.output)}")
    return 0
