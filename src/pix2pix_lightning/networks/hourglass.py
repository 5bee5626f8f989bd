"""The encoder and decoder of `UNetGenerator`, `EncoderDecoderGenerator` and `SegmentationDiscriminator`."""

from typing import ClassVar

from torch import Tensor, nn

from pix2pix_lightning.networks.concatenation import CatReLU, cat_dense_grad
from pix2pix_lightning.networks.layers import (
    LEAK,
    MAX_CHANNELS,
    MAX_CHANNELS_FACTOR,
    MAX_LEVELS,
    Dropout,
    build_norm,
    build_sequential,
    build_upsampling,
    check_dropout,
    check_sides,
    drop_none,
    initialize,
    uses_bias,
)
from pix2pix_lightning.networks.noise import MAX_NOISE_CHANNELS, NoisePlanes
from pix2pix_lightning.utils.checks import check_choice, check_counts


class HourglassGenerator(nn.Module):
    """Generator that halves the side ``num_downs`` times and doubles it as often (arXiv 1611.07004, section 6.1.1).

    Subclasses set ``has_skips``, and document their defaults.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_downs: How often the side is halved, at least 1; 8 for 256x256, 7 for 128x128.
        base_channels: Channels of the outermost level; they double with depth, up to eight times as many.
        norm: ``"batch"``, ``"instance"``, ``"none"`` or ``"none_no_bias"`` (``--norm none`` of junyanz).
        dropout: Probability of dropout in the decoder, in [0, 1); 0 leaves the layers out.
        dropout_at: Levels of the decoder with dropout, where the outermost is 0. ``"junyanz"``: 4 to ``num_downs - 2``
            (outputs of 16x16, 8x8 and 4x4 at 256); ``"paper"``: the three innermost (8x8, 4x4 and 2x2).
        upsample: ``"transposed"`` or ``"resize"`` (nearest neighbour and a 3x3 convolution).
        noise_channels: Planes of noise next to the input (`NoisePlanes`); 0 leaves them out.

    Attributes:
        has_skips: Whether each level of the decoder also takes the map of the encoder's level of its size.
        side_multiple: The sides of the input are multiples of this, ``2**num_downs``.

    Raises:
        UserError: An argument is out of its range or is not one of the names.
    """

    has_skips: ClassVar[bool]

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        num_downs: int = 8,
        base_channels: int = 64,
        norm: str = "batch",
        dropout: float = 0.5,
        dropout_at: str = "junyanz",
        upsample: str = "transposed",
        noise_channels: int = 0,
    ) -> None:
        super().__init__()
        check_counts(
            at_most=MAX_CHANNELS, in_channels=in_channels, out_channels=out_channels, base_channels=base_channels
        )
        check_counts(at_most=MAX_LEVELS, num_downs=num_downs)
        check_counts(at_least=0, at_most=MAX_NOISE_CHANNELS, noise_channels=noise_channels)
        self.noise = NoisePlanes(noise_channels) if noise_channels else None
        self.side_multiple = 2**num_downs
        widths = [base_channels * min(2**depth, MAX_CHANNELS_FACTOR) for depth in range(num_downs)]
        self.down = build_down_levels(in_channels + noise_channels, widths, norm=norm)
        self.up = build_up_levels(
            out_channels,
            widths,
            norm=norm,
            dropout=dropout,
            dropout_at=dropout_at,
            upsample=upsample,
            has_skips=self.has_skips,
        )
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Translate images.

        Args:
            x: Images in [-1, 1], (B, in_channels, H, W), sides multiples of ``side_multiple``.

        Returns:
            Images in [-1, 1], (B, out_channels, H, W).

        Raises:
            UserError: A side is no positive multiple of ``side_multiple``.
        """
        check_sides(x, multiple=self.side_multiple, min_side=self.side_multiple)
        x = x if self.noise is None else self.noise(x)
        skips: list[Tensor | None] = []
        for level in self.down:
            x = level(x)
            skips.append(x if self.has_skips else None)
        skips[-1] = None  # the innermost map is the decoder's input, not a skip
        for level, skip in zip(reversed(self.up), reversed(skips), strict=True):
            x = level(x) if skip is None else level(skip, x)
        return x


class UpLevel(nn.Sequential):
    """A level of a decoder, which takes the skip, if there is one, and the map from the level below."""

    def forward(self, *maps: Tensor) -> Tensor:
        """Map ``maps``, each (B, ..., H, W), the skip first, to (B, out, 2H, 2W)."""
        first, *others = self
        is_joined = len(maps) == 2 and not isinstance(first, CatReLU)  # where somebody has put another activation
        x: Tensor = first(cat_dense_grad(*maps)) if is_joined else first(*maps)
        for layer in others:
            x = layer(x)
        return x


def build_down_levels(in_channels: int, widths: list[int], *, norm: str) -> nn.ModuleList:
    """Build the encoder: level d maps (B, ..., H, W) to (B, widths[d], H/2, W/2).

    Args:
        in_channels: Channels of the input.
        widths: Channels of each level, the outermost first.
        norm: As for `HourglassGenerator`.

    Returns:
        A level for each of ``widths``.
    """
    # junyanz puts the LeakyReLU in front of the next convolution, and in place, so that its skip carries the activated
    # map. Here it ends the level. The ReLU in front of the up convolution makes the skips equal, and no level writes
    # into its input, which activation checkpointing relies on.
    levels = []
    for depth, width in enumerate(widths):
        outermost, innermost = depth == 0, depth == len(widths) - 1
        # The innermost map is 1x1 where the input is smallest: a norm of one image would make it zero.
        levels.append(
            build_sequential(
                conv=nn.Conv2d(in_channels, width, 4, stride=2, padding=1, bias=uses_bias(norm)),
                norm=None if outermost or innermost else build_norm(norm, width),
                activation=None if innermost else nn.LeakyReLU(LEAK, inplace=True),
            )
        )
        in_channels = width
    return nn.ModuleList(levels)


def build_up_levels(
    out_channels: int,
    widths: list[int],
    *,
    norm: str,
    dropout: float,
    dropout_at: str,
    upsample: str,
    has_skips: bool,
    has_tanh: bool = True,
) -> nn.ModuleList:
    """Build the decoder: level d undoes level d of the encoder, and level 0 gives (B, out_channels, H, W).

    Args:
        out_channels: Channels of the output.
        widths: Channels of each level of the encoder, the outermost first.
        norm: As for `HourglassGenerator`.
        dropout: As for `HourglassGenerator`.
        dropout_at: As for `HourglassGenerator`.
        upsample: As for `HourglassGenerator`.
        has_skips: Whether every level but the innermost takes twice the channels.
        has_tanh: Whether the output is in [-1, 1].

    Returns:
        An `UpLevel` for each of ``widths``, the outermost first.
    """
    num_levels = len(widths)
    check_dropout(dropout)
    depths = {"junyanz": range(4, num_levels - 1), "paper": range(max(num_levels - 3, 1), num_levels)}
    check_choice("dropout_at", dropout_at, depths)
    levels = []
    for depth, width in enumerate(widths):
        outermost, innermost = depth == 0, depth == num_levels - 1
        channels = 2 * width if has_skips and not innermost else width
        out_width = out_channels if outermost else widths[depth - 1]
        levels.append(
            UpLevel(
                drop_none(
                    activation=CatReLU(),  # not in place: activation checkpointing needs the input
                    conv=build_upsampling(upsample, channels, out_width, bias=outermost or uses_bias(norm)),
                    norm=None if outermost else build_norm(norm, out_width),
                    dropout=Dropout(dropout) if dropout > 0 and depth in depths[dropout_at] else None,
                    squash=nn.Tanh() if outermost and has_tanh else None,
                )
            )
        )
    return nn.ModuleList(levels)
