"""Pairs of images: files, folders, procedural drawings, and the data module over them."""

from pix2pix_lightning.data.data_module import PairedDataModule, ProceduralDataModule
from pix2pix_lightning.data.dataset import EpochSampler, PairDataset
from pix2pix_lightning.data.pairs import FolderPairs, Pairs, StripPairs, open_pairs
from pix2pix_lightning.data.procedural import ProceduralPairs
from pix2pix_lightning.data.transforms import PairAugmentation

__all__ = [
    "EpochSampler",
    "FolderPairs",
    "PairAugmentation",
    "PairDataset",
    "PairedDataModule",
    "Pairs",
    "ProceduralDataModule",
    "ProceduralPairs",
    "StripPairs",
    "open_pairs",
]
