"""The U-Net generator."""

from pix2pix_lightning.networks.hourglass import HourglassGenerator


class UNetGenerator(HourglassGenerator):
    """The paper's generator: an encoder-decoder with skip connections (arXiv 1611.07004, section 3.2.1).

    The defaults are the 256x256 network of junyanz/pytorch-CycleGAN-and-pix2pix: 4x4 convolutions of stride 2, no norm
    at the outermost and the innermost level, skips concatenated with the encoder's map first, biases only where the
    norm has none. Arguments, attributes and errors are those of `HourglassGenerator`, with
    ``dropout_at="junyanz"`` by default.

    Example:
        >>> import torch
        >>> generator = UNetGenerator(3, 1, num_downs=4, base_channels=4)
        >>> generator(torch.zeros(2, 3, 32, 48)).shape
        torch.Size([2, 1, 32, 48])
    """

    has_skips = True
