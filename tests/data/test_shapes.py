"""Rectangles, crops at full resolution and scaling to a width, against crops by NumPy and resizing by Pillow."""

import logging

import numpy as np
import pytest
from lightning.pytorch import Trainer
from PIL import Image

from pix2pix_lightning import PairedDataModule, Pix2PixModule, ProceduralDataModule
from pix2pix_lightning.data import PairAugmentation, PairDataset
from pix2pix_lightning.data.files import image_files
from pix2pix_lightning.data.pair_spec import PairSpec, build_geometry
from pix2pix_lightning.data.pairs import FilePairs
from pix2pix_lightning.data.sizes import format_size, get_sides, parse_size
from pix2pix_lightning.models.components import infer_depth
from pix2pix_lightning.utils.errors import UserError
from small_networks import UNET

NETWORK = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 2, "base_channels": 2}
PATCH = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 1, "base_channels": 2}


def draw_coordinates(height, width, blue=0):
    """Red is the column and green the row, so that a crop tells where it is from."""
    rows, columns = np.mgrid[:height, :width]
    return np.dstack([columns, rows, np.full_like(rows, blue)]).astype(np.uint8)


def write_pairs(root, sizes, *, suffix=".tif", strips=True):
    """Write pairs of coordinates, whose B is 9 in blue; all of them train, and are validated on."""
    for number, size in enumerate(sizes):
        a, b = draw_coordinates(*size), draw_coordinates(*size, blue=9)
        both = {"": np.hstack([a, b])} if strips else {"A/": a, "B/": b}
        for split in ("train", "val"):
            for folder, image in both.items():
                path = root / split / f"{folder}{number}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
    return root


def build_data(root, **options):
    data = PairedDataModule(root, **{"num_workers": 0, "layout": "auto", "seed": 3, **options})
    data.setup("fit")
    return data


def to_array(image):
    return image.permute(1, 2, 0).numpy()


def read_samples(data, epoch=0):
    """Read the training samples of an epoch by their names."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return {
        name: (to_array(source), to_array(target))
        for batch in loader
        for source, target, name in zip(batch["source"], batch["target"], batch["name"], strict=True)
    }


def find_window(source, target):
    """Find top, left and mirror of a crop of coordinates; check that both sides are that crop."""
    left, top, mirrored = int(source[..., 0].min()), int(source[0, 0, 1]), source[0, 0, 0] > source[0, -1, 0]
    height, width = source.shape[:2]
    expected = draw_coordinates(128, 128)[top : top + height, left : left + width]
    np.testing.assert_array_equal(source, expected[:, ::-1] if mirrored else expected)
    np.testing.assert_array_equal(target, source + np.array([0, 0, 9], np.uint8))
    return top, left, bool(mirrored)


# --- sizes


@pytest.mark.parametrize(
    ("given", "size", "sides", "text"),
    [
        (256, 256, (256, 256), "256"),
        ([256, 512], (256, 512), (256, 512), "[256,512]"),
        ((64, 64), 64, (64, 64), "64"),
        ([np.int64(8), 16], (8, 16), (8, 16), "[8,16]"),
    ],
)
def test_a_size_has_one_form(given, size, sides, text):
    parsed = parse_size("size", given)
    assert (parsed, get_sides(parsed), format_size(parsed)) == (size, sides, text)
    spec = PairSpec(size=given)
    assert (spec.height, spec.width) == sides
    assert PairSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize("size", ["256", 0, [1, 2, 3], [256], [0, 4], 2**17, True, None, {}, [4, "4"]])
def test_what_is_no_size_is_refused(size):
    with pytest.raises(UserError, match=r"data\.size="):
        parse_size("data.size", size)


def test_descriptions_of_earlier_versions_stretch():
    old = {"size": 128, "load_size": 143, "direction": "b_to_a"}
    spec = PairSpec.from_dict(old)
    assert (spec.resize, spec.is_whole, spec.compute_resized(10, 99)) == ("stretch", False, (128, 128))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": "crop"}, r"data\.resize=none data\.crop="),
        ({"resize": "scale_width_and_crop"}, r"data\.resize=scale_width data\.crop="),
        ({"resize": "fit"}, r"data\.resize='fit'"),
        ({"crop": [16, 64], "size": 32}, r"data\.crop=\[16,64\].*data\.size=32"),
        ({"crop": 64, "size": 32, "resize": "scale_width"}, r"data\.crop=64"),
        ({"resize": "none", "batch_size": 2}, r"data\.batch_size=2.*module\.accumulate=2"),
        ({"val_whole": True}, r"data\.val_whole=true"),
        ({"val_whole": True, "resize": "scale_width"}, r"data\.val_whole=true"),
    ],
)
def test_contradictions_are_named(options, message):
    with pytest.raises(UserError, match=message):
        PairedDataModule("pairs", **options)


@pytest.mark.parametrize("options", [{"resize": "none"}, {"crop": 32}, {"val_whole": True}])
def test_drawn_pairs_are_stretched(options):
    with pytest.raises(UserError, match=rf"data\.{next(iter(options))}="):
        ProceduralDataModule(**options)


@pytest.mark.parametrize(
    ("size", "options", "depth"),
    [((256, 512), {}, 8), ((48, 64), {}, 4), ((96, 32), {}, 5), ((100, 300), {"resize": "none", "is_whole": True}, 6)],
)
def test_the_depth_of_a_network_follows_from_both_sides(size, options, depth):
    network = infer_depth({**UNET, "num_downs": None}, PairSpec(size=size, **options))
    assert network["num_downs"] == depth


def test_a_rectangle_with_an_odd_side_has_no_depth():
    with pytest.raises(UserError, match=r"data\.size=\[32,33\]"):
        infer_depth({**UNET, "num_downs": None}, PairSpec(size=(32, 33)))


# --- rectangles


def test_rectangles_are_stretched_as_pillow_does(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 120, 3), np.uint8)
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        Image.fromarray(noise).save(tmp_path / split / "x.png")
    data = build_data(tmp_path, size=[32, 64], layout="strip", mirror=False)
    assert (data.pair_spec.size, data.pair_spec.load_size) == ((32, 64), (36, 72))
    expected = np.asarray(Image.fromarray(noise[:, :60]).resize((64, 32), Image.Resampling.BICUBIC), int)
    (batch,) = data.val_dataloader()
    assert np.abs(to_array(batch["source"][0]) - expected).max() <= 2
    assert read_samples(data)["x"][0].shape == (32, 64, 3)


def test_drawn_pairs_can_be_rectangles():
    data = ProceduralDataModule(size=(32, 64), num_train=1, num_val=1, num_workers=0)
    data.setup("fit")
    (batch,) = data.val_dataloader()
    assert batch["source"].shape == (1, 3, 32, 64)


# --- crops at full resolution


@pytest.mark.parametrize(("suffix", "strips"), [(".tif", True), (".tif", False), (".png", True), (".png", False)])
def test_crops_are_windows_of_the_files(tmp_path, suffix, strips, monkeypatch):
    root = write_pairs(tmp_path, [(40, 40), (30, 30), (24, 24)], suffix=suffix, strips=strips)
    decoded = []
    unpack = image_files.decode

    def count_pixels(*args, **options):
        image = unpack(*args, **options)
        decoded.append(image.pixels[..., 0].size)
        return image

    data = build_data(root, resize="none", crop=[8, 12], batch_size=2, check="off")
    monkeypatch.setattr(image_files, "decode", count_pixels)
    windows = {name: set() for name in "012"}
    for epoch in range(12):
        samples = read_samples(data, epoch)
        for name, (source, target) in samples.items():
            assert source.shape == (8, 12, 3)
            windows[name].add(find_window(source, target))
    assert all(len(found) > 9 for found in windows.values())
    assert {mirrored for found in windows.values() for _, _, mirrored in found} == {True, False}
    assert max(top for top, _, _ in windows["0"]) > 20  # 32 at most
    if suffix == ".tif":  # nothing but the crops was read
        assert set(decoded) == {8 * 12}


def test_a_crop_is_a_function_of_seed_epoch_and_index_however_it_is_read(tmp_path):
    root = write_pairs(tmp_path, [(40, 50)], strips=False)
    data = build_data(root, resize="none", crop=16)
    pairs = data.open_split("train")

    class Whole:  # without read_window, as pairs of another source are
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return pairs[index]

    datasets = [
        PairDataset(one, data.pair_spec, augmentation=PairAugmentation(16, mirror=True), seed=3)
        for one in (pairs, Whole())
    ]
    for epoch in range(6):
        one, other = (dataset[epoch, 0] for dataset in datasets)
        assert (one["source"] == other["source"]).all()
        assert (one["target"] == other["target"]).all()
        sample = read_samples(data, epoch)["0"]
        np.testing.assert_array_equal(sample[0], to_array(one["source"]))


def test_without_jitter_a_crop_is_the_centre(tmp_path):
    root = write_pairs(tmp_path, [(40, 50)], strips=False)
    data = build_data(root, resize="none", crop=16, jitter=False, mirror=False)
    assert find_window(*read_samples(data)["0"]) == (12, 17, False)


def test_a_validation_sees_the_centre_or_whole_images(tmp_path):
    root = write_pairs(tmp_path, [(40, 50), (30, 20)], strips=False)
    data = build_data(root, resize="none", crop=16, batch_size=2)
    (batch,) = data.val_dataloader()
    found = [find_window(to_array(batch["source"][n]), to_array(batch["target"][n])) for n in range(2)]
    assert found == [(12, 17, False), (7, 2, False)]
    whole = build_data(root, resize="none", crop=16, batch_size=2, val_whole=True)
    assert [tuple(batch["source"].shape) for batch in whole.val_dataloader()] == [(1, 3, 40, 50), (1, 3, 30, 20)]


def test_the_check_finds_pairs_that_are_too_small_and_leaves_them_out(tmp_path, caplog):
    root = write_pairs(tmp_path, [(40, 40), (15, 15), (20, 20)])
    with pytest.raises(UserError, match=r"1\.tif is 15 x 15 pixels.*crop of 16 x 16.*data\.on_error=skip"):
        build_data(root, resize="none", crop=16)
    with caplog.at_level(logging.WARNING):
        data = build_data(root, resize="none", crop=16, on_error="skip")
    assert set(read_samples(data)) == {"0", "2"}
    unchecked = build_data(root, resize="none", crop=16, check="off")
    with pytest.raises(UserError, match="pair 1 is 15 x 15 pixels"):
        read_samples(unchecked)


def test_sides_of_unequal_size_are_refused_where_they_are_not_resized(tmp_path):
    root = write_pairs(tmp_path, [(40, 40)], strips=False)
    Image.fromarray(draw_coordinates(20, 20)).save(root / "train" / "B" / "0.tif")
    with pytest.raises(UserError, match="A is 40 x 40 pixels and B 20 x 20"):
        build_data(root, resize="none", crop=16)
    with pytest.raises(UserError, match="pair 0: A is 40 x 40"):
        read_samples(build_data(root, resize="none", crop=16, check="off"))
    assert read_samples(build_data(root, size=16))["0"][0].shape == (16, 16, 3)


def test_stacked_files_of_unequal_size_are_refused(tmp_path):
    for number, side in enumerate((40, 60)):
        Image.fromarray(draw_coordinates(side, side)).save(tmp_path / f"{number}.tif")
    files = [[tmp_path / f"{number}.tif"] for number in (0, 1)]
    with pytest.raises(UserError, match=r"0\.tif is 40 x 40 pixels and .*1\.tif 60 x 60"):
        FilePairs(files, files[:1], ["x"]).read_sizes(0)


# --- scaling to a width


def scale_as_junyanz(image, load_size, crop_size):
    """``__scale_width`` of pytorch-CycleGAN-and-pix2pix, data/base_dataset.py."""
    ow, oh = image.size
    if ow == load_size and oh >= crop_size:
        return image
    return image.resize((load_size, int(max(load_size * oh / ow, crop_size))), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (50, 33), (10, 60), (45, 48)])
def test_scaling_to_a_width_is_junyanzs(tmp_path, height, width):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for folder in ("train/A", "train/B", "val/A", "val/B"):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(noise).save(tmp_path / folder / "x.png")
    whole = np.asarray(scale_as_junyanz(Image.fromarray(noise), 48, 16), int)
    data = build_data(tmp_path, resize="scale_width", size=48, crop=16, mirror=False, val_whole=True)
    (batch,) = data.val_dataloader()
    np.testing.assert_allclose(to_array(batch["source"][0]), whole, atol=2)
    crop = read_samples(data)["x"][0].astype(int)
    places = [(top, left) for top in range(len(whole) - 15) for left in range(33)]
    fits = [np.abs(whole[top : top + 16, left : left + 16] - crop).max() <= 2 for top, left in places]
    assert sum(fits) == 1
    centred = build_data(tmp_path, resize="scale_width", size=48, crop=16)
    (batch,) = centred.val_dataloader()
    top = (len(whole) - 16) // 2
    np.testing.assert_allclose(to_array(batch["source"][0]), whole[top : top + 16, 16:32], atol=2)


# --- whole images


def test_whole_images_of_several_sizes_train_and_are_validated(tmp_path):
    root = write_pairs(tmp_path, [(21, 30), (33, 18)], strips=False, suffix=".png")
    data = PairedDataModule(root, resize="none", size=32, num_workers=0)
    module = Pix2PixModule(NETWORK, PATCH, pair_spec=data.pair_spec)
    shapes = []
    step = module.step
    module.step = lambda source, target: shapes.append((source, target)) or step(source, target)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    Trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False, **quiet).fit(module, data)
    assert sorted(tuple(source.shape[2:]) for source, _ in shapes) == [(24, 32), (36, 20)]  # multiples of 4
    source, target = next(pair for pair in shapes if pair[0].shape[2] == 24)
    image = to_array(((source[0] + 1) * 127.5).round()).astype(np.uint8)
    image = image[:, :30][:, ::-1] if image[0, 0, 0] else image[:, :30]
    padded = np.pad(draw_coordinates(21, 30), ((0, 3), (0, 0), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(image, padded)
    np.testing.assert_array_equal(target[0, :2], source[0, :2])


@pytest.mark.parametrize("jitter", [True, False])
def test_the_keys_of_a_geometry(jitter):
    assert build_geometry(size=64, jitter=jitter)["load_size"] == (72 if jitter else 64)
    cropped = build_geometry(size=80, crop=64, jitter=jitter)
    assert (cropped["size"], cropped["load_size"], cropped["is_whole"]) == (64, 80, False)
    assert build_geometry(size=64, resize="none", jitter=jitter)["is_whole"]
