"""The networks of the paper and their relatives, their initialisation, and their behaviour at test time."""

from pix2pix_lightning.networks.discriminators import PatchDiscriminator, PixelDiscriminator
from pix2pix_lightning.networks.encoder_decoder import EncoderDecoderGenerator
from pix2pix_lightning.networks.layers import initialize, joined
from pix2pix_lightning.networks.matmul_convolution import as_matmul
from pix2pix_lightning.networks.recomputing import recomputing
from pix2pix_lightning.networks.resnet import ResNetGenerator
from pix2pix_lightning.networks.test_time import test_time
from pix2pix_lightning.networks.unet import UNetGenerator

__all__ = [
    "EncoderDecoderGenerator",
    "PatchDiscriminator",
    "PixelDiscriminator",
    "ResNetGenerator",
    "UNetGenerator",
    "as_matmul",
    "initialize",
    "joined",
    "recomputing",
    "test_time",
]
