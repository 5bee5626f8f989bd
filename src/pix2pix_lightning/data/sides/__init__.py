"""The kinds of sides of a pair: what pixels mean, and how they become what a network sees."""

from pix2pix_lightning.data.sides.grayscale import GrayscaleSide
from pix2pix_lightning.data.sides.lab import LabSide
from pix2pix_lightning.data.sides.label import LabelSide
from pix2pix_lightning.data.sides.raw import RawSide
from pix2pix_lightning.data.sides.registry import KINDS, build_side
from pix2pix_lightning.data.sides.rgb import RgbSide
from pix2pix_lightning.data.sides.side import Side

__all__ = ["KINDS", "GrayscaleSide", "LabSide", "LabelSide", "RawSide", "RgbSide", "Side", "build_side"]
