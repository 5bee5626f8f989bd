"""Trainings of a few tiny batches of floats, without files."""

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from pix2pix_lightning import Pix2PixModule
from small_networks import NETWORKS

GENERATOR = {"_target_": f"{NETWORKS}.UNetGenerator", "num_downs": 2, "base_channels": 2, "dropout": 0.0}
DISCRIMINATOR = {"_target_": f"{NETWORKS}.PatchDiscriminator", "num_layers": 1, "base_channels": 2}


class Identity(Pix2PixModule):
    """The batches of these tests are floats already."""

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch


class Silent(Identity):
    """A user's step that logs its losses and returns nothing."""

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)


def build(cls=Identity, rate=2e-4, **options):
    adam = {"_target_": "torch.optim.Adam", "lr": rate}
    return cls(GENERATOR, DISCRIMINATOR, optimizer_g=adam, optimizer_d=adam, metrics=["l1"], **options)


def make_batches(count, broken=()):
    """Batches of two pairs; in those that are broken a value of a side is another one."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for number in range(count):
        source, target = (torch.rand(2, 3, 8, 8, generator=generator) * 2 - 1 for _ in range(2))
        batches.append({"source": source, "target": target, "name": [f"pair_{number}", f"also_{number}"]})
    for number, side, value in broken:
        batches[number][side][1, 0, 3, 4] = value
    return batches


def build_trainer(*callbacks, epochs=1, **options):
    settings = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False}
    settings |= {"enable_checkpointing": False, "enable_model_summary": False, "max_epochs": epochs}
    return Trainer(**{**settings, "num_sanity_val_steps": 0, **options}, callbacks=list(callbacks))


def fit(module, batches, *callbacks, epochs=1, ckpt_path=None, **options):
    trainer = build_trainer(*callbacks, epochs=epochs, **options)
    trainer.fit(module, DataLoader(batches, batch_size=None, generator=torch.Generator()), ckpt_path=ckpt_path)
    return trainer
