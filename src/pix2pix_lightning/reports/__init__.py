"""Pages and tables about runs and evaluations."""

from pix2pix_lightning.reports.closing import format_final_metrics
from pix2pix_lightning.reports.comparison import write_comparison
from pix2pix_lightning.reports.curves import build_chart, render_chart_file
from pix2pix_lightning.reports.gallery import UNTRAINED, GalleryFolder, build_pair_folder_name
from pix2pix_lightning.reports.rendering import render_page
from pix2pix_lightning.reports.updates import update_pages

__all__ = [
    "UNTRAINED",
    "GalleryFolder",
    "build_chart",
    "build_pair_folder_name",
    "format_final_metrics",
    "render_chart_file",
    "render_page",
    "update_pages",
    "write_comparison",
]
