"""The encoder-decoder generator."""

from torch import Tensor, nn

from pix2pix_lightning.networks.layers import check_counts, check_sides, down_levels, initialize, up_levels


class EncoderDecoderGenerator(nn.Module):
    """The U-Net without its skip connections, which the paper compares it with (section 4.3, section 6.1.1).

    At 256x256 the decoder is CD512-CD512-CD512-C512-C256-C128-C64, a convolution to the output channels,
    tanh.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_downs: How often the side is halved, at least 1; 8 for 256x256.
        base_channels: Channels of the outermost level; they double with depth, up to eight times as many.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
        dropout: Probability of dropout in the decoder; 0 leaves the layers out.
        dropout_at: ``"paper"``: the three innermost up levels; ``"junyanz"``: up levels 4 to ``num_downs -
            2``.
        upsample: ``"transposed"`` or ``"resize"`` (nearest neighbour and a 3x3 convolution).

    Attributes:
        side_multiple: The sides of the input are multiples of this, ``2**num_downs``.

    Raises:
        ValueError: An argument is out of its range or not a name that exists.

    Example:
        >>> import torch
        >>> generator = EncoderDecoderGenerator(3, 1, num_downs=4, base_channels=4)
        >>> generator(torch.zeros(2, 3, 32, 48)).shape
        torch.Size([2, 1, 32, 48])
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        num_downs: int = 8,
        base_channels: int = 64,
        norm: str = "batch",
        dropout: float = 0.5,
        dropout_at: str = "paper",
        upsample: str = "transposed",
    ) -> None:
        super().__init__()
        check_counts(
            in_channels=in_channels,
            out_channels=out_channels,
            num_downs=num_downs,
            base_channels=base_channels,
        )
        self.side_multiple = 2**num_downs
        self.down = down_levels(in_channels, num_downs=num_downs, base_channels=base_channels, norm=norm)
        self.up = up_levels(
            out_channels,
            num_downs=num_downs,
            base_channels=base_channels,
            norm=norm,
            dropout=dropout,
            dropout_at=dropout_at,
            upsample=upsample,
            skips=False,
        )
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Translates images.

        Args:
            x: Images in [-1, 1], (B, in_channels, H, W), sides multiples of ``side_multiple``.

        Returns:
            Images in [-1, 1], (B, out_channels, H, W).

        Raises:
            ValueError: A side is no positive multiple of ``side_multiple``.
        """
        check_sides(x, multiple=self.side_multiple, least=self.side_multiple)
        for level in self.down:
            x = level(x)
        for level in reversed(self.up):
            x = level(x)
        return x
