"""What training files tell about their pixels, where the configuration leaves it open."""

import logging

import cv2
import numpy as np
import pytest
import tifffile

from pix2pix_lightning.data import PairedDataModule
from pix2pix_lightning.data.pair_folder import PairFolder
from pix2pix_lightning.data.recognition import complete_sides, is_open


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array, **options)
    else:
        assert cv2.imwrite(str(path), array)


def make_pairs(root, a, b, count=3, suffixes=(".png", ".png"), **options):
    """Write pairs of arrays that ``a`` and ``b`` return for a generator."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(count):
            for side, build, suffix in zip("AB", (a, b), suffixes, strict=True):
                write(
                    root / split / side / f"{number}{suffix}", build(generator), **options if suffix == ".tif" else {}
                )
    return root


def build_layers(generator):
    """Channels of unlike scale, the last one without a value."""
    values = generator.random((16, 16, 4)).astype(np.float32) * [30, 0.01, 20, 1]
    values[..., 3] = np.nan
    return values.astype(np.float32)


def noise(dtype, *shape, low=0, high=None):
    high = np.iinfo(dtype).max if high is None else high
    return lambda generator: generator.integers(low, high, (16, 16, *shape), endpoint=True).astype(dtype)


def complete(root, a=None, b=None):
    return complete_sides(a or {}, b or {}, PairFolder(root).open("train"))


def test_pictures_are_recognized_by_their_channels(tmp_path, caplog):
    root = make_pairs(tmp_path, noise(np.uint8, 3), noise(np.uint8))
    with caplog.at_level("INFO", "pix2pix_lightning"):
        data = PairedDataModule(root, size=16)
    assert (data.pair_spec.a.kind, data.pair_spec.b.kind) == ("rgb", "grayscale")
    assert "data.a is rgb; data.b is grayscale" in [record.getMessage() for record in caplog.records]
    fixed = PairedDataModule(root, size=16, a={"kind": "rgb"}, b={"kind": "rgb"})
    assert (fixed.pair_spec.b.kind, fixed.completed_sides["b"]) == ("rgb", {"kind": "rgb"})
    write(root / "train/B/9.png", noise(np.uint8, 3)(np.random.default_rng(1)))
    write(root / "train/A/9.png", noise(np.uint8, 3)(np.random.default_rng(1)))
    assert complete(root)["b"]["kind"] == "rgb"  # some gray and some with colours
    assert PairedDataModule(tmp_path / "nowhere").pair_spec.a.kind == "rgb"


def test_bands_and_floats_are_raw(tmp_path, caplog):
    def build_floats(generator):
        values = generator.normal(size=(16, 16, 2)).astype(np.float32)
        values[generator.random((16, 16, 2)) < 0.1] = np.nan
        return values

    tiff = {"photometric": "minisblack", "planarconfig": "contig"}
    root = make_pairs(tmp_path, noise(np.uint16, 5), build_floats, suffixes=(".tif", ".npy"), **tiff)
    with caplog.at_level("INFO", "pix2pix_lightning"):
        data = PairedDataModule(root, size=16, num_workers=0)
    side_a, side_b = data.pair_spec.a, data.pair_spec.b
    assert (side_a.kind, side_a.channels, side_a.dtype, side_a.value_range) == ("raw", 5, "uint16", (0, 65535))
    values = np.stack([np.load(path) for path in sorted((root / "train/B").iterdir())])
    assert (side_b.channels, side_b.dtype) == (2, "float32")
    assert side_b.value_range == (float(np.nanmin(values)), float(np.nanmax(values)))
    assert any("data.a is raw: 5 channels of uint16, value_range=[0,65535]" in r.getMessage() for r in caplog.records)
    data.setup("validate")
    (batch, *_) = data.val_dataloader()
    stored = tifffile.imread(root / "val/A/0.tif")
    np.testing.assert_array_equal(batch["source"][0].numpy(), stored.transpose(2, 0, 1))
    np.testing.assert_array_equal(batch["target"][0].numpy(), np.load(root / "val/B/0.npy").transpose(2, 0, 1))


def test_ranges_are_percentiles_of_the_training_pairs(tmp_path):
    root = make_pairs(tmp_path, noise(np.int16, low=-1000, high=3000), noise(np.uint8), suffixes=(".npy", ".png"))
    values = np.stack([np.load(path) for path in sorted((root / "train/A").iterdir())])
    found = complete(root, {"kind": "raw", "value_range": ["p10", "p90"], "nodata": 7})["a"]
    np.testing.assert_allclose(found["value_range"], np.percentile(values[values != 7], [10, 90]))
    assert (found["dtype"], found["num_channels"], found["nodata"]) == ("int16", 1, 7)
    assert complete(root, {"value_range": [-1000, "p100"]})["a"]["value_range"] == [-1000, float(values.max())]
    assert complete(root)["a"]["value_range"] == [float(values.min()), float(values.max())]
    for wrong in (["p10", "x"], [["p0", "p1"], ["p10", "x"]]):
        with pytest.raises(ValueError, match=r"value_range=\['p10', 'x'\]"):
            complete(root, {"kind": "raw", "value_range": wrong})


def test_each_channel_has_percentiles_of_its_own(tmp_path):
    root = make_pairs(tmp_path, build_layers, noise(np.uint8), suffixes=(".npy", ".png"))
    values = np.stack([np.load(path) for path in sorted((root / "train/A").iterdir())])[..., :3]
    finite = [part[np.isfinite(part)].astype(float) for part in np.moveaxis(values, 3, 0)]
    given = [["p2", "p98"], ["p0", "p100"], [-3, "p50"], [0, 1]]
    found = complete(root, {"value_range": given})["a"]["value_range"]
    expected = [np.percentile(finite[0], [2, 98]), [finite[1].min(), finite[1].max()], [-3, np.median(finite[2])]]
    np.testing.assert_allclose(found, [*expected, [0, 1]])
    assert PairedDataModule(root, size=16, a={"value_range": given}).pair_spec.a.ranges == tuple(map(tuple, found))
    with pytest.raises(ValueError, match=r"channels 4 \(no value\).*value_range=\[(\[p2,p98\],){3}\[0,1\]\]"):
        complete(root, {"value_range": [["p2", "p98"]]})
    with pytest.raises(ValueError, match=r"data\.a\.value_range has 2 ranges for 4 channels"):
        complete(root, {"value_range": given[:2]})
    constant = np.tile(np.uint16([0, 300]), (16, 16, 1))
    root = make_pairs(tmp_path / "constant", lambda _: constant, noise(np.uint8), 1, suffixes=(".npy", ".png"))
    with pytest.raises(ValueError, match=r"channels 1 \(0 to 0\), 2 \(300 to 300\).*=\[\[0,1\],\[0,300\]\]"):
        complete(root, {"value_range": [["p0", "p100"]]})


def test_scales_become_physical_values_and_impossible_nodata_is_none(tmp_path):
    items = "".join(
        f'<Item sample="0" role="{role}">{value}</Item>' for role, value in (("scale", 0.5), ("offset", -3))
    )
    tags = [(number, "s", 0, text, True) for number, text in ((42112, items), (42113, "-9999"))]
    root = make_pairs(tmp_path, noise(np.uint16), noise(np.uint8), suffixes=(".tif", ".png"), extratags=tags)
    found = complete(root)["a"]
    assert (found["dtype"], found["scale"], found["offset"], found["nodata"]) == ("uint16", 0.5, -3, None)
    side = PairedDataModule(root, size=16, a={"kind": "raw", "dtype": "float32"}).pair_spec.a
    values = np.stack([tifffile.imread(path) for path in (root / "train/A").iterdir()]) * 0.5 - 3
    assert (side.dtype, side.value_range, side.scale) == ("float32", (values.min(), values.max()), 1)


def test_files_of_different_types_are_refused(tmp_path):
    root = make_pairs(tmp_path, noise(np.uint16), noise(np.uint8))
    write(root / "train/A/1.png", noise(np.uint8, 3)(np.random.default_rng(0)))
    with pytest.raises(ValueError, match=r"data\.a: .*2 of 1 x uint16, 1 of 3 x uint8.*data\.a\.kind="):
        complete(root)


def test_class_numbers_are_asked_about(tmp_path):
    root = make_pairs(tmp_path, noise(np.uint8, 3), noise(np.uint8, high=11))
    with pytest.raises(ValueError, match=r"data\.b: .*0 to 11 .*\.kind=label data\.b\.num_classes=12.*=gray"):
        PairedDataModule(root)
    for options in ({"kind": "label", "num_classes": 12}, {"kind": "grayscale"}):
        assert PairedDataModule(root, b=options).pair_spec.b.kind == options["kind"]


def test_what_is_described_needs_no_files(tmp_path):
    raw = {"kind": "raw", "num_channels": 1, "dtype": "float32", "value_range": [0, 1]}
    assert not is_open(raw)
    assert all(is_open(side) for side in ({}, {"kind": "auto"}, {**raw, "value_range": None}, {**raw, "dtype": None}))
    assert not any(
        is_open({**raw, **given}) for given in ({"dtype": "int16", "value_range": None}, {"value_range": [[0, 1]]})
    )
    assert is_open({**raw, "value_range": [[0, "p99"]]})
    with pytest.raises(ValueError, match=r"data\.a\.kind=raw: there are no training files"):
        PairedDataModule(tmp_path, a={"kind": "raw"})


def test_colours_among_the_gray_levels_of_another_split_are_warned_of(tmp_path, caplog):
    root = make_pairs(tmp_path, noise(np.uint8), noise(np.uint8, 3))
    for color, lines in (("gray", 0), ("colours", 1)):
        if color == "colours":
            for number in range(3):
                write(root / "val" / "A" / f"{number}.png", noise(np.uint8, 3)(np.random.default_rng(number)))
        caplog.clear()
        with caplog.at_level(logging.WARNING, "pix2pix_lightning"):
            PairedDataModule(root, size=16).setup("fit")
        found = [r.getMessage() for r in caplog.records if "data.a.kind=rgb" in r.getMessage()]
        assert len(found) == lines
        assert all("3 files of val" in line for line in found)


def test_values_in_a_small_part_of_the_range_are_warned_of(tmp_path, caplog):
    root = make_pairs(tmp_path, noise(np.uint16, high=1000), noise(np.uint8))
    with caplog.at_level(logging.WARNING, "pix2pix_lightning"):
        PairedDataModule(root, size=16).setup("fit")
        first = [record.getMessage() for record in caplog.records]
        caplog.clear()
        PairedDataModule(root, size=16, a={"kind": "raw", "value_range": [0, 500]}).setup("fit")
        second = [record.getMessage() for record in caplog.records]
        caplog.clear()
        PairedDataModule(root, size=16, a={"kind": "raw", "value_range": ["p0", "p100"]}).setup("fit")
    assert any("data.a" in line and "data.a.value_range=[0,1000]" in line for line in first)
    assert any("50% of the values" in line or "49% of the values" in line for line in second)
    assert not [record for record in caplog.records if "value_range" in record.getMessage()]


def test_channels_in_a_small_part_of_the_range_are_warned_of(tmp_path, caplog):
    root = make_pairs(tmp_path, noise(np.uint8, 3), build_layers, suffixes=(".png", ".npy"))
    with caplog.at_level(logging.WARNING, "pix2pix_lightning"):
        PairedDataModule(root, size=16).setup("fit")
    (line,) = [record.getMessage() for record in caplog.records if "data.b: the range" in record.getMessage()]
    assert "channels 2 (" in line  # neither the wide ones nor the one without a value
    assert not any(f"{number} (" in line for number in (1, 3, 4))
    assert "data.b.value_range=[[" in line
    for fixed, numbers in (([[0, 30], [0, 0.01], [0, 20], [0, 1]], ""), ([[0, 30], [0, 1], [0, 2], [0, 1]], "23")):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "pix2pix_lightning"):
            PairedDataModule(root, size=16, b={"value_range": fixed}).setup("fit")
        lines = [record.getMessage() for record in caplog.records if "data.b: some channels" in record.getMessage()]
        assert sorted(number for line in lines for number in "1234" if f"{number} (" in line) == list(numbers)
