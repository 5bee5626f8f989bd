"""Compare the outputs of an exported file with those of its module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pix2pix_lightning.data.sides import RawSide, Side
from pix2pix_lightning.data.sides.class_numbers import hide_ignored_channel
from pix2pix_lightning.data.sides.picture import LevelSide
from pix2pix_lightning.data.sides.ranges import to_channels
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.utils.errors import UserError

TOLERANCE = 1e-4
"""Greatest difference of outputs in [-1, 1]."""
_CLEAR_MARGIN = 10  # tolerances by which the likeliest class must lead, for a difference of classes to be an error


def choose_sizes(graph: Graph, least: int) -> list[tuple[int, int]]:
    """Choose the sizes of the test images: 256, 512 and 512 x 256, or the smallest that the network takes.

    Args:
        graph: Graph that is exported.
        least: Smallest side of its input, in pixels.

    Returns:
        Pairs of height and width.
    """
    stride = graph.side_multiple
    least = max(least, graph.min_side)
    usual = all(side % stride == 0 and side >= least for side in (256, 512))
    small, large = (256, 512) if usual else (least, least + max(stride, least) // stride * stride)
    return [(small, small), (large, large), (large, small)]


def check_outputs(
    graph: Graph, run: Callable[[Tensor], Tensor], sizes: list[tuple[int, int]], tolerance: float = TOLERANCE
) -> float:
    """Check that an exported file has the outputs of its module, on random images in batches of one and three.

    Args:
        graph: Graph that was exported.
        run: Runs the exported file, on inputs of the type of ``graph``.
        sizes: Pairs of height and width, in pixels.
        tolerance: Greatest difference that is accepted, of outputs in [-1, 1].

    Returns:
        The greatest difference, of outputs in [-1, 1]; for values of files, beyond their rounding.

    Raises:
        UserError: The outputs differ by more than ``tolerance``.
    """
    worst = 0.0
    floats = Graph(graph.module, graph.norm, graph.values_in, "float")
    for source in _draw_inputs(graph, sizes):
        with floats.use_eval_module() as module:
            expected = module(source)
        actual = run(source)
        if graph.values_out == "file":
            seen = graph.spec.source.encode_file(source) if graph.values_in == "file" else source
            difference = _measure_beyond_rounding(graph.spec.target, actual, expected, seen, _CLEAR_MARGIN * tolerance)
        else:
            difference = (actual - expected).abs().max().item()
        if not difference <= tolerance:  # NaN is an error too
            raise UserError(
                f"the exported graph differs from the module by {difference:.1e} at {tuple(source.shape)}, more than "
                f"{tolerance:.0e}: nothing is written; please report it"
            )
        worst = max(worst, difference)
    return worst


def _draw_inputs(graph: Graph, sizes: list[tuple[int, int]]) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    side = graph.spec.source
    for number, (height, width) in enumerate(sizes):
        shape = (3 if number % 2 == 0 else 1, graph.in_channels, height, width)
        if graph.values_in == "float":
            yield torch.rand(shape, generator=generator) * 2 - 1
        elif side.has_class_numbers:
            yield torch.randint(0, side.channels, shape, generator=generator, dtype=torch.uint8)
        else:
            fractions = torch.rand(shape, generator=generator)
            low, high = _get_bounds(side, fractions)
            yield (fractions * (high - low) + low).to(graph.in_dtype)


def _measure_beyond_rounding(side: Side, actual: Tensor, expected: Tensor, seen: Tensor, margin: float) -> float:
    """Return how far values of files are from floats at most, beyond their rounding, on the scale of [-1, 1].

    A wrong class counts as 1, where the likeliest class leads by more than ``margin``.

    Args:
        side: The side of the files.
        actual: Values of files, (B, file_channels, H, W).
        expected: Floats, (B, channels, H, W) in [-1, 1].
        seen: The generator's input, before missing values are filled.
        margin: Lead of a class.
    """
    decoded = side.decode(expected, seen, is_output=True)
    if side.kind == "label":
        best = hide_ignored_channel(expected, side.ignore_index).topk(min(2, expected.shape[1]), 1).values
        unclear = best[:, :1] - best[:, -1:] <= margin
        return float(((actual != decoded).any(1, keepdim=True) & ~unclear).any())
    low, high = _get_bounds(side, expected.double())
    if not isinstance(side, LevelSide | RawSide):  # of other kinds no value is that of one channel
        return float(((actual.double() - decoded.double()).abs().max().item() - 1) * 2 / (high - low))
    exact = ((expected.double() + 1) * ((high - low) / 2) + low).clamp(low, high)
    found, own = actual.double(), decoded.double()
    is_equal = (found == own) | (found.isnan() & own.isnan())
    rounding = (own - exact).abs().clamp_min(0.0 if decoded.is_floating_point() else 0.5)
    if side.nodata is not None:  # levels at that of missing values move to one beside it
        rounding = torch.where((exact - side.nodata).abs() <= 1, rounding.clamp_min(1.5), rounding)
    beyond = torch.where(is_equal, 0.0, ((found - exact).abs() - rounding).clamp_min(0))
    return float((beyond * 2 / (high - low)).max())


def _get_bounds(side: Side, like: Tensor) -> tuple[Any, Any]:
    """Return the least and the greatest value of files, as numbers or of each channel."""
    low, high = (to_channels(bounds, like) for bounds in zip(*side.ranges, strict=True))
    return low, high
