"""Detect edges with a network in an ONNX file that the user has, such as HED."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.line_drawing import draw_lines, find_lines
from pix2pix_lightning.utils.checks import check_choice, check_counts, check_numbers, check_switch
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.onnx_graph import OnnxGraph

Image = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]
Run = Callable[[Map], Map]

HED_MEAN = (104.00698793, 116.66876762, 122.67891434)
"""Mean of blue, green and red that HED's published weights expect to be subtracted."""
_MULTIPLE = 32  # sides that networks of five halvings take


@dataclass(frozen=True, kw_only=True)
class EdgeNetwork:
    """Run an edge network and draw lines from its output, as the paper does with HED.

    The network takes ``(levels - mean) * scale``, float (1, 3, H, W), with levels from 0 to 255. Its output is
    (1, 1, H, W), edge strengths from 0 to 1. The photo gets a mirrored border, and sides that are multiples of 32.

    Args:
        model: The ONNX file, with its weights inside.
        channels: Order of the colours, ``bgr`` or ``rgb``.
        mean: Subtracted from the levels, in the order of ``channels``.
        scale: What the levels are multiplied by then: a number, or one for each colour.
        sigmoid: Whether the output has to go through a sigmoid.
        output: Name of the output; by default the last one, which is the fused map of networks with several.
        border: Least width of the mirrored border in pixels.
        threshold: Strength from which on there is a line; None draws strengths as shades of gray.
        min_pixels: Shorter lines are removed, where there is a threshold.

    Raises:
        UserError: There is no model, or a value is out of range.
    """

    model: Path | str | None = None
    channels: str = "bgr"
    mean: float | Sequence[float] = HED_MEAN
    scale: float | Sequence[float] = 1.0
    sigmoid: bool = False
    output: str | None = None
    border: int = 128
    threshold: float | None = 25 / 255
    min_pixels: int = 5

    def __post_init__(self) -> None:
        if self.model is None:
            raise UserError("method=onnx needs a network: set edges_model=<file>.onnx")
        check_choice("onnx.channels", self.channels, ("bgr", "rgb"))
        check_switch("onnx.sigmoid", self.sigmoid)
        check_counts(prefix="onnx.", at_least=0, border=self.border, min_pixels=self.min_pixels)
        for key, values in (("mean", self.mean), ("scale", self.scale)):
            several = [*values] if isinstance(values, Sequence) else [values] * 3
            if len(several) != 3:
                raise UserError(f"onnx.{key}={values}: three numbers are expected, one for each colour")
            for value in several:
                check_numbers(prefix="onnx.", **{key: value})
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise UserError(f"onnx.threshold={self.threshold}: a number above 0 and up to 1 is expected, or null")

    def __call__(self, image: Image) -> Image:
        """Return the edges (H, W, 1), uint8, dark on white, of a photo (H, W, 3), uint8 RGB.

        Raises:
            UserError: The file cannot be used, or the output is of another shape or range.
        """
        strength = self.compute_strength(image)
        if self.threshold is None:
            return np.rint(255 * (1 - strength)).astype(np.uint8)[..., None]
        return draw_lines(find_lines(strength, self.threshold, self.min_pixels))

    def open(self) -> None:
        """Open the file, which is done at the first photo else.

        Raises:
            UserError: The file cannot be used, or onnxruntime is missing.
            OSError: It cannot be read.
        """
        self._get_network()

    def _get_network(self) -> tuple[Run, tuple[int, int] | None]:
        path = Path(str(self.model))
        return _open_network(path, path.stat().st_mtime_ns, self.output)

    def compute_strength(self, image: Image) -> Map:
        """Run the network.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (H, W) edge strengths from 0 to 1.

        Raises:
            UserError: The file cannot be used, or the output is of another shape or range.
        """
        run, size = self._get_network()
        levels = image[..., ::-1] if self.channels == "bgr" else image
        values = (levels.astype(np.float32) - np.asarray(self.mean, np.float32)) * np.asarray(self.scale, np.float32)
        height, width = image.shape[:2]
        values = _pad(values, self.border) if size is None else _resize(values, size)
        output = run(np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32))
        if self.sigmoid:
            output = (1 / (1 + np.exp(-output))).astype(np.float32)
        if output.shape != values.shape[:2]:
            output = _resize(output, values.shape[:2])
        if size is None:
            output = output[self.border : self.border + height, self.border : self.border + width]
        else:
            output = _resize(output, (height, width))
        if not (np.isfinite(output).all() and output.min() >= -1e-3 and output.max() <= 1 + 1e-3):
            raise UserError(
                f"edges_model={self.model} gives values from {output.min():.3g} to {output.max():.3g}, and edge "
                "strengths from 0 to 1 are expected: set onnx.sigmoid=true, or onnx.output=<name of another output>"
            )
        return np.clip(output, 0, 1).astype(np.float32)


def _resize(values: Map, size: Sequence[int]) -> Map:
    """Resize an array (H, W) or (H, W, C) to a height and a width; what shrinks is averaged."""
    shrinks = size[0] * size[1] < values.shape[0] * values.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(values, (size[1], size[0]), interpolation=how).astype(np.float32)


def _pad(values: Map, border: int) -> Map:
    """Add a mirrored border, wider at the right and the bottom so that sides are multiples of 32."""
    extra = [-(length + 2 * border) % _MULTIPLE for length in values.shape[:2]]
    widths = ((border, border + extra[0]), (border, border + extra[1]), (0, 0))
    padded: Map = np.pad(values, widths, "reflect" if min(values.shape[:2]) > 1 else "edge")
    return padded


@lru_cache(maxsize=2)
def _open_network(path: Path, changed: int, output: str | None) -> tuple[Run, tuple[int, int] | None]:
    """Open a network; ``changed`` tells its versions apart.

    Args:
        path: The ONNX file.
        changed: When it was changed.
        output: Name of the output, or None for the last one.

    Returns:
        A function from (1, 3, H, W) to (H', W'); and height and width of its input where they are fixed, else None.

    Raises:
        UserError: The file is no such network, or onnxruntime is missing.
    """
    # one thread, so that any number of processes computes the same
    graph = OnnxGraph(path.read_bytes(), f"edges_model={path}", num_threads=1)
    size = _check_input(graph.inputs, path)
    names = [one.name for one in graph.outputs]
    if output is not None:
        check_choice("onnx.output", output, names)

    def run(values: Map) -> Map:
        (result,) = graph.run(values, [output or names[-1]])
        if result.size != np.prod(result.shape[-2:]) or result.ndim < 2:
            raise UserError(
                f"edges_model={path}: its output {output or names[-1]} has the shape {result.shape}, (1, 1, H, W) is "
                "expected: set onnx.output=<name of another output>"
            )
        strengths: Map = result.reshape(result.shape[-2:]).astype(np.float32)
        return strengths

    return run, size


def _check_input(inputs: Sequence[Any], path: Path) -> tuple[int, int] | None:
    """Check that a network takes one image, and return height and width where they are fixed."""
    shape = list(inputs[0].shape)
    if (
        len(inputs) != 1
        or inputs[0].type != "tensor(float)"
        or len(shape) != 4
        or (isinstance(shape[1], int) and shape[1] != 3)
    ):
        taken = ", ".join(f"{one.type} {list(one.shape)}" for one in inputs)
        raise UserError(f"edges_model={path} takes {taken}: one tensor(float) [N, 3, H, W] is expected")
    return (shape[2], shape[3]) if isinstance(shape[2], int) and isinstance(shape[3], int) else None
