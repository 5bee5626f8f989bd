"""Files of weights, damaged or with other descriptions: refused with a line, or the weights that were saved."""

import math
from functools import cache
from pathlib import Path

import pytest
import torch
from damage import apply_steps, steps
from hypothesis import strategies as st
from nested import JUNK, changed
from refusals import read_or_refuse

from pix2pix_lightning import networks
from pix2pix_lightning.checkpoints.checksums import NO_CHECKSUM
from pix2pix_lightning.checkpoints.files import read_checkpoint, write_checkpoint
from pix2pix_lightning.checkpoints.junyanz import read_junyanz, write_junyanz
from pix2pix_lightning.checkpoints.pretrained import write_safetensors
from pix2pix_lightning.inference.loading import open_module
from pix2pix_lightning.utils.instantiate import build
from small_networks import NETWORKS, save, trained

pytestmark = pytest.mark.fuzz

GENERATOR = {"_target_": f"{NETWORKS}.UNetGenerator", "num_downs": 2, "base_channels": 2, "dropout_at": "paper"}
SUFFIXES = {"training": ".ckpt", "pretrained": ".safetensors"}


@cache
def build_module():
    return trained(GENERATOR)


@pytest.fixture
def sound(tmp_path):
    """The bytes of both kinds of files of a module."""
    save(build_module(), tmp_path / "sound.ckpt")
    write_safetensors(build_module(), tmp_path / "sound.safetensors")
    return {kind: (tmp_path / f"sound{suffix}").read_bytes() for kind, suffix in SUFFIXES.items()}


def check_equal_weights(module):
    expected = build_module().state_dict()
    found = module.state_dict()
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == expected[name].dtype
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("kind", SUFFIXES)
def test_damaged_files(search, sound, kind):
    def attempt(changes):
        path = Path(f"damaged{SUFFIXES[kind]}")
        content = apply_steps(sound[kind], changes)
        path.write_bytes(content)
        module = read_or_refuse(open_module, path)
        # without the name of its checksum, a file counts as one of another program
        if module is not None and (kind == "training" or NO_CHECKSUM[:-8].encode() in content):
            check_equal_weights(module)

    search(steps(), attempt)


def test_other_descriptions(search, sound):
    """Plain data with single values changed, saved as training saves it."""
    Path("sound.ckpt").write_bytes(sound["training"])
    saved = read_checkpoint(Path("sound.ckpt"))
    described = {key: saved[key] for key in ("hyper_parameters", "pix2pix_lightning")}

    def attempt(data):
        path = Path("other.ckpt")
        write_checkpoint({**saved, **data}, path)
        module = read_or_refuse(open_module, path)
        if module is not None:
            check_equal_weights(module)

    search(changed(described), attempt)


NETWORKS_OF_JUNYANZ = {
    "unet": lambda: networks.UNetGenerator(num_downs=5, base_channels=1, dropout_at="junyanz", dropout=0.5),
    "resnet": lambda: networks.ResNetGenerator(num_blocks=1, base_channels=1, dropout=0.5),
    "patch": lambda: networks.PatchDiscriminator(in_channels=6, num_layers=1, base_channels=1),
    "pixel": lambda: networks.PixelDiscriminator(in_channels=6, base_channels=1),
}


@cache
def write_network(name, folder):
    path = Path(folder, f"{name}.pth")
    torch.manual_seed(0)
    write_junyanz(NETWORKS_OF_JUNYANZ[name](), path)
    return path


def read_network(path):
    found = read_or_refuse(read_junyanz, path)
    if found is None:
        return
    network = build(found.description)
    network.load_state_dict(found.state)
    assert sum(map(torch.numel, network.parameters())) < 10**6


def test_damaged_junyanz_files(search, tmp_path):
    def attempt(drawn):
        name, changes = drawn
        content = write_network(name, tmp_path).read_bytes()
        Path("latest_net_G.pth").write_bytes(apply_steps(content, changes))
        read_network(Path("latest_net_G.pth"))

    search(st.tuples(st.sampled_from(sorted(NETWORKS_OF_JUNYANZ)), steps()), attempt)


SHAPES = st.lists(st.integers(0, 5), max_size=5).map(tuple)


@st.composite
def changed_states(draw):
    """The name of a network, and changes of its state dict: (how, share of the keys, value)."""
    changes = st.tuples(
        st.sampled_from(["remove", "rename", "shape", "junk", "type", "wrap"]),
        st.floats(0, 1, exclude_max=True),
        SHAPES,
        JUNK,
    )
    return draw(st.sampled_from(sorted(NETWORKS_OF_JUNYANZ))), draw(st.lists(changes, min_size=1, max_size=3))


def test_other_junyanz_states(search, tmp_path):
    def attempt(drawn):
        name, changes = drawn
        state = dict(torch.load(write_network(name, tmp_path), weights_only=True))
        for how, share, shape, junk in changes:
            if not state:
                break
            key = list(state)[math.floor(share * len(state))]
            if how in ("remove", "rename"):
                value = state.pop(key)
                state |= {f"{key}{junk}": value} if how == "rename" else {}
            elif how == "shape":
                state[key] = torch.zeros(shape)
            elif how == "junk":
                state[key] = junk
            elif how == "type" and isinstance(state[key], torch.Tensor):
                state[key] = state[key].to(torch.int64 if state[key].is_floating_point() else torch.float64)
            elif how == "wrap":
                state = {f"module.{key}": value for key, value in state.items()}
        torch.save(state, "latest_net_G.pth")
        read_network(Path("latest_net_G.pth"))

    search(changed_states(), attempt)
