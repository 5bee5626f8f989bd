"""How fast the project is, next to what people write without it: ``python -m pix2pix_lightning.benchmark``."""
