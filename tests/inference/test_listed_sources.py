"""Translate what a manifest lists."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from pix2pix_lightning import Translator, compose, predict
from pix2pix_lightning.data.layouts.manifest import Manifest
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.inference.listed_sources import find_listed
from pix2pix_lightning.inference.source_files import SourceReader
from pix2pix_lightning.inference.volumes import translate_volume
from pix2pix_lightning.utils.errors import UserError
from small_networks import UNET, save, trained

PLACE = {33550: (10.0, 10.0, 0.0), 33922: (0.0, 0.0, 0.0, 500.0, 900.0, 0.0)}
SPEC = PairSpec(
    source=build_side("raw", num_channels=3, dtype="uint16", value_range=[0, 4000]), target=build_side("raw"), size=16
)


@pytest.fixture
def bands(tmp_path):
    """Files of two bands and of one band, the second of which say where they lie."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    tags = [(number, "d", len(values), values, True) for number, values in PLACE.items()]
    for number in range(3):
        two, one = (rng.integers(0, 4000, (9, 12, depth), np.uint16) for depth in (2, 1))
        tifffile.imwrite(tmp_path / f"in/{number}_two.tif", two, planarconfig="contig", photometric="minisblack")
        tifffile.imwrite(tmp_path / f"in/{number}_one.tif", one[..., 0], extratags=tags)
    return tmp_path


def write_rows(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def stack(bands, number):
    return np.dstack([tifffile.imread(bands / f"in/{number}_{name}.tif") for name in ("two", "one")])


def row(number, **more):
    return {"source": [f"in/{number}_two.tif", f"in/{number}_one.tif"], **more}


def test_files_are_stacked_as_in_training_and_keep_their_place(bands, capsys):
    model = save(trained({**UNET, "in_channels": 3, "out_channels": 1}, pair_spec=SPEC), bands / "model.ckpt")
    table = write_rows(
        bands / "list.jsonl",
        row(0, split="train", target="gone.tif"),
        row(1, split="val", name="v1.2"),
        row(2, split="val"),
        row(1, split="val", name="again"),
    )
    keys = [f"checkpoint={model}", f"input={table}", f"output={bands / 'out'}", "split=val", "device=cpu"]
    cfg = compose("predict", keys)
    assert len(predict.predict(cfg)) == 2
    assert capsys.readouterr().out == f"2 images in {bands / 'out'}\n"
    assert sorted(path.name for path in (bands / "out").rglob("*.*")) == ["2_two.tif", "v1.2.tif"]
    translator = Translator(model, device="cpu")
    for number, written in ((1, "v1.2.tif"), (2, "in/2_two.tif")):
        expected = translator(stack(bands, number))[..., 0]
        assert expected.std() > 100
        with tifffile.TiffFile(bands / "out" / written) as file:
            np.testing.assert_array_equal(file.asarray(), expected, strict=True)
            assert {number: file.pages[0].tags[number].value for number in PLACE} == PLACE
    for key, value, message in (
        ("seed", 0, "overwrite=true"),
        ("output", str(bands / "out/x.tif"), "one file, but 2"),
        ("output", str(bands), "in/2_two.tif would replace the input"),
        ("input", str(bands / "in"), "split=val"),
    ):
        cfg[key] = value
        cfg.overwrite = value == str(bands)
        with pytest.raises((UserError, FileExistsError), match=message):
            predict.predict(cfg)


def test_training_and_translation_read_the_same(bands):
    table = write_rows(bands / "list.jsonl", row(0, target="in/0_one.tif"))
    pairs = Manifest(table).open("").pairs
    pairs.sides = (SPEC.source, SPEC.target)
    a, _, name = pairs[0]
    ((files, output),) = find_listed(table, None, SPEC).items()
    image, place = SourceReader(SPEC).read_georeferenced(files)
    np.testing.assert_array_equal(image, a, strict=True)
    np.testing.assert_array_equal(image, stack(bands, 0), strict=True)
    assert place is not None
    assert output.with_suffix("") == Path(name)


def test_the_target_of_a_manifest_is_the_source_of_b_to_a(bands):
    spec = PairSpec(source=build_side("raw"), target=SPEC.source, direction="b_to_a", size=16)
    table = write_rows(bands / "list.jsonl", row(0, target="in/0_one.tif"), row(1, target="in/1_one.tif"))
    assert list(find_listed(table, None, spec).values()) == [Path("in/0_one.png"), Path("in/1_one.png")]
    with pytest.raises(UserError, match=r"line 1 has no target.*b_to_a"):
        find_listed(write_rows(bands / "none.jsonl", row(0)), None, spec)


@pytest.mark.parametrize(
    ("rows", "split", "message"),
    [
        ([{"source": "in/0_one.tif"}], None, r"line 1.*1 channel.*3 channels.*source_1, source_2"),
        ([row(0), row(9)], None, r"2 files.*line 2: in/9_two.tif"),
        ([{"target": "in/0_one.tif"}], None, "line 1 has no source"),
        ([row(0), {"source": "in/0_one.tif"}], None, "line 2: 1 sources, but 2 sources"),
        ([row(0, split="fold1")], "val", "split val.*fold1"),
        ([row(0)], "val", "split=val"),
        ([], None, "no rows"),
    ],
)
def test_manifests_that_cannot_be_translated_are_one_line(bands, rows, split, message):
    with pytest.raises(UserError, match=message) as caught:
        find_listed(write_rows(bands / "list.jsonl", *rows), split, SPEC)
    assert "\n" not in str(caught.value)


def test_volumes_of_a_row_are_stacked_slice_by_slice(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(0)
    volumes = [rng.integers(0, 4000, (8, 16, depth), np.int16) for depth in (3, 3, 2)]
    files = tuple(tmp_path / f"{name}.nii" for name in "abc")
    for volume, path in zip(volumes, files, strict=True):
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)
    source = build_side("raw", num_channels=2, dtype="int16", value_range=[0, 4000])
    spec = PairSpec(source=source, target=build_side("raw"), size=16)
    translator = Translator(trained({**UNET, "in_channels": 2, "out_channels": 1}, pair_spec=spec))
    stacked = np.stack(volumes[:2], -1)
    expected = np.stack([translator(np.ascontiguousarray(stacked[:, :, index]))[..., 0] for index in range(3)], 2)
    np.testing.assert_array_equal(translate_volume(translator, files[:2]), expected, strict=True)
    with pytest.raises(UserError, match="number of slices across axis 2, 3, 2"):
        translate_volume(translator, files[1:])
