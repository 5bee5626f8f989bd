"""PairSpec: both sides of a pair, its size and its direction, as plain data that is saved with a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from pix2pix_lightning.data.sides import LabSide, RgbSide, Side, build_side
from pix2pix_lightning.data.sides.values import parse_fields, parse_strips, to_plain
from pix2pix_lightning.utils.checks import check_choice, check_counts
from pix2pix_lightning.utils.errors import UserError

Direction = Literal["a_to_b", "b_to_a"]
_MAX_SIDE = 2**16  # pixels


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
        UserError: A size or the direction is out of range, or the target needs another source.

    Example:
        >>> spec = PairSpec(source=build_side("grayscale"))
        >>> (spec.source.channels, spec.target.channels, spec == PairSpec.from_dict(spec.to_dict()))
        (1, 3, True)
    """

    source: Side = field(default_factory=RgbSide)
    target: Side = field(default_factory=RgbSide)
    size: int = 256
    load_size: int = cast(int, None)  # size, where it is not given
    direction: str = "a_to_b"
    strips: bool | tuple[int, int] | None = field(default=None, compare=False)  # not what pixels mean

    def __post_init__(self) -> None:
        if cast("int | None", self.load_size) is None:
            object.__setattr__(self, "load_size", self.size)
        check_choice("direction", self.direction, get_args(Direction))
        check_counts(at_most=_MAX_SIDE, size=self.size, load_size=self.load_size)
        if isinstance(self.target, LabSide) and not self.target.has_lightness and not _has_lightness(self.source):
            raise UserError(
                f"a target of kind lab, part=ab, takes its L from the source, here of kind {self.source.kind!r}: "
                "set kind=lab and part=l there"
            )
        for name in ("size", "load_size"):  # plain data has no integers of NumPy
            object.__setattr__(self, name, int(getattr(self, name)))
        object.__setattr__(self, "strips", parse_strips(self.strips))

    @property
    def a(self) -> Side:
        """The side of the files' A."""
        return self.source if self.direction == "a_to_b" else self.target

    @property
    def b(self) -> Side:
        """The side of the files' B."""
        return self.target if self.direction == "a_to_b" else self.source

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
