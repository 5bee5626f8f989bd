"""PairSpec: what the pixels of each side of a pair mean, as plain data that is saved with a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast, get_args

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.data import class_numbers
from pix2pix_lightning.data.palette import check_colours_match, find_nearest_colours
from pix2pix_lightning.data.resize import INTERPOLATIONS, resize
from pix2pix_lightning.data.side_values import (
    Palette,
    check_classes,
    parse_background,
    parse_fields,
    parse_palette,
    parse_range,
    parse_strips,
    to_plain,
)
from pix2pix_lightning.utils.checks import check_choice, check_counts
from pix2pix_lightning.utils.errors import UserError

Kind = Literal["rgb", "grayscale", "label"]
Direction = Literal["a_to_b", "b_to_a"]
_MAX_SIDE = 2**16  # pixels


@dataclass(frozen=True, kw_only=True)
class SideSpec:
    """Describe one side of a pair.

    A network sees ``rgb`` and ``grayscale`` as floats in [-1, 1], and ``label`` as one channel for each class, 1
    where the class is and -1 elsewhere.

    Args:
        kind: ``rgb`` (three channels), ``grayscale`` (one channel; ``grey`` means the same), or ``label`` (classes:
            files hold the colours of ``palette``, or, without one, the numbers 0 to ``num_classes - 1``).
        palette: RGB colours, 0 to 255. Each colour in a file is replaced by the nearest of them, which removes the
            noise of JPEG. A label file that is drawn in other colours is refused.
        num_classes: Number of classes of a label side without a palette, 1 to 256.
        ignore_index: Class number (Cityscapes' 255), or position in the palette, of pixels without a class. A network
            sees -1 in all their channels. A target's do not count in losses and metrics; outputs have none.
        snap_palette: Replace every pixel of an rgb side by the nearest colour of the palette, before resizing.
        interpolation: How to resize this side: ``bicubic``, ``bilinear`` or ``nearest``. By default ``nearest``
            for label sides and with ``snap_palette``, else ``bicubic``.
        dtype: Type of the files' values, ``uint8``.
        value_range: Least and greatest value of a file, from 0 to 255; they become -1 and 1.
        alpha: What to do with transparent pixels: ``composite`` lays them over ``background``, ``error`` refuses the
            file. By default ``error`` for label sides, else ``composite``.
        background: RGB colour below transparent pixels, 0 to 255; None is white.

    Raises:
        UserError: A value is out of range, or two arguments contradict each other.

    Example:
        >>> SideSpec(kind="label", palette=((0, 0, 0), (255, 255, 255))).channels
        2
    """

    kind: str = "rgb"
    palette: Palette | None = None
    num_classes: int | None = None
    ignore_index: int | None = None
    snap_palette: bool = False
    interpolation: str | None = None
    dtype: str = "uint8"
    value_range: tuple[float, float] = (0.0, 255.0)
    alpha: str | None = None
    background: tuple[int, int, int] = (255, 255, 255)

    def __post_init__(self) -> None:
        if self.kind == "grey":  # the name in older configurations and checkpoints
            object.__setattr__(self, "kind", "grayscale")
        check_choice("kind", self.kind, get_args(Kind))
        check_choice("dtype", self.dtype, ("uint8",))
        if self.palette is not None:
            object.__setattr__(self, "palette", parse_palette(self.palette))
        object.__setattr__(self, "value_range", parse_range(self.value_range))
        check_classes(self.kind, self.palette, self.num_classes, snap_palette=self.snap_palette)
        num_classes = self.channels if self.kind == "label" else None
        class_numbers.check_ignore_index(self.ignore_index, num_classes, has_palette=bool(self.palette))
        if self.interpolation is None:
            has_palette = self.kind == "label" or self.snap_palette
            object.__setattr__(self, "interpolation", "nearest" if has_palette else "bicubic")
        object.__setattr__(self, "background", parse_background(self.background))
        if self.alpha is None:
            object.__setattr__(self, "alpha", "error" if self.kind == "label" else "composite")
        check_choice("alpha", self.alpha, ("composite", "error"))
        if self.has_class_numbers and self.alpha == "composite":
            raise UserError("alpha='composite' in a side of class numbers, which cannot be mixed: set alpha=error")
        check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        if self.kind == "label" and self.interpolation != "nearest":
            raise UserError(f"interpolation={self.interpolation!r} would mix class numbers: set interpolation=nearest")

    @property
    def channels(self) -> int:
        """Number of channels that a network sees."""
        if self.kind == "label":
            return len(self.palette) if self.palette else int(self.num_classes or 0)
        return 3 if self.kind == "rgb" else 1

    @property
    def file_channels(self) -> int:
        """Number of channels of a file, as ``decode`` returns them: 1 or 3."""
        return 1 if self._is_one_channel else 3

    @property
    def has_class_numbers(self) -> bool:
        """Whether files hold class numbers, and not colours."""
        return self.kind == "label" and not self.palette

    @property
    def _is_one_channel(self) -> bool:
        return self.kind == "grayscale" or self.has_class_numbers

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Convert an image from what its file holds to what a batch carries.

        Args:
            image: (H, W, 1) or (H, W, 3) RGB, uint8.

        Returns:
            (H, W, 1) class numbers for a label side, (H, W, 1) luminance for a grayscale side, else (H, W, 3) RGB,
            in the palette's colours only if ``snap_palette`` is set; uint8.

        Raises:
            UserError: A class number is not below ``num_classes``, a file of class numbers holds colours, or a label
                file is drawn in other colours than the palette's.
        """
        if self._is_one_channel and image.shape[2] == 3:
            if self.kind == "label" and (image != image[..., :1]).any():
                raise UserError(
                    f"colours in a side of {self.channels} class numbers: give their palette, or grayscale files"
                )
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)[..., None]
        elif not self._is_one_channel and image.shape[2] == 1:
            image = np.repeat(image, 3, 2)
        if self.has_class_numbers:
            class_numbers.check_class_numbers(image, self.channels, self.ignore_index)
            return image
        if not self.palette or not (self.kind == "label" or self.snap_palette):
            return image
        nearest = find_nearest_colours(image, self.palette)
        if self.kind == "label":
            check_colours_match(image, nearest, self.palette)
            return nearest.astype(np.uint8, copy=False)[..., None]
        snapped: npt.NDArray[np.uint8] = np.asarray(self.palette, np.uint8)[nearest]
        return snapped

    def prepare_and_resize(self, image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
        """Convert an image as ``prepare`` does, and resize it with this side's interpolation.

        Args:
            image: (H, W, 1) or (H, W, 3) RGB, uint8.
            height: Height of the result in pixels.
            width: Width of the result in pixels.

        Returns:
            (height, width, 1 or 3) uint8.

        Raises:
            UserError: The same as ``prepare``.
        """
        assert self.interpolation is not None
        if self.interpolation == "nearest":  # it picks pixels, so that few pixels of a large image are converted
            return self.prepare(resize(image, height, width, "nearest"))
        return resize(self.prepare(image), height, width, self.interpolation)

    def encode(self, image: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Convert images from what a batch carries to what a network sees.

        Args:
            image: (B, C, H, W) integers in ``value_range``; for a label side (B, 1, H, W) class numbers. Floats are
                taken as what a network sees already.
            dtype: Type of the result.

        Returns:
            (B, channels, H, W) floats in [-1, 1].
        """
        if image.is_floating_point():
            return image.to(dtype)
        if self.kind == "label":
            return class_numbers.encode_classes(image, self.channels, self.ignore_index, dtype)
        low, high = self.value_range
        floats = image.to(dtype)  # a new tensor, since the files' values are integers
        return (floats.sub_(low) if low else floats).mul_(2 / (high - low)).sub_(1)

    def decode(self, output: Tensor, *, is_output: bool = False, rounding: str = "nearest") -> Tensor:
        """Convert images from what a network sees or returns to what a file of this side holds.

        Args:
            output: (B, channels, H, W) floats in [-1, 1]; values outside are clamped.
            is_output: Whether a generator returned them: each pixel then has a class, never ``ignore_index``.
            rounding: ``nearest``, or ``floor`` to cut fractions off, as junyanz does; classes have none.

        Returns:
            (B, 3, H, W) colours, or (B, 1, H, W) gray levels or class numbers; uint8.
        """
        if self.kind == "label":
            classes = self.find_classes(output, is_output=is_output)
            if not self.palette:
                return classes.to(torch.uint8)
            palette = torch.tensor(self.palette, dtype=torch.uint8, device=output.device)
            return palette[classes[:, 0]].movedim(-1, 1)
        low, high = self.value_range
        values = (output.float() + 1) * ((high - low) / 2) + low
        return (values.floor() if rounding == "floor" else values.round()).clamp(low, high).to(torch.uint8)

    def find_classes(self, values: Tensor, *, is_output: bool = False) -> Tensor:
        """Return the class numbers (B, 1, H, W) of floats (B, channels, H, W); ``is_output`` as for ``decode``."""
        return class_numbers.decode_classes(values, self.ignore_index, is_output=is_output)[:, None]

    def find_ignored(self, values: Tensor) -> Tensor | None:
        """Return which pixels of images (B, channels, H, W) have no class, (B, 1, H, W); None where all have one."""
        return None if self.ignore_index is None else class_numbers.find_ignored(values)

    def replace_ignored(self, output: Tensor, target: Tensor) -> Tensor:
        """Return an output that equals its target where that has no class: no loss and no gradient comes from there.

        Args:
            output: A generator's output, (B, channels, H, W), for this side.
            target: What it should be, (B, channels, H, W), as ``encode`` returns it.

        Returns:
            (B, channels, H, W) in the type of ``output``.
        """
        ignored = self.find_ignored(target)
        return output if ignored is None else output.masked_fill(ignored, class_numbers.NO_CLASS)

    def to_picture(self, values: Tensor) -> npt.NDArray[np.uint8]:
        """Convert one image of ``decode`` to a picture for people.

        Args:
            values: (C, H, W) uint8.

        Returns:
            (H, W, C) uint8; class numbers without colours are spread over the gray levels, others are white.
        """
        if self.has_class_numbers:
            step = class_numbers.compute_level_step(self.channels, self.ignore_index)
            values = (values.int() * step).clamp(max=255)
        picture: npt.NDArray[np.uint8] = values.permute(1, 2, 0).to("cpu", torch.uint8).numpy()
        return picture


@dataclass(frozen=True, kw_only=True)
class PairSpec:
    """Describe both sides of a pair, its size and its direction.

    Args:
        source: The side that is translated.
        target: The side that it is translated into.
        size: Side in pixels of the square that the networks see.
        load_size: Side in pixels to which training images are resized before the random crop of ``size``; by default
            ``size``, which is no jitter.
        direction: Which of the files' A and B is the source: ``a_to_b`` or ``b_to_a``.
        strips: Whether the training's files were strips: False, True or their common (width, height); None: unknown.

    Raises:
        UserError: A size or the direction is out of range.

    Example:
        >>> spec = PairSpec(source=SideSpec(kind="grayscale"))
        >>> (spec.source.channels, spec.target.channels, spec == PairSpec.from_dict(spec.to_dict()))
        (1, 3, True)
    """

    source: SideSpec = field(default_factory=SideSpec)
    target: SideSpec = field(default_factory=SideSpec)
    size: int = 256
    load_size: int = cast(int, None)  # size, where it is not given
    direction: str = "a_to_b"
    strips: bool | tuple[int, int] | None = field(default=None, compare=False)  # not what pixels mean

    def __post_init__(self) -> None:
        if cast("int | None", self.load_size) is None:
            object.__setattr__(self, "load_size", self.size)
        check_choice("direction", self.direction, get_args(Direction))
        check_counts(at_most=_MAX_SIDE, size=self.size, load_size=self.load_size)
        for name in ("size", "load_size"):  # plain data has no integers of NumPy
            object.__setattr__(self, name, int(getattr(self, name)))
        object.__setattr__(self, "strips", parse_strips(self.strips))

    @property
    def a(self) -> SideSpec:
        """The side of the files' A."""
        return self.source if self.direction == "a_to_b" else self.target

    @property
    def b(self) -> SideSpec:
        """The side of the files' B."""
        return self.target if self.direction == "a_to_b" else self.source

    def encode(self, image: Tensor, side: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """Convert images of one side from what a batch carries to what a network sees.

        Args:
            image: (B, C, H, W), as ``SideSpec.encode`` takes it.
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
            source: The generator's input, for kinds of target that are completed from it; no present kind is.
            is_output: False for targets, whose pixels may have no class.
            rounding: As in ``SideSpec.decode``.

        Returns:
            (B, C, H, W) in the target's own type and range.
        """
        return self.target.decode(output, is_output=is_output, rounding=rounding)

    def to_dict(self) -> dict[str, Any]:
        """Return the description as nested dicts, lists, strings and numbers."""
        return dict(to_plain(asdict(self)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PairSpec:
        """Build the description from what ``to_dict`` returned.

        Args:
            data: Keyword arguments of this class; ``source`` and ``target`` hold those of ``SideSpec``.

        Returns:
            The description; keys that are missing have their defaults.

        Raises:
            UserError: A key is unknown, or a value is out of range.
        """
        values = parse_fields(data, cls)
        for side in {"source", "target"} & values.keys():
            values[side] = SideSpec(**parse_fields(values[side], SideSpec))
        return cls(**values)
