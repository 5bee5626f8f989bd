"""Tell a user's error from a bug, and format it as one line."""

from __future__ import annotations

import difflib
import errno
import io
import os
import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.choices import find_choices_with, find_conf_dirs, find_key_like, list_all_keys, list_choices
from pix2pix_lightning.cli.conf import is_group
from pix2pix_lightning.cli.memory import format_loader_error, format_memory_error
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.memory import is_loader_ended, is_out_of_memory
from pix2pix_lightning.utils.processes import is_peer_lost

if TYPE_CHECKING:
    from omegaconf import DictConfig

_FIXES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EROFS: "choose another folder",
    errno.EACCES: "allow it to this user, or choose another place",
    errno.EPERM: "allow it to this user, or choose another place",
}
"""What to do where the disk refuses."""
_TRAINER_SETTINGS = r"`(val_check_interval|check_val_every_n_epoch|limit_\w+_batches)`"  # found when data is loaded
_BAD_ARGUMENTS = "unexpected keyword|required positional|required keyword"


def format_error(error: BaseException, config_name: str, cfg: DictConfig | None = None) -> str | None:
    """Return one line for a user's error, and None for a bug, which keeps its traceback.

    A user's error is a `UserError`, also from a process that loads data; an `OSError` that says what the disk or the
    network refuses; memory that ran out; and what Hydra and Lightning say of their own settings.

    Args:
        error: What was raised.
        config_name: Name of the command, whose keys are proposed for a misspelt one.
        cfg: Configuration of the command, whose present values are named; None where there is none yet.
    """
    from hydra.errors import HydraException, InstantiationException, MissingConfigException
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is not given: set {error.full_key}=<value>"
    if isinstance(error, MissingConfigException):
        group, _, name = (error.missing_cfg_file or "").partition("/")
        while is_group(f"{group}/{(inner := name.partition('/'))[0]}"):
            group, name = f"{group}/{inner[0]}", inner[2]
        options = error.options or (list_choices(group, find_conf_dirs()) if is_group(group) else [])  # none in a list
        if not options:
            return _join_lines(error)
        if group == "data" and Path(name).expanduser().is_dir():
            return f"data={name} is a folder: write data.root={name}"
        close = difflib.get_close_matches(name, options, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{group}={name} is unknown: {hint}there are {', '.join(options)}"
    if isinstance(error, InstantiationException):
        cause = error.__cause__
        if cause is None or isinstance(cause, ImportError) or re.search(_BAD_ARGUMENTS, str(cause)):
            return _join_lines(error)
        return format_error(cause, config_name, cfg)
    if isinstance(error, HydraException) and (word := getattr(error, "override", None)):
        return _format_unreadable(str(word))
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _format_misspelt_key(error, config_name) or _join_lines(error)
    if is_loader_ended(error):
        return format_loader_error(error, cfg)
    if is_out_of_memory(error):
        return format_memory_error(error, config_name, cfg)
    if isinstance(error, UserError | OSError):
        if in_worker := re.match(r"Caught (\w+) in DataLoader worker", str(error)):
            return _format_worker_error(error, in_worker[1])
        return _format_os_error(error) if isinstance(error, OSError) else _join_lines(error)
    if is_peer_lost(error):
        return "another process of this run has ended or does not answer: its own line says what was wrong"
    if type(error).__name__ == "MisconfigurationException":
        return _join_lines(error)
    if isinstance(error, ValueError) and re.search(_TRAINER_SETTINGS, str(error)):
        return f"trainer: {_join_lines(error)}"
    return None


def _format_unreadable(word: str) -> str:
    """Format what Hydra's grammar cannot read."""
    key, _, value = word.partition("=")
    return (
        f"{word} cannot be read: close what is open, and put a value with spaces or signs in two kinds of quotes, "
        f"'{key}=\"{value}\"'"
    )


def _format_worker_error(error: UserError | OSError, name: str) -> str:
    """Format what torch raises for an error in a loader's process: an error of its class with a traceback as text."""
    message = str(error).rstrip().rpartition(f"{name}: ")[2]
    if not isinstance(error, OSError):
        return message
    found = re.fullmatch(r"\[Errno (\d+)\] (.*): '(.*)'", message)
    if found is None:
        return message
    original = OSError(int(found[1]), found[2], found[3])
    original.__notes__ = getattr(error, "__notes__", [])
    return _format_os_error(original)


def _format_os_error(error: OSError) -> str:
    if error.errno is None:  # not from the system, but with a message for people
        return _join_lines(error)
    fix = _FIXES.get(error.errno)
    message = error.strerror or str(error)
    parts = [_find_file(error), message.lower() if fix else message, fix]
    return "; ".join([": ".join(part for part in parts if part), *getattr(error, "__notes__", ())])


def _find_file(error: OSError) -> str | None:
    """Return the file of an error. One of ``write`` names none: it is the file that is open in the innermost frame."""
    if error.filename is not None:
        return os.fsdecode(error.filename)
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for value in frame.f_locals.values():
            name = getattr(value, "name", None) if isinstance(value, io.IOBase) else None
            if isinstance(name, str | Path):
                return str(name)
    return None


def _format_misspelt_key(error: BaseException, config_name: str) -> str | None:
    found = re.search(r"Could not (?:override|find|append to config) '([^']+)'", str(error))
    if found is None or ("not in struct" not in f"{error} {error.__cause__}" and "match" not in str(error)):
        return None
    key = found[1]
    if found_in := find_choices_with(key, config_name):
        group, names = found_in
        choices = " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
        return f"{key} is no key of what is chosen here: it goes with {group}={choices}"
    close = difflib.get_close_matches(key, list_all_keys(config_name), 1)
    meant = close[0] if close else find_key_like(key, config_name)
    hint = f"did you mean {meant}?" if meant else "--help all lists the keys"
    return f"{key} is no key of this configuration: {hint}"


def _join_lines(error: BaseException) -> str:
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())
