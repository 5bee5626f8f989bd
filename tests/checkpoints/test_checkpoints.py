import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from pix2pix_lightning.checkpoints.files import LAST, find_checkpoint, read_checkpoint, read_data
from pix2pix_lightning.utils.errors import UserError

CONTENT = {
    "pix2pix_lightning": {"module": "a.B", "live": [], "batches_seen": 0},
    "hyper_parameters": {"seed": 3, "weights": {"l1": 100.0}},
    "state_dict": {"weight": torch.arange(6.0).reshape(2, 3)},
}


class Evil:
    """An object whose unpickling creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def valid(tmp_path):
    torch.save(CONTENT, tmp_path / "valid.ckpt")
    return tmp_path / "valid.ckpt"


def test_plain_data_is_read_back(valid):
    read = read_checkpoint(str(valid))
    assert read["hyper_parameters"] == CONTENT["hyper_parameters"]
    assert torch.equal(read["state_dict"]["weight"], CONTENT["state_dict"]["weight"])


def truncated(path, valid):
    path.write_bytes(valid.read_bytes()[:-40])


def first_half(path, valid):
    path.write_bytes(valid.read_bytes()[: valid.stat().st_size // 2])


def hole(path, valid):
    data = valid.read_bytes()
    path.write_bytes(data[:200] + data[400:])


def empty(path, valid):
    path.touch()


def text(path, valid):
    path.write_text("weights\n")


def html(path, valid):
    path.write_text("<!DOCTYPE html><html><body>Sign in to download</body></html>")


def other_zip(path, valid):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")


def old_format(path, valid):
    torch.save(CONTENT, path, _use_new_zipfile_serialization=False)


def state_dict(path, valid):
    torch.save(nn.Linear(2, 2).state_dict(), path)


def whole_model(path, valid):
    torch.save(nn.Linear(2, 2), path)


def other_module(path, valid):
    torch.save({"hyper_parameters": {}, "state_dict": {}, "epoch": 1}, path)


def a_list(path, valid):
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
        other_module,
        a_list,
    ],
)
def test_other_files_are_refused(tmp_path, valid, make):
    path = tmp_path / "bad.ckpt"
    make(path, valid)
    with pytest.raises(ValueError, match=r"bad\.ckpt.*: give a \.ckpt file that training wrote$") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert "False" not in str(caught.value), "torch's advice to read it unsafely"


def test_memory_that_runs_out_is_no_fault_of_the_file(tmp_path, valid, monkeypatch):
    old_format(tmp_path / "old.pth", valid)
    monkeypatch.setattr(torch, "load", lambda *args, **options: torch.empty(2**50))
    with pytest.raises(RuntimeError, match="you tried to allocate"):
        read_checkpoint(valid)
    with pytest.raises(UserError, match=r"old\.pth cannot be read .*damaged, or there is not enough memory"):
        read_data(tmp_path / "old.pth", hint="")  # which damage may have made so large


def test_torchscript_archive_is_refused(tmp_path):
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


def test_damaged_bytes_raise_user_errors_only(tmp_path, valid):
    data, rng, refused = valid.read_bytes(), random.Random(0), 0
    path = tmp_path / "damaged.ckpt"
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(4):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except ValueError as error:
            assert str(error).startswith(str(path))  # noqa: PT017
            refused += 1
    assert refused > 10


def test_checkpoint_in_the_folder_of_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no checkpoints/best\.ckpt: give a \.ckpt file, or"):
        find_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt does not exist: give"):
        find_checkpoint(tmp_path / "none.ckpt")
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt does not exist: give"):
        read_checkpoint(tmp_path / "none.ckpt")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "last.ckpt").touch()
    assert find_checkpoint(tmp_path) == folder / "last.ckpt"
    (folder / "best.ckpt").touch()
    assert find_checkpoint(tmp_path) == folder / "best.ckpt"
    assert find_checkpoint(tmp_path, prefer=LAST) == folder / "last.ckpt"
    assert find_checkpoint(folder / "last.ckpt") == folder / "last.ckpt"
