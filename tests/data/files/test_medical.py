"""NIfTI and DICOM files against nibabel and pydicom."""

import gzip
import os
import random
import sys
import tracemalloc

import numpy as np
import pytest

from pix2pix_lightning.data.files.image_files import open_image
from pix2pix_lightning.data.files.image_header import read_header
from pix2pix_lightning.data.files.volumes import list_slices, open_slice
from pix2pix_lightning.utils.errors import UserError

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")


def draw(dtype, *shape):
    limits = np.iinfo(dtype)
    return np.random.default_rng(0).integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def save_nifti(path, array, scale=None, offset=None):
    image = nibabel.Nifti1Image(array, np.eye(4))
    image.header.set_slope_inter(scale, offset)
    nibabel.save(image, path)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "uint16"])
def test_a_nifti_slice_holds_stored_values_and_their_scale(tmp_path, name, dtype):
    array = draw(dtype, 9, 7)
    save_nifti(tmp_path / name, array[..., None], 0.5, -100)
    image = open_image(tmp_path / name)
    assert image.pixels.dtype == dtype == read_header(tmp_path / name).pixel_dtype
    np.testing.assert_array_equal(image.pixels[..., 0], array)
    physical = nibabel.load(tmp_path / name).get_fdata()[..., 0]
    np.testing.assert_allclose(image.pixels[..., 0] * image.scale + image.offset, physical, rtol=1e-6)
    os.utime(tmp_path / name, (0, 0))  # old enough for its header to be kept
    for _ in ("parsed", "known"):
        part = open_image(tmp_path / name, window=(2, 1, 5, 4)).pixels
        np.testing.assert_array_equal(part[..., 0], array[2:7, 1:5])


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_a_volume(tmp_path, name, axis):
    volume = draw("int16", 9, 7, 5)
    save_nifti(tmp_path / name, volume)
    moved = np.moveaxis(volume, axis, 0)
    assert list_slices(tmp_path / name, axis) == range(len(moved))
    for index in (0, 3):
        np.testing.assert_array_equal(open_slice(tmp_path / name, index, axis=axis).pixels[..., 0], moved[index])
    image = open_slice(tmp_path / name, 0, axis=axis, neighbours=2, window=(1, 2, 4, 3))
    expected = np.stack([moved[index][1:5, 2:5] for index in (0, 0, 0, 1, 2)], -1)
    np.testing.assert_array_equal(image.pixels, expected)
    assert not image.is_colour
    with pytest.raises(UserError, match="slices 0 to"):
        open_slice(tmp_path / name, len(moved), axis=axis)
    with pytest.raises(UserError, match="5 slices"):
        open_image(tmp_path / name)


def test_other_nifti_files_are_one_line(tmp_path):
    save_nifti(tmp_path / "time.nii", draw("int16", 4, 4, 2, 3))
    save_nifti(tmp_path / "sound.nii", draw("int16", 8, 8, 1))
    content = (tmp_path / "sound.nii").read_bytes()
    (tmp_path / "cut.nii").write_bytes(content[:-20])
    claim = bytearray(content)
    claim[42:46] = (2**14).to_bytes(2, "little") * 2
    (tmp_path / "claim.nii").write_bytes(claim)
    (tmp_path / "claim.nii.gz").write_bytes(gzip.compress(claim))
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(content)[:-30])
    (tmp_path / "none.nii.gz").write_bytes(gzip.compress(b"text" * 200))
    words = {"time.nii": "one slice", "cut.nii": "damaged", "claim.nii": "damaged", "claim.nii.gz": "damaged"}
    for name, word in (words | {"cut.nii.gz": "damaged", "none.nii.gz": "another kind"}).items():
        with pytest.raises(UserError, match=word) as raised:
            open_image(tmp_path / name)
        assert name in str(raised.value)
        assert "\n" not in str(raised.value)


def save_dicom(path, array, *, kind="MONOCHROME2", bits=None, syntax="1.2.840.10008.1.2.1", **values):
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.PixelRepresentation = int(array.dtype.kind == "i")
    dataset.Rows, dataset.Columns = array.shape[:2]
    dataset.SamplesPerPixel = array.shape[2] if array.ndim == 3 else 1
    dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = kind
    dataset.BitsAllocated = array.dtype.itemsize * 8
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = array.tobytes()
    for name, value in values.items():
        setattr(dataset, name, value)
    if syntax != dataset.file_meta.TransferSyntaxUID:
        dataset.compress(syntax)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"])
@pytest.mark.parametrize("kind", ["MONOCHROME2", "MONOCHROME1"])
def test_dicom_holds_stored_values_and_their_scale(tmp_path, dtype, syntax, kind):
    path, array = tmp_path / "x.dcm", draw(dtype, 8, 6)
    nodata = int(array[2, 3])
    save_dicom(path, array, kind=kind, syntax=syntax, RescaleSlope=2, RescaleIntercept=-1024, PixelPaddingValue=nodata)
    image, header = open_image(path), read_header(path)
    assert (header.width, header.height, header.dtype) == (6, 8, dtype)
    limits = np.iinfo(dtype)
    expected = array if kind == "MONOCHROME2" else limits.max + limits.min - array.astype(int)
    assert image.pixels.dtype == dtype
    np.testing.assert_array_equal(image.pixels[..., 0], expected)
    np.testing.assert_array_equal(image.pixels[..., 0] * image.scale + image.offset, array * 2.0 - 1024)
    assert image.nodata == expected[2, 3]
    np.testing.assert_array_equal(open_image(path, window=(1, 2, 5, 3)).pixels[..., 0], expected[1:6, 2:5])


def test_dicom_of_12_bits_and_of_colours(tmp_path):
    array = draw("uint16", 8, 6) & 0xFFF
    save_dicom(tmp_path / "x.dcm", array | 0x8000, bits=12, kind="MONOCHROME1")
    image = open_image(tmp_path / "x.dcm")
    np.testing.assert_array_equal(image.pixels[..., 0], 4095 - array)
    assert image.max_level == 4095
    colours = draw("uint8", 8, 6, 3)
    save_dicom(tmp_path / "x.dcm", colours, kind="RGB")
    np.testing.assert_array_equal(open_image(tmp_path / "x.dcm").to_colours(), colours)


def test_other_dicom_files_are_one_line(tmp_path):
    array = draw("uint16", 8, 6)
    save_dicom(tmp_path / "frames.dcm", array, NumberOfFrames=2)
    save_dicom(tmp_path / "short.dcm", array, Rows=9)
    save_dicom(tmp_path / "palette.dcm", array, kind="PALETTE COLOR")
    save_dicom(tmp_path / "huge.dcm", array, Rows=60000, Columns=60000)
    save_dicom(tmp_path / "none.dcm", array, BitsStored=33)
    content = (tmp_path / "short.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(content[:300])
    words = {"frames.dcm": "2 frames", "short.dcm": "damaged", "palette.dcm": "PALETTE", "huge.dcm": "claims"}
    for name, word in (words | {"none.dcm": "damaged", "cut.dcm": "damaged"}).items():
        with pytest.raises(UserError, match=word) as raised:
            open_image(tmp_path / name)
        assert name in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("name", "package"), [("x.nii", "nibabel"), ("x.dcm", "pydicom")])
def test_a_missing_package_is_named(tmp_path, monkeypatch, name, package):
    save_nifti(tmp_path / "x.nii", draw("int16", 4, 4, 1))
    save_dicom(tmp_path / "x.dcm", draw("uint8", 4, 4))
    for module in (package, f"{package}.nifti1", f"{package}.errors"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"{package}.*medical"):
        read_header(tmp_path / name)


def test_damaged_files_are_read_or_one_line_in_little_memory(tmp_path):
    values = draw("int16", 8, 6)
    save_nifti(tmp_path / "x.nii", values[..., None], 2, 3)
    save_nifti(tmp_path / "x.nii.gz", values[..., None])
    save_dicom(tmp_path / "x.dcm", values, kind="MONOCHROME1", RescaleSlope=2)
    save_dicom(tmp_path / "rle.dcm", values, syntax="1.2.840.10008.1.2.5")
    np.save(tmp_path / "x.npy", values)
    np.savez_compressed(tmp_path / "x.npz", values)
    generator = random.Random(0)
    tracemalloc.start()
    for path in sorted(tmp_path.iterdir()):
        sound = path.read_bytes()
        for _ in range(40):
            content = bytearray(sound)
            for _ in range(generator.randint(1, 6)):
                content[generator.randrange(len(content))] = generator.choice(
                    (0, 1, 127, 255, generator.randrange(256))
                )
            path.write_bytes(content[: generator.choice((len(content), generator.randrange(1, len(content))))])
            lines = []
            try:
                header = read_header(path)
                image = open_image(path, max_pixels=2**16)
                assert image.pixels.shape[:2] == (header.height, header.width)
            except UserError as error:
                lines = str(error).splitlines()
            assert len(lines) <= 1
            assert all(path.name in line for line in lines)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26
