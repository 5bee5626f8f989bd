"""The kinds of sides by name, and sides from plain data."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pix2pix_lightning.data.sides.grayscale import GrayscaleSide
from pix2pix_lightning.data.sides.lab import LabSide
from pix2pix_lightning.data.sides.label import LabelSide
from pix2pix_lightning.data.sides.raw import RawSide
from pix2pix_lightning.data.sides.rgb import RgbSide
from pix2pix_lightning.data.sides.side import Side
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError

KINDS: dict[str, type[Side]] = {side.kind: side for side in (RgbSide, GrayscaleSide, LabelSide, LabSide, RawSide)}
"""The class of each kind of side. A new kind is a file next to this one, and a row here."""
_OLD_NAMES = {"grey": "grayscale"}  # in older configurations and checkpoints
_NEUTRAL = {"dtype": ("uint8",), "value_range": ([0, 255], (0, 255))}
"""Values that older checkpoints kept for kinds without the key, where they change nothing; None and False too."""


def build_side(kind: str = "rgb", **options: Any) -> Side:
    """Build the description of a side.

    Args:
        kind: ``rgb``, ``grayscale``, ``label``, ``lab`` or ``raw``.
        **options: Arguments of the kind's class.

    Returns:
        The side.

    Raises:
        UserError: The kind or an option is unknown, out of range, or has no effect.

    Example:
        >>> build_side("label", num_classes=19, ignore_index=255).channels
        19
    """
    kind = _OLD_NAMES.get(kind, kind) if isinstance(kind, str) else kind
    check_choice("kind", kind, KINDS)
    cls = KINDS[kind]
    own = {field.name for field in fields(cls)}
    options = {key: value for key, value in options.items() if value is not None or key not in own}
    for key in [key for key in options if key not in own]:
        value = options.pop(key)
        others = [name for name, other in KINDS.items() if key in {field.name for field in fields(other)}]
        if not others and key not in _NEUTRAL:
            raise UserError(f"{key!r} is no key of a side of kind {kind!r}: use one of kind, {', '.join(sorted(own))}")
        if value is None or value is False or value in _NEUTRAL.get(key, ()):
            continue
        value = str(value).lower() if isinstance(value, bool) else value  # as on the command line
        fix = f"set kind={' or '.join(others)}, or leave it out" if others else "leave it out"
        raise UserError(f"{key}={value} has no effect for a side of kind {kind!r}: {fix}")
    return cls(**options)
