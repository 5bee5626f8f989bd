"""Pages and tables about runs and evaluations, and the command ``python -m pix2pix_lightning.report``.

The names are imported on first use, so that the command answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pix2pix_lightning.report.closing import format_final_metrics
    from pix2pix_lightning.report.comparison import write_comparison
    from pix2pix_lightning.report.curves import build_chart, render_chart_file
    from pix2pix_lightning.report.gallery import UNTRAINED, GalleryFolder, build_pair_folder_name
    from pix2pix_lightning.report.rendering import render_page
    from pix2pix_lightning.report.updates import update_pages

_MODULES = {
    "UNTRAINED": "gallery",
    "GalleryFolder": "gallery",
    "build_chart": "curves",
    "build_pair_folder_name": "gallery",
    "format_final_metrics": "closing",
    "render_chart_file": "curves",
    "render_page": "rendering",
    "update_pages": "updates",
    "write_comparison": "comparison",
}

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


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
