"""GeoTIFF files against rasterio."""

import numpy as np
import pytest
import tifffile

from helpers import draw_values as draw
from pix2pix_lightning.data.files.formats import tiff
from pix2pix_lightning.data.files.image_files import open_image, write_image
from pix2pix_lightning.data.files.image_header import read_header
from pix2pix_lightning.utils.errors import UserError

rasterio = pytest.importorskip("rasterio")

TRANSFORMS = {  # from (column, row, 1) to coordinates
    "north": np.array([[10, 0, 300000], [0, -20, 5000000], [0, 0, 1]]),
    "turned": np.array([[8, 3, 300000], [2, -9, 5000000], [0, 0, 1]]),
}


def save(path, bands, *, transform="north", point=False, crs="EPSG:32633", scales=None, offsets=None, **options):
    with rasterio.Env(GTIFF_POINT_GEO_IGNORE=False), rasterio.open(
        path, "w", driver="GTiff", height=bands.shape[1], width=bands.shape[2], count=len(bands), dtype=bands.dtype,
        crs=crs, transform=rasterio.Affine(*TRANSFORMS[transform][:2].ravel()), **options,
    ) as file:  # fmt: skip
        file.write(bands)
        if point:
            file.update_tags(AREA_OR_POINT="Point")
        if scales:
            file.scales, file.offsets = scales, offsets


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("point", [False, True])
def test_the_georeference_goes_into_the_output(tmp_path, transform, point):
    bands = draw("int16", 3, 40, 30)
    save(tmp_path / "in.tif", bands, transform=transform, point=point, nodata=-999)
    image = open_image(tmp_path / "in.tif")
    assert image.nodata == -999 == read_header(tmp_path / "in.tif").nodata
    np.testing.assert_array_equal(image.pixels, np.moveaxis(bands, 0, -1))
    part = open_image(tmp_path / "in.tif", window=(4, 6, 10, 20))
    expected = TRANSFORMS[transform]
    outputs = {
        "same.tif": (image, image.pixels, expected),
        "half.tif": (image, image.pixels[::2, ::2], expected @ np.diag([2, 2, 1])),
        "part.tif": (part, part.pixels, expected @ np.array([[1, 0, 6], [0, 1, 4], [0, 0, 1]])),
        "one.tif": (image, image.pixels[..., :1].astype(np.float32), expected),
    }
    for name, (found, pixels, wanted) in outputs.items():
        write_image(tmp_path / name, pixels, georeference=found.georeference, nodata=found.nodata)
        with rasterio.open(tmp_path / name) as file:
            np.testing.assert_allclose(np.reshape(file.transform, (3, 3)), wanted, rtol=1e-12)
            assert file.crs.to_epsg() == 32633
            assert file.nodata == -999
            assert file.tags().get("AREA_OR_POINT") == ("Point" if point else "Area")
            np.testing.assert_array_equal(np.moveaxis(file.read(), 0, -1), pixels)
    with pytest.raises(UserError, match=r"\.tif"):
        write_image(tmp_path / "x.npy", image.pixels, georeference=image.georeference)


def test_scale_offset_and_nodata(tmp_path):
    bands = draw("uint16", 2, 8, 9)
    for nodata, expected in ((0, 0.0), (65535, 65535.0), (None, None)):
        save(tmp_path / "x.tif", bands, nodata=nodata, scales=(0.01, 0.01), offsets=(-5, -5))
        image = open_image(tmp_path / "x.tif")
        assert (image.scale, image.offset, image.nodata) == (0.01, -5, expected)
        tags = {"georeference": image.georeference, "nodata": nodata, "scale": image.scale, "offset": image.offset}
        write_image(tmp_path / "y.tif", image.pixels, **tags, overwrite=True)
        with rasterio.open(tmp_path / "y.tif") as file:
            assert (file.scales, file.offsets, file.nodata) == ((0.01, 0.01), (-5, -5), expected)
    save(tmp_path / "x.tif", bands.astype(np.float32), nodata=float("nan"))
    assert open_image(tmp_path / "x.tif").nodata is None
    save(tmp_path / "x.tif", bands, scales=(0.01, 0.02), offsets=(0, 0))
    with pytest.raises(UserError, match=r"x\.tif.*scale.*0\.01, 0\.02"):
        read_header(tmp_path / "x.tif")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("compress", ["LZW", "ZSTD", "DEFLATE", "PACKBITS", "LERC"])
def test_compressions_in_every_type(tmp_path, dtype, compress):
    bands = draw(dtype, 5, 40, 30)
    predictors = (1,) if compress in ("PACKBITS", "LERC") else (1, 2, 3) if dtype == "float32" else (1, 2)
    for predictor in predictors:
        options = {"predictor": predictor} if predictor > 1 else {}
        for tiled in ({}, {"tiled": True, "blockxsize": 16, "blockysize": 16}):
            save(tmp_path / "x.tif", bands, compress=compress, **options, **tiled)
            np.testing.assert_array_equal(open_image(tmp_path / "x.tif").pixels, np.moveaxis(bands, 0, -1))
            part = open_image(tmp_path / "x.tif", window=(9, 3, 21, 25)).pixels
            np.testing.assert_array_equal(part, np.moveaxis(bands, 0, -1)[9:30, 3:28])


def test_a_compression_that_needs_a_package_names_it(tmp_path, monkeypatch):
    save(tmp_path / "x.tif", draw("uint16", 2, 8, 9), compress="LZW")
    monkeypatch.setattr(tiff, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"x\.tif.*LZW.*rasterio"):
        open_image(tmp_path / "x.tif")


def test_tiles_that_gdal_leaves_out_have_no_value(tmp_path):
    bands = np.full((1, 64, 64), 7, np.int16)
    bands[0, :16, :16] = 3
    save(tmp_path / "x.tif", bands, nodata=7, tiled=True, blockxsize=16, blockysize=16, SPARSE_OK=True)
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        assert 0 in file.pages.first.databytecounts
    image = open_image(tmp_path / "x.tif")
    np.testing.assert_array_equal(image.pixels[..., 0], bands[0])
    assert image.nodata == 7
