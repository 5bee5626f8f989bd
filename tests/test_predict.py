"""The predict command."""

import os
import resource
import struct
import zlib
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

from pix2pix_lightning import Pix2PixModule, Translator, compose, predict
from pix2pix_lightning.checkpoints.junyanz import write_junyanz
from pix2pix_lightning.data.resize import resize
from pix2pix_lightning.inference import file_paths
from pix2pix_lightning.inference.source_files import SourceReader
from pix2pix_lightning.networks import UNetGenerator
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import Process
from small_networks import UNET, by_hand, save, trained


class OwnModule(Pix2PixModule):
    """A module in a user's own package."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run, and its module."""
    folder, module = tmp_path_factory.mktemp("run"), trained(UNET)
    save(module, folder / "checkpoints" / "best.ckpt")
    return folder, module


@pytest.fixture(scope="module")
def config():
    """The command's configuration, composed once; tests change copies of it."""
    return compose("predict", ["checkpoint=x", "input=x", "output=x"])


@pytest.fixture
def call(config):
    """A function that runs the command with some keys, without parsing them as a command line."""

    def run_predict(checkpoint, source, output, **keys):
        cfg = deepcopy(config)
        for key, value in {"checkpoint": checkpoint, "input": source, "output": output, **keys}.items():
            OmegaConf.update(cfg, key.replace("__", "."), str(value) if isinstance(value, Path) else value)
        return predict.predict(cfg)

    return run_predict


@pytest.fixture
def pictures(tmp_path):
    """A folder of images of several sizes and formats, with a text file."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in {"a.png": (30, 20, 3), "b.b.JPG": (16, 16, 3), "c.bmp": (7, 33)}.items():
        pixels = rng.integers(0, 200, shape, np.uint8)
        Image.fromarray(pixels).save(folder / name, format="JPEG" if name.endswith("JPG") else None)
    (folder / "notes.txt").write_text("May")
    return folder


def compute_expected(module, path, norm="image"):
    """Translate a file with the plain generator, padded by NumPy."""
    image = np.asarray(Image.open(path).convert("RGB"))
    height, width, _ = image.shape
    padded = np.pad(image, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="reflect")
    output = by_hand(module, torch.from_numpy(padded).permute(2, 0, 1)[None] / 127.5 - 1, norm)
    levels = ((output[0, :, :height, :width] + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(1, 2, 0).numpy()


def assert_within_one_level(path, expected):
    actual = np.asarray(Image.open(path))
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected).max() <= 1


def read_errors(text):
    """Return the lines on standard error after the one that says which weights were chosen."""
    lines = text.strip().splitlines()
    return lines[1:] if lines and lines[0].startswith("weights: ") else lines


def assert_one_line(capsys, *parts):
    printed = capsys.readouterr()
    lines = read_errors(printed.err)
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("error: ")
    for part in parts:
        assert str(part) in lines[0]
    assert "Traceback" not in printed.out


def test_folder_on_the_command_line(run, pictures, tmp_path, capsys):
    folder, module = run
    output = tmp_path / "new" / "output"
    assert predict.main([f"checkpoint={folder}", f"input={pictures}", f"output={output}"]) == 0
    assert capsys.readouterr().out == f"3 images in {output}\n"
    assert sorted(path.name for path in output.iterdir()) == ["a.png", "b.b.png", "c.png"]
    for name in ("a.png", "c.bmp"):  # JPEG decoders differ
        expected = compute_expected(module, pictures / name)
        assert expected.std() > 5
        assert_within_one_level(output / name.replace("bmp", "png"), expected)
    assert predict.main([f"checkpoint={folder}", f"input={pictures}", f"output={output}"]) == 1
    assert_one_line(capsys, output / "a.png", "overwrite=true")
    assert predict.main([]) == 1
    assert_one_line(capsys, "input")


def test_a_training_with_a_discriminator_is_used_as_it_ended(pictures, tmp_path, capsys):
    discriminator = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 1, "base_channels": 4}
    folder, module, averaged = tmp_path / "gan", Pix2PixModule(UNET, discriminator), trained(UNET)
    best, last = (save(module, folder / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    state = averaged.generator.state_dict()
    torch.save({**torch.load(last, weights_only=True), "ema_generator": state}, last)
    words = [f"input={pictures / 'a.png'}", "overwrite=true"]
    for checkpoint, weights, expected, said in (
        (folder, "auto", averaged, f"{last} (the last of a training with a discriminator, epoch 1), EMA weights"),
        (folder, "trained", module, f"{last} (the last of a training with a discriminator, epoch 1), trained weights"),
        (best, "auto", module, None),
    ):
        output = tmp_path / "output.png"
        assert predict.main([f"checkpoint={checkpoint}", f"output={output}", f"weights={weights}", *words]) == 0
        printed = capsys.readouterr()
        assert printed.out == f"{output}\n"
        assert printed.err == (f"weights: {said}\n" if said else "")
        assert_within_one_level(output, compute_expected(expected, pictures / "a.png"))


def test_an_image_among_many_gives_the_same_bytes(run, call, tmp_path):
    (tmp_path / "many").mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 10 * number + 30, (8 + 8 * (number % 3), 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "many" / f"{number}.png")
    call(run[0], tmp_path / "many", tmp_path / "all")
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == sorted(f"{n}.png" for n in range(12))
    for number in range(12):
        expected = compute_expected(run[1], tmp_path / "many" / f"{number}.png")
        assert_within_one_level(tmp_path / "all" / f"{number}.png", expected)
    for number in (0, 7, 11):
        call(run[0] / "checkpoints" / "best.ckpt", tmp_path / "many" / f"{number}.png", tmp_path / "one")
        assert (tmp_path / "one" / f"{number}.png").read_bytes() == (tmp_path / "all" / f"{number}.png").read_bytes()


@pytest.mark.parametrize("is_supported", [True, False])
def test_auto_precision_asks_the_device(run, call, pictures, tmp_path, capsys, monkeypatch, is_supported):
    monkeypatch.setattr("pix2pix_lightning.inference.precision.supports_bfloat16", lambda device: is_supported)
    for name in ("auto", "bf16", "32"):
        call(run[0], pictures / "a.png", tmp_path / name, device="cpu", precision=name)
        line, *others = capsys.readouterr().out.splitlines()
        if name == "auto":
            assert line.startswith("precision=bf16" if is_supported else "precision=32")
        assert len(others) == (name == "auto")
    images = {name: np.asarray(Image.open(tmp_path / name / "a.png")) for name in ("auto", "bf16", "32")}
    assert (images["auto"] == images["bf16" if is_supported else "32"]).all()
    assert (images["bf16"] != images["32"]).any()


def test_modes(run, call, pictures, tmp_path):
    folder, module = run
    outputs = {}

    def translate(**options):
        key = str(options)
        if key not in outputs:
            (path,) = call(folder, pictures / "a.png", tmp_path / str(len(outputs)), **options)
            outputs[key] = path.read_bytes()
        return outputs[key]

    assert translate(mode="paper", dropout="off") == translate(mode="paper", dropout=False) == translate()
    assert translate(mode="paper") == translate(dropout="on") == translate(dropout=True) != translate()
    assert translate(mode="paper", seed=1) not in (translate(mode="paper"), translate())
    (path,) = call(folder, pictures / "a.png", tmp_path / "running", norm="running")
    assert path.read_bytes() != translate()
    assert_within_one_level(path, compute_expected(module, pictures / "a.png", "running"))


def test_nothing_is_overwritten_by_default(run, call, pictures, tmp_path):
    output = tmp_path / "output"
    output.mkdir()
    (output / "c.png").write_text("precious")
    with pytest.raises(FileExistsError, match=r"c\.png.*overwrite=true"):
        call(run[0], pictures, output)
    assert [path.name for path in output.iterdir()] == ["c.png"]
    assert (output / "c.png").read_text() == "precious"
    call(run[0], pictures, output, overwrite=True)
    assert_within_one_level(output / "c.png", compute_expected(run[1], pictures / "c.bmp"))


def test_a_folder_is_not_translated_into_itself(run, call, pictures):
    before = {path.name: path.read_bytes() for path in pictures.iterdir()}
    with pytest.raises(ValueError, match="overwrite=true"):
        call(run[0], pictures, pictures / "../pictures")
    with pytest.raises(ValueError, match=r"a\.png"):  # an input of that name is replaced in no case
        call(run[0], pictures, pictures, overwrite=True)
    assert {path.name: path.read_bytes() for path in pictures.iterdir()} == before
    (pictures / "a.png").unlink()
    call(run[0], pictures, pictures, overwrite=True)
    assert {path.name for path in pictures.iterdir()} == {*before, "b.b.png", "c.png"} - {"a.png"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_another_process_writes_meanwhile(run, call, pictures, tmp_path, monkeypatch, overwrite):
    output, check = tmp_path / "output", file_paths.check_inputs_stay

    def check_late(outputs):
        output.mkdir()
        (output / "c.png").write_bytes(b"of another process")
        check(outputs)

    monkeypatch.setattr(file_paths, "check_inputs_stay", check_late)
    refused = nullcontext() if overwrite else pytest.raises(FileExistsError, match=r"c\.png")
    with refused:
        call(run[0], pictures, output, overwrite=overwrite)
    assert ((output / "c.png").read_bytes() == b"of another process") != overwrite
    assert np.asarray(Image.open(output / "a.png")).shape == (30, 20, 3)


def test_output_that_cannot_be_written(run, call, pictures, tmp_path):
    output = tmp_path / "output"
    (output / "b.b.png").mkdir(parents=True)
    with pytest.raises(OSError, match=r"b\.b\.png"):
        call(run[0], pictures, output, overwrite=True)
    assert_within_one_level(output / "a.png", compute_expected(run[1], pictures / "a.png"))
    assert not list(output.glob("*.part"))


def test_interrupt(run, pictures, tmp_path, capsys, monkeypatch):
    translate = Translator.translate_arrays

    def interrupt(self, images):
        if images[0].shape[0] == 7:  # c.bmp
            raise KeyboardInterrupt
        return translate(self, images)

    monkeypatch.setattr(Translator, "translate_arrays", interrupt)
    assert predict.main([f"checkpoint={run[0]}", f"input={pictures}", f"output={tmp_path / 'output'}"]) == 130
    assert read_errors(capsys.readouterr().err) == ["stopped"]
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == ["a.png", "b.b.png"]
    assert_within_one_level(tmp_path / "output" / "a.png", compute_expected(run[1], pictures / "a.png"))


def test_broken_files_are_named_and_the_others_translated(run, call, pictures, tmp_path, capsys):
    (pictures / "a2.png").write_text("text")
    (pictures / "z.jpg").write_bytes((pictures / "b.b.JPG").read_bytes()[:200])
    with pytest.raises(ValueError, match="2 of 5 images"):
        call(run[0], pictures, tmp_path / "output")
    printed = capsys.readouterr()
    first, second = read_errors(printed.err)
    assert first.startswith("error: ")
    assert str(pictures / "a2.png") in first
    assert str(pictures / "z.jpg") in second
    assert printed.out == f"3 images in {tmp_path / 'output'}\n"
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == ["a.png", "b.b.png", "c.png"]
    assert_within_one_level(tmp_path / "output" / "c.png", compute_expected(run[1], pictures / "c.bmp"))


def test_images_that_do_not_fit_the_model_are_named(call, tmp_path, capsys):
    spec = {"source": {"kind": "label", "palette": [[255, 0, 0], [0, 0, 255]]}}
    path = save(trained(UNET, pair_spec=spec), tmp_path / "label.ckpt")
    (tmp_path / "maps").mkdir()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "maps/drawn.png")
    Image.new("RGB", (8, 8), (0, 200, 0)).save(tmp_path / "maps/green.png")
    with pytest.raises(ValueError, match="1 of 2"):
        call(path, tmp_path / "maps", tmp_path / "out")
    assert str(tmp_path / "maps/green.png") in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["drawn.png"]


@pytest.mark.parametrize(("name", "levels"), [("x.png", 0.1), ("new/folder/y.bmp", 0.1), ("z.JPG", 40)])
def test_one_image_into_a_file(run, call, pictures, tmp_path, capsys, name, levels):
    path = tmp_path / name
    assert call(run[0], pictures / "a.png", path) == [path]
    assert capsys.readouterr().out == f"{path}\n"
    expected = compute_expected(run[1], pictures / "a.png")
    with Image.open(path) as image:
        assert image.format == {".png": "PNG", ".bmp": "BMP", ".jpg": "JPEG"}[path.suffix.lower()]
        assert np.abs(np.asarray(image).astype(int) - expected).mean() <= levels
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=path.name):
        call(run[0], pictures / "c.bmp", path)
    assert path.read_bytes() == before
    call(run[0], pictures / "c.bmp", path, overwrite=True)
    with Image.open(path) as image:
        assert image.size == (33, 7)
    call(run[0], f"{pictures}/[a]*", path.with_suffix(".tif"))  # one image is found
    assert_within_one_level(path.with_suffix(".tif"), expected)
    (tmp_path / "folder.png").mkdir()
    assert call(run[0], pictures / "a.png", tmp_path / "folder.png") == [tmp_path / "folder.png" / "a.png"]


def write_video(path, count=3, size=(33, 32)):
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), 10, size)
    for number in range(count):
        writer.write(np.full((size[1], size[0], 3), 60 * number, np.uint8))
    writer.release()


def test_videos(run, call, pictures, tmp_path, capsys, caplog):
    clip = pictures / "Clip.MKV"
    write_video(clip)
    assert call(run[0], clip, tmp_path / "clips") == [tmp_path / "clips" / "Clip.mp4"]
    printed = capsys.readouterr()
    assert all(part in printed.out for part in ("Clip.mp4", "3 frames", "32 x 32", "without sound"))
    assert read_errors(printed.err) == []
    with pytest.raises(FileExistsError, match="overwrite=true"):
        call(run[0], clip, tmp_path / "clips")
    before = (tmp_path / "clips" / "Clip.mp4").read_bytes()
    assert call(run[0], clip, tmp_path / "clips" / "Clip.mp4", overwrite=True, mode="paper", tile=40, resize=48)
    capture = cv2.VideoCapture(str(tmp_path / "clips" / "Clip.mp4"))
    assert capture.read()[1].shape == (48, 48, 3)
    for keys, part in (
        ({"samples": 2}, "samples=2"),
        ({"spread": True}, "spread=true"),
        ({"output": tmp_path / "x.avi"}, r"\.mp4"),
        ({"output": pictures / "a.png"}, r"\.mp4"),
        ({"max_pixels": 100}, "max_pixels=100"),
        ({"input": pictures / "a.png", "output": tmp_path / "x.mp4"}, r"\.png"),
        ({"input": tmp_path / "clips" / "Clip.mp4", "output": tmp_path / "clips", "overwrite": True}, "replace"),
    ):
        with pytest.raises(UserError, match=part):
            call(run[0], **{"source": keys.pop("input", clip), "output": tmp_path / "new", **keys})
    assert before != (tmp_path / "clips" / "Clip.mp4").read_bytes()
    assert not (tmp_path / "new").exists()

    call(run[0], pictures, tmp_path / "images")
    assert len(list((tmp_path / "images").iterdir())) == 3
    assert f"input={clip}" in caplog.text
    for source in (tmp_path / "clips", f"{tmp_path}/clips/*"):
        with pytest.raises(UserError, match=r"input=.*Clip\.mp4"):
            call(run[0], source, tmp_path / "new")


def test_class_colours_are_no_jpeg(call, tmp_path):
    spec = {"target": {"kind": "label", "palette": [[255, 0, 0], [0, 0, 255]]}}
    path = save(trained(UNET, pair_spec=spec), tmp_path / "label.ckpt")
    Image.new("RGB", (8, 8)).save(tmp_path / "in.png")
    with pytest.raises(UserError, match=r"out\.jpg"):
        call(path, tmp_path / "in.png", tmp_path / "out.jpg")
    assert not (tmp_path / "out.jpg").exists()


def test_an_image_that_needs_too_much_memory_is_one_failed_image(run, call, pictures, tmp_path, capsys, monkeypatch):
    translate, read = Translator.translate_arrays, SourceReader.read_georeferenced

    def translate_small(self, images):
        if images[0].shape[0] == 30:  # a.png
            torch.empty(2**48)
        return translate(self, images)

    def read_small(self, path):
        if path.suffix == ".bmp":
            np.empty(2**48)
        return read(self, path)

    monkeypatch.setattr(Translator, "translate_arrays", translate_small)
    monkeypatch.setattr(SourceReader, "read_georeferenced", read_small)
    with pytest.raises(UserError, match="2 of 3"):
        call(run[0], pictures, tmp_path / "output", tile=512)
    first, second = sorted(read_errors(capsys.readouterr().err), key=lambda line: "c.bmp" in line)
    assert all(part in first for part in ("error: ", "a.png", "tile=512", "resize="))
    assert "c.bmp" in second
    assert [path.name for path in (tmp_path / "output").iterdir()] == ["b.b.png"]
    assert predict.main([f"checkpoint={run[0]}", f"input={pictures / 'a.png'}", f"output={tmp_path / 'one'}"]) == 1
    assert_one_line(capsys, "a.png", "tile=512", "1048576.00 GiB")
    assert not (tmp_path / "one").exists()


def test_subfolders_and_patterns(run, call, pictures, tmp_path):
    (pictures / "x" / "y").mkdir(parents=True)
    for name in ("a.png", "x/a.png", "x/y/c.bmp"):
        Image.open(pictures / Path(name).name).save(pictures / name)

    def list_outputs(source, output):
        call(run[0], source, output)
        return sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())

    inside = pictures / "results"
    assert list_outputs(pictures, inside) == ["a.png", "b.b.png", "c.png", "x/a.png", "x/y/c.png"]
    left = inside / "x" / f"a.png.{'0f' * 8}.part"  # of a command that was killed
    left.touch()
    os.utime(left, (0, 0))
    call(run[0], pictures, inside, overwrite=True)
    assert not (inside / "results").exists()  # outputs are no inputs
    assert not left.exists()
    assert list_outputs(f"{pictures}/x/**/*.bmp", tmp_path / "bmp") == ["y/c.png"]
    assert (tmp_path / "bmp/y/c.png").read_bytes() == (inside / "x/y/c.png").read_bytes()
    assert_within_one_level(inside / "x/y/c.png", compute_expected(run[1], pictures / "c.bmp"))
    call(run[0], f"{pictures}/a.*", tmp_path)  # outputs above the searched folder
    assert (tmp_path / "a.png").is_file()


def test_samples_and_their_spread(run, call, pictures, tmp_path):
    call(run[0], pictures / "a.png", tmp_path / "many", mode="paper", samples=4, spread=True, seed=3)
    names = [f"a.sample_{number}.png" for number in range(4)]
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == [*names, "a.spread.png"]
    samples = np.stack([np.asarray(Image.open(tmp_path / "many" / name)) for name in names])
    for number, sample in enumerate(samples):
        alone = Translator(run[0], mode="paper", seed=3, sample=number)(pictures / "a.png")
        assert (alone == sample).all()
        assert all((sample != other).any() for other in samples[:number])
    (file,) = call(run[0], pictures / "a.png", tmp_path / "one.png", mode="paper", samples=1, seed=3)
    assert file.read_bytes() == (tmp_path / "many" / names[0]).read_bytes()
    spread = np.asarray(Image.open(tmp_path / "many" / "a.spread.png"))
    expected = (samples.astype(float).std(0).mean(2) * 8).clip(0, 255)
    assert spread.shape == expected.shape
    assert np.abs(spread - expected).max() <= 1
    still = save(Pix2PixModule({**UNET, "dropout": 0.0}, None), tmp_path / "still.ckpt")
    for checkpoint, mode in ((run[0], "deterministic"), (still, "paper")):
        with pytest.raises(ValueError, match="samples=4"):
            call(checkpoint, pictures / "a.png", tmp_path / "none", samples=4, mode=mode)
    assert not (tmp_path / "none").exists()
    noisy = save(Pix2PixModule({**UNET, "dropout": 0.0, "noise_channels": 4}, None), tmp_path / "noisy.ckpt")
    one, other = call(noisy, pictures / "a.png", tmp_path / "two", samples=2, mode="paper")
    assert one.read_bytes() != other.read_bytes()


def test_resize(run, call, pictures, tmp_path):
    picture = np.asarray(Image.open(pictures / "a.png"))
    for size, (height, width) in (("training", (256, 256)), (24, (24, 24)), ([24, 40], (24, 40))):
        call(run[0], pictures / "a.png", tmp_path / "out", resize=size, overwrite=True)
        Image.fromarray(resize(picture, height, width, "bicubic")).save(tmp_path / "resized.png")
        expected = compute_expected(run[1], tmp_path / "resized.png")
        if size == "training":  # back to the picture's own size
            expected = resize(expected, *picture.shape[:2], "bicubic")
        assert_within_one_level(tmp_path / "out" / "a.png", expected)


def test_junyanz_generator(run, call, pictures, tmp_path):
    module = trained({**UNET, "num_downs": 5, "base_channels": 2, "dropout_at": "junyanz"})
    save(module, tmp_path / "ours.ckpt")
    write_junyanz(module.generator, tmp_path / "latest_net_G.pth")
    for number, options in enumerate(({"mode": "paper"}, {"norm": "running", "rounding": "floor"})):
        contents = set()
        for path in (tmp_path / "ours.ckpt", tmp_path / "latest_net_G.pth", tmp_path):
            (output,) = call(path, pictures / "a.png", tmp_path / f"{number}_{path.name}", **options)
            contents.add(output.read_bytes())
        assert len(contents) == 1
    with pytest.raises(ValueError, match=r"in_channels is 3.*pair\.source="):
        call(tmp_path, pictures / "a.png", tmp_path / "out", pair__source={"kind": "grayscale"})
    with pytest.raises(ValueError, match=r"pair={'size': 128}"):
        call(run[0], pictures / "a.png", tmp_path / "out", pair__size=128)


def test_a_colorization_generator_colours_gray_pictures(tmp_path):
    torch.manual_seed(0)
    generator = UNetGenerator(in_channels=1, out_channels=2, num_downs=5, base_channels=2, dropout_at="junyanz")
    write_junyanz(generator, tmp_path / "latest_net_G.pth")
    translate = Translator(tmp_path / "latest_net_G.pth")
    gray = np.random.default_rng(0).integers(60, 200, (32, 32, 1), np.uint8)
    photo = translate(gray)
    light = cv2.cvtColor(np.float32(np.repeat(gray, 3, 2)) / 255, cv2.COLOR_RGB2Lab)
    lab = cv2.cvtColor(np.float32(photo) / 255, cv2.COLOR_RGB2Lab)
    is_kept = ((photo > 0) & (photo < 255)).all(2)  # sRGB lacks other colours
    assert is_kept.mean() > 0.5
    np.testing.assert_allclose(lab[is_kept, 0], light[is_kept, 0], atol=1.0)  # bytes, and OpenCV's tables
    with torch.no_grad():
        source = torch.from_numpy(light[..., 0] / 50 - 1)[None, None]
        colour = 110 * translate.network(source)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(lab[is_kept, 1:], colour[is_kept], atol=2.0)


def test_decompression_bombs(run, call, tmp_path):
    head = struct.pack(">IIBBBBB", 40_000, 25_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = [struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"bomb\.png.*40000 x 25000.*max_pixels=268435456"):
        call(run[0], tmp_path / "bomb.png", tmp_path / "out")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes; decoded it is 3,000,000
    Image.new("RGB", (20, 20)).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match=r"20 x 20.*max_pixels=399"):
        call(run[0], tmp_path / "small.png", tmp_path / "out", max_pixels=399)
    call(run[0], tmp_path / "small.png", tmp_path / "out", max_pixels=400)


def test_gif_with_the_suffix_of_a_png(run, call, tmp_path):
    """OpenCV reads by content, whatever the name, and would allocate the size that a GIF claims."""
    Image.new("RGB", (4, 4)).save(tmp_path / "small.gif")
    content = bytearray((tmp_path / "small.gif").read_bytes())
    content[6:10] = struct.pack("<HH", 30_000, 30_000)
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"bomb\.png"):
        call(run[0], tmp_path / "bomb.png", tmp_path / "out", max_pixels=1000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_folder_without_permission(run, call, pictures, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="closed"):
        call(run[0], pictures, tmp_path / "closed/out")


def test_module_of_a_user(call, pictures, tmp_path):
    path = save(OwnModule(UNET, None), tmp_path / "own.ckpt")
    name = OwnModule.__module__
    with pytest.raises(ValueError, match=rf"{name}\.OwnModule.*trust=\[{name}\]"):
        call(path, pictures / "a.png", tmp_path / "no")
    for number, trust in enumerate(([name], name)):
        call(path, pictures / "a.png", tmp_path / str(number), trust=trust)
    assert (tmp_path / "1" / "a.png").is_file()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"mode": "papper"}, "mode='papper'"),
        ({"norm": "batch"}, "norm='batch'"),
        ({"dropout": "half"}, "dropout='half'"),
        ({"precision": "half"}, "precision='half'"),
        ({"device": "gpu"}, "device=gpu"),
        ({"samples": "abc"}, "samples=abc"),
        ({"overlap": "abc"}, "overlap='abc'"),
        ({"trust": 5}, "trust=5"),
        ({"source": "none.png"}, "none.png"),
        ({"source": "empty"}, "empty"),
        ({"source": "twice"}, "a.jpg"),
        ({"source": "text.png"}, "text.png"),
        ({"output": "text.png"}, "text.png"),
        ({"output": "page.ckpt"}, "page.ckpt"),
        ({"output": "page.ckpt/below"}, "page.ckpt"),
        ({"output": "moving.gif"}, ".png"),
        ({"source": "twice", "output": "one.png"}, "one"),
        ({"source": "tw*/a.*", "output": "one.png"}, "one"),
        ({"source": "alone", "output": "alone/one.png"}, "overwrite=true"),
        ({"output": "one.jfif"}, ".png"),
        ({"output": "one.png", "samples": 2, "mode": "paper"}, "samples=2"),
        ({"max_pixels": 0}, "max_pixels=0"),
        ({"checkpoint": "none"}, "none"),
        ({"checkpoint": "empty"}, "checkpoints/best.ckpt"),
        ({"checkpoint": "page.ckpt"}, "page.ckpt"),
        ({"checkpoint": "model.ckpt"}, "torch.nn.modules.linear.Linear"),
    ],
)
def test_errors(run, call, pictures, tmp_path, options, part):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "page.ckpt").write_text("<html></html>")
    torch.save(nn.Linear(1, 1), tmp_path / "model.ckpt")
    (tmp_path / "twice").mkdir()
    (tmp_path / "alone").mkdir()
    for name in ("twice/a.png", "twice/a.jpg", "alone/a.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    paths = {key: tmp_path / options[key] for key in ("checkpoint", "source", "output") if key in options}
    given = {"checkpoint": run[0], "source": pictures / "a.png", "output": tmp_path / "output", **options, **paths}
    with pytest.raises((ValueError, FileNotFoundError, FileExistsError)) as caught:
        call(**given)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("output/*"))


def test_jobs_and_processes_divide_a_folder(run, config, call, tmp_path, capsys):
    folder = tmp_path / "photos" / "deep"
    folder.mkdir(parents=True)
    for number in range(5):
        Image.new("RGB", (8, 8), (50 * number, 0, 0)).save(folder / f"{number}.png")
    whole = call(run[0], folder.parent, tmp_path / "whole")
    parts = [call(run[0], folder.parent, tmp_path / "parts", shard=f"{number}/3") for number in (1, 2, 3)]
    assert [path.name for path in parts[1]] == ["1.png", "4.png"]
    written = [path for part in parts for path in part]
    assert sorted(path.relative_to(tmp_path / "parts") for path in written) == sorted(
        path.relative_to(tmp_path / "whole") for path in whole
    )
    for path in written:
        found, expected = (
            np.asarray(Image.open(each)).astype(int) for each in (path, tmp_path / "whole/deep" / path.name)
        )
        assert np.abs(found - expected).max() <= 1
    assert [line[0] for line in capsys.readouterr().out.splitlines()] == ["5", "2", "2", "1"]
    with pytest.raises(FileExistsError):
        call(run[0], folder.parent, tmp_path / "parts", shard="2/3")
    (tmp_path / "parts/deep/1.png").unlink()
    (tmp_path / "parts/deep/4.png").unlink()
    assert len(call(run[0], folder.parent, tmp_path / "parts", shard="2/3")) == 2  # the others' outputs do not matter
    assert call(run[0], folder.parent, tmp_path / "many", shard="6/9") == []
    cfg = deepcopy(config)
    cfg.update({"checkpoint": str(run[0]), "input": str(folder), "output": str(tmp_path / "tasks")})
    capsys.readouterr()
    tasks = [predict.predict(cfg, Process(rank, 2)) for rank in range(2)]
    assert [[path.name for path in task] for task in tasks] == [["0.png", "2.png", "4.png"], ["1.png", "3.png"]]
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_samples_and_manifests_are_divided_too(run, call, tmp_path):
    rows = ["source,name"]
    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,row{number}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    options = {"mode": "paper", "samples": 2, "spread": True}
    parts = [call(run[0], tmp_path / "list.csv", tmp_path / "out", shard=f"{number}/2", **options) for number in (1, 2)]
    assert sorted({path.name for path in parts[1]}) == ["row1.sample_0.png", "row1.sample_1.png", "row1.spread.png"]
    assert len({*parts[0], *parts[1]}) == 9


def test_what_cannot_be_divided_is_refused(run, call, pictures, tmp_path):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"")
    for source, output in (
        (pictures / "a.png", tmp_path / "out"),
        (clip, tmp_path / "out"),
        (pictures, pictures),
        (f"{pictures}/*", pictures),
    ):
        with pytest.raises(UserError, match="shard=1/2"):
            call(run[0], source, output, shard="1/2", overwrite=True)
    with pytest.raises(UserError, match="shard=9/8"):
        call(run[0], pictures, tmp_path / "out", shard="9/8")
    assert not (tmp_path / "out").exists()


def test_devices_divide_a_folder(run, call, tmp_path, monkeypatch, capsys):
    for number in range(5):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (50 * number, 0, 0)).save(tmp_path / "photos" / f"{number}.png")

    def run_here(function, devices):
        return [function(device, Process(rank, len(devices))) for rank, device in enumerate(devices)]

    monkeypatch.setattr(predict, "run_on_devices", run_here)
    monkeypatch.setattr(predict, "quiet_others", lambda process: None)
    monkeypatch.setattr("pix2pix_lightning.utils.devices.count_available_cores", lambda: 2)
    written = call(run[0], tmp_path / "photos", tmp_path / "out", devices=2)
    assert [path.name for path in written] == ["0.png", "2.png", "4.png", "1.png", "3.png"]
    assert len(capsys.readouterr().out.splitlines()) == 1  # of the first process
    part = call(run[0], tmp_path / "photos", tmp_path / "part", devices=2, shard="2/2")  # a job of an array
    assert [path.name for path in part] == ["1.png", "3.png"]


def test_one_image_needs_no_devices(run, call, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"")
    for source, output in ((pictures / "a.png", tmp_path / "out"), (clip, tmp_path / "out"), (pictures, pictures)):
        with pytest.raises(UserError, match=r"^devices=2 with "):
            call(run[0], source, output, devices=2, overwrite=True)
    assert not (tmp_path / "out").exists()
    assert len(call(run[0], pictures / "a.png", tmp_path / "out", devices="auto")) == 1
