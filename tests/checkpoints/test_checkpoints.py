import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from pix2pix_lightning.checkpoints.files import LAST, checkpoint_in, read_checkpoint

CONTENT = {
    "pix2pix_lightning": {"module": "a.B", "live": [], "batches_seen": 0},
    "hyper_parameters": {"seed": 3, "weights": {"l1": 100.0}},
    "state_dict": {"weight": torch.arange(6.0).reshape(2, 3)},
}


class Evil:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def good(tmp_path):
    torch.save(CONTENT, tmp_path / "good.ckpt")
    return tmp_path / "good.ckpt"


def test_plain_data_comes_back(good):
    read = read_checkpoint(str(good))
    assert read["hyper_parameters"] == CONTENT["hyper_parameters"]
    assert torch.equal(read["state_dict"]["weight"], CONTENT["state_dict"]["weight"])


def truncated(path, good):
    path.write_bytes(good.read_bytes()[:-40])


def first_half(path, good):
    path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])


def hole(path, good):
    data = good.read_bytes()
    path.write_bytes(data[:200] + data[400:])


def empty(path, good):
    path.touch()


def text(path, good):
    path.write_text("weights\n")


def html(path, good):
    path.write_text("<!DOCTYPE html><html><body>Sign in to download</body></html>")


def other_zip(path, good):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")


def old_format(path, good):
    torch.save(CONTENT, path, _use_new_zipfile_serialization=False)


def state_dict(path, good):
    torch.save(nn.Linear(2, 2).state_dict(), path)


def whole_model(path, good):
    torch.save(nn.Linear(2, 2), path)


def lightning_s_own(path, good):
    torch.save({"hyper_parameters": {}, "state_dict": {}, "epoch": 1}, path)


def a_list(path, good):
    torch.save(["pix2pix_lightning", "hyper_parameters"], path)


@pytest.mark.parametrize(
    "make",
    [
        truncated,
        first_half,
        hole,
        empty,
        text,
        html,
        other_zip,
        old_format,
        state_dict,
        whole_model,
        lightning_s_own,
        a_list,
    ],
)
def test_a_file_that_is_none(tmp_path, good, make):
    path = tmp_path / "bad.ckpt"
    make(path, good)
    with pytest.raises(ValueError, match=r"bad\.ckpt.*: give a \.ckpt file that training wrote$") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert "False" not in str(caught.value), "torch's advice to read it unsafely"


def test_a_torchscript_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "script.ckpt", "w") as archive:
        for name in ("constants.pkl", "data.pkl", "version"):
            archive.writestr(f"script/{name}", "3\n")
    with pytest.raises(ValueError, match="TorchScript archives"):
        read_checkpoint(tmp_path / "script.ckpt")


@pytest.mark.parametrize("in_zip", [True, False])
def test_no_code_is_run(tmp_path, in_zip):
    mark, path = tmp_path / "owned", tmp_path / "evil.ckpt"
    content = {**CONTENT, "hyper_parameters": Evil(mark)}
    if in_zip:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"evil\.ckpt cannot be read") as caught:
        read_checkpoint(path)
    assert not mark.exists()
    assert not in_zip or "only plain data is read" in str(caught.value)
    torch.load(path, weights_only=False) if in_zip else pickle.loads(path.read_bytes())
    assert mark.exists(), "the file is harmless, the test shows nothing"


def test_damaged_bytes_are_no_bug(tmp_path, good):
    data, rng, refused = good.read_bytes(), random.Random(0), 0
    path = tmp_path / "damaged.ckpt"
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(4):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except ValueError as error:
            assert str(error).startswith(str(path))  # noqa: PT017
            refused += 1
    assert refused > 20


def test_a_run_s_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no checkpoints/best\.ckpt: give a \.ckpt file, or"):
        checkpoint_in(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt does not exist: give"):
        checkpoint_in(tmp_path / "none.ckpt")
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt does not exist: give"):
        read_checkpoint(tmp_path / "none.ckpt")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "last.ckpt").touch()
    assert checkpoint_in(tmp_path) == folder / "last.ckpt"
    (folder / "best.ckpt").touch()
    assert checkpoint_in(tmp_path) == folder / "best.ckpt"
    assert checkpoint_in(tmp_path, prefer=LAST) == folder / "last.ckpt"
    assert checkpoint_in(folder / "last.ckpt") == folder / "last.ckpt"
