"""Translate images with a trained generator."""

from pix2pix_lightning.inference.generator import GeneratorNetwork
from pix2pix_lightning.inference.translator import Translator

__all__ = ["GeneratorNetwork", "Translator"]
