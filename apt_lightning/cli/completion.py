"""Print a script that completes commands and options in a shell: `source <(apt-lightning completion bash)`.

Making it takes seconds, so keep it in a file that the shell reads when it starts.
"""

from __future__ import annotations

import argparse
import sys

import jsonargparse


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt completion``."""
    parser.add_argument("shell", choices=["bash", "zsh"], help="whose language to print")


def run(args: jsonargparse.Namespace) -> int:
    """Print the script."""
    import shtab

    script = shtab.complete(_option_names(), args.shell)
    if args.shell == "bash":
        script += "\ncomplete -o filenames -F _shtab_apt apt-lightning"
    sys.stdout.write(script.replace("#compdef apt\n", "#compdef apt apt-lightning\n") + "\n")  # has tabs
    return 0


def _option_names() -> argparse.ArgumentParser:
    """A parser that knows all options but no types, of which jsonargparse's own completion lists megabytes."""
    import shtab

    from apt_lightning.cli import COMMANDS, LIGHTNING, command_parser
    from apt_lightning.training.fit import lightning_parsers
    from apt_lightning.training.stage_settings import stage_options

    parser = argparse.ArgumentParser(prog="apt", add_help=False)
    commands = parser.add_subparsers()
    lightning = lightning_parsers()
    for name, text in COMMANDS.items():
        full = lightning[name] if name in LIGHTNING else command_parser(name)[1]
        command = commands.add_parser(name, help=text, parents=[full], add_help=False)
        for action in command._actions:
            if action.choices is None and not isinstance(action, argparse._HelpAction):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        for option in stage_options() if name in LIGHTNING else ():
            command.add_argument(option)
    return parser
