"""Tiny models for the demo."""

import torch
from lightning.pytorch import Trainer
from torch import nn

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import build_side

PALETTE = {
    "background": (0, 0, 170),
    "wall": (0, 0, 255),
    "window": (0, 85, 255),
    "door": (0, 170, 255),
    "cornice": (0, 255, 255),
    "sill": (85, 255, 170),
    "balcony": (170, 255, 85),
    "blind": (255, 255, 0),
    "deco": (255, 170, 0),
    "molding": (255, 85, 0),
    "pillar": (255, 0, 0),
    "shop": (170, 0, 0),
}
SPECS = {
    "edges": PairSpec(size=64),
    "labels": PairSpec(source=build_side(kind="label", palette=tuple(PALETTE.values())), size=64),
    "numbers": PairSpec(
        source=build_side(kind="label", num_classes=5), target=build_side(kind="label", num_classes=3), size=32
    ),
}


def save(path, spec, *, base_channels=4, num_downs=3):
    """Save a checkpoint whose weights are large enough for outputs that are not plain gray."""
    torch.manual_seed(0)
    description = {
        "_target_": "pix2pix_lightning.networks.UNetGenerator",
        "in_channels": spec.source.channels,
        "out_channels": spec.target.channels,
        "num_downs": num_downs,
        "base_channels": base_channels,
        "dropout_at": "paper",
    }
    module = Pix2PixModule(description, None, pair_spec=spec)
    with torch.no_grad():
        for layer in module.generator.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.weight.normal_(0, 0.2)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = Trainer(accelerator="cpu", logger=False, **quiet)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    return path
