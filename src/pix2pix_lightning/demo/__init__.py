"""A web page to draw on, and the models behind it: ``python -m pix2pix_lightning.demo``."""
