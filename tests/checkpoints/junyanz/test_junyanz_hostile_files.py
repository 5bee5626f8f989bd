"""Files that are not junyanz's, are damaged, or would run code."""

import pickle
import random
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch import nn

from pix2pix_lightning.checkpoints.junyanz import read_junyanz
from reference_junyanz import Pixel, ResNet, UNet, legacy, trained


class Evil:
    """An object whose unpickling creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


SMALL = trained(UNet(5)).state_dict()
LEVEL = "model.model.1.model.3"


def changed(state, **values):
    return {key: values.get(key.replace(".", "_"), value) for key, value in state.items()}


def renamed(state, old, new):
    return {key.replace(old, new): value for key, value in state.items()}


def fewer(state, *keys):
    return {key: value for key, value in state.items() if key not in keys}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (["model.model.0.weight"], "it is a list, no dict of tensors"),
        ({}, "it is an empty dict"),
        ({"epoch": 3, "state_dict": SMALL}, "'epoch' is no tensor that the file holds"),
        ({1: torch.zeros(1)}, "1 is no tensor"),
        ({"model.model.0.weight\n": [1]}, r"'model.model.0.weight\\n' is no tensor"),
        (nn.Linear(2, 2).state_dict(), "it begins with 'weight', as none of its networks does"),
        ({"layer0_model0.0.weight": torch.zeros(4, 3, 4, 4)}, "begins with 'layer0_model0.0.weight'"),
        (SMALL | {"model.model.4.weight": torch.zeros(3)}, "'model.model.4.weight' has no place in its UNetGenerator"),
        (SMALL | {"model.model.0.bias": torch.zeros(4)}, "'model.model.0.bias' has no place in its UNetGenerator"),
        (fewer(SMALL, f"{LEVEL}.model.5.weight"), f"{LEVEL}.model.5.weight is missing"),
        (fewer(SMALL, f"{LEVEL}.model.6.running_var"), f"{LEVEL}.model.6.running_var is missing"),
        (fewer(SMALL, "model.model.3.weight"), "model.model.3.weight is missing"),
        (renamed(SMALL, LEVEL, "model.model.1.model.4"), "U-Net of 2 levels has no form there, which has at least 5"),
        (
            changed(SMALL, model_model_1_model_1_weight=torch.zeros(9, 4, 4, 4)),
            r"model.model.1.model.1.weight is \(9, 4, 4, 4\), where \(8, 4, 4, 4\) is expected",
        ),
        (
            changed(SMALL, model_model_0_weight=torch.zeros(4, 3, 3, 3)),
            r"model.model.0.weight is \(4, 3, 3, 3\), where \(4, 3, 4, 4\) is expected",
        ),
        (changed(SMALL, model_model_0_weight=torch.zeros(4)), r"has the shape \(4,\), which is no convolution's"),
        (changed(SMALL, model_model_0_weight=torch.zeros(0, 3, 4, 4)), "base_channels=0"),
        (
            changed(SMALL, model_model_3_bias=torch.zeros(3, dtype=torch.int32)),
            "is of torch.int32, where torch.float32",
        ),
        (changed(SMALL, model_model_3_bias=torch.zeros(3, device="meta")), "'model.model.3.bias' is no tensor that"),
        (changed(SMALL, model_model_3_bias=torch.zeros(3).to_sparse()), "'model.model.3.bias' is no tensor that"),
        (
            changed(SMALL, model_model_0_weight=torch.zeros(1).expand(10**9, 3, 4, 4)),
            "'model.model.0.weight' is no tensor that the file holds",
        ),
        (Pixel().state_dict() | {"net.2.bias": torch.zeros(8)}, "'net.2.bias' has no place in its PixelDisc"),
        ({"model.0.weight": torch.zeros(4, 6, 4, 4)}, "num_layers=-1"),
        ({"model.1.weight": torch.zeros(4, 3, 7, 7)}, r"model.17.weight is missing"),
        (ResNet(2).state_dict() | {"model.4.filt": torch.zeros(3, 3)}, "'model.4.filt' has no place in its ResNet"),
    ],
)
def test_other_state_dicts_are_refused(tmp_path, content, reason):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=rf"other\.pth holds no network .*{reason}.*\): give a latest_net_G") as caught:
        read_junyanz(tmp_path / "other.pth")
    assert "\n" not in str(caught.value)


def html(path):
    path.write_text("<!DOCTYPE html><html><body>Sign in to download</body></html>")


def truncated(path):
    torch.save(SMALL, path)
    path.write_bytes(path.read_bytes()[:-40])


def truncated_legacy(path):
    legacy(SMALL, path)
    path.write_bytes(path.read_bytes()[:-40])


def other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (html, "no zip archive, or one that is cut short"),
        (lambda path: path.touch(), "no zip archive"),
        (truncated, "no zip archive, or one that is cut short"),
        (truncated_legacy, "unexpected EOF"),
        (other_zip, ""),
        (lambda path: torch.save(nn.Linear(2, 2), path), "it names torch.nn.modules.linear.Linear, and only plain"),
        (lambda path: legacy(nn.Linear(2, 2), path), ""),
    ],
)
def test_unreadable_files_are_refused(tmp_path, make, reason):
    make(tmp_path / "bad.pth")
    match = rf"bad\.pth cannot be read as a checkpoint \(.*{reason}.*\): give a latest_net_G\.pth or latest_net_D\.pth"
    with pytest.raises(ValueError, match=match) as caught:
        read_junyanz(tmp_path / "bad.pth")
    assert "\n" not in str(caught.value)
    assert "False" not in str(caught.value), "torch's advice to read it unsafely"


@pytest.mark.parametrize("write", [torch.save, legacy, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_no_code_is_run(tmp_path, write):
    mark = tmp_path / "owned"
    write(OrderedDict(SMALL, evil=Evil(mark)), tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth cannot be read as a checkpoint") as caught:
        read_junyanz(tmp_path / "evil.pth")
    assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("write", [torch.save, legacy])
def test_damaged_bytes_raise_user_errors_only(tmp_path, write):
    path, rng, refused = tmp_path / "damaged.pth", random.Random(0), 0
    write(trained(Pixel()).state_dict(), path)
    data = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(4):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_junyanz(path)
        except ValueError as error:
            assert str(error).startswith(str(path))  # noqa: PT017
            refused += 1
    assert refused > 10


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"latest_net_G\.pth does not exist: give a latest_net_G\.pth"):
        read_junyanz(tmp_path / "latest_net_G.pth")
