"""Pairs of images: files, folders, drawn facades, and the data modules over them.

The names are imported on first use, so that a light submodule does not import Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pix2pix_lightning.data.augmentation import PairAugmentation
    from pix2pix_lightning.data.data_module import PairedDataModule
    from pix2pix_lightning.data.dataset import EpochSampler, PairDataset
    from pix2pix_lightning.data.layouts.tree import open_pairs
    from pix2pix_lightning.data.pairs import FilePairs, Pairs, StripPairs
    from pix2pix_lightning.data.procedural import ProceduralPairs
    from pix2pix_lightning.data.procedural_data_module import ProceduralDataModule
    from pix2pix_lightning.data.source_makers import DrawEdges, DrawHole
    from pix2pix_lightning.data.transforms import PairTransform

_MODULES = {
    "DrawEdges": "source_makers",
    "DrawHole": "source_makers",
    "EpochSampler": "dataset",
    "FilePairs": "pairs",
    "PairAugmentation": "augmentation",
    "PairDataset": "dataset",
    "PairTransform": "transforms",
    "PairedDataModule": "data_module",
    "Pairs": "pairs",
    "ProceduralDataModule": "procedural_data_module",
    "ProceduralPairs": "procedural",
    "StripPairs": "pairs",
    "open_pairs": "layouts.tree",
}

__all__ = [
    "DrawEdges",
    "DrawHole",
    "EpochSampler",
    "FilePairs",
    "PairAugmentation",
    "PairDataset",
    "PairTransform",
    "PairedDataModule",
    "Pairs",
    "ProceduralDataModule",
    "ProceduralPairs",
    "StripPairs",
    "open_pairs",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
