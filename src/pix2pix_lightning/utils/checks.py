"""Checks of arguments that many parts share."""

import math
from collections.abc import Collection
from numbers import Integral, Real
from pathlib import Path

from pix2pix_lightning.utils.errors import UserError


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Check that a value is one of the choices.

    Args:
        name: Name of the argument, which the message begins with.
        value: The value.
        choices: Values that are allowed.

    Raises:
        UserError: It is not one of them. The message lists them.
    """
    if value not in list(choices):  # a list compares, where a dict would fail for a value that has no hash
        raise UserError(f"{name}={value!r} is unknown: one of {', '.join(choices)} is expected")


def check_switch(name: str, value: object, *others: object) -> None:
    """Check that a value is true or false; a text such as ``no`` would count as true.

    Args:
        name: Name of the argument, which the message begins with.
        value: The value.
        *others: Further values that are allowed.

    Raises:
        UserError: It is something else.
    """
    if value not in [True, False, *others]:
        raise UserError(f"{name}={value}: true or false is expected")


def check_counts(*, at_least: int = 1, at_most: int | None = None, prefix: str = "", **counts: object) -> None:
    """Check that all of ``counts`` are whole numbers, of Python or of NumPy, and not too small or absurdly large.

    Args:
        at_least: Smallest number that is allowed.
        at_most: Largest number that is allowed, or None.
        prefix: What the message puts in front of a name, such as ``data.``.
        **counts: The numbers by the names of their arguments.

    Raises:
        UserError: One of them is no whole number, or is out of range. The message has its name.
    """
    for name, count in counts.items():
        if not is_whole_number(count) or int(count) < at_least:  # type: ignore[call-overload]
            raise UserError(f"{prefix}{name}={count}: a whole number of at least {at_least} is expected")
        if at_most is not None and int(count) > at_most:  # type: ignore[call-overload]
            raise UserError(f"{prefix}{name}={count}: a whole number from {at_least} to {at_most} is expected")


def check_numbers(
    *, above: float | None = None, at_least: float = -math.inf, prefix: str = "", **numbers: object
) -> None:
    """Check that all of ``numbers`` are finite numbers, and not too small.

    Args:
        above: What they have to be above, or None.
        at_least: Smallest number that is allowed.
        prefix: What the message puts in front of a name, such as ``xdog.``.
        **numbers: The numbers by the names of their arguments.

    Raises:
        UserError: One of them is no finite number, or is out of range. The message has its name.
    """
    bound = f" above {above:g}" if above is not None else f" of at least {at_least:g}" if at_least > -math.inf else ""
    for name, number in numbers.items():
        value = math.nan if isinstance(number, bool) or not isinstance(number, Real) else float(number)
        if not (math.isfinite(value) and value >= at_least and (above is None or value > above)):
            raise UserError(f"{prefix}{name}={number}: a number{bound} is expected")


def check_absent(path: Path, *, overwrite: bool) -> None:
    """Check that nothing is at a path that is about to be written.

    Args:
        path: The path.
        overwrite: Whether what is there may be replaced.

    Raises:
        FileExistsError: Something is there, and ``overwrite`` is false.
    """
    if not overwrite and path.exists():
        raise FileExistsError(f"{path} exists: choose another output, or set overwrite=true")


def is_same_place(one: Path, other: Path) -> bool:
    """Return whether two paths lead to the same place, also by links, ``..`` or letters of another case."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def check_not_inside(name: str, output: Path, **sources: Path) -> None:
    """Check that what a command reads is not in the folder that it replaces, and is not what it writes.

    Args:
        name: Name of the output, for the message.
        output: File or folder that is written as a whole.
        **sources: Files and folders that are read, by the names of their keys.

    Raises:
        UserError: One is at ``output`` or in it.
    """
    for key, source in sources.items():
        if any(is_same_place(output, path) for path in (source.absolute(), *source.resolve().parents)):
            raise UserError(f"{name}={output} would replace {key}={source}: choose another {name}")


def check_folder(key: str, folder: Path) -> None:
    """Check that no file is in the place of a folder, or of one above it.

    Args:
        key: The configuration key, for the message.
        folder: The folder.

    Raises:
        UserError: There is one.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"{key}={folder}: {existing} is a file, and a folder is expected: choose another {key}=")


def is_whole_number(value: object) -> bool:
    """Return whether a value is an integer, of Python or of NumPy; true and false are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)
