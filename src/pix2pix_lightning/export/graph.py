"""What is exported: the generator as at test time, with what files hold before and behind it by choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.data.sides import PairSpec, SideSpec
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.networks import find_image_norms, measure_receptive_field, use_eval_mode
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.version import __version__

VALUES = ("float", "uint8")
NORMS = ("image", "running")


@dataclass(frozen=True)
class Graph:
    """A generator that is to be exported.

    Args:
        module: Whose generator it is.
        norm: ``image`` (each image's own statistics) or ``running``.
        values_in: ``float``, (B, C, H, W) in [-1, 1] as the network sees it, or ``uint8`` as files hold the source.
        values_out: ``float``, in [-1, 1], or ``uint8`` as files hold the target.

    Raises:
        ValueError: A value is unknown.
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
            if value not in choices:
                raise UserError(f"{name}={value!r} is unknown: one of {', '.join(choices)} is expected")

    @property
    def generator(self) -> nn.Module:
        """The module's."""
        return self.module.generator

    @property
    def spec(self) -> PairSpec:
        """What the images mean."""
        return self.module.pair_spec

    @property
    def side_multiple(self) -> int:
        """The sides of the input are multiples of this."""
        return int(getattr(self.generator, "side_multiple", 1))

    @property
    def least_side(self) -> int:
        """And at least this."""
        return max(int(getattr(self.generator, "min_side", 1)), self.side_multiple)

    @property
    def channels_in(self) -> int:
        """Of the input."""
        return self.spec.source.channels if self.values_in == "float" else self.spec.source.file_channels

    @contextmanager
    def as_at_test_time(self) -> Iterator[nn.Module]:
        """Inside, what is exported: (B, channels_in, H, W) to the output."""
        with use_eval_mode(self.generator, norm=self.norm), torch.no_grad():
            whole = _WithValues(self.generator, self.spec, self.values_in, self.values_out)
            whole.training = False
            yield whole

    def facts(self, made_by: Mapping[str, Any]) -> dict[str, Any]:
        """What a file says of itself, as plain data."""
        of_images = find_image_norms(self.generator, self.norm)
        context = None if of_images else measure_receptive_field(self.generator, self.spec.source.channels).margin
        return {
            "format": 1,
            "pair_spec": self.spec.to_dict(),
            "side_multiple": self.side_multiple,
            "least_side": self.least_side,
            "norm": self.norm,
            "input": self.values_in,
            "output": self.values_out,
            "context": context,
            "made_by": {**made_by, "pix2pix_lightning": __version__, "torch": torch.__version__},
        }


class _WithValues(nn.Module):
    def __init__(self, generator: nn.Module, spec: PairSpec, values_in: str, values_out: str) -> None:
        super().__init__()
        self.generator = generator
        self._before = partial(_seen, spec.source) if values_in == "uint8" else _as_it_is
        self._after = spec.decode if values_out == "uint8" else _as_it_is

    def forward(self, source: Tensor) -> Tensor:
        return self._after(self.generator.forward(self._before(source)))


def _as_it_is(values: Tensor) -> Tensor:
    return values


def _seen(side: SideSpec, values: Tensor) -> Tensor:
    """What files hold, (B, 1 or 3, H, W) uint8, to what the network sees; as ``SideSpec.snap`` and ``encode``."""
    if side.palette and (side.kind == "label" or side.snap_palette):
        palette = torch.tensor(side.palette, dtype=torch.float32, device=values.device)
        # |x - p|^2 up to |x|^2, which all colours share; whole numbers, and so exact
        distance = F.conv2d(values.float(), -2 * palette[:, :, None, None], (palette**2).sum(1))
        nearest = distance.argmin(1, keepdim=True)
        if side.kind == "label":
            return _one_hot(nearest, side.channels)
        return F.conv2d((_one_hot(nearest, len(palette)) + 1) / 2, palette.t()[:, :, None, None]) / 127.5 - 1
    if side.kind == "label":
        return _one_hot(values.long(), side.channels)
    return side.encode(values)


def _one_hot(classes: Tensor, count: int) -> Tensor:
    """(B, 1, H, W) to (B, count, H, W), 1 where the class is and -1 elsewhere."""
    numbers = torch.arange(count, device=classes.device)[None, :, None, None]
    return (classes == numbers).float() * 2 - 1
