"""The discriminators: PatchGAN of any receptive field up to the ImageGAN, PixelGAN, and several scales of PatchGANs.

A discriminator returns logits, without a sigmoid: one map (B, 1, h, w), or a list of such maps, one for each scale. Its
``features`` are the outputs of its layers, the last of them the logits: a list of maps or, with several scales, a list
of such lists.
"""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.networks.layers import (
    LEAK,
    MAX_CHANNELS,
    MAX_CHANNELS_FACTOR,
    MAX_LEVELS,
    apply_spectral_norm,
    build_norm,
    build_sequential,
    check_sides,
    initialize,
    uses_bias,
)
from pix2pix_lightning.utils.checks import check_counts


class PatchDiscriminator(nn.Module):
    """The paper's PatchGAN: each logit judges a patch of the input (arXiv 1611.07004, sections 3.2.2 and 6.1.2).

    4x4 convolutions: ``num_layers`` of stride 2, one of stride 1, and one of stride 1 to the logit. The first and
    the last have no norm. One to five layers of stride 2 have receptive fields of 16, 34, 70, 142 and 286 pixels.

    Args:
        in_channels: Channels of source and target together, or of the target alone when unconditional.
        num_layers: Layers of stride 2, at least 1; 3 is the 70x70 PatchGAN, 5 the 286x286 ImageGAN.
        base_channels: Channels of the first layer; they double with depth, up to eight times as many.
        norm: ``"batch"``, ``"instance"``, ``"none"`` or ``"none_no_bias"`` (``--norm none`` of junyanz).
        spectral_norm: Whether each convolution's weight is divided by its spectral norm (arXiv 1802.05957, 2.1),
            which bounds the Lipschitz constant of the layer.

    Attributes:
        min_side: The sides of the input are at least this, ``3 * 2**num_layers``.

    Raises:
        UserError: An argument is out of its range or is not one of the names.

    Example:
        >>> import torch
        >>> discriminator = PatchDiscriminator(6, base_channels=4)
        >>> discriminator(torch.zeros(1, 6, 256, 256)).shape
        torch.Size([1, 1, 30, 30])
    """

    def __init__(
        self,
        in_channels: int = 6,
        *,
        num_layers: int = 3,
        base_channels: int = 64,
        norm: str = "batch",
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        check_counts(at_most=MAX_CHANNELS, in_channels=in_channels, base_channels=base_channels)
        check_counts(at_most=MAX_LEVELS, num_layers=num_layers)
        # Each of the two layers of stride 1 makes a map smaller by one pixel: 3 become 1.
        self.min_side = 3 * 2**num_layers
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
        if spectral_norm:
            apply_spectral_norm(self)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return every layer's output, after its activation; the last is the logits.

        Args:
            x: Images in [-1, 1], (B, in_channels, H, W), the source's channels first.

        Returns:
            ``num_layers + 2`` maps, the last (B, 1, h, w): high for real.

        Raises:
            UserError: A side is below ``min_side``.
        """
        check_sides(x, min_side=self.min_side)
        return _collect_outputs(self.stages, x)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W) to logits (B, 1, h, w); raises as `features`."""
        return self.features(x)[-1]


class PixelDiscriminator(nn.Module):
    """The paper's PixelGAN, a 1x1 PatchGAN, which judges every pixel by its colour alone (section 6.1.2).

    Args:
        in_channels: Channels of source and target together, or of the target alone when unconditional.
        base_channels: Channels of the first layer; the second has twice as many.
        norm: ``"batch"``, ``"instance"``, ``"none"`` or ``"none_no_bias"`` (``--norm none`` of junyanz).
            With instance norm a logit depends on the whole map.
        spectral_norm: Whether each convolution's weight is divided by its spectral norm.

    Raises:
        UserError: An argument is out of its range or is not one of the names.

    Example:
        >>> import torch
        >>> discriminator = PixelDiscriminator(6, base_channels=4)
        >>> discriminator(torch.zeros(1, 6, 32, 48)).shape
        torch.Size([1, 1, 32, 48])
    """

    def __init__(
        self, in_channels: int = 6, *, base_channels: int = 64, norm: str = "batch", spectral_norm: bool = False
    ) -> None:
        super().__init__()
        check_counts(at_most=MAX_CHANNELS, in_channels=in_channels, base_channels=base_channels)
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
        if spectral_norm:
            apply_spectral_norm(self)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return every layer's output, after its activation; the last is the logits.

        Args:
            x: Images in [-1, 1], (B, in_channels, H, W), the source's channels first.

        Returns:
            Three maps, the last (B, 1, H, W): high for real.

        Raises:
            UserError: The images have no pixel.
        """
        check_sides(x)
        return _collect_outputs(self.stages, x)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W) to logits (B, 1, H, W); raises as `features`."""
        return self.features(x)[-1]


class MultiScaleDiscriminator(nn.Module):
    """One `PatchDiscriminator` for each scale of an image pyramid (pix2pixHD, arXiv 1711.11585, section 3.2).

    All scales have the same architecture and weights of their own. The first sees the input, each further one the
    input of the one before at half the side, by average pooling. The coarsest has the largest receptive field and
    judges the image as a whole, the finest its details. The losses are means over the scales.

    Args:
        in_channels: Channels of source and target together, or of the target alone when unconditional.
        num_scales: Discriminators, at least 1; 3 is pix2pixHD's.
        num_layers: Layers of stride 2 of each discriminator, at least 1.
        base_channels: Channels of the first layer; they double with depth, up to eight times as many.
        norm: ``"batch"``, ``"instance"``, ``"none"`` or ``"none_no_bias"`` (``--norm none`` of junyanz).
        spectral_norm: Whether each convolution's weight is divided by its spectral norm.

    Attributes:
        min_side: The sides of the input are at least this, so that the coarsest scale has one logit.

    Raises:
        UserError: An argument is out of its range or is not one of the names.

    Example:
        >>> import torch
        >>> discriminator = MultiScaleDiscriminator(6, num_scales=2, base_channels=4)
        >>> [tuple(logits.shape) for logits in discriminator(torch.zeros(1, 6, 256, 256))]
        [(1, 1, 30, 30), (1, 1, 14, 14)]
    """

    def __init__(
        self,
        in_channels: int = 6,
        *,
        num_scales: int = 3,
        num_layers: int = 3,
        base_channels: int = 64,
        norm: str = "instance",
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        check_counts(at_most=MAX_LEVELS, num_scales=num_scales)
        scales = [
            PatchDiscriminator(
                in_channels,
                num_layers=num_layers,
                base_channels=base_channels,
                norm=norm,
                spectral_norm=spectral_norm,
            )
            for _ in range(num_scales)
        ]
        # Pooling halves a side and rounds up: 2 n - 1 pixels are the fewest that become n.
        self.min_side = (scales[0].min_side - 1) * 2 ** (num_scales - 1) + 1
        self.scales = nn.ModuleList(scales)

    def features(self, x: Tensor) -> list[list[Tensor]]:
        """Return, for each scale, every layer's output; the last of each scale is its logits.

        Args:
            x: Images in [-1, 1], (B, in_channels, H, W), the source's channels first.

        Returns:
            ``num_scales`` lists of ``num_layers + 2`` maps, the finest scale first.

        Raises:
            UserError: A side is below ``min_side``.
        """
        check_sides(x, min_side=self.min_side)
        outputs = []
        for index, scale in enumerate(self.scales):
            if index > 0:
                # Zeros of the padding do not count, else the rim would be darker than the image.
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            outputs.append(cast(PatchDiscriminator, scale).features(x))
        return outputs

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, in_channels, H, W) to the logits of each scale, (B, 1, h, w); raises as `features`."""
        return [outputs[-1] for outputs in self.features(x)]


def _collect_outputs(stages: nn.ModuleList, x: Tensor) -> list[Tensor]:
    outputs = []
    for stage in stages:
        x = stage(x)
        outputs.append(x)
    return outputs
