"""The networks of the paper and their relatives, their initialisation, and their behaviour at test time."""

from pix2pix_lightning.networks.activation_checkpointing import checkpoint_activations
from pix2pix_lightning.networks.context import Context, measure_context
from pix2pix_lightning.networks.discriminators import MultiScaleDiscriminator, PatchDiscriminator, PixelDiscriminator
from pix2pix_lightning.networks.encoder_decoder import EncoderDecoderGenerator
from pix2pix_lightning.networks.hourglass import HourglassGenerator
from pix2pix_lightning.networks.layers import cat_dense_grad, initialize
from pix2pix_lightning.networks.matmul_convolution import as_matmul
from pix2pix_lightning.networks.resnet import ResNetGenerator
from pix2pix_lightning.networks.test_time import image_norms, test_time
from pix2pix_lightning.networks.unet import UNetGenerator
from pix2pix_lightning.networks.whole_image import Statistics, WholeImage, Window, part_of_map

__all__ = [
    "Context",
    "EncoderDecoderGenerator",
    "HourglassGenerator",
    "MultiScaleDiscriminator",
    "PatchDiscriminator",
    "PixelDiscriminator",
    "ResNetGenerator",
    "Statistics",
    "UNetGenerator",
    "WholeImage",
    "Window",
    "as_matmul",
    "cat_dense_grad",
    "checkpoint_activations",
    "image_norms",
    "initialize",
    "measure_context",
    "part_of_map",
    "test_time",
]
