"""Prepare a training: ``python -m pix2pix_lightning.prepare``."""
