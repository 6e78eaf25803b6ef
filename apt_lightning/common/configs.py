"""The YAML files that come with the package: stages, runs, sweeps and overlays."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from apt_lightning.common.errors import UsageError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
"""Folder of the YAML files in the package; in a clone a link to the one at the top."""

MAX_YAML = 2**20
"""Bytes of a YAML file."""

NO_STAGE = (
    "no stage is given; `apt fit --config stage1_audio.yaml --data.store STORE` trains the first, and there are"
    " stage1_visual.yaml, stage1_text.yaml, stage2.yaml, stage3.yaml, stage4.yaml; `--ckpt_path FILE` goes on with one"
)


def find_config(name: str | os.PathLike[str]) -> Path:
    """The file or folder of this name: the user's own if it is there, else the package's.

    Args:
        name: A path; or a name within the package's ``configs``, with or without that word in front.

    Returns:
        The path that is there; ``name`` itself if none is, so that an error names what was asked for.

    Example:
        >>> find_config("stage3.yaml").relative_to(CONFIGS).as_posix()
        'stage3.yaml'
        >>> find_config("configs/runs/demo.yaml").name
        'demo.yaml'
        >>> find_config("no/such.yaml").as_posix()
        'no/such.yaml'
    """
    own = Path(name)
    places = (own, CONFIGS / own, CONFIGS.parent / own if own.parts[:1] == (CONFIGS.name,) else own)
    return next((place for place in places if place.exists()), own)


def find_config_options(words: list[str]) -> list[str]:
    """Command-line words with each ``--config`` in front, its value replaced by what :func:`find_config` finds.

    Files come first so that every flag counts, also one that stands before the file that it changes.

    Raises:
        UsageError: If there is no such file.

    Example:
        >>> [Path(word).name for word in find_config_options(["--out", "stage3.yaml", "--config", "stage3.yaml"])]
        ['--config', 'stage3.yaml', '--out', 'stage3.yaml']
    """
    files: list[str] = []
    others: list[str] = []
    left = iter(words)
    for word in left:
        option, equals, value = word.partition("=")
        if word == "--":
            others += [word, *left]
        elif word in ("--config", "-c"):
            files += [word, *map(_found, islice(left, 1))]
        elif option == "--config" and equals:
            files.append(f"--config={_found(value)}")
        else:
            others.append(word)
    return files + others


def _found(name: str) -> str:
    path = find_config(name)
    if path.is_dir():
        raise UsageError(f"{name} is a folder; `--config` takes one YAML file of it")
    if not path.is_file():
        names = (file.relative_to(CONFIGS).as_posix() for file in sorted(CONFIGS.rglob("*.yaml")))
        own = ", ".join(name for name in names if not name.startswith("overlays/"))
        raise UsageError(f"no file {name}; with the package come {own} and overlays: `apt configs DIR` writes them out")
    read_yaml_text(path)
    return str(path)


def read_yaml_text(path: str | os.PathLike[str]) -> str:
    """Text of a YAML file.

    Raises:
        UsageError: If it cannot be read, is large, or is not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_YAML + 1)
        if len(data) > MAX_YAML:
            raise UsageError(f"{os.fspath(path)} has more than {MAX_YAML >> 20} MiB; is it a YAML file?")
        return data.decode("utf-8")
    except OSError as error:
        raise UsageError(f"{os.fspath(path)} is no readable YAML: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{os.fspath(path)} is not UTF-8 (byte {error.start}); save it again as UTF-8") from None
