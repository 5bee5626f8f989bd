"""A generator as a program of ``torch.export``."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from pix2pix_lightning.checkpoints.files import PROJECT_KEY
from pix2pix_lightning.export.checking import check_equal, sizes_of
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.networks import find_image_norms
from pix2pix_lightning.networks.patching import Forward, patch_forwards
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.errors import UserError

_LARGEST = 2**16


def write_program(
    graph: Graph, path: Path, *, size: int | None, made_by: Mapping[str, Any], overwrite: bool = False
) -> float:
    """Write a ``.pt2`` file, of any number of images, and check it.

    Args:
        graph: What is exported.
        path: Of the file.
        size: The one side of all images; None for any sides from twice the network's stride on, since torch.export
            takes a map of one pixel for a constant.
        made_by: What it says of where it comes from.
        overwrite: Write over a file that is there.

    Returns:
        How far its outputs are from the module's.

    Raises:
        FileExistsError: The file is there, and ``overwrite`` is off.
        ValueError: The network does not take the size, or the outputs are not the module's by 1e-4; no file is left.
    """
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: choose another output, or say overwrite=true")
    stride = graph.side_multiple
    least = max(graph.least_side, 2 * stride)
    shapes: dict[int, Any] = {0: Dim("batch", min=1, max=_LARGEST)}
    if size is None:
        sides = (least + 2 * stride, least + stride)
        for dim, name in ((2, "height"), (3, "width")):
            shapes[dim] = stride * Dim(name, min=least // stride, max=_LARGEST // stride)
        sizes = sizes_of(graph, least)
    elif type(size) is not int or size < graph.least_side or size % stride:
        raise UserError(
            f"size={size}: this generator takes multiples of {stride} from {graph.least_side}, or size=null for any"
        )
    else:
        sides = (size, size)
        sizes = [(size, size)] * 2
    dtype = torch.uint8 if graph.values_in == "uint8" else torch.float32
    example = torch.zeros(2, graph.channels_in, *sides, dtype=dtype)
    of_images = set(find_image_norms(graph.generator, graph.norm))

    def forward_of(place: int, name: str, layer: nn.Module) -> Forward | None:
        return partial(_by_formula, layer) if name in of_images else None

    fixed = patch_forwards(graph.generator, forward_of)
    with graph.as_at_test_time() as module, fixed, warnings.catch_warnings(action="ignore"):
        program = torch.export.export(module, (example,), dynamic_shapes={"source": shapes}, strict=False)
    facts = graph.facts(made_by)
    facts |= {"least_side": size, "side_multiple": size} if size else {"least_side": least}
    facts["size"] = size
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch:
        with scratch.open("wb") as new:  # by its name torch wants it to end with .pt2
            torch.export.save(program, new, extra_files={PROJECT_KEY: json.dumps(facts)})
        with scratch.open("rb") as written, warnings.catch_warnings(action="ignore"):
            run = torch.export.load(written).module()
        return check_equal(graph, run, sizes)


def _by_formula(layer: nn.Module, maps: Tensor) -> Tensor:
    """A norm by each image's own statistics, whose kernels torch.export takes for one size alone."""
    mean = maps.mean((2, 3), keepdim=True)
    variance = (maps - mean).square().mean((2, 3), keepdim=True)
    normalised = (maps - mean) * torch.rsqrt(variance + float(layer.eps))  # type: ignore[arg-type]
    weight, bias = layer.weight, layer.bias
    if isinstance(weight, Tensor) and isinstance(bias, Tensor):
        normalised = normalised * weight[:, None, None] + bias[:, None, None]
    return normalised
