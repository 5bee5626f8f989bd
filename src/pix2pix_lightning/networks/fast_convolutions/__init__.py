"""Convolutions that are computed faster on a CPU: by matrix products, and by Winograd's minimal filtering."""

from pix2pix_lightning.networks.fast_convolutions.layers import (
    FastConv2d,
    FastConvTranspose2d,
    convert_to_matmul,
    convert_to_winograd,
    suits_matmul,
    suits_winograd,
)

__all__ = [
    "FastConv2d",
    "FastConvTranspose2d",
    "convert_to_matmul",
    "convert_to_winograd",
    "suits_matmul",
    "suits_winograd",
]
