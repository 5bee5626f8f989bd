"""Pairs of every type: files, cache, network, prediction, export and back, bit for bit."""

import base64
from io import BytesIO

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import nn

from many_graphs import run_graphs
from pix2pix_lightning import PairedDataModule, PairSpec, Pix2PixModule, Translator
from pix2pix_lightning.data.files.image_header import read_header
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.demo.brushes import build_brushes
from pix2pix_lightning.demo.model_pool import ModelPool
from pix2pix_lightning.demo.session import DemoSession
from pix2pix_lightning.export import onnx_file
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.inference.file_paths import choose_suffixes
from pix2pix_lightning.inference.spread import Spread
from pix2pix_lightning.inference.translate_files import check_format, translate_files
from pix2pix_lightning.inference.video import check_video_sides
from pix2pix_lightning.utils.errors import UserError

SIDE = 8  # pixels
COLOURS = ((200, 0, 0), (0, 200, 0), (0, 0, 200))
RAW = {"kind": "raw"}


def draw(low, high, channels, dtype, step=1.0):
    """Random values of a type from low to high, multiples of a step, (SIDE, SIDE, channels)."""
    rng = np.random.default_rng([channels, abs(int(high))])
    return (rng.integers(low / step, high / step, (SIDE, SIDE, channels), endpoint=True) * step).astype(dtype)


def punch(image, value):
    """Some pixels without a value."""
    image = image.copy()
    image[2:4, 3:6] = value
    return image


def convert(image, low, high, new_low, new_high, dtype, channels):
    """What a network that copies channels makes of an image: the same fraction of another range."""
    fraction = (image.astype(np.float64) - low) / (high - low)
    return np.take(new_low + fraction * (new_high - new_low), np.arange(channels) % image.shape[2], 2).astype(dtype)


class Copy(nn.Module):
    """The channels of the source, over and over."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def forward(self, x):
        return torch.cat([x[:, number % x.shape[1]][:, None] for number in range(self.count)], 1)


class Look(nn.Module):
    """A level for each class."""

    def __init__(self, levels):
        super().__init__()
        self.register_buffer("levels", torch.tensor(levels)[None, :, None, None])

    def forward(self, x):
        return ((x + 1) / 2 * self.levels).sum(1, keepdim=True)


def build_rows():
    """Rows by name: an image of A and of B, a module from A to B, and the formats of their files."""
    deep = draw(0, 2**15, 5, np.uint16)
    signed = draw(-1024, 1024, 1, np.int16)
    fractions = draw(-1, 1, 3, np.float32, 2**-14)
    narrow = draw(0, 1, 2, np.float16, 2**-7)
    photo, gray, tiny = (draw(0, 255, channels, np.uint8) for channels in (3, 1, 1))
    coarse = draw(0, 128, 2, np.uint8)
    numbers = draw(0, 11, 1, np.uint8)
    drawn = draw(0, 2, 1, np.uint8)
    eighths = draw(-1, 1, 3, np.float32, 2**-6)
    halves = np.array([[1, 32, 2**10], [64, 512, 2**13]])  # half the range of each channel, of A and of B
    middles = np.array([[0, -64, 2**11], [0, 512, -8]])
    ranges_a, ranges_b = np.stack([middles - halves, middles + halves], 2).tolist()
    free = np.random.default_rng(0).uniform(-1, 1, (SIDE, SIDE, 1)).astype(np.float32)
    deep_range = {**RAW, "dtype": "uint16", "value_range": [0, 2**15]}
    rows = {
        "uint8 rgb to uint8 gray": (
            {"kind": "rgb"},
            {"kind": "grayscale"},
            photo,
            photo[..., :1],
            Copy(1),
            ".png",
            ".png",
        ),
        "uint8 gray to uint8 rgb": (
            {"kind": "grayscale"},
            {"kind": "rgb"},
            gray,
            gray.repeat(3, 2),
            Copy(3),
            ".png",
            ".png",
        ),
        "uint16 x 5 to float32 x 2": (
            {**deep_range, "num_channels": 5},
            {**RAW, "dtype": "float32", "num_channels": 2, "value_range": [0, 1]},
            deep,
            convert(deep, 0, 2**15, 0, 1, np.float32, 2),
            Copy(2),
            ".tif",
            ".npy",
        ),
        "int16 with nodata to int16 with nodata": (
            {**RAW, "dtype": "int16", "value_range": [-1024, 1024], "nodata": -2000},
            {**RAW, "dtype": "int16", "value_range": [-2048, 2048], "nodata": 9999},
            punch(signed, -2000),
            punch(convert(signed, -1024, 1024, -2048, 2048, np.int16, 1), 9999),
            Copy(1),
            ".tif",
            ".tif",
        ),
        "float32 x 3 with NaN to uint16 with nodata": (
            {**RAW, "dtype": "float32", "num_channels": 3, "value_range": [-1, 1]},
            {**deep_range, "nodata": 60000},
            punch(fractions, np.nan),
            punch(convert(fractions, -1, 1, 0, 2**15, np.uint16, 1), 60000),
            Copy(1),
            ".npy",
            ".tif",
        ),
        "float32 x 3 with NaN to int16 x 3 with nodata, ranges of channels": (
            {**RAW, "dtype": "float32", "num_channels": 3, "value_range": ranges_a},
            {**RAW, "dtype": "int16", "num_channels": 3, "value_range": ranges_b, "nodata": -9999},
            punch((middles[0] + eighths * halves[0]).astype(np.float32), np.nan),
            punch((middles[1] + eighths * halves[1]).astype(np.int16), -9999),
            Copy(3),
            ".tif",
            ".tif",
        ),
        "float16 x 2 to uint8 x 4": (
            {**RAW, "dtype": "float16", "num_channels": 2, "value_range": [0, 1]},
            {**RAW, "dtype": "uint8", "num_channels": 4, "value_range": [0, 128]},
            narrow,
            convert(narrow, 0, 1, 0, 128, np.uint8, 4),
            Copy(4),
            ".npy",
            ".tif",
        ),
        "class numbers to uint16": (
            {"kind": "label", "num_classes": 12},
            deep_range,
            numbers,
            numbers.astype(np.uint16) * 1024 + 7,
            Look([(number * 1024 + 7) * 2**-14 - 1 for number in range(12)]),
            ".png",
            ".png",
        ),
        "colours of classes to class numbers": (
            {"kind": "label", "palette": COLOURS},
            {"kind": "label", "num_classes": 3},
            np.array(COLOURS, np.uint8)[drawn[..., 0]],
            drawn,
            Copy(3),
            ".png",
            ".png",
        ),
        "uint8 gray to uint16 x 3": (
            {"kind": "grayscale"},
            {**RAW, "dtype": "uint16", "num_channels": 3},
            tiny,
            tiny.repeat(3, 2).astype(np.uint16) * 257,
            Copy(3),
            ".png",
            ".png",
        ),
        "uint16 to uint8 gray": (
            {**RAW, "dtype": "uint16"},
            {"kind": "grayscale"},
            tiny.astype(np.uint16) * 257,
            tiny,
            Copy(1),
            ".png",
            ".png",
        ),
        "float32 with NaN to float32 with nodata": (
            {**RAW, "dtype": "float32", "value_range": [-1, 1]},
            {**RAW, "dtype": "float32", "value_range": [-1, 1], "nodata": -9999},
            punch(free, np.nan),
            punch(free, -9999),
            Copy(1),
            ".tif",
            ".tif",
        ),
        "int16 x 2 to float16 x 2": (
            {**RAW, "dtype": "int16", "num_channels": 2, "value_range": [-1024, 1024]},
            {**RAW, "dtype": "float16", "num_channels": 2, "value_range": [-1, 1]},
            signed.repeat(2, 2),
            convert(signed, -1024, 1024, -1, 1, np.float16, 2),
            Copy(2),
            ".npy",
            ".npy",
        ),
        "uint8 x 2 to int16 x 7": (
            {**RAW, "dtype": "uint8", "num_channels": 2, "value_range": [0, 128]},
            {**RAW, "dtype": "int16", "num_channels": 7, "value_range": [-64, 64]},
            coarse,
            convert(coarse, 0, 128, -64, 64, np.int16, 7),
            Copy(7),
            ".tif",
            ".tif",
        ),
    }
    modules = {name: Pix2PixModule(row[4], None, pair_spec=describe(*row[:2])) for name, row in rows.items()}
    return {name: (*row[2:4], modules[name], *row[5:]) for name, row in rows.items()}


def describe(a, b):
    return PairSpec(source=build_side(**a), target=build_side(**b), size=SIDE)


ROWS = build_rows()


@pytest.fixture(scope="module")
def graph_outputs(tmp_path_factory):
    """What onnxruntime makes of the source of each row, with values of files in and out."""
    pytest.importorskip("onnxruntime")
    graphs = [Graph(row[2], values_in="file", values_out="file") for row in ROWS.values()]
    sources = [row[0].transpose(2, 0, 1)[None] for row in ROWS.values()]
    outputs = run_graphs(graphs, sources, tmp_path_factory.mktemp("graphs") / "rows.onnx")
    return {name: output[0].transpose(1, 2, 0) for name, output in zip(ROWS, outputs, strict=True)}


def write(path, image):
    """Write a file by NumPy, tifffile or OpenCV alone."""
    path.parent.mkdir(parents=True)
    plain = image[..., 0] if image.shape[2] == 1 else image
    if path.suffix == ".npy":
        np.save(path, image)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, plain, photometric="minisblack", planarconfig="contig" if plain.ndim == 3 else None)
    else:
        assert cv2.imwrite(str(path), plain[..., ::-1] if plain.ndim == 3 else plain)


def read(path):
    """Read a file by NumPy, tifffile or OpenCV alone, (SIDE, SIDE, C)."""
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".tif":
        image = tifffile.imread(path)
    else:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        image = image[..., ::-1] if image.ndim == 3 else image
    return image.reshape(SIDE, SIDE, -1)


@pytest.mark.parametrize("name", ROWS)
def test_type_pairs(name, graph_outputs, tmp_path):
    source, target, module, format_a, format_b = ROWS[name]
    files = [tmp_path / f"pairs/val/{key}/x{suffix}" for key, suffix in (("A", format_a), ("B", format_b))]
    for path, image in zip(files, (source, target), strict=True):
        write(path, image)
    sides = {key: side.to_dict() for key, side in (("a", module.pair_spec.source), ("b", module.pair_spec.target))}
    data = PairedDataModule(tmp_path / "pairs", **sides, size=SIDE, jitter=False, cache=True, num_workers=0)
    data.setup("validate")
    assert data.pair_spec == module.pair_spec
    batches = [batch for _ in range(2) for batch in data.val_dataloader()]
    assert len(batches) == 2  # from the files, and from the cache
    for batch in batches:
        for key, image in (("source", source), ("target", target)):
            side = getattr(data.pair_spec, key)
            assert_equal(side.decode(side.encode(batch[key]), is_output=False)[0], image)
    seen = module.on_after_batch_transfer(dict(batch), 0)
    assert_equal(module.predict_step(seen, 0)["output"][0], target)

    translator = Translator(module)
    (suffix,) = choose_suffixes(files[:1], data.pair_spec.target).values()
    assert suffix == (".png" if format_b == ".png" else ".tif")
    for output in (tmp_path / f"x{suffix}", tmp_path / "x.npy"):
        assert list(translate_files(translator, {files[0]: [output]})) == [output]
        assert_equal(read(output), target)
    for image in (source, torch.from_numpy(source).permute(2, 0, 1)):
        assert_equal(translator(image), target)
        assert_equal(Translator(module, tile=4)(image), target)
    assert_equal(graph_outputs[name], target)


def test_an_exported_file_is_a_model_of_any_type(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    source, target, module, *_ = ROWS["float32 x 3 with NaN to int16 x 3 with nodata, ranges of channels"]
    monkeypatch.setattr(onnx_file, "choose_sizes", lambda graph, least: [(SIDE, SIDE), (SIDE, 4)])
    graph = Graph(module, values_in="file", values_out="file")
    assert onnx_file.write_onnx(graph, tmp_path / "m.onnx", made_by={}) < 1e-6
    assert_equal(Translator(tmp_path / "m.onnx")(source), target)


def assert_equal(image, expected):
    array = image.permute(1, 2, 0).numpy() if isinstance(image, torch.Tensor) else image
    np.testing.assert_array_equal(array, expected, strict=True)


def test_outputs_keep_their_place_on_the_ground_and_their_format(tmp_path, caplog):
    side = build_side("raw", dtype="uint16", nodata=5)
    spec = PairSpec(source=side, target=build_side("raw", dtype="uint16"))
    module = Pix2PixModule(Copy(1), None, pair_spec=spec)
    place = {33550: (10.0, 10.0, 0.0), 33922: (0.0, 0.0, 0.0, 500.0, 900.0, 0.0)}
    tags = [(number, "d", len(values), values, True) for number, values in place.items()]
    image = draw(6, 60000, 1, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image[..., 0], extratags=tags)
    cv2.imwrite(str(tmp_path / "b.png"), image)
    inputs = [tmp_path / "a.tif", tmp_path / "b.png"]
    assert list(choose_suffixes(inputs, module.pair_spec.target).values()) == [".tif", ".png"]
    for tagged in (side, build_side("raw", scale=0.5)):  # a value without a value, or physical values
        assert list(choose_suffixes(inputs, tagged).values()) == [".tif", ".tif"]
    outputs = [tmp_path / "out.tif", tmp_path / "out.png", tmp_path / "half.tif"]
    list(translate_files(Translator(module), {inputs[0]: [outputs[0]]}))
    list(translate_files(Translator(module, half="right"), {inputs[0]: [outputs[2]]}))
    found = []
    for path in outputs[::2]:
        with tifffile.TiffFile(path) as file:
            found.append({number: file.pages[0].tags[number].value for number in place})
    assert found[0] == place
    column, _, _, east, north, _ = found[1][33922]
    assert (east - 10 * column, north) == (540, 900)  # of the left edge: 4 pixels of 10 m further east
    list(translate_files(Translator(module), {inputs[0]: [outputs[1]]}))
    assert "on the ground" in caplog.text
    assert_equal(read(outputs[1]), image)
    assert_equal(Translator(module)(image.astype(">u2")), image)  # of another machine's order of bytes
    scaled = PairSpec(source=side, target=build_side("raw", scale=0.5, offset=-3, nodata=9))
    list(translate_files(Translator(Pix2PixModule(Copy(1), None, pair_spec=scaled)), {inputs[0]: [outputs[2]]}))
    header = read_header(outputs[2])
    assert (header.scale, header.offset, header.nodata) == (0.5, -3, 9)
    with pytest.raises(UserError, match=r"x\.jpg.* uint16 .*\.png"):
        check_format(tmp_path / "x.jpg", module.pair_spec.target)


def test_pil_images_of_16_bits_and_floats():
    deep = draw(0, 65535, 1, np.uint16)[..., 0]
    fractions = (deep / np.float32(65536)).astype(np.float32)
    floats = build_side("raw", dtype="float32", value_range=[0, 1])
    module = Pix2PixModule(Copy(1), None, pair_spec=PairSpec(source=build_side("raw", dtype="uint16"), target=floats))
    translated = Translator(module)(Image.fromarray(deep))
    assert translated.mode == "F"
    np.testing.assert_allclose(translated, deep / 65535, atol=1e-6)
    module = Pix2PixModule(Copy(2), None, pair_spec=PairSpec(source=floats, target=build_side("raw", num_channels=2)))
    with pytest.raises(UserError, match="2 channels of uint16"):
        Translator(module)(Image.fromarray(fractions))
    with pytest.raises(UserError, match="uint16 in a side of 1 channel of float32"):
        Translator(module)(deep)


def test_options_without_effect_on_values_of_any_type(tmp_path):
    floats = build_side("raw", dtype="float32", value_range=[0, 1])
    module = Pix2PixModule(Copy(1), None, pair_spec=PairSpec(target=floats))
    with pytest.raises(UserError, match=r"rounding=floor .* float32"):
        Translator(module, rounding="floor")
    with pytest.raises(UserError, match=r"frames .* 1 channels of float32"):
        check_video_sides(tmp_path / "a.mp4", module.pair_spec)
    with pytest.raises(UserError, match=r"values_out=uint8.* float32: set values_out=file"):
        Graph(module, values_out="uint8")
    spread = Spread(floats)
    for value in (0.25, 0.35):
        spread.add(np.array([[[np.nan], [value]]], np.float32))
    assert spread.to_image().tolist() == [[[0], [102]]]  # 0.05 of an eighth
    spread = Spread(build_side("raw", num_channels=2, dtype="float32", value_range=[[0, 1], [0, 1000]]))
    for value in (0.25, 0.35):
        spread.add(np.array([[[value, 1000 * value]]], np.float32))
    assert spread.to_image().tolist() == [[[102]]]


def test_the_demo_returns_values_of_any_type_and_draws_pictures_alone(tmp_path):
    target = build_side("raw", dtype="int16", num_channels=3, value_range=[-100, 155])
    module = Pix2PixModule(Copy(3), None, pair_spec=PairSpec(target=target, size=SIDE))
    models = ModelPool([str(save(tmp_path, "model"))], lambda path, mode: Translator(module))
    session = DemoSession(models, max_pixels=2**12, max_bytes=2**16)
    picture = draw(0, 255, 3, np.uint8)
    encode = base64.b64encode(cv2.imencode(".png", picture[..., ::-1])[1]).decode()
    (answer,) = session.translate("model.ckpt", "deterministic", f"data:image/png;base64,{encode}", seed=0, samples=1)
    assert answer["name"] == "drawing.tif"
    file = BytesIO(base64.b64decode(answer["file"].removeprefix("data:image/tiff;base64,")))
    assert_equal(tifffile.imread(file), (picture.astype(np.int16) - 100))
    shown = np.frombuffer(base64.b64decode(answer["shown"].partition(",")[2]), np.uint8)
    assert_equal(cv2.imdecode(shown, cv2.IMREAD_COLOR)[..., ::-1], picture)
    with pytest.raises(UserError, match="3 channels of int16, which cannot be drawn"):
        build_brushes(target)


def save(folder, name):
    (folder / f"{name}.ckpt").touch()
    return folder / f"{name}.ckpt"
