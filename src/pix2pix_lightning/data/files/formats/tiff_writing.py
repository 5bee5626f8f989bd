"""Write TIFF and GeoTIFF files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from pix2pix_lightning.data.files.formats.geotiff import GDAL_METADATA, GDAL_NODATA, Georeference, format_scale

_RGB_TYPES = ("uint8", "uint16")


def write_tiff(
    path: Path,
    image: npt.NDArray[Any],
    *,
    georeference: Georeference | None = None,
    nodata: float | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
) -> None:
    """Write a TIFF, compressed by Deflate.

    Args:
        path: The file, which is replaced.
        image: (H, W) or (H, W, C) of any type.
        georeference: Where its pixels lie on the ground; one of another size is scaled.
        nodata: Value of pixels without a value.
        scale: Factor from a stored value to a physical one.
        offset: Physical value of a stored 0.
    """
    import tifffile

    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    tags: list[tuple[int, str, int, Any, bool]] = []
    if georeference is not None:
        tags += georeference.resize(*image.shape[:2]).list_tags()
    if (scale, offset) != (1, 0):
        samples = image.shape[2] if image.ndim == 3 else 1
        tags.append((GDAL_METADATA, "s", 0, format_scale(scale, offset, samples), True))
    if nodata is not None:
        tags.append((GDAL_NODATA, "s", 0, f"{nodata:.17g}", True))
    is_rgb = image.ndim == 3 and image.shape[2] == 3 and image.dtype.name in _RGB_TYPES
    tifffile.imwrite(
        path,
        image,
        photometric="rgb" if is_rgb else "minisblack",
        planarconfig="contig" if image.ndim == 3 else None,
        compression="zlib",
        metadata=None,
        extratags=tags,
    )
