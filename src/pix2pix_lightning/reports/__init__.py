"""Pages that people look at."""

from pix2pix_lightning.reports.gallery import GalleryFolder

__all__ = ["GalleryFolder"]
