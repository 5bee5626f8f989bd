"""What happens beside the training step."""

from pix2pix_lightning.callbacks.gallery import Gallery
from pix2pix_lightning.callbacks.journal import Journal
from pix2pix_lightning.callbacks.save_when_interrupted import SaveWhenInterrupted

__all__ = ["Gallery", "Journal", "SaveWhenInterrupted"]
