"""Damaged files of weights are refused, and absurd descriptions in them."""

import random
import re
import zipfile
import zlib
from pathlib import Path

import pytest
import torch

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.checkpoints.checksums import (
    CHECKSUM_KEY,
    NO_CHECKSUM,
    DamagedFileError,
    check_embedded,
    embed_checksum,
    verify_archive,
)
from pix2pix_lightning.checkpoints.files import read_batches_seen, read_checkpoint, read_data, write_checkpoint
from pix2pix_lightning.checkpoints.pretrained import read_pretrained
from pix2pix_lightning.checkpoints.pretrained.files import write_safetensors
from pix2pix_lightning.inference.loading import open_module
from pix2pix_lightning.utils.errors import UserError
from small_networks import UNET, save

TINY = {**UNET, "num_downs": 2, "base_channels": 2}


@pytest.fixture(scope="module")
def tiny():
    return Pix2PixModule(TINY, None)


@pytest.fixture
def checkpoint(tiny, tmp_path):
    return save(tiny, tmp_path / "run/checkpoints/last.ckpt")


def build_checkpoint(**changes):
    """The least that counts as a checkpoint."""
    own = {"module": "pix2pix_lightning.models.pix2pix.Pix2PixModule", "live": [], "batches_seen": 7}
    return {
        "hyper_parameters": {},
        "state_dict": {"a": torch.arange(100.0)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(64)}}}],
        "pix2pix_lightning": own,
        **changes,
    }


def flip(path, place, bit=0x10):
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(content)


def find_tensor(path, tensor):
    return path.read_bytes().index(tensor.numpy().tobytes())


def list_parts(path):
    """First and last place of each part of an archive that is read, by its name."""
    content = path.read_bytes()
    parts = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            start = info.header_offset + 30
            start += sum(int.from_bytes(content[start - k : start - k + 2], "little") for k in (4, 2))
            parts[info.filename.partition("/")[2]] = (start, start + info.file_size)
    return parts


def equals(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equals(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equals, one, other))
    return one == other


def test_a_flipped_bit_in_any_record_is_refused(checkpoint):
    sound, draw = checkpoint.read_bytes(), random.Random(0)
    parts = list_parts(checkpoint)
    assert len(parts) > 10
    for name, (start, end) in parts.items():
        for _ in range(3):
            checkpoint.write_bytes(sound)
            flip(checkpoint, draw.randrange(start, end), 1 << draw.randrange(8))
            with pytest.raises(UserError, match=r"last\.ckpt") as error:
                read_checkpoint(checkpoint)
            assert "\n" not in str(error.value), name


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(checkpoint):
    sound, contents, draw = checkpoint.read_bytes(), read_checkpoint(checkpoint), random.Random(1)
    with zipfile.ZipFile(checkpoint) as archive:
        end = archive.start_dir
    places = [draw.randrange(len(sound)) for _ in range(60)] + [draw.randrange(end, len(sound)) for _ in range(100)]
    refused = 0
    for place in places:
        checkpoint.write_bytes(sound)
        flip(checkpoint, place, 1 << draw.randrange(8))
        try:
            assert equals(read_checkpoint(checkpoint), contents), place
        except (UserError, OSError):
            refused += 1
    assert refused > 60


def test_a_checkpoint_cut_anywhere_is_refused(checkpoint):
    sound = checkpoint.read_bytes()
    for length in [0, 1, 4, len(sound) - 1, *range(10, len(sound), len(sound) // 30)]:
        checkpoint.write_bytes(sound[:length])
        with pytest.raises(UserError, match=r"last\.ckpt cannot be read as a checkpoint"):
            read_checkpoint(checkpoint)


def test_each_way_to_load_sees_a_flipped_weight(tiny, checkpoint):
    weight = tiny.state_dict()["generator.down.0.conv.weight"]
    flip(checkpoint, find_tensor(checkpoint, weight) + 5)
    for load in (open_module, Pix2PixModule.load_from_checkpoint, read_checkpoint):
        with pytest.raises(DamagedFileError, match=r"generator\.down\.0\.conv\.weight"):
            load(checkpoint)
    torch.save({"w": weight}, "latest_net_G.pth")
    flip(path := Path("latest_net_G.pth"), find_tensor(path, weight))
    with pytest.raises(DamagedFileError):
        read_data(path, hint="")


def test_only_tensors_that_are_used_are_compared():
    write_checkpoint(build_checkpoint(), path := Path("a.ckpt"))
    flip(path, find_tensor(path, torch.ones(64)))
    with pytest.raises(DamagedFileError, match="exp_avg"):
        read_checkpoint(path)
    assert equals(read_checkpoint(path, skip=["optimizer_states"])["state_dict"], {"a": torch.arange(100.0)})
    assert read_batches_seen(path) == 7


def test_archives_without_checksums_are_read():
    torch.serialization.set_crc32_options(False)
    try:
        write_checkpoint(build_checkpoint(), "a.ckpt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_checkpoint("a.ckpt")["state_dict"]["a"], torch.arange(100.0))


def test_compressed_archives_are_refused():
    write_checkpoint(build_checkpoint(zeros=torch.zeros(10**6)), "a.ckpt")
    with zipfile.ZipFile("a.ckpt") as archive, zipfile.ZipFile("b.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for info in archive.infolist():
            packed.writestr(info.filename, archive.read(info))
    assert Path("b.pth").stat().st_size < 10**5
    with pytest.raises(UserError, match=r"b\.pth cannot be read"):
        read_data(Path("b.pth"), hint="")


def test_the_damage_takes_the_place_of_errors_that_it_causes(tiny):
    """A shape that is another in the file is no error of the description."""
    state = {**tiny.state_dict(), "generator.down.0.conv.weight": torch.zeros(1)}
    write_checkpoint(build_checkpoint(hyper_parameters=dict(tiny.hparams), state_dict=state), path := Path("a.ckpt"))
    with pytest.raises(UserError, match=r"4x3x4x4|2x3x4x4"):
        Pix2PixModule.load_from_checkpoint(path)
    weight = state["generator.up.0.conv.weight"]
    flip(path, find_tensor(path, weight))
    with pytest.raises(DamagedFileError, match=r"up\.0\.conv\.weight"):
        Pix2PixModule.load_from_checkpoint(path)


def test_a_flipped_bit_in_safetensors_is_refused(tiny):
    path = Path("model.safetensors")
    write_safetensors(tiny, path)
    sound, contents, draw = path.read_bytes(), read_pretrained(path), random.Random(2)
    size = 8 + int.from_bytes(sound[:8], "little")
    digits = sound.index(NO_CHECKSUM[:-8].encode()) + len(NO_CHECKSUM) - 8
    zeroed = sound[:digits] + b"0" * 8 + sound[digits + 8 :]
    assert int(sound[digits : digits + 8], 16) == zlib.crc32(zeroed)
    for place in [draw.randrange(size) for _ in range(40)] + [draw.randrange(size, len(sound)) for _ in range(40)]:
        path.write_bytes(sound)
        flip(path, place, 1 << draw.randrange(8))
        try:
            changed = read_pretrained(path)
        except (UserError, OSError):
            continue
        mark = range(digits - 24 - len(CHECKSUM_KEY), digits)  # the name of the checksum itself
        assert place in mark, place
        assert equals(changed, contents)


def test_files_without_a_checksum_are_read():
    check_embedded(b"anything", Path("a"))
    content = bytearray(b"x" * 5_000_000 + NO_CHECKSUM.encode() + b"y" * 100)
    embed_checksum(content)
    check_embedded(bytes(content), Path("a"))
    content[3] = 0
    with pytest.raises(DamagedFileError, match=r"^a is damaged"):
        check_embedded(bytes(content), Path("a"))


def test_an_archive_of_any_kind_is_compared_as_a_whole():
    torch.save([torch.arange(50.0)], path := Path("a.pt2"))
    verify_archive(path)
    flip(path, find_tensor(path, torch.arange(50.0)))
    with pytest.raises(DamagedFileError):
        verify_archive(path)
    path.write_bytes(b"")
    with pytest.raises(zipfile.BadZipFile):
        verify_archive(path)


# ---- descriptions of absurd size -----------------------------------------------------------------------------------


def nest(depth):
    value = {}
    for _ in range(depth):
        value = {"a": [value]}
    return value


def multiply(times):
    """A list of a few objects that holds ten to the power of ``times`` numbers."""
    value = [1] * 10
    for _ in range(times - 1):
        value = [value] * 10
    return value


NETWORKS = "pix2pix_lightning.networks"
ABSURD = {
    "nested": {"generator": nest(200)},
    "many": {"generator": multiply(12)},
    "blocks": {"generator": {"_target_": f"{NETWORKS}.ResNetGenerator", "num_blocks": 10**9}},
    "levels": {"generator": {"_target_": f"{NETWORKS}.UNetGenerator", "num_downs": 10**7}},
    "layers": {"discriminator": {"_target_": f"{NETWORKS}.PatchDiscriminator", "num_layers": 10**9}},
    "scales": {"discriminator": {"_target_": f"{NETWORKS}.MultiScaleDiscriminator", "num_scales": 10**8}},
    "width": {"generator": {"_target_": f"{NETWORKS}.UNetGenerator", "base_channels": 10**9}},
    "transformer": {"generator": {"_target_": "torch.nn.Transformer", "num_encoder_layers": 10**9}},
    "image": {"pair_spec": {"size": 10**6}},
    "resized image": {"pair_spec": {"load_size": 10**12}},
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_descriptions_are_refused_before_anything_is_built(name, tiny, monkeypatch):
    parts = {**tiny.hparams, **ABSURD[name]}
    write_checkpoint(build_checkpoint(hyper_parameters=parts, state_dict=tiny.state_dict()), "a.ckpt")
    monkeypatch.setattr(Pix2PixModule, "configure_models", lambda self: pytest.fail("it is being built"))
    with pytest.raises(UserError, match=r"a\.ckpt") as error:
        open_module(Path("a.ckpt"))
    assert re.search(r"32|10000|1 to \d+|65536", str(error.value))
    assert "\n" not in str(error.value)


def test_hyperparameters_that_contain_themselves_are_refused():
    parts = {"generator": {}}
    parts["generator"]["again"] = parts
    write_checkpoint(build_checkpoint(hyper_parameters=parts), "a.ckpt")
    with pytest.raises(UserError, match=r"a\.ckpt .*nested"):
        read_checkpoint("a.ckpt")
