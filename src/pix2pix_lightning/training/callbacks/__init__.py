"""What happens beside the training step."""

from pix2pix_lightning.training.callbacks.averaged_generator import AveragedGenerator
from pix2pix_lightning.training.callbacks.follow_folder import FollowFolder
from pix2pix_lightning.training.callbacks.gallery import Gallery
from pix2pix_lightning.training.callbacks.journal import Journal
from pix2pix_lightning.training.callbacks.overfit import Overfit
from pix2pix_lightning.training.callbacks.save_when_interrupted import SaveWhenInterrupted

__all__ = ["AveragedGenerator", "FollowFolder", "Gallery", "Journal", "Overfit", "SaveWhenInterrupted"]
