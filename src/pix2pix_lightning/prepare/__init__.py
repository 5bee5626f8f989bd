"""Prepare a training run: ``python -m pix2pix_lightning.prepare``."""
