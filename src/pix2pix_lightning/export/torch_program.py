"""Export a generator to a program of ``torch.export``."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from pix2pix_lightning.checkpoints.files import PROJECT_KEY
from pix2pix_lightning.data.sizes import Size, format_size, get_sides, parse_size
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.output_check import check_outputs, choose_sizes
from pix2pix_lightning.networks import find_image_norms
from pix2pix_lightning.networks.patching import Forward, patch_forwards
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.checks import check_absent
from pix2pix_lightning.utils.errors import UserError

_MAX_DIM = 2**16  # images of a batch, and pixels of a side


def write_program(
    graph: Graph, path: Path, *, size: Size | None, made_by: Mapping[str, Any], overwrite: bool = False
) -> float:
    """Write a ``.pt2`` file for any number of images, and check it.

    Args:
        graph: Graph to export.
        path: Path of the file.
        size: Size of all images: the side of squares, or (height, width), in pixels; None for any sides from twice the
            network's stride, since torch.export treats a map of one pixel as a constant.
        made_by: Origin of the model, for the file's metadata.
        overwrite: Replace a file that exists.

    Returns:
        The largest difference between the outputs of the program and of the module.

    Raises:
        FileExistsError: The file exists, and ``overwrite`` is off.
        UserError: The network does not take the size, or the outputs differ from the module's by more than 1e-4; no
            file is written then.
    """
    check_absent(path, overwrite=overwrite)
    stride = graph.side_multiple
    least = max(graph.min_side, 2 * stride)
    shapes: dict[int, Any] = {0: Dim("batch", min=1, max=_MAX_DIM)}
    size = None if size is None else parse_size("size", size)
    if size is None:
        sides = (least + 2 * stride, least + stride)
        for dim, name in ((2, "height"), (3, "width")):
            shapes[dim] = stride * Dim(name, min=least // stride, max=_MAX_DIM // stride)
        sizes = choose_sizes(graph, least)
    elif min(sides := get_sides(size)) < graph.min_side or any(side % stride for side in sides):
        raise UserError(
            f"size={format_size(size)}: this generator takes multiples of {stride} from {graph.min_side}, or size=null "
            "for any"
        )
    else:
        sizes = [sides] * 2
    example = torch.zeros(2, graph.in_channels, *sides, dtype=graph.in_dtype)
    image_norms = set(find_image_norms(graph.generator, graph.norm))

    def find_forward(place: int, name: str, layer: nn.Module) -> Forward | None:
        return partial(_normalize, layer) if name in image_norms else None

    fixed = patch_forwards(graph.generator, find_forward)
    with graph.use_eval_module() as module, fixed, warnings.catch_warnings(action="ignore"):
        program = torch.export.export(module, (example,), dynamic_shapes={"source": shapes}, strict=False)
    metadata = graph.build_metadata(made_by)
    fits = {"min_side": min(sides), "side_multiple": math.gcd(*sides)}  # the reader pads to these, up to the size
    metadata |= fits if size else {"min_side": least}
    metadata["size"] = size
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch:
        with scratch.open("wb") as new:  # as a path, torch requires the suffix .pt2
            torch.export.save(program, new, extra_files={PROJECT_KEY: json.dumps(metadata)})
        with scratch.open("rb") as written, warnings.catch_warnings(action="ignore"):
            run = torch.export.load(written).module()
        return check_outputs(graph, run, sizes)


def _normalize(layer: nn.Module, maps: Tensor) -> Tensor:
    """Normalize by each image's own statistics, in operators for any size: torch.export fixes the size of norms."""
    mean = maps.mean((2, 3), keepdim=True)
    variance = (maps - mean).square().mean((2, 3), keepdim=True)
    normalized = (maps - mean) * torch.rsqrt(variance + float(layer.eps))  # type: ignore[arg-type]
    weight, bias = layer.weight, layer.bias
    if isinstance(weight, Tensor) and isinstance(bias, Tensor):
        normalized = normalized * weight[:, None, None] + bias[:, None, None]
    return normalized
