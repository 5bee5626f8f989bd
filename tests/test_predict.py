"""The command, in this process: what it writes, and what it says of mistakes."""

import os
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import small_networks
from pix2pix_lightning import Pix2PixModule, Translator, predict
from pix2pix_lightning.checkpoints.junyanz import write_junyanz
from pix2pix_lightning.data.resize import resize

UNET = {
    "_target_": "pix2pix_lightning.networks.UNetGenerator",
    "num_downs": 3,
    "base_channels": 4,
    "dropout_at": "paper",
}


class OwnModule(Pix2PixModule):
    """What a user writes in a file of their own."""


def save(module, path):
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in module.generator.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.weight.normal_(0, 0.2)
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.3)
    return small_networks.save(module, path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder and its module."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "checkpoints").mkdir()
    module = Pix2PixModule(UNET, None)
    save(module, folder / "checkpoints" / "best.ckpt")
    return folder, module


@pytest.fixture
def pictures(tmp_path):
    """A folder of images of unequal sizes and kinds, and something beside them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in {"a.png": (30, 20, 3), "b.b.JPG": (16, 16, 3), "c.bmp": (7, 33)}.items():
        pixels = rng.integers(0, 200, shape, np.uint8)
        Image.fromarray(pixels).save(folder / name, format="JPEG" if name.endswith("JPG") else None)
    (folder / "notes.txt").write_text("taken in May")
    return folder


def call(run, source, output, *more):
    """In float32, unless told, wherever the tests run."""
    return predict.main([f"checkpoint={run}", f"input={source}", f"output={output}", "precision=32", *more])


def by_hand(module, path, norm="image"):
    """A file through the plain generator; image norm is training mode at a batch of one."""
    image = np.asarray(Image.open(path).convert("RGB"))
    height, width, _ = image.shape
    padded = np.pad(image, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="reflect")
    generator = type(module.generator)(num_downs=3, base_channels=4, dropout=0.0)
    generator.load_state_dict(module.generator.state_dict())
    generator.train(norm == "image")
    with torch.no_grad():
        output = generator(torch.from_numpy(padded).permute(2, 0, 1)[None] / 127.5 - 1)
    levels = ((output[0, :, :height, :width] + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(1, 2, 0).numpy()


def assert_a_level_apart(path, expected):
    actual = np.asarray(Image.open(path))
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected).max() <= 1


def assert_one_line(capsys, *parts):
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("error: ")
    for part in parts:
        assert str(part) in lines[0]
    assert "Traceback" not in printed.out


def test_a_folder(run, pictures, tmp_path, capsys):
    folder, module = run
    output = tmp_path / "new" / "output"
    assert call(folder, pictures, output) == 0
    assert capsys.readouterr().out == f"3 images in {output}\n"
    assert sorted(path.name for path in output.iterdir()) == ["a.png", "b.b.png", "c.png"]
    for name in ("a.png", "c.bmp"):  # decoders of JPEG differ
        expected = by_hand(module, pictures / name)
        assert expected.std() > 5
        assert_a_level_apart(output / name.replace("bmp", "png"), expected)


def test_a_picture_alone_and_in_a_folder_are_the_same_bytes(run, pictures, tmp_path):
    folder, _ = run
    assert call(folder, pictures, tmp_path / "all") == 0
    for name in ("a.png", "b.b.JPG", "c.bmp"):
        assert call(folder / "checkpoints" / "best.ckpt", pictures / name, tmp_path / "one") == 0
    for path in sorted((tmp_path / "all").iterdir()):
        assert (tmp_path / "one" / path.name).read_bytes() == path.read_bytes()


def test_a_picture_among_many_is_the_same_bytes(run, tmp_path):
    (tmp_path / "many").mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        pixels = rng.integers(0, 10 * number + 30, (8 + 8 * (number % 3), 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "many" / f"{number}.png")
    assert call(run[0], tmp_path / "many", tmp_path / "all") == 0
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == sorted(f"{n}.png" for n in range(20))
    for number in range(20):
        assert_a_level_apart(tmp_path / "all" / f"{number}.png", by_hand(run[1], tmp_path / "many" / f"{number}.png"))
    for number in (0, 13, 19):
        assert call(run[0], tmp_path / "many" / f"{number}.png", tmp_path / "one") == 0
        assert (tmp_path / "one" / f"{number}.png").read_bytes() == (tmp_path / "all" / f"{number}.png").read_bytes()


@pytest.mark.parametrize("able", [True, False])
def test_precision_is_the_device_s_choice_unless_told(run, pictures, tmp_path, capsys, monkeypatch, able):
    monkeypatch.setattr("pix2pix_lightning.inference.precision.computes_in_bfloat16", lambda device: able)
    for name in ("auto", "bf16", "32"):
        assert call(run[0], pictures / "a.png", tmp_path / name, "device=cpu", f"precision={name}") == 0
        line, *others = capsys.readouterr().out.splitlines()
        if name == "auto":
            assert line.startswith(
                "precision=bf16, in which this cpu is faster" if able else "precision=32, since this"
            )
            assert "precision=32" in line
        assert len(others) == (name == "auto")
    images = {name: np.asarray(Image.open(tmp_path / name / "a.png")) for name in ("auto", "bf16", "32")}
    assert (images["auto"] == images["bf16" if able else "32"]).all()
    assert (images["bf16"] != images["32"]).any()


def test_300_by_200_stays_300_by_200(run, tmp_path):
    Image.linear_gradient("L").resize((300, 200)).convert("RGB").save(tmp_path / "sky.png")
    assert call(run[0], tmp_path / "sky.png", tmp_path / "out") == 0
    expected = by_hand(run[1], tmp_path / "sky.png")
    assert expected.shape == (200, 300, 3)
    assert_a_level_apart(tmp_path / "out" / "sky.png", expected)


def test_modes_on_the_command_line(run, pictures, tmp_path):
    folder, module = run
    made = {}

    def translated(*options):
        output = tmp_path / "_".join(options or ["plain"]).replace("=", "_")
        if options not in made:
            assert call(folder, pictures / "a.png", output, *options) == 0
            made[options] = (output / "a.png").read_bytes()
        return made[options]

    assert translated("mode=paper", "dropout=off") == translated()
    assert translated("mode=paper", "dropout=false") == translated()
    assert translated("mode=paper") == translated("dropout=on") == translated("dropout=true") != translated()
    assert translated("mode=paper", "seed=1") not in (translated("mode=paper"), translated())
    assert translated("norm=running") != translated()
    assert_a_level_apart(tmp_path / "norm_running" / "a.png", by_hand(module, pictures / "a.png", "running"))


def test_nothing_is_overwritten_unless_asked_for(run, pictures, tmp_path, capsys):
    output = tmp_path / "output"
    output.mkdir()
    (output / "c.png").write_text("precious")
    assert call(run[0], pictures, output) == 1
    assert_one_line(capsys, output / "c.png", "exists", "overwrite=true")
    assert [path.name for path in output.iterdir()] == ["c.png"]
    assert (output / "c.png").read_text() == "precious"
    assert call(run[0], pictures, output, "overwrite=true") == 0
    assert_a_level_apart(output / "c.png", by_hand(run[1], pictures / "c.bmp"))


def test_what_exists_is_found_before_anything_else(pictures, tmp_path, capsys):
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "c.png").write_text("precious")
    assert call(tmp_path / "no_checkpoint", pictures, tmp_path / "output") == 1
    assert_one_line(capsys, tmp_path / "output" / "c.png", "exists", "overwrite=true")


def test_an_output_that_cannot_be_written(run, pictures, tmp_path, capsys):
    output = tmp_path / "output"
    (output / "b.b.png").mkdir(parents=True)
    assert call(run[0], pictures, output, "overwrite=true") == 1
    assert_one_line(capsys, output / "b.b.png")
    assert_a_level_apart(output / "a.png", by_hand(run[1], pictures / "a.png"))
    assert not list(output.glob("*.part"))


def test_interrupted_in_the_middle(run, pictures, tmp_path, capsys, monkeypatch):
    translate = Translator.translate_arrays

    def interrupted(self, images):
        if images[0].shape[0] == 7:  # c.bmp
            raise KeyboardInterrupt
        return translate(self, images)

    monkeypatch.setattr(Translator, "translate_arrays", interrupted)
    assert call(run[0], pictures, tmp_path / "output") == 130
    assert capsys.readouterr().err == "stopped\n"
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == ["a.png", "b.b.png"]
    assert_a_level_apart(tmp_path / "output" / "a.png", by_hand(run[1], pictures / "a.png"))


def test_broken_files_in_a_folder_are_named_and_the_others_go_on(run, pictures, tmp_path, capsys):
    (pictures / "a2.png").write_text("no picture")
    (pictures / "z.jpg").write_bytes((pictures / "b.b.JPG").read_bytes()[:200])
    assert call(run[0], pictures, tmp_path / "output") == 1
    printed = capsys.readouterr()
    first, second, last = printed.err.strip().splitlines()
    assert (
        first
        == f"error: {pictures / 'a2.png'} cannot be decoded as an image: it is damaged or of another kind; replace it"
    )
    assert second.startswith(f"error: {pictures / 'z.jpg'} is a truncated JPEG")
    assert last == "error: 2 of 5 images could not be translated, as said above"
    assert printed.out == f"3 images in {tmp_path / 'output'}\n"
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == ["a.png", "b.b.png", "c.png"]
    assert_a_level_apart(tmp_path / "output" / "c.png", by_hand(run[1], pictures / "c.bmp"))


def test_an_image_that_does_not_fit_the_model_is_named_too(tmp_path, capsys):
    palette = [[255, 0, 0], [0, 0, 255]]
    spec = {"source": {"kind": "label", "palette": palette}}
    path = save(Pix2PixModule(UNET, None, pair_spec=spec), tmp_path / "label.ckpt")
    (tmp_path / "maps").mkdir()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "maps/drawn.png")
    Image.new("RGB", (8, 8), (0, 200, 0)).save(tmp_path / "maps/green.png")
    assert call(path, tmp_path / "maps", tmp_path / "out") == 1
    named, last = capsys.readouterr().err.strip().splitlines()
    assert named.startswith(f"error: {tmp_path / 'maps/green.png'}: 100% of the pixels have none of the palette's")
    assert last.startswith("error: 1 of 2")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["drawn.png"]


def test_folders_within_folders_and_patterns(run, pictures, tmp_path):
    (pictures / "x" / "y").mkdir(parents=True)
    for name in ("a.png", "x/a.png", "x/y/c.bmp"):
        Image.open(pictures / Path(name).name).save(pictures / name)

    def made(source, output):
        assert call(run[0], source, output) == 0
        return sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())

    inside = pictures / "results"
    assert made(pictures, inside) == ["a.png", "b.b.png", "c.png", "x/a.png", "x/y/c.png"]
    assert call(run[0], pictures, inside, "overwrite=true") == 0  # results are no inputs
    assert not (inside / "results").exists()
    assert made(f"{pictures}/x/**/*.bmp", tmp_path / "bmp") == ["y/c.png"]
    assert (tmp_path / "bmp/y/c.png").read_bytes() == (inside / "x/y/c.png").read_bytes()
    assert_a_level_apart(inside / "x/y/c.png", by_hand(run[1], pictures / "c.bmp"))


def test_samples_with_noise_of_their_own_and_their_spread(run, pictures, tmp_path, capsys):
    words = ["mode=paper", "samples=4", "spread=true", "seed=3"]
    assert call(run[0], pictures / "a.png", tmp_path / "many", *words) == 0
    names = [f"a.sample_{number}.png" for number in range(4)]
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == [*names, "a.spread.png"]
    samples = np.stack([np.asarray(Image.open(tmp_path / "many" / name)) for name in names])
    for number, sample in enumerate(samples):
        alone = Translator(run[0], mode="paper", seed=3, sample=number)(pictures / "a.png")
        assert (alone == sample).all()
        assert all((sample != other).any() for other in samples[:number])
    spread = np.asarray(Image.open(tmp_path / "many" / "a.spread.png"))
    expected = (samples.astype(float).std(0).mean(2) * 8).clip(0, 255)
    assert spread.shape == expected.shape
    assert np.abs(spread - expected).max() <= 1
    assert call(run[0], pictures / "a.png", tmp_path / "few", *words[:2], "seed=3") == 0
    assert (tmp_path / "few" / names[3]).read_bytes() == (tmp_path / "many" / names[3]).read_bytes()
    assert call(run[0], pictures / "a.png", tmp_path / "none", "samples=4") == 1
    assert_one_line(capsys, "samples=4", "mode=paper")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("word", "side"), [("resize=training", 256), ("resize=24", 24)])
def test_resized_as_in_training(run, pictures, tmp_path, word, side):
    assert call(run[0], pictures / "a.png", tmp_path / "out", word) == 0
    square = resize(np.asarray(Image.open(pictures / "a.png")), side, side, "bicubic")
    Image.fromarray(square).save(tmp_path / "square.png")
    assert_a_level_apart(tmp_path / "out" / "a.png", by_hand(run[1], tmp_path / "square.png"))


def test_a_generator_of_j_s(run, pictures, tmp_path, capsys):
    module = Pix2PixModule({**UNET, "num_downs": 5, "dropout_at": "junyanz"}, None)
    save(module, tmp_path / "ours.ckpt")
    write_junyanz(module.generator, tmp_path / "latest_net_G.pth")
    for mode in ("mode=deterministic", "mode=paper", "norm=running"):
        outputs = [tmp_path / mode / name for name in ("ours", "file", "folder")]
        for place, output in zip(
            (tmp_path / "ours.ckpt", tmp_path / "latest_net_G.pth", tmp_path), outputs, strict=True
        ):
            assert call(place, pictures / "a.png", output, mode) == 0
        assert len({(output / "a.png").read_bytes() for output in outputs}) == 1
    capsys.readouterr()
    assert call(tmp_path, pictures / "a.png", tmp_path / "grey", "pair.source={kind:grayscale}") == 1
    assert_one_line(capsys, "in_channels is 3", "kind 'grayscale'", "pair.source=")
    assert call(run[0], pictures / "a.png", tmp_path / "grey", "pair.size=128") == 1
    assert_one_line(capsys, "pair={'size': 128}", "leave pair out")


def test_a_picture_that_claims_a_billion_pixels(run, tmp_path, capsys):
    head = struct.pack(">IIBBBBB", 40_000, 25_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = [struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert call(run[0], tmp_path / "bomb.png", tmp_path / "out") == 1
    assert_one_line(capsys, tmp_path / "bomb.png", "40000 x 25000", "max_pixels=268435456")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes; it would be 3,000,000
    Image.new("RGB", (20, 20)).save(tmp_path / "small.png")
    assert call(run[0], tmp_path / "small.png", tmp_path / "out", "max_pixels=399") == 1
    assert_one_line(capsys, "20 x 20", "max_pixels=399")
    assert call(run[0], tmp_path / "small.png", tmp_path / "out", "max_pixels=400") == 0


def test_a_kind_of_picture_that_is_not_read_claims_nothing(run, tmp_path, capsys):
    """OpenCV reads by content, whatever the name: a few bytes of GIF would be made room for."""
    Image.new("RGB", (4, 4)).save(tmp_path / "small.gif")
    content = bytearray((tmp_path / "small.gif").read_bytes())
    content[6:10] = struct.pack("<HH", 30_000, 30_000)
    (tmp_path / "bomb.png").write_bytes(content)
    assert call(run[0], tmp_path / "bomb.png", tmp_path / "out", "max_pixels=1000") == 1
    assert_one_line(capsys, "bomb.png cannot be decoded as an image")


def test_samples_of_a_generator_without_dropout(pictures, tmp_path, capsys):
    path = save(Pix2PixModule({**UNET, "dropout": 0.0}, None), tmp_path / "still.ckpt")
    assert call(path, pictures / "a.png", tmp_path / "out", "mode=paper", "samples=3") == 1
    assert_one_line(capsys, "samples=3 are all equal", "has no dropout")
    assert not (tmp_path / "out").exists()


def test_a_pattern_whose_results_go_above_it(run, pictures, tmp_path):
    assert call(run[0], f"{pictures}/a.*", tmp_path) == 0
    assert (tmp_path / "a.png").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_without_permission(run, pictures, tmp_path, capsys):
    (tmp_path / "closed").mkdir(mode=0o500)
    assert call(run[0], pictures, tmp_path / "closed/out") == 1
    assert_one_line(capsys, tmp_path / "closed", "permission denied", "choose another place")


def test_a_module_of_the_user_s_own(pictures, tmp_path, capsys):
    path = save(OwnModule(UNET, None), tmp_path / "own.ckpt")
    assert call(path, pictures / "a.png", tmp_path / "no") == 1
    assert_one_line(capsys, f"{OwnModule.__module__}.OwnModule", f"trust=[{OwnModule.__module__}]")
    for number, trust in enumerate((f"trust=[{OwnModule.__module__}]", f"trust={OwnModule.__module__}")):
        assert call(path, pictures / "a.png", tmp_path / str(number), trust) == 0
    assert (tmp_path / "1" / "a.png").is_file()


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        ("mode=papper", ["mode='papper'", "deterministic, paper"]),
        ("norm=batch", ["norm='batch'", "image, running"]),
        ("dropout=half", ["dropout='half'", "on, off"]),
        ("precision=half", ["precision='half'", "32, bf16, auto"]),
        ("device=gpu", ["device=gpu", "auto, cpu or cuda"]),
        ("samples=abc", ["samples=abc", "a whole number"]),
        ("overlap=abc", ["overlap='abc'", "pixels from 0"]),
        ("trust=5", ["trust=5", "a list of packages"]),
        ("input=${tmp}/none.png", ["none.png does not exist", "give an image, a folder of images or a pattern"]),
        ("input=${tmp}/empty", ["empty has no image in it", "give an image, a folder of images or a pattern"]),
        ("input=${tmp}/twice", ["a.png", "a.jpg", "would both give", "rename"]),
        ("input=${tmp}/text.png", ["text.png cannot be decoded as an image"]),
        ("output=${tmp}/text.png", ["text.png is a file", "give a folder"]),
        ("checkpoint=${tmp}/none", ["none does not exist", "give a .ckpt file or a run's folder"]),
        ("checkpoint=${tmp}/empty", ["empty has no checkpoints/best.ckpt", "give a .ckpt file"]),
        ("checkpoint=${tmp}/page.ckpt", ["page.ckpt cannot be read as a checkpoint", "give a .ckpt file"]),
        ("checkpoint=${tmp}/model.ckpt", ["model.ckpt", "names torch.nn.modules.linear.Linear", "give a .ckpt file"]),
    ],
)
def test_mistakes_get_one_line(run, pictures, tmp_path, capsys, option, parts):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "page.ckpt").write_text("<html></html>")
    torch.save(nn.Linear(1, 1), tmp_path / "model.ckpt")
    (tmp_path / "twice").mkdir()
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / "twice" / name)
    option = option.replace("${tmp}", str(tmp_path))
    assert call(run[0], pictures / "a.png", tmp_path / "output", option) == 1
    assert_one_line(capsys, *parts)
    assert not list(tmp_path.glob("output/*"))


def test_what_is_missing_is_named(capsys):
    assert predict.main([]) == 1
    assert_one_line(capsys, "input")
