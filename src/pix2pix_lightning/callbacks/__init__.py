"""What happens beside the training step."""

from pix2pix_lightning.callbacks.averaged_generator import AveragedGenerator
from pix2pix_lightning.callbacks.follow_folder import FollowFolder
from pix2pix_lightning.callbacks.gallery import Gallery
from pix2pix_lightning.callbacks.journal import Journal
from pix2pix_lightning.callbacks.overfit import Overfit
from pix2pix_lightning.callbacks.save_when_interrupted import SaveWhenInterrupted

__all__ = ["AveragedGenerator", "FollowFolder", "Gallery", "Journal", "Overfit", "SaveWhenInterrupted"]
