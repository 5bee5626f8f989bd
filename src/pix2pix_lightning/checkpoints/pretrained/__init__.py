"""Save modules as ``config.json`` and ``model.safetensors``, and load them: from a folder, a file, or the Hub."""

from pix2pix_lightning.checkpoints.pretrained.card import Card
from pix2pix_lightning.checkpoints.pretrained.files import (
    is_pretrained,
    load_pretrained,
    push_to_hub,
    read_pretrained,
    save_pretrained,
    write_safetensors,
)
from pix2pix_lightning.checkpoints.pretrained.hub import resolve_pretrained

__all__ = [
    "Card",
    "is_pretrained",
    "load_pretrained",
    "push_to_hub",
    "read_pretrained",
    "resolve_pretrained",
    "save_pretrained",
    "write_safetensors",
]
