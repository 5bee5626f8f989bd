"""Options files next to weights of junyanz: what is read from them, and files that are old, wrong, or cut short."""

from functools import partial

import pytest
import torch

from pix2pix_lightning import PairSpec
from pix2pix_lightning.checkpoints.junyanz import read_junyanz, write_junyanz
from pix2pix_lightning.checkpoints.junyanz.options import find_options, read_table
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.inference import Translator
from pix2pix_lightning.networks import UNetGenerator
from reference_junyanz import Patch, Pixel, ResNet, UNet, trained

DEFAULTS = {
    "crop_size": "128",
    "dataset_mode": "aligned",
    "direction": "BtoA",
    "input_nc": "1",
    "load_size": "143",
    "model": "pix2pix",
    "ndf": "4",
    "netD": "basic",
    "ngf": "2",
    "no_dropout": "True",
    "norm": "batch",
    "output_nc": "3",
    "preprocess": "resize_and_crop",
}


def format_table(values, end="----------------- End -------------------\n"):
    """Format as its print_options has done since June 2018: 25 and 30 wide, and a default where it differs."""
    lines = [f"{flag:>25}: {value:<30}\t[default: x]\n" for flag, value in sorted(values.items())]
    return "".join(["----------------- Options ---------------\n", *lines, end])


@pytest.fixture(scope="module")
def networks():
    """Return states of the networks that the options describe."""
    return {"G": trained(UNet(5, num_in=1, base=2)).state_dict(), "D": trained(Patch(3, num_in=4)).state_dict()}


@pytest.fixture
def folder(tmp_path, networks):
    for name, state in networks.items():
        torch.save(state, tmp_path / f"latest_net_{name}.pth")
    (tmp_path / "train_opt.txt").write_text(format_table(DEFAULTS))
    return tmp_path


def open_translator(folder, **options):
    lines = []
    translator = Translator(folder, report=lines.append, **options)
    return translator, lines


def test_options_describe_the_images_and_dropout(folder):
    translator, (line,) = open_translator(folder, resize="training", mode="paper")
    spec = translator.pair_spec
    assert (spec.size, spec.load_size, spec.direction, spec.strips) == (128, 143, "b_to_a", True)
    assert (spec.source.kind, spec.target.kind) == ("grayscale", "rgb")
    assert not any(isinstance(layer, torch.nn.Dropout) for layer in translator.generator.modules())
    for said in ("train_opt.txt", "pair.size=128", "pair.direction=b_to_a", "dropout=0.0"):
        assert said in line
    assert read_junyanz(folder / "latest_net_D.pth").description["num_layers"] == 3


def test_what_is_given_counts(folder):
    translator, (line,) = open_translator(folder, pair={"size": 256, "direction": "a_to_b"}, resize="training")
    assert (translator.pair_spec.size, translator.pair_spec.direction) == (256, "a_to_b")
    assert translator.pair_spec.load_size == 256
    assert "pair.size" not in line
    assert "a_to_b" in line  # the training was b_to_a
    whole = PairSpec(source=build_side(kind="grayscale"))  # of the data, as evaluate gives it
    assert "a_to_b" in open_translator(folder, pair=whole)[1][0]


def test_without_a_file_the_size_is_assumed_aloud(folder):
    (folder / "train_opt.txt").unlink()
    translator, (line,) = open_translator(folder)
    assert (translator.pair_spec.size, translator.pair_spec.direction) == (256, "a_to_b")
    assert "pair.size=256" in line
    assert open_translator(folder, pair={"size": 64})[1] == []


@pytest.mark.parametrize(
    ("flag", "value", "network"),
    [
        ("netG", "unet_256", "num_downs=5"),
        ("netG", "resnet_9blocks", "UNetGenerator"),
        ("norm", "instance", "norm=batch"),
        ("norm", "none", "norm=batch"),
        ("input_nc", "3", "in_channels=1"),
        ("output_nc", "1", "out_channels=3"),
        ("ngf", "64", "base_channels=2"),
        ("netD", "pixel", "PatchDiscriminator"),
        ("ndf", "64", "base_channels=4"),
    ],
)
def test_options_of_another_training_are_one_line(folder, flag, value, network):
    (folder / "train_opt.txt").write_text(format_table({**DEFAULTS, flag: value}))
    name = "latest_net_D.pth" if flag in ("netD", "ndf") else "latest_net_G.pth"
    with pytest.raises(ValueError, match=f"{flag}={value}.*{name} holds {network}") as raised:
        read_junyanz(folder / name)
    assert "\n" not in str(raised.value)


def test_visible_dropout_of_a_resnet_is_compared(tmp_path):
    torch.save(trained(ResNet(1, dropout=True)).state_dict(), tmp_path / "latest_net_G.pth")
    (tmp_path / "train_opt.txt").write_text(format_table({"no_dropout": "True"}))
    with pytest.raises(ValueError, match=r"no_dropout=True.*dropout=0\.5"):
        read_junyanz(tmp_path / "latest_net_G.pth")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("crop_size", "big"),
        ("crop_size", "-4"),
        ("crop_size", "65537"),
        ("crop_size", ""),
        ("direction", "AtoC"),
        ("no_dropout", "maybe"),
    ],
)
def test_edited_values_are_refused(folder, flag, value):
    (folder / "train_opt.txt").write_text(format_table({**DEFAULTS, flag: value}))
    with pytest.raises(ValueError, match=rf"train_opt\.txt has {flag}={value}") as raised:
        Translator(folder)
    assert "\n" not in str(raised.value)


def test_file_that_is_cut_short(folder):
    text = format_table(DEFAULTS)
    path = folder / "train_opt.txt"
    path.write_text(text[: text.index("crop_size: 128") + len("crop_size: 12")])
    assert read_table(path) == ({}, False)
    translator, (line,) = open_translator(folder)  # as without a file
    assert "pair.size=256" in line
    path.write_text(text[: text.index("direction: BtoA") + len("direction: B")])
    translator, (line,) = open_translator(folder)
    assert (translator.pair_spec.size, translator.pair_spec.direction) == (128, "a_to_b")
    assert "cut short" in line
    path.write_bytes(b"\x00\xff not a table \x80")
    assert find_options(folder / "latest_net_G.pth") is None


THEIR_RULES = {"resize_and_crop": "stretch", "none": "none", "crop": "none"}
THEIR_RULES |= dict.fromkeys(("scale_width", "scale_width_and_crop"), "scale_width")


@pytest.mark.parametrize(
    ("values", "size", "load_size", "direction"),
    [
        ({"ngf": "2"}, None, None, None),
        (DEFAULTS, 128, 143, "b_to_a"),
        ({**DEFAULTS, "preprocess": "scale_width", "load_size": "96"}, 96, None, "b_to_a"),
        ({**DEFAULTS, "preprocess": "scale_width_and_crop"}, 128, 143, "b_to_a"),
        ({**DEFAULTS, "preprocess": "none"}, 128, None, "b_to_a"),
        ({**DEFAULTS, "load_size": "128"}, 128, None, "b_to_a"),
        ({**DEFAULTS, "model": "test", "dataset_mode": "single"}, 128, 143, None),
        ({**DEFAULTS, "model": "cycle_gan", "dataset_mode": "unaligned"}, 128, 143, None),
    ],
)
def test_sizes_and_direction_by_the_way_of_resizing(tmp_path, values, size, load_size, direction):
    (tmp_path / "train_opt.txt").write_text(format_table(values))
    options = find_options(tmp_path / "latest_net_G.pth")
    assert (options.size, options.load_size, options.direction) == (size, load_size, direction)
    assert options.resize == THEIR_RULES.get(values.get("preprocess"))
    assert options.has_whole_images == (values.get("preprocess") in ("scale_width", "none"))


@pytest.mark.parametrize(
    ("name", "cls", "depth"),
    [
        ("unet_256", "UNetGenerator", {"num_downs": 8}),
        ("unet_128", "UNetGenerator", {"num_downs": 7}),
        ("resnet_9blocks", "ResNetGenerator", {"num_blocks": 9}),
        ("resnet_6blocks", "ResNetGenerator", {"num_blocks": 6}),
    ],
)
def test_generators_by_name(tmp_path, name, cls, depth):
    values = {"netG": name, "model": "cycle_gan", "input_nc": "1", "norm": "syncbatch"}  # either direction's channels
    (tmp_path / "test_opt.txt").write_text(format_table(values))
    network = {"_target_": f"x.{cls}", "in_channels": 3, "norm": "batch", **depth}
    assert find_options(tmp_path / "latest_net_G_A.pth").complete(network, tmp_path) == network


@pytest.mark.parametrize(
    ("how", "shape"),
    [("none", (30, 40)), ("crop", (30, 40)), ("scale_width", (107, 143)), ("resize_and_crop", (128, 128))],
)
def test_images_are_resized_as_in_the_training_and_the_rule_is_said(folder, how, shape):
    (folder / "train_opt.txt").write_text(format_table({**DEFAULTS, "preprocess": how}))
    translator, (line,) = open_translator(folder, resize="training")
    assert translator.pair_spec.compute_resized(30, 40) == shape
    assert ("pair.resize=" in line) == (how != "resize_and_crop")


def test_old_names_and_old_files(folder):
    (folder / "train_opt.txt").unlink()
    old = "------------ Options -------------\nfineSize: 64\nloadSize: 72\nwhich_direction: BtoA\nuse_dropout: True\n"
    old += "resize_or_crop: scale_width\ndataset_mode: aligned\n"
    (folder / "opt.txt").write_text(old + "-------------- End ----------------\n")
    (folder / "test_opt.txt").write_text(format_table({"crop_size": "32"}))
    translator, (line,) = open_translator(folder)
    assert (translator.pair_spec.size, translator.pair_spec.load_size) == (64, 72)  # pairs were not scaled by width
    assert (translator.pair_spec.direction, "dropout=0.5" in line) == ("b_to_a", True)
    (folder / "opt.txt").unlink()
    assert open_translator(folder)[0].pair_spec.size == 32


@pytest.mark.parametrize("plain", [partial(Patch, 2), Pixel])
def test_discriminators_of_spring_2019_without_norms_had_biases(tmp_path, plain):
    theirs = trained(plain(norm="instance"))
    torch.save(theirs.state_dict(), tmp_path / "latest_net_D.pth")
    (tmp_path / "opt.txt").write_text(format_table({"norm": "none"}))
    assert read_junyanz(tmp_path / "latest_net_D.pth").description["norm"] == "none"


@pytest.mark.parametrize("values", [{"model": "colorization"}, {"dataset_mode": "colorization"}])
def test_sides_of_a_colorization_are_lab(folder, values):
    generator = UNetGenerator(in_channels=1, out_channels=2, num_downs=5, base_channels=2, dropout_at="junyanz")
    write_junyanz(generator, folder / "latest_net_G.pth", overwrite=True)
    (folder / "train_opt.txt").write_text(format_table(values))
    spec = Translator(folder).pair_spec
    assert [(side.kind, side.part) for side in (spec.source, spec.target)] == [("lab", "l"), ("lab", "ab")]
    assert (spec.direction, spec.strips) == ("a_to_b", False)
