"""Checkpoints of junyanz/pytorch-CycleGAN-and-pix2pix, read and written."""

from pix2pix_lightning.checkpoints.junyanz.checkpoint import (
    JunyanzNetwork,
    discriminator_beside,
    junyanz_state,
    read_junyanz,
    write_junyanz,
)

__all__ = [
    "JunyanzNetwork",
    "discriminator_beside",
    "junyanz_state",
    "read_junyanz",
    "write_junyanz",
]
