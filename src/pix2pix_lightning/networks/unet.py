"""The U-Net generator."""

from torch import Tensor, nn

from pix2pix_lightning.networks.layers import check_counts, check_sides, down_levels, initialize, up_levels


class UNetGenerator(nn.Module):
    """The paper's generator: an encoder-decoder with skip connections (section 3.2.1).

    The defaults are the 256x256 network of junyanz/pytorch-CycleGAN-and-pix2pix: 4x4 convolutions of stride
    2, no norm at the outermost and the innermost level, skips concatenated encoder first, biases only where
    the norm brings none.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_downs: How often the side is halved, at least 1; 8 for 256x256, 7 for 128x128.
        base_channels: Channels of the outermost level; they double with depth, up to eight times as many.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
        dropout: Probability of dropout in the decoder; 0 leaves the layers out.
        dropout_at: ``"junyanz"``: up levels 4 to ``num_downs - 2`` (outputs of 4x4, 8x8 and 16x16 at 256);
            ``"paper"``: the three innermost (2x2, 4x4 and 8x8).
        upsample: ``"transposed"`` or ``"resize"`` (nearest neighbour and a 3x3 convolution).

    Attributes:
        side_multiple: The sides of the input are multiples of this, ``2**num_downs``.

    Raises:
        ValueError: An argument is out of its range or not a name that exists.

    Example:
        >>> import torch
        >>> generator = UNetGenerator(3, 1, num_downs=4, base_channels=4)
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
        dropout_at: str = "junyanz",
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
            skips=True,
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
        skips = []
        for level in self.down:
            x = level(x)
            skips.append(x)
        skips.pop()  # the innermost is the decoder's start, not a skip
        x = self.up[-1](x)
        for depth in reversed(range(len(skips))):
            x = self.up[depth](skips[depth], x)
        return x
