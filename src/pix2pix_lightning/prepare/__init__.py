"""Prepare data or a training: ``python -m pix2pix_lightning.prepare``."""
