"""A module as ``config.json`` and ``model.safetensors``: in a folder, in one file, and on the Hub."""

from pix2pix_lightning.checkpoints.pretrained.card import Card
from pix2pix_lightning.checkpoints.pretrained.files import (
    is_pretrained,
    module_from,
    push,
    read,
    save_pretrained,
    write_safetensors,
)
from pix2pix_lightning.checkpoints.pretrained.hub import folder_of

__all__ = [
    "Card",
    "folder_of",
    "is_pretrained",
    "module_from",
    "push",
    "read",
    "save_pretrained",
    "write_safetensors",
]
