"""What an error says to the person who made the mistake."""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def mistake(error: BaseException, config_name: str) -> str | None:
    """One line for the person who made the mistake; None where the error is a bug.

    A mistake is what this package raises itself as a ``ValueError`` or an ``OSError``, also inside a loader's
    worker, and what Hydra and Lightning say of their own settings.
    """
    from hydra.errors import HydraException, InstantiationException, MissingConfigException
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is not given: say {error.full_key}=<value>"
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        close = difflib.get_close_matches(name, error.options, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{group}={name} is unknown: {hint}there are {', '.join(error.options)}"
    if isinstance(error, InstantiationException):
        cause = error.__cause__
        if cause is None or isinstance(cause, ImportError):
            return _one_line(error)
        if re.search("unexpected keyword|required positional|required keyword", str(cause)):
            return _one_line(error)
        return mistake(cause, config_name)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _misspelt(error, config_name) or _one_line(error)
    if isinstance(error, ValueError | OSError):
        in_worker = re.match(r"Caught (\w+) in DataLoader worker", str(error))
        if in_worker:
            return str(error).rstrip().rpartition(f"{in_worker[1]}: ")[2] if _is_ours(str(error)) else None
        return _one_line(error) if _raised_here(error) else None
    if type(error).__name__ == "MisconfigurationException":
        return _one_line(error)
    return None


def _misspelt(error: BaseException, config_name: str) -> str | None:
    from pix2pix_lightning.config import compose

    found = re.search(r"Could not (?:override|find|append to config) '([^']+)'", str(error))
    if found is None or ("not in struct" not in f"{error} {error.__cause__}" and "match" not in str(error)):
        return None
    key = found[1]
    keys = list(_keys(compose(config_name)))
    if key in keys:
        return (
            f"{key} is no key of what was chosen here, whose group has other keys or is switched off: --help lists them"
        )
    close = difflib.get_close_matches(key, keys, 1)
    hint = f"did you mean {close[0]}?" if close else "--help lists the keys"
    return f"{key} is no key of this configuration: {hint}"


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    from omegaconf import OmegaConf

    for key in node:
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(node, key) and OmegaConf.is_dict(node[key]):
            yield from _keys(node[key], f"{prefix}{key}.")


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())


def _raised_here(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, OSError) and error.filename is not None:
        return True
    return bool(frames) and _is_ours(frames[-1].filename)


def _is_ours(text: str) -> bool:
    last_file = text.rpartition('File "')[2]
    return str(Path(__file__).parent) in last_file
