"""Check the values of a side's description, and convert them from plain data and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pix2pix_lightning.data.sides.ranges import has_channel_ranges, has_percentiles
from pix2pix_lightning.utils.errors import UserError

Palette = tuple[tuple[int, int, int], ...]

_MAX_CLASSES = 256


def check_classes(palette: Palette | None, num_classes: object) -> None:
    """Check that a label side has classes, of one palette or of numbers.

    Args:
        palette: Colours of the classes, if it has some.
        num_classes: Number of classes, or None.

    Raises:
        UserError: They are missing or out of range, or the two contradict each other.
    """
    if num_classes is not None and type(num_classes) is not int:
        raise UserError(f"num_classes={num_classes}: a whole number is expected")
    if num_classes is None and not palette:
        raise UserError(
            "a side of kind 'label' without a palette: give palette=[[r, g, b], ...], or num_classes= where files hold "
            "class numbers"
        )
    if palette and num_classes not in (None, len(palette)):
        raise UserError(f"num_classes={num_classes} but the palette has {len(palette)} colours")
    if palette:
        check_palette(palette)
    count = len(palette) if palette else num_classes
    if not (isinstance(count, int) and 1 <= count <= _MAX_CLASSES):
        given = f"a palette of {count} colours" if palette else f"num_classes={num_classes}"
        raise UserError(f"{given}: a label side has 1 to {_MAX_CLASSES} classes")


def check_palette(palette: Palette) -> None:
    """Check that no colour of a palette stands for two classes.

    Raises:
        UserError: A colour is repeated.
    """
    if len(set(palette)) < len(palette):
        repeated = next(colour for colour in palette if palette.count(colour) > 1)
        raise UserError(f"palette colour {list(repeated)} stands for two classes: give each its own colour")


def parse_palette(palette: Any) -> Palette:
    """Return a palette as tuples.

    Raises:
        UserError: It is no list of colours.
    """
    try:
        colours = tuple(tuple(colour) for colour in palette)
    except TypeError:
        raise UserError(f"palette={palette}: a list of colours is expected, [[r, g, b], ...]") from None
    for colour in colours:
        if len(colour) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in colour):
            raise UserError(f"palette colour {list(colour)}: three whole numbers from 0 to 255 are expected")
    return colours


def parse_background(background: Any) -> tuple[int, int, int]:
    """Return one colour as a tuple; white for None.

    Raises:
        UserError: It is no colour.
    """
    if background is None:
        return 255, 255, 255
    values = tuple(background) if isinstance(background, list | tuple) else ()
    if len(values) != 3 or not all(type(value) is int and 0 <= value <= 255 for value in values):
        given = list(background) if isinstance(background, tuple) else background
        raise UserError(f"background={given}: three whole numbers from 0 to 255 are expected, [r, g, b]")
    return values


def parse_range(value_range: Any) -> tuple[float, float]:
    """Return a range as a tuple.

    Raises:
        UserError: It is no range of a level or more within 0 to 255.
    """
    try:
        low, high = value_range
        is_range = 0 <= low <= high - 1 <= 254  # 2 / (high - low) is finite
    except (TypeError, ValueError):
        is_range = False
    if not is_range:
        given = list(value_range) if isinstance(value_range, tuple) else value_range
        of_raw = has_percentiles(given) or has_channel_ranges(given)
        raise UserError(
            f"value_range={given}: two values from 0 to 255 are expected, the second at least 1 higher"
            + ("; percentiles, and ranges of channels, are for kind=raw" if of_raw else "")
        )
    return low, high


def parse_strips(strips: Any) -> bool | tuple[int, int] | None:
    """Return whether files are strips, or their size as a tuple.

    Raises:
        UserError: It is neither true, false, null nor two counts of pixels.
    """
    if strips is None or isinstance(strips, bool):
        return strips
    size = tuple(strips) if isinstance(strips, list | tuple) else ()
    if len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise UserError(f"strips={strips}: true, false or a width and a height in pixels are expected")
    return size


def parse_fields(values: Any, cls: type) -> dict[str, Any]:
    """Return keyword arguments of a data class.

    Args:
        values: A mapping from names of fields to values.
        cls: The data class.

    Returns:
        The mapping as a dict.

    Raises:
        UserError: It is no mapping, or a key is no field.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{values!r} does not describe a {cls.__name__}: its keys are expected, such as {{kind: rgb}}")
    names = [f.name for f in fields(cls)]
    for key in values:
        if key not in names:
            raise UserError(f"{key!r} is no key of {cls.__name__}: use one of {', '.join(names)}")
    return dict(values)


def to_plain(value: Any) -> Any:
    """Return nested dicts and tuples as dicts and lists."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, tuple) else value
