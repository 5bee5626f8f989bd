"""Coming from other people's implementations, and going back."""

from pix2pix_lightning.interop.junyanz_checkpoint import (
    JunyanzNetwork,
    discriminator_beside,
    junyanz_state,
    read_junyanz,
    write_junyanz,
)
from pix2pix_lightning.interop.junyanz_command import Command, equal_command
from pix2pix_lightning.interop.junyanz_options import read_options

__all__ = [
    "Command",
    "JunyanzNetwork",
    "discriminator_beside",
    "equal_command",
    "junyanz_state",
    "read_junyanz",
    "read_options",
    "write_junyanz",
]
