"""The InceptionV3 of the Fréchet Inception Distance (FID), from the file of weights that the user has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.networks.features.feature_network import FeatureNetwork, Features
from pix2pix_lightning.utils.errors import UserError

__all__ = ["FidInception", "is_inception", "resize_like_tensorflow1"]

_SIDE = 299  # pixels
_CLASSES = 1008  # of the TensorFlow model of 2015; torchvision's has 1000

_Size = int | tuple[int, int]


class _Unit(NamedTuple):
    """A convolution of a branch: its name in the file, its channels, and its kernel's side, or height and width."""

    name: str
    channels: int
    kernel: _Size


_Branch = Sequence[Sequence[_Unit]]
"""Steps that follow each other; the units of a step see the same input, and their outputs are concatenated."""


class _Convolution(nn.Module):
    """A convolution without a bias, a batch norm and a ReLU.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Side of the kernel, or height and width.
        stride: 1 or 2.
        is_padded: Whether the output has the size of the input.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: _Size, stride: int = 1, is_padded: bool = True):
        super().__init__()
        height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        padding = (height // 2, width // 2) if is_padded else 0
        self.conv = nn.Conv2d(in_channels, out_channels, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, values: Tensor) -> Tensor:
        """Return (B, C', h, w) for (B, C, H, W)."""
        return F.relu(self.bn(self.conv(values)))


class _Mixed(nn.Module):
    """A block of branches whose outputs are concatenated.

    Args:
        in_channels: Channels of the input.
        branches: The branches of convolutions.
        pool: Channels of the convolution behind the pooling; 0 for a block that halves the size, whose pooling has
            none.
        pool_kind: ``mean`` of the pixels that are there, without the padding, or ``max``.
    """

    def __init__(self, in_channels: int, branches: Sequence[_Branch], pool: int = 0, pool_kind: str = "mean") -> None:
        super().__init__()
        self._branches, self._pool_kind = branches, pool_kind
        self.out_channels = pool or in_channels
        for branch in branches:
            channels = in_channels
            for number, step in enumerate(branch):
                halves = pool == 0 and number == len(branch) - 1
                for unit in step:
                    convolution = _Convolution(channels, unit.channels, unit.kernel, 2 if halves else 1, not halves)
                    self.add_module(unit.name, convolution)
                channels = sum(unit.channels for unit in step)
            self.out_channels += channels
        self.branch_pool = _Convolution(in_channels, pool, 1) if pool else None

    def forward(self, values: Tensor) -> Tensor:
        """Return (B, C', h, w) for (B, C, H, W)."""
        outputs = []
        for branch in self._branches:
            inner = values
            for step in branch:
                inner = torch.cat([self.get_submodule(unit.name)(inner) for unit in step], 1)
            outputs.append(inner)
        if self.branch_pool is None:
            outputs.append(F.max_pool2d(values, 3, 2))
        elif self._pool_kind == "max":
            outputs.append(self.branch_pool(F.max_pool2d(values, 3, 1, 1)))
        else:
            outputs.append(self.branch_pool(F.avg_pool2d(values, 3, 1, 1, count_include_pad=False)))
        return torch.cat(outputs, 1)


def _build_branch(name: str, *sizes: tuple[int, _Size]) -> _Branch:
    """Return convolutions that follow each other, of channels and kernels, numbered from 1 if there are several."""
    numbered = len(sizes) > 1
    return [[_Unit(f"{name}_{number}" if numbered else name, *size)] for number, size in enumerate(sizes, start=1)]


def _build_mixed_35(in_channels: int, pool: int) -> _Mixed:
    branches = [
        _build_branch("branch1x1", (64, 1)),
        _build_branch("branch5x5", (48, 1), (64, 5)),
        _build_branch("branch3x3dbl", (64, 1), (96, 3), (96, 3)),
    ]
    return _Mixed(in_channels, branches, pool)


def _build_mixed_17(width: int) -> _Mixed:
    row, column = (1, 7), (7, 1)
    branches = [
        _build_branch("branch1x1", (192, 1)),
        _build_branch("branch7x7", (width, 1), (width, row), (192, column)),
        _build_branch("branch7x7dbl", (width, 1), (width, column), (width, row), (width, column), (192, row)),
    ]
    return _Mixed(768, branches, 192)


def _build_mixed_8(in_channels: int, pool_kind: str) -> _Mixed:
    def split(name: str) -> Sequence[_Unit]:
        return [_Unit(f"{name}a", 384, (1, 3)), _Unit(f"{name}b", 384, (3, 1))]

    branches = [
        _build_branch("branch1x1", (320, 1)),
        [[_Unit("branch3x3_1", 384, 1)], split("branch3x3_2")],
        [*_build_branch("branch3x3dbl", (448, 1), (384, 3)), split("branch3x3dbl_3")],
    ]
    return _Mixed(in_channels, branches, 192, pool_kind)


class FidInception(FeatureNetwork):
    """InceptionV3 as published FIDs use it, up to its embedding of 2,048 values.

    Images are resized to 299 x 299 as in TensorFlow 1 and scaled by (level - 128) / 128, as in torch-fidelity.
    pytorch-fid resizes by another rule and scales by level / 127.5 - 1, which gives slightly other values. The layers
    are the outputs of the two poolings and of the last block of 17 x 17 positions.

    Args:
        weights: State dict of the published file, of which the classifier is not used; None: random weights.

    Raises:
        UserError: The weights are those of another network.
    """

    layer_channels = (64, 192, 768)

    def __init__(self, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, 3, 2, is_padded=False)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, 3, is_padded=False)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, 3, is_padded=False)
        self.Mixed_5b = _build_mixed_35(192, 32)
        self.Mixed_5c = _build_mixed_35(256, 64)
        self.Mixed_5d = _build_mixed_35(288, 64)
        self.Mixed_6a = _Mixed(
            288, [_build_branch("branch3x3", (384, 3)), _build_branch("branch3x3dbl", (64, 1), (96, 3), (96, 3))]
        )
        self.Mixed_6b = _build_mixed_17(128)
        self.Mixed_6c = _build_mixed_17(160)
        self.Mixed_6d = _build_mixed_17(160)
        self.Mixed_6e = _build_mixed_17(192)
        self.Mixed_7a = _Mixed(
            768,
            [
                _build_branch("branch3x3", (192, 1), (320, 3)),
                _build_branch("branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)),
            ],
        )
        self.Mixed_7b = _build_mixed_8(1280, "mean")
        self.Mixed_7c = _build_mixed_8(2048, "max")
        if weights is not None:
            self._load(weights)
        self.requires_grad_(False)
        self.eval()

    def compute_layers(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of both poolings and of ``Mixed_6e``: of 73 x 73, 35 x 35 and 17 x 17 positions.

        Args:
            images: (B, 3, H, W) in [-1, 1].

        Returns:
            (B, C_i, h_i, w_i).
        """
        levels = (images + 1) * 127.5
        values = (resize_like_tensorflow1(levels, _SIDE) - 128) / 128
        values = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(values)))
        first = F.max_pool2d(values, 3, 2)
        second = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(first)), 3, 2)
        values = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(second))))
        third = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(values))))
        return [first, second, third]

    def forward(self, images: Tensor) -> Features:
        """Return layers and embedding of images (B, 3, H, W) in [-1, 1]."""
        layers = self.compute_layers(images)
        return Features(layers, self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(layers[-1]))).mean((2, 3)))

    def _load(self, weights: Mapping[str, Tensor]) -> None:
        own = {name: value for name, value in self.state_dict().items() if not name.endswith("num_batches_tracked")}
        wrong = [name for name, value in own.items() if name not in weights or weights[name].shape != value.shape]
        if wrong or len(weights.get("fc.bias", ())) != _CLASSES:
            name = wrong[0] if wrong else "fc.bias"
            found = f"the shape {list(weights[name].shape)}" if name in weights else "no values"
            raise UserError(
                f"the file has {found} for {name}, and is not the Inception of FID (1008 classes; torchvision's is "
                "another network): give pt_inception-2015-12-05-6726825d.pth"
            )
        self.load_state_dict({name: weights[name] for name in own}, strict=False)


def is_inception(weights: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict is that of an InceptionV3, of FID or not."""
    return "Mixed_7c.branch_pool.conv.weight" in weights


def resize_like_tensorflow1(images: Tensor, side: int) -> Tensor:
    """Resize by bilinear interpolation between pixels whose positions are their corners, not their centres.

    The pixel i of the output lies at i * size / side of the input, and nothing is averaged when an image shrinks.

    Args:
        images: (B, C, H, W).
        side: Height and width of the output.

    Returns:
        (B, C, side, side).
    """
    for dim in (3, 2):
        size = images.shape[dim]
        dtype = torch.promote_types(images.dtype, torch.float32)
        scale = torch.tensor(size / side, dtype=torch.float32, device=images.device)  # as TensorFlow has it
        position = torch.arange(side, dtype=dtype, device=images.device) * scale
        low = position.long().clamp_max(size - 1)
        high = (low + 1).clamp_max(size - 1)
        weight = (position - low).to(images.dtype)[:, None] if dim == 2 else (position - low).to(images.dtype)
        below, above = images.index_select(dim, low), images.index_select(dim, high)
        images = below + (above - below) * weight
    return images
