"""What an error says to the person who made the mistake."""

from __future__ import annotations

import difflib
import errno
import io
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MENDS = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EROFS: "choose another folder",
    errno.EACCES: "allow it to this user, or choose another place",
    errno.EPERM: "allow it to this user, or choose another place",
}
"""What to do where the disk refuses."""
_PEER_ENDED = r"gloo/transport|NCCL error|Connection (closed|reset) by peer|waiting for clients"


def user_message(error: BaseException, config_name: str) -> str | None:
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
        return user_message(cause, config_name)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _misspelt(error, config_name) or _one_line(error)
    if isinstance(error, ValueError | OSError):
        in_worker = re.match(r"Caught (\w+) in DataLoader worker", str(error))
        if in_worker:
            said = str(error).rstrip().rpartition(f"{in_worker[1]}: ")[2]
            of_disk = re.fullmatch(r"\[Errno (\d+)\] (.*): '(.*)'", said)
            if of_disk:
                of_worker = OSError(int(of_disk[1]), of_disk[2], of_disk[3])
                of_worker.__notes__ = getattr(error, "__notes__", [])
                return _one_line(of_worker)
            return said if _is_ours(str(error)) else None
        return _one_line(error) if _raised_here(error) else None
    if isinstance(error, RuntimeError) and re.search(_PEER_ENDED, str(error)):
        return "another process of this run has ended or does not answer: what was wrong is said by that one"
    if type(error).__name__ == "MisconfigurationException":
        return _one_line(error)
    return None


def _misspelt(error: BaseException, config_name: str) -> str | None:
    from pix2pix_lightning.cli.compose import compose

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
        mend = _MENDS.get(error.errno or 0)
        parts = [_file_of(error), error.strerror.lower() if mend else error.strerror, mend]
        return "; ".join([": ".join(part for part in parts if part), *getattr(error, "__notes__", ())])
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())


def _file_of(error: OSError) -> str | None:
    """An error of ``write`` does not name the file: it is the one that is open in the innermost frame that has one."""
    if error.filename is not None:
        return os.fsdecode(error.filename)
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for value in frame.f_locals.values():
            name = getattr(value, "name", None) if isinstance(value, io.IOBase) else None
            if isinstance(name, str | Path):
                return str(name)
    return None


def _raised_here(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _MENDS):
        return True
    return bool(frames) and _is_ours(frames[-1].filename)


def _is_ours(text: str) -> bool:
    last_file = text.rpartition('File "')[2]
    return str(Path(__file__).parents[1]) in last_file
