"""The smallest training whose parts are all there, composed once for many tests."""

from functools import lru_cache

from lightning.pytorch import Callback
from omegaconf import OmegaConf

from helpers import TINY
from pix2pix_lightning import compose
from pix2pix_lightning.cli.conf import is_group

SMALLEST = [
    *TINY,
    "data.size=16",
    "module.generator.num_downs=3",
    "module.generator.base_channels=2",
    "module.discriminator.base_channels=2",
]
NO_GALLERY = "callbacks.gallery=null"


@lru_cache
def _compose_groups(groups):
    return compose("train", [*SMALLEST, *groups, "+callbacks.probe=null"])


def configure(*words):
    """The configuration of the smallest training with changes; Hydra composes each choice of groups once."""
    groups = tuple(word for word in words if is_group(word.partition("=")[0]))
    keys = [word for word in words if word not in groups]
    return OmegaConf.merge(_compose_groups(groups), OmegaConf.from_dotlist(keys))


PROBES = []


def get_probe():
    return PROBES[-1]


def use_probe(callback):
    """The word that adds ``callback`` to a training in this process; a command wants a plus sign before it."""
    PROBES.append(callback)
    return f"callbacks.probe._target_={__name__}.get_probe"


class StopAt(Callback):
    """Calls ``stop`` when so many batches were seen."""

    def __init__(self, batch, stop):
        self.batch, self.stop = batch, stop

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if module.batches_seen == self.batch:
            self.stop()


def raise_runtime_error():
    raise RuntimeError("stopped by the test")


def raise_keyboard_interrupt():
    raise KeyboardInterrupt
