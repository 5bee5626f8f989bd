"""pix2pix on PyTorch Lightning: paired image-to-image translation (arXiv 1611.07004).

The names below are imported when they are first used, so that ``import pix2pix_lightning`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.utils.version import __version__

if TYPE_CHECKING:
    from pix2pix_lightning.cli.compose import compose
    from pix2pix_lightning.data.data_module import PairedDataModule
    from pix2pix_lightning.data.pair_spec import PairSpec
    from pix2pix_lightning.data.procedural_data_module import ProceduralDataModule
    from pix2pix_lightning.data.sides import Side, build_side
    from pix2pix_lightning.inference.translator import Translator
    from pix2pix_lightning.models.pix2pix import Pix2PixModule

_MODULES = {
    "PairSpec": "data.pair_spec",
    "PairedDataModule": "data.data_module",
    "Pix2PixModule": "models.pix2pix",
    "ProceduralDataModule": "data.procedural_data_module",
    "Side": "data.sides",
    "Translator": "inference.translator",
    "build_side": "data.sides",
    "compose": "cli.compose",
}

__all__ = [
    "PairSpec",
    "PairedDataModule",
    "Pix2PixModule",
    "ProceduralDataModule",
    "Side",
    "Translator",
    "__version__",
    "build_side",
    "compose",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
