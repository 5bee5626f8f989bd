"""A trained generator as a file that works elsewhere: ``python -m pix2pix_lightning.export``."""
