"""Build the graph that is exported: the generator at test time, with conversions from and to bytes if asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.data.sides.class_numbers import build_channel_numbers
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.networks import find_image_norms, measure_receptive_field, use_eval_mode
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.version import __version__

VALUES = ("float", "uint8")
NORMS = ("image", "running")


@dataclass(frozen=True)
class Graph:
    """A generator to export.

    Args:
        module: Module of the generator.
        norm: ``image`` (statistics of each image) or ``running`` (running statistics).
        values_in: Type of the input: ``float``, (B, C, H, W) in [-1, 1], or ``uint8``, as in files of the source.
        values_out: Type of the output: ``float``, in [-1, 1], or ``uint8``, as in files of the target.

    Raises:
        UserError: A value is unknown.
    """

    module: Pix2PixModule
    norm: str = "image"
    values_in: str = "float"
    values_out: str = "float"

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("norm", self.norm, NORMS),
            ("values_in", self.values_in, VALUES),
            ("values_out", self.values_out, VALUES),
        ):
            check_choice(name, value, choices)

    @property
    def generator(self) -> nn.Module:
        """The module's generator."""
        return self.module.generator

    @property
    def spec(self) -> PairSpec:
        """The meaning of the images."""
        return self.module.pair_spec

    @property
    def side_multiple(self) -> int:
        """The divisor of the input's sides, in pixels."""
        return int(getattr(self.generator, "side_multiple", 1))

    @property
    def min_side(self) -> int:
        """The smallest side of the input, in pixels."""
        return max(int(getattr(self.generator, "min_side", 1)), self.side_multiple)

    @property
    def in_channels(self) -> int:
        """The number of channels of the input."""
        return self.spec.source.channels if self.values_in == "float" else self.spec.source.file_channels

    @contextmanager
    def use_eval_module(self) -> Iterator[nn.Module]:
        """Yield the module that is exported, from (B, in_channels, H, W) to the output, in evaluation mode."""
        with use_eval_mode(self.generator, norm=self.norm), torch.no_grad():
            graph = _ConvertingGenerator(self.generator, self.spec, self.values_in, self.values_out)
            graph.training = False  # eval() would reach the generator, whose layers use_eval_mode has set
            yield graph

    def build_metadata(self, made_by: Mapping[str, Any]) -> dict[str, Any]:
        """Build the metadata of the exported file, as plain data.

        Args:
            made_by: Origin of the model: the checkpoint's name, its batches and the command.

        Returns:
            The meaning of the images, the sizes and types that the graph takes, its norm mode, how far it sees
            (``context``, in pixels; None where it sees the whole image), and its origin with versions.
        """
        image_norms = find_image_norms(self.generator, self.norm)
        context = None if image_norms else measure_receptive_field(self.generator, self.spec.source.channels).margin
        return {
            "format": 1,
            "pair_spec": self.spec.to_dict(),
            "side_multiple": self.side_multiple,
            "min_side": self.min_side,
            "norm": self.norm,
            "input": self.values_in,
            "output": self.values_out,
            "context": context,
            "made_by": {**made_by, "pix2pix_lightning": __version__, "torch": torch.__version__},
        }


class _ConvertingGenerator(nn.Module):
    """A generator with conversions from and to the bytes of files."""

    def __init__(self, generator: nn.Module, spec: PairSpec, values_in: str, values_out: str) -> None:
        super().__init__()
        self.generator = generator
        self._before = partial(_encode_bytes, spec.source) if values_in == "uint8" else _keep
        self._after = spec.decode if values_out == "uint8" else _keep

    def forward(self, source: Tensor) -> Tensor:
        return self._after(self.generator.forward(self._before(source)))


def _keep(values: Tensor) -> Tensor:
    return values


def _encode_bytes(side: Side, values: Tensor) -> Tensor:
    """Return the network's input, (B, C, H, W) in [-1, 1], for pixels of files, (B, 1 or 3, H, W) uint8.

    This is ``Side.prepare`` and ``Side.encode`` in operators that can be exported.
    """
    if side.palette:
        palette = torch.tensor(side.palette, dtype=torch.float32, device=values.device)
        # |x - p|^2 without |x|^2, which is the same for all colours; integers, so that float32 is exact
        distance = F.conv2d(values.float(), -2 * palette[:, :, None, None], (palette**2).sum(1))
        nearest = distance.argmin(1, keepdim=True)
        if side.kind == "label":
            return _one_hot(nearest, side.channels, side.ignore_index)
        return F.conv2d((_one_hot(nearest, len(palette)) + 1) / 2, palette.t()[:, :, None, None]) / 127.5 - 1
    if side.kind == "label":
        return _one_hot(values.long(), side.channels, side.ignore_index)
    return side.encode(values)


def _one_hot(classes: Tensor, count: int, ignore_index: int | None = None) -> Tensor:
    """Encode classes (B, 1, H, W) as (B, count, H, W), 1 for the class and -1 for the others."""
    numbers = build_channel_numbers(count, ignore_index, classes.device)
    return (classes == numbers).float() * 2 - 1
