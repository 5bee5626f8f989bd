"""The discriminators: PatchGAN of any receptive field, up to the ImageGAN, and PixelGAN."""

from torch import Tensor, nn

from pix2pix_lightning.networks.layers import (
    LEAK,
    MAX_CHANNELS_FACTOR,
    build_norm,
    build_sequential,
    check_counts,
    check_sides,
    initialize,
    uses_bias,
)


class PatchDiscriminator(nn.Module):
    """The paper's PatchGAN (section 3.2.2, section 6.1.2): every output judges a patch of the input.

    4x4 convolutions: ``num_layers`` of stride 2, one of stride 1, and one of stride 1 to the logit; no norm
    after the first. One to five strided layers see patches of 16, 34, 70, 142 and 286 pixels.

    Args:
        in_channels: Channels of source and target together, or of the target alone when unconditional.
        num_layers: Layers of stride 2, at least 1; 3 is the 70x70 PatchGAN, 5 the 286x286 ImageGAN.
        base_channels: Channels of the first layer; they double with depth, up to eight times as many.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.

    Raises:
        ValueError: An argument is out of its range or not a name that exists.

    Example:
        >>> import torch
        >>> discriminator = PatchDiscriminator(6, base_channels=4)
        >>> discriminator(torch.zeros(1, 6, 256, 256)).shape
        torch.Size([1, 1, 30, 30])
    """

    def __init__(
        self, in_channels: int = 6, *, num_layers: int = 3, base_channels: int = 64, norm: str = "batch"
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, num_layers=num_layers, base_channels=base_channels)
        # Two stride-1 layers take a pixel off each side's end: 3 become 1.
        self._least_side = 3 * 2**num_layers
        stages = []
        for depth in range(num_layers + 1):
            width = base_channels * min(2**depth, MAX_CHANNELS_FACTOR)
            stride = 2 if depth < num_layers else 1
            bias = depth == 0 or uses_bias(norm)
            stages.append(
                build_sequential(
                    conv=nn.Conv2d(in_channels, width, 4, stride=stride, padding=1, bias=bias),
                    norm=build_norm(norm, width) if depth > 0 else None,
                    activation=nn.LeakyReLU(LEAK, inplace=True),
                )
            )
            in_channels = width
        stages.append(build_sequential(conv=nn.Conv2d(in_channels, 1, 4, padding=1)))
        self.stages = nn.ModuleList(stages)
        initialize(self)

    def features(self, x: Tensor) -> list[Tensor]:
        """Gives every layer's output, after its activation; the last is the logits.

        Args:
            x: Images in [-1, 1], (B, in_channels, H, W), the source's channels first.

        Returns:
            ``num_layers + 2`` maps, the last (B, 1, h, w): high for real.

        Raises:
            ValueError: The images are too small for one output.
        """
        check_sides(x, min_side=self._least_side)
        return _outputs(self.stages, x)

    def forward(self, x: Tensor) -> Tensor:
        """Judges images: (B, in_channels, H, W) to logits (B, 1, h, w); raises as `features`."""
        return self.features(x)[-1]


class PixelDiscriminator(nn.Module):
    """The paper's PixelGAN, a 1x1 PatchGAN (section 6.1.2): it judges every pixel by its colour alone.

    Args:
        in_channels: Channels of source and target together, or of the target alone when unconditional.
        base_channels: Channels of the first layer; the second has twice as many.
        norm: ``"batch"``, ``"instance"`` or ``"none"``. Instance norm reads the whole map, and so widens what
            a logit depends on.

    Raises:
        ValueError: An argument is out of its range or not a name that exists.

    Example:
        >>> import torch
        >>> discriminator = PixelDiscriminator(6, base_channels=4)
        >>> discriminator(torch.zeros(1, 6, 32, 48)).shape
        torch.Size([1, 1, 32, 48])
    """

    def __init__(self, in_channels: int = 6, *, base_channels: int = 64, norm: str = "batch") -> None:
        super().__init__()
        check_counts(in_channels=in_channels, base_channels=base_channels)
        bias = uses_bias(norm)
        self.stages = nn.ModuleList(
            [
                build_sequential(
                    conv=nn.Conv2d(in_channels, base_channels, 1),
                    activation=nn.LeakyReLU(LEAK, inplace=True),
                ),
                build_sequential(
                    conv=nn.Conv2d(base_channels, 2 * base_channels, 1, bias=bias),
                    norm=build_norm(norm, 2 * base_channels),
                    activation=nn.LeakyReLU(LEAK, inplace=True),
                ),
                build_sequential(conv=nn.Conv2d(2 * base_channels, 1, 1, bias=bias)),
            ]
        )
        initialize(self)

    def features(self, x: Tensor) -> list[Tensor]:
        """Gives every layer's output, after its activation; the last is the logits.

        Args:
            x: Images in [-1, 1], (B, in_channels, H, W), the source's channels first.

        Returns:
            Three maps, the last (B, 1, H, W): high for real.

        Raises:
            ValueError: The images have no pixel.
        """
        check_sides(x)
        return _outputs(self.stages, x)

    def forward(self, x: Tensor) -> Tensor:
        """Judges pixels: (B, in_channels, H, W) to logits (B, 1, H, W); raises as `features`."""
        return self.features(x)[-1]


def _outputs(stages: nn.ModuleList, x: Tensor) -> list[Tensor]:
    outputs = []
    for stage in stages:
        x = stage(x)
        outputs.append(x)
    return outputs
