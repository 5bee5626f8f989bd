"""Image files, sound and damaged: refused with a line, or the pixels that another decoder gives."""

import io
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
from damage import apply_steps, steps
from hypothesis import strategies as st
from PIL import Image, ImageOps
from refusals import read_or_refuse

from pix2pix_lightning.data.files.image_files import read_image
from pix2pix_lightning.data.files.image_header import read_header

pytestmark = pytest.mark.fuzz

MAX_PIXELS = 2**20
CHECKED = ("png", "tiff")
"""Formats of which both decoders give the same for damage that neither of them sees."""
MODES = {
    "png": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "jpeg": ["L", "RGB", "CMYK"],
    "webp": ["RGB", "RGBA"],
    "bmp": ["1", "L", "P", "RGB", "RGBA"],
    "ppm": ["1", "L", "RGB"],
}
OPTIONS = {
    "jpeg": st.fixed_dictionaries(
        {
            "quality": st.sampled_from([30, 75, 95]),
            "subsampling": st.sampled_from([0, 1, 2]),
            "progressive": st.booleans(),
        }
    ),
    "webp": st.fixed_dictionaries({"lossless": st.booleans()}),
    "png": st.fixed_dictionaries({"compress_level": st.sampled_from([0, 6]), "optimize": st.booleans()}),
}
SIDE = st.integers(1, 40)


@st.composite
def pillow_files(draw):
    """How to write a file with Pillow: format, mode, size, seed, orientation, options."""
    kind = draw(st.sampled_from(sorted(MODES)))
    orientation = draw(st.integers(0, 8)) if kind in ("png", "jpeg", "webp") else 0
    options = draw(OPTIONS.get(kind, st.just({})))
    mode = draw(st.sampled_from(MODES[kind]))
    return kind, mode, draw(SIDE), draw(SIDE), draw(st.integers(0, 99)), orientation, tuple(options.items())


@st.composite
def tiff_files(draw):
    """How to write a TIFF with tifffile."""
    bands = draw(st.sampled_from([1, 3, 3, 4, 2, 5]))
    photometric = draw(st.sampled_from(["rgb", "minisblack"])) if bands >= 3 else "minisblack"
    options = {
        "photometric": photometric,
        "planarconfig": draw(st.sampled_from(["contig", "separate"])) if bands > 1 else None,
        "compression": draw(st.sampled_from([None, "zlib"])),
        "byteorder": draw(st.sampled_from("<>")),
        "bigtiff": draw(st.booleans()),
        "tile": draw(st.sampled_from([None, (16, 16)])),
        "predictor": False,
    }
    dtype = draw(st.sampled_from(["uint8", "uint8", "uint8", "uint16", "float32"]))
    pages = draw(st.sampled_from([1, 1, 1, 2]))
    orientation = draw(st.integers(0, 8))
    size = draw(SIDE), draw(SIDE)
    return "tiff", dtype, *size, draw(st.integers(0, 99)), orientation, (bands, pages, tuple(options.items()))


def draw_pixels(recipe):
    _, _, width, height, seed, *_ = recipe
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)


@lru_cache(512)
def write(recipe):
    """The bytes of a file."""
    kind, mode, width, height, seed, orientation, options = recipe
    rng = np.random.default_rng(seed)
    file = io.BytesIO()
    if kind == "tiff":
        bands, pages, options = options
        pixels = rng.integers(0, 256, (height, width, bands)).astype(mode)
        options = dict(options)
        stored = pixels[..., 0] if bands == 1 else pixels
        if options["planarconfig"] == "separate":
            stored = np.moveaxis(stored, -1, 0)
        tags = [(274, "H", 1, orientation, True)] if orientation else []
        with tifffile.TiffWriter(file, byteorder=options.pop("byteorder"), bigtiff=options.pop("bigtiff")) as writer:
            for _ in range(pages):
                writer.write(stored, extratags=tags, metadata=None, **options)
        return file.getvalue()
    coarse = draw_pixels(recipe)
    if mode == "I;16":
        image = Image.fromarray(coarse[..., 0].astype(np.uint16) * 257)
    elif mode in ("1", "L", "P"):
        image = Image.fromarray(coarse[..., :3]).convert(mode)
    else:
        count = len(Image.new(mode, (1, 1)).getbands())
        image = Image.fromarray(coarse[..., :count].squeeze() if count == 1 else coarse[..., :count], mode)
    exif = Image.Exif()
    if orientation:
        exif[274] = orientation
    image.save(file, "ppm" if kind == "ppm" else kind, **({"exif": exif} if orientation else {}), **dict(options))
    return file.getvalue()


def decode(content, kind):
    """The upright RGB picture by Pillow or tifffile, None where they refuse it or what it means is not settled."""
    with warnings.catch_warnings(action="ignore"):
        try:
            if kind == "tiff":
                return decode_tiff(content)
            with Image.open(io.BytesIO(content)) as image:
                if image.size[0] * image.size[1] > MAX_PIXELS or getattr(image, "n_frames", 1) > 1:
                    return None
                image.load()
                if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
                    return None
                image = ImageOps.exif_transpose(image)
                if image.mode in ("LA", "RGBA") or "transparency" in image.info:
                    return lay_over_white(np.asarray(image.convert("RGBA")))
                return np.asarray(image.convert("RGB"))
        except Exception:
            return None


def decode_tiff(content):
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        if len(file.pages) > 1 or page.dtype != np.uint8 or page.imagewidth * page.imagelength > MAX_PIXELS:
            return None
        if page.photometric not in (1, 2) or page.samplesperpixel not in (1, 3) or page.extrasamples:
            return None
        if (page.photometric == 2) != (page.samplesperpixel == 3) or page.bitspersample != 8:
            return None
        image = page.asarray()
        if page.planarconfig == 2 and page.samplesperpixel == 3:
            image = np.moveaxis(image, 0, -1)
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, -1)
        tag = page.tags.get(274)
        return turn_upright(image, tag.value if tag else 1)


def lay_over_white(image):
    alpha = image[..., 3:] / 255
    return np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def turn_upright(image, orientation):
    turns = {2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False)}
    count, is_mirrored = turns.get(orientation, (0, False))
    if is_mirrored:
        image = image[:, ::-1]
    return np.rot90(image, count)


def read(path):
    """The header and the pixels, each None where it was refused."""
    header = read_or_refuse(read_header, path)
    image = read_or_refuse(read_image, path, max_pixels=MAX_PIXELS)
    return header, image


@pytest.mark.parametrize("files", [pillow_files(), tiff_files()], ids=["pillow", "tiff"])
def test_sound_files(search, files):
    def attempt(recipe):
        content = write(recipe)
        path = Path(f"image.{recipe[0]}")
        path.write_bytes(content)
        header, image = read(path)
        assert header is not None
        assert (header.format, header.width, header.height) == (recipe[0], recipe[2], recipe[3])
        assert header.orientation == max(1, recipe[5])
        expected = decode(content, recipe[0])
        if recipe[:2] == ("bmp", "RGBA"):  # Pillow writes its alpha, and leaves it out when it reads
            drawn = draw_pixels(recipe)
            expected = lay_over_white(drawn) if drawn[..., 3].any() else drawn[..., :3]
        if expected is None:
            return
        assert header.upright_size == (expected.shape[1], expected.shape[0])
        assert image is not None
        check_equal(image, expected, recipe[0])

    search(files, attempt)


@pytest.mark.parametrize("files", [pillow_files(), tiff_files()], ids=["pillow", "tiff"])
def test_damaged_files(search, files):
    def attempt(drawn):
        recipe, changes, other = drawn
        content = apply_steps(write(recipe), changes)
        if other is not None:  # the beginning of one file and the end of another
            second, share = other
            tail = write(second)
            content = content[: int(share * len(content))] + tail[int(share * len(tail)) :]
        path = Path(f"image.{recipe[0]}")
        path.write_bytes(content)
        header, image = read(path)
        if image is None:
            return
        assert header is not None
        assert image.dtype == np.uint8
        assert (image.shape[1], image.shape[0]) == header.upright_size
        assert image.shape[0] * image.shape[1] <= MAX_PIXELS
        expected = decode(content, header.format) if header.format in CHECKED else None
        if expected is not None:
            check_equal(image, expected, header.format)

    search(st.tuples(files, steps(), st.none() | st.tuples(files, st.floats(0, 1))), attempt)


@pytest.mark.parametrize("files", [pillow_files(), tiff_files()], ids=["pillow", "tiff"])
def test_truncated_files(search, files):
    """As after a copy or download that was interrupted: refused, or the whole picture."""

    def attempt(drawn):
        recipe, share = drawn
        content = write(recipe)
        path = Path(f"image.{recipe[0]}")
        path.write_bytes(content)
        _, whole = read(path)
        path.write_bytes(content[: int(share * len(content))])
        _, image = read(path)
        assert image is None or (whole is not None and np.array_equal(image, whole))

    search(st.tuples(files, st.floats(0, 1, exclude_max=True) | st.floats(0.9, 1, exclude_max=True)), attempt)


def check_equal(image, expected, kind):
    """Compare with another decoder's RGB; an image may have one channel for three equal ones."""
    assert image.dtype == np.uint8
    assert image.shape[:2] == expected.shape[:2]
    assert image.shape[2] in (1, 3)
    difference = np.abs(image.astype(int) - expected).max()
    assert difference <= (4 if kind in ("jpeg", "webp") else 1)


def test_other_bytes(search):
    magic = [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"RIFF....WEBP",
        b"II*\0",
        b"MM\0*",
        b"II+\0",
        b"BM",
        b"P6 ",
        b"P7\n",
    ]

    def attempt(drawn):
        Path("image.png").write_bytes(b"".join(drawn))
        header, image = read(Path("image.png"))
        assert image is None or (image.shape[1], image.shape[0]) == header.upright_size

    search(st.tuples(st.sampled_from(magic), st.binary(max_size=200)), attempt, examples=500)
