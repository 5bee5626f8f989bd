"""What a run's files say, or one line on the file that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file with one object in it.

    Raises:
        ValueError: It is something else, or cut short.
    """
    try:
        read = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise damaged(path, str(error)) from None
    if not isinstance(read, dict):
        raise damaged(path, "it holds no object")
    return read


def read_yaml(path: Path) -> DictConfig:
    """A YAML file with keys and values in it.

    Raises:
        ValueError: It is something else, or cut short.
    """
    try:
        read = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's; OmegaConf raises one of its own
            raise
        raise damaged(path, str(error)) from None
    if not isinstance(read, DictConfig):
        raise damaged(path, "it holds no keys")
    return read


def damaged(path: Path, why: str) -> ValueError:
    """What to raise: the file's name, and what to do about it."""
    return ValueError(f"{path} is damaged ({' '.join(why.split())}): put it right, or move that folder away")
