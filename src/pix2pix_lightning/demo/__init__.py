"""A web page on which users draw and see the translation: ``python -m pix2pix_lightning.demo``."""
