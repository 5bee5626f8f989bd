"""What was exported beside the module that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pix2pix_lightning.data.sides import SideSpec
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.utils.errors import UserError

TOLERANCE = 1e-4
"""Of floats in [-1, 1]."""
_CLEAR = 10  # tolerances between the two likeliest classes


def sizes_of(graph: Graph, least: int) -> list[tuple[int, int]]:
    """256 and 512, and one that is not square; else the two smallest that the network takes."""
    stride = graph.side_multiple
    least = max(least, graph.least_side)
    usual = all(side % stride == 0 and side >= least for side in (256, 512))
    small, large = (256, 512) if usual else (least, least + max(stride, least) // stride * stride)
    return [(small, small), (large, large), (large, small)]


def check_equal(
    graph: Graph, run: Callable[[Tensor], Tensor], sizes: list[tuple[int, int]], tolerance: float = TOLERANCE
) -> float:
    """Compare, on random images of each size, in batches of one and of three.

    Args:
        graph: What was exported.
        run: What came of it: the input as ``graph`` has it to the output.
        sizes: Height and width.
        tolerance: Of floats in [-1, 1].

    Returns:
        The greatest difference of floats, in [-1, 1]; of bytes, beyond their rounding.

    Raises:
        ValueError: They differ by more than ``tolerance``.
    """
    worst = 0.0
    floats = Graph(graph.module, graph.norm, graph.values_in, "float")
    for source in _inputs(graph, sizes):
        with floats.as_at_test_time() as module:
            expected = module(source)
        actual = run(source)
        if graph.values_out == "uint8":
            difference = _beyond_rounding(graph.spec.target, actual, expected, _CLEAR * tolerance)
        else:
            difference = (actual - expected).abs().max().item()
        if not difference <= tolerance:  # nor where it is no number
            raise UserError(
                f"what was exported differs from the module by {difference:.1e} at {tuple(source.shape)}, more than "
                f"{tolerance:.0e}: nothing is written; please report it"
            )
        worst = max(worst, difference)
    return worst


def _inputs(graph: Graph, sizes: list[tuple[int, int]]) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    side = graph.spec.source
    for number, (height, width) in enumerate(sizes):
        shape = (3 if number % 2 == 0 else 1, graph.channels_in, height, width)
        if graph.values_in == "float":
            yield torch.rand(shape, generator=generator) * 2 - 1
        else:
            levels = side.channels if side.kind == "label" and not side.palette else 256
            yield torch.randint(0, levels, shape, generator=generator, dtype=torch.uint8)


def _beyond_rounding(side: SideSpec, actual: Tensor, expected: Tensor, clear: float) -> float:
    """How far bytes are from what they stand for, beyond half a level; in [-1, 1]. Classes have to be ``clear``."""
    if side.kind == "label":
        best = expected.topk(min(2, expected.shape[1]), 1).values
        unclear = best[:, :1] - best[:, -1:] <= clear
        wrong = (actual != side.decode(expected)).any(1, keepdim=True) & ~unclear
        return float(wrong.any())
    low, high = side.value_range
    levels = (expected.double() + 1) * ((high - low) / 2) + low
    beyond = (actual.double() - levels.clamp(low, high)).abs() - 0.5
    return beyond.clamp_min(0).max().item() * 2 / (high - low)
