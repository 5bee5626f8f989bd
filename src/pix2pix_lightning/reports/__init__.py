"""Pages that people look at."""

from pix2pix_lightning.reports.closing import closing_words
from pix2pix_lightning.reports.comparison import write_comparison
from pix2pix_lightning.reports.curves import line_chart
from pix2pix_lightning.reports.gallery import GalleryFolder, folder_of_pair
from pix2pix_lightning.reports.page import Markup, document, picture, table

__all__ = [
    "GalleryFolder",
    "Markup",
    "closing_words",
    "document",
    "folder_of_pair",
    "line_chart",
    "picture",
    "table",
    "write_comparison",
]
