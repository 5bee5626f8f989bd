"""The networks of the paper and related ones, their initialization, and their use in evaluation and in tiles."""

from pix2pix_lightning.networks.activation_checkpointing import checkpoint_activations
from pix2pix_lightning.networks.concatenation import cat_dense_grad
from pix2pix_lightning.networks.discriminators import MultiScaleDiscriminator, PatchDiscriminator, PixelDiscriminator
from pix2pix_lightning.networks.encoder_decoder import EncoderDecoderGenerator
from pix2pix_lightning.networks.eval_mode import find_image_norms, use_eval_mode
from pix2pix_lightning.networks.fast_convolutions.layers import convert_to_matmul, convert_to_winograd
from pix2pix_lightning.networks.hourglass import HourglassGenerator
from pix2pix_lightning.networks.layers import initialize
from pix2pix_lightning.networks.noise import NoisePlanes, find_noise
from pix2pix_lightning.networks.padding import pad_for
from pix2pix_lightning.networks.projected import ProjectedDiscriminator
from pix2pix_lightning.networks.receptive_field import ReceptiveField, measure_receptive_field
from pix2pix_lightning.networks.resnet import ResNetGenerator
from pix2pix_lightning.networks.segmentation_discriminator import SegmentationDiscriminator
from pix2pix_lightning.networks.tiling_state import Statistics, TilingState, Window, crop_map
from pix2pix_lightning.networks.unet import UNetGenerator

__all__ = [
    "EncoderDecoderGenerator",
    "HourglassGenerator",
    "MultiScaleDiscriminator",
    "NoisePlanes",
    "PatchDiscriminator",
    "PixelDiscriminator",
    "ProjectedDiscriminator",
    "ReceptiveField",
    "ResNetGenerator",
    "SegmentationDiscriminator",
    "Statistics",
    "TilingState",
    "UNetGenerator",
    "Window",
    "cat_dense_grad",
    "checkpoint_activations",
    "convert_to_matmul",
    "convert_to_winograd",
    "crop_map",
    "find_image_norms",
    "find_noise",
    "initialize",
    "measure_receptive_field",
    "pad_for",
    "use_eval_mode",
]
