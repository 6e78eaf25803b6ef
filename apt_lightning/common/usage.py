"""A command line that cannot be understood, in one line: what was given, the nearest that is known, what is allowed."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import get_origin

_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list",
    "dict": "a mapping",
}
_ALIASES = {
    "learning_rate": "lr",
    "epochs": "max_epochs",
    "gpus": "devices",
    "checkpoint": "ckpt_path",
    "resume": "ckpt_path",
    "output": "run_dir",
}
"""What other programs call it."""


def plain_words(words: Sequence[str], actions: Iterable[argparse.Action], lists: Iterable[str] = ()) -> list[str]:
    """Words as a parser understands them: ``1,2`` for a list, and ``./-file`` for a file that begins like an option.

    Args:
        words: Of the command line, after the command.
        actions: The parser's own.
        lists: Further options, with their dashes, that take a list.
    """
    options = {option: action for action in actions for option in action.option_strings}
    lists = {*lists, *(o for o, action in options.items() if get_origin(getattr(action, "_typehint", None)) is list)}
    plain: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("-") and name not in options and Path(word).is_file():
            word = f"./{word}"
        elif name in lists and equals and value and value[0] != "[":
            word = f"{name}=[{value}]"
        elif plain and plain[-1] in lists and not word.startswith(("[", "-")):
            word = f"[{word}]"
        plain.append(word)
    return plain


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is meant: the one that looks most alike, in whole or in its last part.

    Args:
        name: As given, with or without dashes in front.
        known: Names in the same form as ``name``.

    Example:
        >>> nearest("--trainer.max_epoch", ["--trainer.max_epochs", "--trainer.max_steps"])
        '--trainer.max_epochs'
        >>> nearest("--batch_size", ["--data.batch_size", "--data.seed"])
        '--data.batch_size'
        >>> nearest("--model.learning_rate", ["--model.lr", "--model.gru_dim"])
        '--model.lr'
        >>> nearest("--colour", ["--model.lr"])
    """
    known = [option for option in known if not option.endswith("+")]
    start, last = name.rpartition(".")[0], name.rpartition(".")[2].lstrip("-")
    ends = {option.rpartition(".")[2].lstrip("-"): option for option in reversed(known)}
    for wanted in (last, _ALIASES.get(last, last)):
        same = [option for option in known if option.rpartition(".")[2].lstrip("-") == wanted]
        if same:
            return next((option for option in same if option.startswith(start)), same[0])
    if longer := [option for option in known if option.startswith(name)]:
        return longer[0]
    close = get_close_matches(name, known, n=1, cutoff=0.75) or get_close_matches(last, ends, n=1, cutoff=0.75)
    return ends.get(close[0], close[0]) if close else None


def explain(message: str, command: str, options: Iterable[str]) -> str:
    """One line for what a parser (argparse, jsonargparse) says over many.

    Args:
        message: The parser's own.
        command: Such as ``apt fit``.
        options: Options of the command, with their dashes.

    Example:
        >>> explain("unrecognized arguments: --sed=1", "apt run", ["--seeds", "--store"])
        'no option `--sed`; did you mean `--seeds`?'
    """
    options = [option for option in options if option.startswith("--")]
    for pattern, tell in (
        (r"Problems parsing config: (.*)", _broken),
        (r"Unexpected config: (.*)", _no_mapping),
        (r"unrecognized arguments: (\S+)", _unknown),
        (r"[oO]ption '([^']+)' (?:is )?not accept(?:ed)?", _unknown),
        (r"not accept option '([^']+)'", _unknown),
        (r"required: (.*)", _required),
        (r"(?:Expected a dot import path string:|Import path) (\S+)", _no_class),
        (r"argument ([^:]+): (.*)", _argument),
        (r"(Expected an? .*)", _value),
    ):
        found = re.search(pattern, message, re.DOTALL if tell is _broken else 0)
        if found:
            return tell(found, message, command, options)
    return f"{' '.join(message.split())}; see `{command} --help`"


def _broken(found: re.Match[str], *_: object) -> str:
    place = re.findall(r"line (\d+), column (\d+)", found[1])
    problem = " ".join(re.sub(r"in \"[^\"]*\", line \d+, column \d+:?", ":", found[1]).split()).strip(" :")
    where = "line {}, column {}".format(*place[-1]) if place else "somewhere"
    return f"the file of `--config` is no YAML, at {where}: {problem.replace(' : ', ', ')}"


def _no_mapping(found: re.Match[str], _: str, command: str, __: object) -> str:
    return (
        f"the file of `--config` must hold `key: value` lines, but begins {found[1]!r}; see `{command} --print_config`"
    )


def _unknown(found: re.Match[str], message: str, command: str, options: list[str]) -> str:
    given = found[1].partition("=")[0]
    if given.startswith("--") or "unrecognized" not in message:
        name = given.removeprefix("--")
        if name == "class_path":
            return "the YAML's `model:` must hold `class_path:` and, a level deeper under `init_args:`, its settings"
        if re.search(r"class_path '(\S+)'", message):
            name = f"model.{name}"
        close = nearest(f"--{name}", options)
        return f"no option `--{name}`; " + (f"did you mean `{close}`?" if close else f"`{command} --help` lists them")
    if given.startswith("-"):
        return f"no option `{given}`; a file of that name is given as `./{given}`; `{command} --help` lists the options"
    return f"{given!r} is one word too many; `{command} --help` shows what is understood"


def _required(found: re.Match[str], _: str, command: str, options: list[str]) -> str:
    names = [_name(name, options) for name in found[1].split(", ")]
    return f"{' and '.join(names)} must be given; see `{command} --help`"


def _name(given: str, options: list[str]) -> str:
    """An option as it is written, a positional argument as the help names it."""
    written = {option.replace("-", "_"): option for option in options}
    option = f"--{given.lstrip('-')}"
    found = written.get(option.replace("-", "_"), option if given.startswith("model.") else None)
    return f"`{found}`" if found else given.upper()


def _no_class(found: re.Match[str], message: str, *_: object) -> str:
    if 'Parser key "model"' not in message:
        key = re.findall(r"Parser key \"([^\"]+)\"", message)[:1]
        return (
            f"`--{'.'.join(key)}` cannot be {found[1]!r}: it takes a class, as `class_path:` and `init_args:` in a YAML"
        )
    known = ("ModalityModule", "FusionModule", "SiameseModule", "FinalModule", "JointModule")
    close = get_close_matches(found[1], known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"stages are {', '.join(known)}"
    return f"`--model` is {found[1]}, which is no stage; {hint}"


def _argument(found: re.Match[str], _: str, command: str, options: list[str]) -> str:
    name = _name(found[1].split("/")[-1], options)
    choice = re.match(r"invalid choice: '?([^' ]*)'? \(choose from (.*)\)", found[2])
    if choice is None:
        return f"{name}: {' '.join(found[2].split())}; see `{command} --help`"
    return _choose(name, choice[1], [word.strip("' ") for word in choice[2].split(",")])


def _choose(name: str, given: str, allowed: list[str]) -> str:
    close = get_close_matches(given, allowed, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it can be {', '.join(dict.fromkeys(allowed))}"
    return f"{name} is {given!r}; {hint}"


def _value(found: re.Match[str], message: str, command: str, options: list[str]) -> str:
    keys = re.findall(r"Parser key \"([^\"]+)\"", message)
    name = _name(".".join(keys), options)
    given = re.findall(r"(?:Got value|Given value): (.*)", message)
    value = given[0] if given else "?"
    literals = re.findall(r"Literal\[(.*?)\]", message)
    if literals:
        return _choose(name, value, [word.strip("' ") for words in literals for word in words.split(",")])
    inner = message.rpartition("Parser key")[2] if len(keys) > 1 else message  # without what else the whole may be
    inner = inner.partition("Given value")[0].partition("Got value")[0] if len(keys) > 1 else inner
    kinds = dict.fromkeys(re.findall(r"Expected an? <class '(\w+)'>", inner))
    if kinds:
        wanted = " or ".join(_NAMES.get(kind, "null" if kind == "NoneType" else kind) for kind in kinds)
    else:
        wanted = " ".join(found[1].removeprefix("Expected ").partition("Got value")[0].split()).strip(".")
    return f"{name} must be {wanted}, but is {value!r}; see `{command} --help`"
