"""One self-contained HTML page about one or more runs: tables, charts, settings and a model card."""

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt report``."""
    parser.add_argument("runs", nargs="+", help="Folders of `apt run`; several are shown side by side.")
    parser.add_argument("--output", help="File to write; report.html in the first run's folder if not given.")
    add_json(parser)


def run(args: jsonargparse.Namespace) -> int:
    """Write the page and say where it is."""
    from apt_lightning.experiments.report.page import read_runs, write_report
    from apt_lightning.experiments.report.verdict import verdict

    runs = read_runs(args.runs)
    target = write_report(runs, args.output)
    say(f"report: {target}")
    say_json(args.json, {"report": str(target), "verdicts": {run.name: verdict(run) for run in runs}})
    return 0
