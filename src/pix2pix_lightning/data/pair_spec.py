"""PairSpec: both sides of a pair, its size and its direction, as plain data that is saved with a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from pix2pix_lightning.data.files.volumes import check_slices
from pix2pix_lightning.data.sides import LabSide, RgbSide, Side, build_side
from pix2pix_lightning.data.sides.values import parse_fields, parse_strips, to_plain
from pix2pix_lightning.data.sizes import Size, check_resize_rule, enlarge, format_size, get_sides, parse_size
from pix2pix_lightning.utils.checks import check_choice, check_switch
from pix2pix_lightning.utils.errors import UserError

Direction = Literal["a_to_b", "b_to_a"]


@dataclass(frozen=True, kw_only=True)
class PairSpec:
    """Describe both sides of a pair, its size and its direction.

    Args:
        source: The side that is translated.
        target: The side that it is translated into.
        size: What the networks see in training: the side of squares, or (height, width), in pixels.
        load_size: Size to which training images are resized before the crop of ``size``; by default ``size``, which is
            no crop. Of ``scale_width`` the width counts, and ``none`` does not use it.
        resize: How images are resized: ``stretch`` gives both sides their size; ``scale_width`` the width alone, and
            the height follows from the image's shape; ``none`` leaves them as they are.
        is_whole: Whether training sees whole images of ``scale_width`` or ``none``, and not crops of ``size``: they
            differ in height or in both sides, and the networks pad them.
        direction: Which of the files' A and B is the source: ``a_to_b`` or ``b_to_a``.
        slice_axis: Across which axis of a volume its slices are translated: 0, 1 or 2.
        neighbours: Number of slices on each side that are channels of the source too.
        strips: Whether the training's files were strips: False, True or their common (width, height); None: unknown.

    Raises:
        UserError: A size or the direction is out of range, or the target needs another source.

    Example:
        >>> spec = PairSpec(source=build_side("grayscale"))
        >>> (spec.source.channels, spec.target.channels, spec == PairSpec.from_dict(spec.to_dict()))
        (1, 3, True)
    """

    source: Side = field(default_factory=RgbSide)
    target: Side = field(default_factory=RgbSide)
    size: Size = 256
    load_size: Size = None  # type: ignore[assignment]  # size, where it is not given
    resize: str = "stretch"
    is_whole: bool = False
    direction: str = "a_to_b"
    slice_axis: int = 2
    neighbours: int = 0
    strips: bool | tuple[int, int] | None = field(default=None, compare=False)  # not what pixels mean

    def __post_init__(self) -> None:
        if cast("Size | None", self.load_size) is None:
            object.__setattr__(self, "load_size", self.size)
        check_choice("direction", self.direction, get_args(Direction))
        for name in ("size", "load_size"):
            object.__setattr__(self, name, parse_size(name, getattr(self, name)))
        check_resize_rule("resize", self.resize)
        check_slices("slice_", axis=self.slice_axis, neighbours=self.neighbours)
        for name in ("slice_axis", "neighbours"):  # plain data has no integers of NumPy
            object.__setattr__(self, name, int(getattr(self, name)))
        check_switch("is_whole", self.is_whole)
        if self.is_whole and self.resize == "stretch":
            raise UserError("is_whole=true with resize=stretch, which makes all images equal: leave is_whole out")
        if isinstance(self.target, LabSide) and not self.target.has_lightness and not _has_lightness(self.source):
            raise UserError(
                f"a target of kind lab, part=ab, takes its L from the source, here of kind {self.source.kind!r}: "
                "set kind=lab and part=l there"
            )
        object.__setattr__(self, "strips", parse_strips(self.strips))

    @property
    def height(self) -> int:
        """Height in pixels of what the networks see in training."""
        return get_sides(self.size)[0]

    @property
    def width(self) -> int:
        """Width in pixels of what the networks see in training."""
        return get_sides(self.size)[1]

    @property
    def a(self) -> Side:
        """The side of the files' A."""
        return self.source if self.direction == "a_to_b" else self.target

    @property
    def b(self) -> Side:
        """The side of the files' B."""
        return self.target if self.direction == "a_to_b" else self.source

    @property
    def size_key(self) -> str:
        """The configuration key that sets ``size``: ``data.size`` or ``data.crop``."""
        is_jitter = self.resize == "stretch" and self.load_size in (self.size, enlarge(self.size))
        return "data.size" if self.is_whole or is_jitter else "data.crop"

    @property
    def size_setting(self) -> str:
        """``size`` as its key sets it, such as ``data.size=[256,512]``, for messages."""
        return f"{self.size_key}={format_size(self.size)}"

    def compute_resized(self, height: int, width: int, *, for_crop: bool = False) -> tuple[int, int]:
        """Compute the size to which an image is resized.

        Args:
            height: Height of the image in pixels.
            width: Width of the image in pixels.
            for_crop: Whether a training crops ``size`` from the result, and not a validation or a prediction that
                stretches images to ``size``.

        Returns:
            Height and width in pixels. With ``scale_width`` the height is rounded down, as junyanz does; an image that
            is too flat for the crops' height is stretched to it.
        """
        if self.resize == "none":
            return height, width
        if self.resize == "stretch":
            return get_sides(self.load_size if for_crop else self.size)
        scaled = get_sides(self.load_size)[1]
        return max(scaled * height // width, 1 if self.is_whole else self.height), scaled

    def encode(self, image: Tensor, side: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """Convert images of one side from what a batch carries to what a network sees.

        Args:
            image: (B, C, H, W), as ``Side.encode`` takes it.
            side: ``source`` or ``target``.
            dtype: Type of the result.

        Returns:
            (B, channels, H, W) floats in [-1, 1].
        """
        return (self.source if side == "source" else self.target).encode(image, dtype)

    def decode(
        self, output: Tensor, source: Tensor | None = None, *, is_output: bool = True, rounding: str = "nearest"
    ) -> Tensor:
        """Convert a generator's output, or targets, to what a file of the target holds.

        Args:
            output: (B, channels, H, W) floats in [-1, 1].
            source: The generator's input, for kinds of target that are completed from it.
            is_output: False for targets, whose pixels may have no class.
            rounding: As in ``Side.decode``.

        Returns:
            (B, C, H, W) in the target's own type and range.
        """
        return self.target.decode(output, source, is_output=is_output, rounding=rounding)

    def find_counted(self, source: Tensor, target: Tensor | None = None) -> Tensor | None:
        """Find the pixels that count in losses and metrics: those that have a value, and a class in a label target.

        Args:
            source: (B, C, H, W), as ``encode`` returns it.
            target: (B, C', H, W), as ``encode`` returns it; None looks at the source alone.

        Returns:
            (B, 1, H, W) booleans; None where every pixel counts by the description of its side.
        """
        missing = self.source.find_missing(source)
        ignored = None if target is None else self.target.find_ignored(target)
        if missing is None or ignored is None:
            excluded = ignored if missing is None else missing
            return None if excluded is None else ~excluded
        return ~(missing | ignored)

    def to_dict(self) -> dict[str, Any]:
        """Return the description as nested dicts, lists, strings and numbers."""
        sides = {"source": self.source.to_dict(), "target": self.target.to_dict()}
        return {item.name: sides.get(item.name, to_plain(getattr(self, item.name))) for item in fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PairSpec:
        """Build the description from what ``to_dict`` returned.

        Args:
            data: Keyword arguments of this class; ``source`` and ``target`` hold those of `build_side`.

        Returns:
            The description; keys that are missing have their defaults.

        Raises:
            UserError: A key is unknown, or a value is out of range.
        """
        values = parse_fields(data, cls)
        for side in {"source", "target"} & values.keys():
            if not isinstance(values[side], Mapping):
                raise UserError(
                    f"{side}={values[side]!r} does not describe a side: keys are expected, such as {{kind: rgb}}"
                )
            values[side] = build_side(**values[side])
        return cls(**values)


def _has_lightness(side: Side) -> bool:
    return isinstance(side, LabSide) and side.has_lightness


def build_geometry(
    *, size: object, crop: object = None, resize: object = "stretch", jitter: bool = True, prefix: str = "data."
) -> dict[str, Any]:
    """Build the keys of a ``PairSpec`` that say of which size images are, from those of a data module.

    Args:
        size: Size to which images are resized.
        crop: Size of the part of them that a training sees; None for all of it.
        resize: As in ``PairSpec``.
        jitter: Whether images that are stretched and not cropped are enlarged by 286/256, and cropped to ``size``.
        prefix: What messages put in front of a name.

    Returns:
        ``size``, ``load_size``, ``resize`` and ``is_whole``.

    Raises:
        UserError: A size or the rule is unknown, or a crop is larger than what it is cut from.
    """
    check_resize_rule(f"{prefix}resize", resize)
    loaded = parse_size(f"{prefix}size", size)
    if crop is None:
        is_whole = resize != "stretch"
        load_size = enlarge(loaded) if jitter and not is_whole else loaded
        return {"size": loaded, "load_size": load_size, "resize": resize, "is_whole": is_whole}
    part = parse_size(f"{prefix}crop", crop)
    (height, width), (most_height, most_width) = get_sides(part), get_sides(loaded)
    is_too_high = height > most_height and resize == "stretch"
    if is_too_high or (width > most_width and resize != "none"):
        raise UserError(
            f"{prefix}crop={format_size(part)} is larger than {prefix}size={format_size(loaded)}, to which images are "
            f"resized before: set a larger {prefix}size, or {prefix}resize=none to crop from the files as they are"
        )
    return {"size": part, "load_size": loaded, "resize": resize, "is_whole": False}
