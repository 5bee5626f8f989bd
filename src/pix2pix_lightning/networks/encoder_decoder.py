"""The encoder-decoder generator."""

from pix2pix_lightning.networks.hourglass import HourglassGenerator


class EncoderDecoderGenerator(HourglassGenerator):
    """The U-Net without skip connections, the paper's baseline (arXiv 1611.07004, sections 4.3 and 6.1.1).

    At 256x256 the decoder is CD512-CD512-CD512-C512-C256-C128-C64, then a convolution to the output channels and tanh.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_downs: How often the side is halved, at least 1; 8 for 256x256, 7 for 128x128.
        base_channels: Channels of the outermost level; they double with depth, up to eight times as many.
        norm: ``"batch"``, ``"instance"``, ``"none"`` or ``"none_no_bias"`` (``--norm none`` of junyanz).
        dropout: Probability of dropout in the decoder, in [0, 1); 0 leaves the layers out.
        dropout_at: ``"paper"`` or ``"junyanz"``, as in `HourglassGenerator`.
        upsample: ``"transposed"`` or ``"resize"`` (nearest neighbour and a 3x3 convolution).
        noise_channels: Planes of noise next to the input (`NoisePlanes`); 0 leaves them out.

    Raises:
        UserError: An argument is out of its range or is not one of the names.

    Example:
        >>> import torch
        >>> generator = EncoderDecoderGenerator(3, 1, num_downs=4, base_channels=4)
        >>> generator(torch.zeros(2, 3, 32, 48)).shape
        torch.Size([2, 1, 32, 48])
    """

    has_skips = False

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
        noise_channels: int = 0,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            num_downs=num_downs,
            base_channels=base_channels,
            norm=norm,
            dropout=dropout,
            dropout_at=dropout_at,
            upsample=upsample,
            noise_channels=noise_channels,
        )
