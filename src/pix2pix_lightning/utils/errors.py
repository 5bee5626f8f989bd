"""What stops a command for a reason that is not a bug."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

CTRL_C_STATUS, RESUMABLE_STATUS = 130, 75
"""Exit status after Ctrl-C, and after another signal: 75 is EX_TEMPFAIL, "try again", of sysexits.h."""


class UserError(ValueError):
    """Something that the user can fix; the message says in one line what was wrong, the value and the fix.

    Commands print the message and end with status 1, without a traceback. As a ``ValueError`` it is caught by what
    catches those.
    """


def add_key(key: str, message: str, arguments: Collection[Any], *, always: bool = False) -> str:
    """Put a configuration key in front of the message of an error.

    Args:
        key: The key of what raised the error, such as ``module.generator``.
        message: The message.
        arguments: Names of the arguments of what raised it. A message that begins with one of them gets ``key.``
            before it.
        always: Whether other messages get ``key:`` before them.

    Returns:
        The message with the key.
    """
    if message.startswith(key):
        return message
    first = re.match(r"\w+", message)
    if first and first[0] in arguments:
        return f"{key}.{message}"
    return f"{key}: {message}" if always else message


class Interrupted(BaseException):
    """A command was stopped by Ctrl-C or a signal; the message says how to continue.

    Args:
        message: How to continue.
        status: Exit status of the command.
    """

    def __init__(self, message: str = "", status: int = CTRL_C_STATUS) -> None:
        super().__init__(message)
        self.status = status
