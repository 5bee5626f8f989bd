"""Make the source of a pair out of its photo: a photo with a hole, or a drawing of its edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.edges import build_edge_detector
from pix2pix_lightning.data.holes import MASKS, check_fill, draw_hole, fill_hole
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import build, is_description

Image = npt.NDArray[np.uint8]


class SourceMaker(Protocol):
    """A function that makes a source; write one of your own for fog, noise or whatever is to be undone."""

    def __call__(self, photo: Image, seed: np.random.SeedSequence) -> Image:
        """Make a source.

        Args:
            photo: The target after crop and mirror, (H, W, C), as its side prepares it. It must not be changed.
            seed: Seed of what is random, a function of the run's seed, epoch and index. Validation pairs have the same
                one in each epoch.

        Returns:
            (H, W, C'), as a batch carries the source's side.
        """


class DrawHole:
    """Cut a hole into a photo, for inpainting.

    Args:
        mask: ``centre``, a box of half the height and width; or ``random``, up to eight boxes, new ones in each epoch.
        fill: What the hole is filled with: ``mean``, ``gray`` or a colour, as in ``fill_hole``.

    Raises:
        UserError: A value is unknown.
    """

    def __init__(self, mask: str = "centre", fill: str | Sequence[int] = "gray") -> None:
        check_choice("source_maker.mask", mask, MASKS)
        check_fill(fill)
        self.mask, self.fill = mask, fill

    def __call__(self, photo: Image, seed: np.random.SeedSequence) -> Image:
        """Return the photo with a hole, (H, W, C)."""
        _check_bits(photo)
        height, width = photo.shape[:2]
        return fill_hole(photo, draw_hole(height, width, self.mask, seed), self.fill)


class DrawEdges:
    """Draw the edges of a photo, black on white.

    Args:
        method: ``canny``, ``xdog``, or ``onnx`` for an edge network of your own.
        **parameters: Arguments of the detector, as in ``data.edges``.

    Raises:
        UserError: A value is unknown or out of range.
    """

    def __init__(self, method: str = "canny", **parameters: Any) -> None:
        self.detect = build_edge_detector(method, **parameters)

    def __call__(self, photo: Image, seed: np.random.SeedSequence) -> Image:
        """Return the edges, (H, W, 1)."""
        _check_bits(photo)
        return self.detect(np.repeat(photo, 3, 2) if photo.shape[2] == 1 else photo)


def check_made_source(maker: SourceMaker, spec: PairSpec) -> None:
    """Check by a drawn photo that a maker's sources are what the source's side says.

    Args:
        maker: Makes sources.
        spec: Kinds and sizes of the sides.

    Raises:
        UserError: They have other channels or another type, or the maker refuses such photos.
    """
    shape = (spec.height, spec.width, spec.target.batch_channels)
    photo = np.random.default_rng(0).integers(0, 256, shape).astype(spec.target.dtype)
    made = maker(photo, np.random.SeedSequence(0))
    channels, dtype = spec.source.batch_channels, spec.source.dtype
    if made.shape != (*shape[:2], channels) or made.dtype != dtype:
        key = "a" if spec.direction == "a_to_b" else "b"
        kind = {1: "grayscale", 3: "rgb"}.get(made.shape[-1], "raw") if made.dtype == np.uint8 else "raw"
        expected = f"{channels} channel{'s' if channels > 1 else ''} of {dtype}"
        raise UserError(
            f"data.source_maker makes sources of shape {made.shape} and type {made.dtype}, and data.{key} is "
            f"{spec.source.kind} ({expected}): set data.{key}.kind={kind}"
        )


def _check_bits(photo: Image) -> None:
    if photo.dtype != np.uint8:
        raise UserError(
            f"data.source_maker draws into 8-bit photos, and these are {photo.dtype}: convert them to 8 bits, or write "
            "a source_maker of your own"
        )


def build_source_maker(maker: SourceMaker | Mapping[str, Any] | None) -> SourceMaker | None:
    """Build what makes sources, where it is described.

    Args:
        maker: An object, its description ``{"_target_": "pix2pix_lightning.data.DrawHole", ...}``, or None.

    Returns:
        The object, or None.

    Raises:
        UserError: It is something else, or an argument is wrong.
    """
    if maker is not None and not callable(maker) and not is_description(maker):
        raise UserError(
            f"data.source_maker={maker}: a description is expected, {{_target_: pix2pix_lightning.data.DrawHole}}, or "
            "null"
        )
    return cast(SourceMaker, build(cast(Any, maker))) if is_description(maker) else cast("SourceMaker | None", maker)
