"""Export a trained generator to a file that works elsewhere: ``python -m pix2pix_lightning.export``."""
