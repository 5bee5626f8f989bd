"""pix2pix on PyTorch Lightning: paired image-to-image translation (arXiv 1611.07004).

The names below are imported when they are first used, so that ``import pix2pix_lightning`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pix2pix_lightning.config import compose
    from pix2pix_lightning.data import PairedDataModule, ProceduralDataModule
    from pix2pix_lightning.images import PairSpec, SideSpec
    from pix2pix_lightning.inference import Translator
    from pix2pix_lightning.module import Pix2PixModule

__version__ = "0.1.0"

_WHERE = {
    "PairSpec": "images",
    "PairedDataModule": "data",
    "Pix2PixModule": "module",
    "ProceduralDataModule": "data",
    "SideSpec": "images",
    "Translator": "inference",
    "compose": "config",
}

__all__ = [
    "PairSpec",
    "PairedDataModule",
    "Pix2PixModule",
    "ProceduralDataModule",
    "SideSpec",
    "Translator",
    "compose",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
