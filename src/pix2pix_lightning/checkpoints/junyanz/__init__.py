"""Read and write checkpoints of junyanz/pytorch-CycleGAN-and-pix2pix."""

from pix2pix_lightning.checkpoints.junyanz.checkpoint import (
    JunyanzNetwork,
    find_discriminator,
    format_flags,
    read_junyanz,
    to_junyanz_state,
    write_junyanz,
)
from pix2pix_lightning.checkpoints.junyanz.options import ModelOptions

__all__ = [
    "JunyanzNetwork",
    "ModelOptions",
    "find_discriminator",
    "format_flags",
    "read_junyanz",
    "to_junyanz_state",
    "write_junyanz",
]
