"""Models that ship with the package, by name: ``builtin:facades``."""

from __future__ import annotations

from pathlib import Path

from pix2pix_lightning.utils.errors import UserError

_PREFIX = "builtin:"
_FOLDER = Path(__file__).with_name("weights")


def is_builtin(name: str | Path) -> bool:
    """Return whether a name is one of a model of the package; a file of that name is given by its absolute path."""
    return str(name).startswith(_PREFIX)


def list_builtin() -> list[str]:
    """List the names of the models, ``builtin:facades``."""
    return sorted(f"{_PREFIX}{path.stem}" for path in _FOLDER.glob("*.ckpt"))


def find_builtin(name: str | Path) -> Path:
    """Find the file of a model.

    Args:
        name: Its name, as `list_builtin` returns it.

    Returns:
        The checkpoint, which ``export format=ckpt`` wrote.

    Raises:
        UserError: There is no such model.
    """
    if str(name) not in list_builtin():
        raise UserError(f"{name} is no model of the package: choose {', '.join(list_builtin()) or 'a checkpoint'}")
    return _FOLDER / f"{str(name).removeprefix(_PREFIX)}.ckpt"
