"""Coming from other people's implementations."""

from pix2pix_lightning.interop.junyanz_command import Command, equal_command
from pix2pix_lightning.interop.junyanz_options import read_options

__all__ = ["Command", "equal_command", "read_options"]
