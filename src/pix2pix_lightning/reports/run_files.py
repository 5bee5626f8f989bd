"""Read a run's files; the error about a damaged file is one line that names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from pix2pix_lightning.utils.errors import UserError


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object; raise a UserError if it holds something else or is cut short."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise build_damaged_error(path, str(error)) from None
    if not isinstance(content, dict):
        raise build_damaged_error(path, "it does not hold an object")
    return content


def read_yaml(path: Path) -> DictConfig:
    """Read a YAML file of keys and values; raise a UserError if it holds something else or is cut short."""
    try:
        content = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk; OmegaConf raises OSError too
            raise
        raise build_damaged_error(path, str(error)) from None
    if not isinstance(content, DictConfig):
        raise build_damaged_error(path, "it does not hold keys")
    return content


def build_damaged_error(path: Path, why: str) -> UserError:
    """Build the error about a damaged file, in one line.

    Args:
        path: The file.
        why: What is wrong with it.

    Returns:
        The error, to be raised by the caller.
    """
    return UserError(f"{path} is damaged ({' '.join(why.split())}): repair it, or move its folder away")
