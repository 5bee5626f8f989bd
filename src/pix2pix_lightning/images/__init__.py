"""Files to arrays and back, and what a pixel of each side of a pair means."""

from pix2pix_lightning.images.files import IMAGE_SUFFIXES, list_images, read_image, write_image
from pix2pix_lightning.images.pair_spec import PairSpec, SideSpec
from pix2pix_lightning.images.resize import resize

__all__ = [
    "IMAGE_SUFFIXES",
    "PairSpec",
    "SideSpec",
    "list_images",
    "read_image",
    "resize",
    "write_image",
]
