"""The ResNet generator."""

from torch import Tensor, nn

from pix2pix_lightning.networks.layers import (
    MAX_BLOCKS,
    MAX_CHANNELS,
    Dropout,
    build_norm,
    build_upsampling,
    check_dropout,
    check_sides,
    initialize,
    uses_bias,
)
from pix2pix_lightning.networks.noise import MAX_NOISE_CHANNELS, NoisePlanes
from pix2pix_lightning.utils.checks import check_counts


class ResNetGenerator(nn.Module):
    """Generator of residual blocks (Johnson et al., arXiv 1603.08155).

    As in junyanz/pytorch-CycleGAN-and-pix2pix: a 7x7 convolution, two of stride 2, ``num_blocks`` residual
    blocks at a quarter of the side, two upsamplings, a 7x7 convolution and tanh. The layers have the indices of
    junyanz's ``model``, so that its weights can be loaded.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_blocks: Residual blocks, at least 1; 9 for 256x256, 6 for 128x128.
        base_channels: Channels after the first convolution; the blocks have four times as many.
        norm: ``"batch"``, ``"instance"``, ``"none"`` or ``"none_no_bias"`` (``--norm none`` of junyanz).
        dropout: Probability of dropout in the blocks, in [0, 1); 0 leaves the layers out.
        upsample: ``"transposed"`` or ``"resize"`` (nearest neighbour and a 3x3 convolution).
        noise_channels: Planes of noise next to the input (`NoisePlanes`); 0 leaves them out. With them the first
            convolution has no norm, which would remove them.

    Attributes:
        side_multiple: The sides of the input are multiples of this, 4.
        min_side: The sides of the input are at least this, 8.

    Raises:
        UserError: An argument is out of its range or is not one of the names.

    Example:
        >>> import torch
        >>> generator = ResNetGenerator(3, 1, num_blocks=2, base_channels=4)
        >>> generator(torch.zeros(2, 3, 32, 20)).shape
        torch.Size([2, 1, 32, 20])
    """

    side_multiple = 4
    min_side = 8

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        num_blocks: int = 9,
        base_channels: int = 64,
        norm: str = "batch",
        dropout: float = 0.0,
        upsample: str = "transposed",
        noise_channels: int = 0,
    ) -> None:
        super().__init__()
        check_counts(
            at_most=MAX_CHANNELS, in_channels=in_channels, out_channels=out_channels, base_channels=base_channels
        )
        check_counts(at_most=MAX_BLOCKS, num_blocks=num_blocks)
        check_dropout(dropout)
        check_counts(at_least=0, at_most=MAX_NOISE_CHANNELS, noise_channels=noise_channels)
        self.noise = NoisePlanes(noise_channels) if noise_channels else None
        bias = uses_bias(norm)
        width = base_channels
        first_norm = "none" if noise_channels else norm  # a norm next to a convolution removes what is constant
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(in_channels + noise_channels, width, 7, bias=uses_bias(first_norm)),
            build_norm(first_norm, width),
            nn.ReLU(inplace=True),
        ]
        for _ in range(2):
            layers += [
                nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=bias),
                build_norm(norm, 2 * width),
                nn.ReLU(inplace=True),
            ]
            width *= 2
        layers += [_ResidualBlock(width, norm=norm, dropout=dropout) for _ in range(num_blocks)]
        for _ in range(2):
            layers += [
                build_upsampling(upsample, width, width // 2, bias=bias, kernel_size=3),
                build_norm(norm, width // 2),
                nn.ReLU(inplace=True),
            ]
            width //= 2
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Translate images.

        Args:
            x: Images in [-1, 1], (B, in_channels, H, W), sides multiples of 4 and at least 8.

        Returns:
            Images in [-1, 1], (B, out_channels, H, W).

        Raises:
            UserError: A side is not a multiple of 4, or is below 8.
        """
        # The blocks pad maps of a quarter of the side by reflection, which needs two pixels.
        check_sides(x, multiple=self.side_multiple, min_side=self.min_side)
        x = self.layers(x if self.noise is None else self.noise(x))
        return x


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int, *, norm: str, dropout: float) -> None:
        super().__init__()
        bias = uses_bias(norm)
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            build_norm(norm, channels),
            nn.ReLU(inplace=True),
        ]
        if dropout > 0:
            layers.append(Dropout(dropout))
        layers += [
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            build_norm(norm, channels),
        ]
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.conv_block(x)
        return x + residual
