"""What stops a command for a reason that is not a bug."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any


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
    """The user stopped a command; the message says how to continue."""
