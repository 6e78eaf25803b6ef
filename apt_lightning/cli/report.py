"""One self-contained HTML page about one or more runs: tables, charts, settings and a model card."""

import jsonargparse

from apt_lightning.common.console import add_json, say, say_json
from apt_lightning.experiments.findings import add_log_to, log_findings


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt report``."""
    parser.add_argument("runs", nargs="+", help="Folders of `apt run`; several are shown side by side.")
    parser.add_argument("--output", help="File to write; report.html in the first run's folder if not given.")
    add_log_to(parser)
    add_json(parser)


def run(args: jsonargparse.Namespace) -> int:
    """Write the page and say where it is."""
    from apt_lightning.experiments.report.page import read_runs, write_report
    from apt_lightning.experiments.report.verdict import verdict

    runs = read_runs(args.runs)
    target = write_report(runs, args.output)
    say(f"report: {target}")
    verdicts = {run.name: verdict(run) for run in runs}
    say_json(args.json, {"report": str(target), "verdicts": verdicts})
    if args.log_to:
        log_findings("report", args.runs, {}, {"verdict": verdicts}, target)
    return 0
