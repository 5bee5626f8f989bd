"""Whole files of precision=int8: their loss, what is refused, and the commands that write and use them."""

import json
import math

import cv2
import numpy as np
import onnx
import pytest
import torch

from pix2pix_lightning import PairSpec, Translator, predict
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.export import __main__ as export
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.int8.calibration import Images
from pix2pix_lightning.export.int8.loss import measure_loss
from pix2pix_lightning.export.int8.onnx_file import write_int8
from pix2pix_lightning.utils.errors import UserError
from small_networks import GENERATORS, UNET, by_hand, save, trained

PARTS = [torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(seed)) * 2 - 1 for seed in range(6)]
IMAGES = Images(PARTS[:4], PARTS[4:], "the test")


def compute_psnr(expected, actual):
    """In dB, of values in [-1, 1]."""
    return 10 * math.log10(2**2 / np.mean((np.asarray(expected) - np.asarray(actual)) ** 2, dtype=np.float64))


def test_loss_is_the_mean_over_images():
    # 0.2 of a range of 2 is a tenth: 20 dB; 0.02 is 40 dB
    images = [torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)]
    loss = measure_loss(images, build_side(), lambda image: image, lambda image: image + 0.2 - 0.18 * image)
    assert loss.psnr == pytest.approx(30, abs=1e-4)
    assert loss.worst_psnr == pytest.approx(20, abs=1e-4)
    assert (loss.num_images, loss.perceptual) == (2, None)  # 4 pixels are too few for the network
    assert measure_loss(images, build_side(), lambda image: image, lambda image: image).psnr == math.inf


@pytest.mark.parametrize(
    ("name", "norm", "options"),
    [("unet", "running", {}), ("unet", "running", {"engine": "openvino"})],
)
def test_file_translates_with_the_loss_that_is_told(name, norm, options, tmp_path):
    if options:
        pytest.importorskip("openvino")
    module = trained(GENERATORS[name])
    path = tmp_path / "model.onnx"
    written = write_int8(Graph(module, norm), path, IMAGES, made_by={}, min_psnr=20, **options)
    (entry,) = onnx.load(path).metadata_props
    metadata = json.loads(entry.value)
    assert (metadata["precision"], metadata["norm"]) == ("int8", norm)
    assert written.num_bytes == path.stat().st_size
    translator = Translator(path)
    padded = [torch.nn.functional.pad(image, (0, 2, 0, 4), mode="reflect") for image in IMAGES.held_out]
    ratios = [compute_psnr(by_hand(module, image, norm), translator(image)) for image in padded]
    assert min(ratios) == pytest.approx(written.loss.worst_psnr, abs=0.01)
    assert sum(ratios) / 2 == pytest.approx(written.loss.psnr, abs=0.01)
    odd = torch.rand(3, 3, 21, 50) * 2 - 1
    assert translator(odd).shape == odd.shape


@pytest.mark.slow
def test_file_with_values_of_files(tmp_path):
    graph = Graph(trained(GENERATORS["unet, none"]), "running", "file", "file")
    write_int8(graph, tmp_path / "model.onnx", IMAGES, made_by={}, min_psnr=20)
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    expected = Translator(graph.module, norm="running")(image)
    assert compute_psnr(expected / 127.5, Translator(tmp_path / "model.onnx")(image) / 127.5) > 20


def test_a_loss_beyond_the_bound_is_refused(tmp_path):
    graph = Graph(trained(UNET), "running")
    with pytest.raises(UserError, match=r"PSNR.*min_psnr=90"):
        write_int8(graph, tmp_path / "model.onnx", IMAGES, made_by={}, min_psnr=90)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint without a run, and images."""
    folder = tmp_path_factory.mktemp("int8")
    save(trained(UNET, pair_spec=PairSpec(size=32)), folder / "model.ckpt")
    (folder / "images").mkdir()
    for number in range(4):
        image = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
    return folder


def test_commands(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    words = ["checkpoint=model.ckpt", "precision=int8", "calibrate=images", "norm=running"]
    exported, predicted = tmp_path / "model.onnx", tmp_path / "out"
    assert export.main([*words, f"output={exported}", "min_psnr=20", "float_layers=last"]) == 0
    assert "PSNR" in capsys.readouterr().out
    (entry,) = onnx.load(exported).metadata_props
    assert json.loads(entry.value)["made_by"]["export"] == "precision=int8 norm=running min_psnr=20 float_layers=last"
    monkeypatch.setattr("pix2pix_lightning.export.int8.translator.MIN_PSNR", 20.0)
    assert predict.main([*words, "input=images", f"output={predicted}"]) == 0
    assert "PSNR" in capsys.readouterr().out
    plain = Translator("model.ckpt", norm="running")
    for path in predicted.iterdir():
        expected = plain(folder / "images" / path.name)
        ratio = compute_psnr(expected / 127.5, cv2.imread(str(path))[..., ::-1] / 127.5)
        assert 20 < ratio < 80  # close, and not computed in float32
    assert len(list(predicted.iterdir())) == 4


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["precision=int8", "device=cuda"], ["device=cuda", "device=cpu"]),
        (["precision=int8", "mode=paper"], ["mode=paper"]),
        (["precision=int8", "dropout=on"], ["dropout="]),
        (["precision=int8"], ["model.ckpt", "calibrate="]),
        (["precision=int8", "checkpoint=model.onnx"], ["model.onnx", "leave precision out"]),
        (["calibrate=images"], ["calibrate=images", "precision=int8"]),
    ],
)
def test_predict_refuses(folder, tmp_path, monkeypatch, capsys, words, parts):
    monkeypatch.chdir(folder)
    (folder / "model.onnx").write_bytes(b"any")
    given = {word.partition("=")[0]: word for word in ["checkpoint=model.ckpt", "input=images", *words]}
    assert predict.main([*given.values(), f"output={tmp_path / 'out'}"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert all(part in line for part in parts), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["precision=bf16"], ["precision=bf16", "int8"]),
        (["precision=int8", "format=torch"], ["precision=int8", "onnx"]),
        (["float_layers=first"], ["float_layers=first", "precision=int8"]),
        (["precision=int8", "calibrate=images", "float_layers=all"], ["float_layers", "first_last"]),
        (["precision=int8", "engine=tensorrt"], ["engine", "openvino"]),
        (["precision=int8", "min_psnr=high"], ["min_psnr=high"]),
    ],
)
def test_export_refuses(folder, tmp_path, monkeypatch, capsys, words, parts):
    monkeypatch.chdir(folder)
    suffix = "pt2" if "format=torch" in words else "onnx"
    assert export.main(["checkpoint=model.ckpt", f"output={tmp_path / 'x'}.{suffix}", *words]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert all(part in line for part in parts), line
    assert not list(tmp_path.iterdir())
