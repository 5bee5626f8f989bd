"""`Pix2PixModule`, the training step of pix2pix as a LightningModule, and what it is built from."""

from pix2pix_lightning.models.pix2pix import Pix2PixModule

__all__ = ["Pix2PixModule"]
