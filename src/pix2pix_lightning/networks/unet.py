"""The U-Net generator."""

from pix2pix_lightning.networks.hourglass import HourglassGenerator


class UNetGenerator(HourglassGenerator):
    """The paper's generator: an encoder-decoder with skip connections (arXiv 1611.07004, section 3.2.1).

    The defaults are the 256x256 network of junyanz/pytorch-CycleGAN-and-pix2pix: 4x4 convolutions of stride 2, no norm
    at the outermost and the innermost level, skips concatenated with the encoder's map first, biases only where the
    norm has none.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_downs: How often the side is halved, at least 1; 8 for 256x256, 7 for 128x128.
        base_channels: Channels of the outermost level; they double with depth, up to eight times as many.
        norm: ``"batch"``, ``"instance"``, ``"none"`` or ``"none_no_bias"`` (``--norm none`` of junyanz).
        dropout: Probability of dropout in the decoder, in [0, 1); 0 leaves the layers out.
        dropout_at: ``"junyanz"`` or ``"paper"``, as in `HourglassGenerator`.
        upsample: ``"transposed"`` or ``"resize"`` (nearest neighbour and a 3x3 convolution).
        noise_channels: Planes of noise next to the input (`NoisePlanes`); 0 leaves them out.

    Raises:
        UserError: An argument is out of its range or is not one of the names.

    Example:
        >>> import torch
        >>> generator = UNetGenerator(3, 1, num_downs=4, base_channels=4)
        >>> generator(torch.zeros(2, 3, 32, 48)).shape
        torch.Size([2, 1, 32, 48])
    """

    has_skips = True
