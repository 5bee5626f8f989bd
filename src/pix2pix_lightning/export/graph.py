"""Build the graph that is exported: the generator at test time, with conversions from and to values of files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.networks import find_image_norms, measure_receptive_field, use_eval_mode
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.version import __version__

VALUES = ("float", "file")
NORMS = ("image", "running")


@dataclass(frozen=True)
class Graph:
    """A generator to export.

    Args:
        module: Module of the generator.
        norm: ``image`` (statistics of each image) or ``running`` (running statistics).
        values_in: Values of the input: ``float``, (B, C, H, W) in [-1, 1], or ``file``, those of files of the source in
            their type. ``uint8`` is another word for ``file`` where the files are of this type.
        values_out: Values of the output: ``float``, in [-1, 1], or ``file``, those of files of the target.

    Raises:
        UserError: A value is unknown, or ``uint8`` for files of another type.
    """

    module: Pix2PixModule
    norm: str = "image"
    values_in: str = "float"
    values_out: str = "float"

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, NORMS)
        for name, side in (("values_in", self.spec.source), ("values_out", self.spec.target)):
            object.__setattr__(self, name, _parse_values(name, getattr(self, name), side))

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

    @property
    def in_dtype(self) -> torch.dtype:
        """The type of the input."""
        dtype: torch.dtype = getattr(torch, self.spec.source.dtype) if self.values_in == "file" else torch.float32
        return dtype

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
            The meaning of the images, the sizes that the graph takes, its ``input`` and ``output`` (``float``, or the
            type of the files whose values they are), its norm mode, how far it sees (``context``, in pixels; None where
            it sees the whole image), and its origin with versions.
        """
        image_norms = find_image_norms(self.generator, self.norm)
        context = None if image_norms else measure_receptive_field(self.generator, self.spec.source.channels).margin
        return {
            "format": 1,
            "pair_spec": self.spec.to_dict(),
            "side_multiple": self.side_multiple,
            "min_side": self.min_side,
            "norm": self.norm,
            "input": "float" if self.values_in == "float" else self.spec.source.dtype,
            "output": "float" if self.values_out == "float" else self.spec.target.dtype,
            "context": context,
            "made_by": {**made_by, "pix2pix_lightning": __version__, "torch": torch.__version__},
        }


class _ConvertingGenerator(nn.Module):
    """A generator with conversions from and to the values of files."""

    def __init__(self, generator: nn.Module, spec: PairSpec, values_in: str, values_out: str) -> None:
        super().__init__()
        self.generator = generator
        self._spec = spec
        self._takes_file, self._returns_file = values_in == "file", values_out == "file"

    def forward(self, source: Tensor) -> Tensor:
        seen = self._spec.source.encode_file(source) if self._takes_file else source
        output: Tensor = self.generator.forward(self._spec.source.fill_missing(seen))
        return self._spec.decode(output, seen) if self._returns_file else output


def _parse_values(name: str, value: str, side: Side) -> str:
    if value == "uint8" and side.dtype != "uint8":
        raise UserError(f"{name}=uint8, but files of this model hold {side.dtype}: set {name}=file")
    value = "file" if value == "uint8" else value  # as it was called when all files had this type
    check_choice(name, value, VALUES)
    return value
