"""Moments of optimizers in bfloat16."""

import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from pix2pix_lightning.checkpoints.files import read_checkpoint, write_checkpoint
from pix2pix_lightning.checkpoints.moments import find_moments, has_narrowed_moments, narrow_moments
from pix2pix_lightning.utils.errors import UserError

OWN = {"version": "0", "module": "", "live": [], "batches_seen": 1}


def take_steps(kind, **options):
    """Return an optimizer after two steps on weights in both memory layouts."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)).to(memory_format=torch.channels_last)
    optimizer = kind(network.parameters(), lr=1.0 / 3, **options)
    for _ in range(2):
        network(torch.rand(1, 3, 8, 8)).square().sum().backward()
        optimizer.step()
    return network, optimizer


def round_to_bfloat16(bits):
    """Round float32 numbers, given as their bits, to the nearest bfloat16, ties to even: float32 numbers again."""
    upper, lower = bits >> 16, bits & 0xFFFF
    upper = upper + ((lower > 0x8000) | ((lower == 0x8000) & (upper & 1 == 1)))
    return (upper << 16).astype(np.uint32).view(np.float32)


def test_values_of_all_sizes_are_rounded_to_the_nearest():
    draw = np.random.default_rng(0)
    exponents = np.arange(255, dtype=np.uint64).repeat(400) << 23  # from denormal numbers to the largest
    bits = exponents | draw.integers(0, 2**23, exponents.size, dtype=np.uint64)
    bits[::5] &= 0xFFFF8000  # ties, and numbers that bfloat16 has
    bits |= draw.integers(0, 2, bits.size, dtype=np.uint64) << 31
    values = bits.astype(np.uint32).view(np.float32)
    states = [{"state": {0: {"exp_avg_sq": torch.from_numpy(values)}}, "param_groups": []}]
    rounded = narrow_moments(states)[0]["state"][0]["exp_avg_sq"].float().numpy()
    assert np.array_equal(rounded, round_to_bfloat16(bits))
    assert np.array_equal(np.signbit(rounded), np.signbit(values))
    size = np.abs(values).astype(np.float64)
    lost, infinite = (rounded == 0) & (size > 0), np.isinf(rounded)
    assert lost.any()
    assert size[lost].max() < 4.6e-41
    assert size[infinite].min() > 3.396e38
    normal = (size >= np.finfo(np.float32).tiny) & ~infinite
    assert (np.abs(rounded.astype(np.float64) - values)[normal] <= size[normal] / 256).all()


@pytest.mark.parametrize(
    ("kind", "options", "rounded", "exact"),
    [
        (torch.optim.Adam, {"amsgrad": True}, {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}, {"step"}),
        (
            torch.optim.RMSprop,
            {"momentum": 0.5, "centered": True},
            {"square_avg", "momentum_buffer", "grad_avg"},
            {"step"},
        ),
        (torch.optim.ASGD, {}, set(), {"step", "eta", "mu", "ax"}),
        (torch.optim.Rprop, {}, set(), {"step", "prev", "step_size"}),
    ],
)
def test_moments_alone_are_rounded_and_only_in_the_copy(kind, options, rounded, exact):
    _, optimizer = take_steps(kind, **options)
    before = optimizer.state_dict()
    (after,) = narrow_moments([before])
    assert after["param_groups"] == before["param_groups"]
    assert after["state"].keys() == before["state"].keys()
    for number, state in after["state"].items():
        assert state.keys() == rounded | exact
        for name, value in state.items():
            own = before["state"][number][name]
            assert own.dtype == torch.float32
            assert value.dtype == (torch.bfloat16 if name in rounded else torch.float32)
            assert value.stride() == own.stride()
            if name in exact:
                assert torch.equal(value, own)
    assert find_moments([before], torch.float32) == bool(rounded)
    assert find_moments([after], torch.bfloat16) == bool(rounded)


def test_an_optimizer_that_loads_them_has_float32_again():
    _, optimizer = take_steps(torch.optim.Adam)
    saved = narrow_moments([optimizer.state_dict()])[0]
    _, other = take_steps(torch.optim.Adam)
    other.load_state_dict(saved)
    for (_, own), (_, read) in zip(optimizer.state.items(), other.state.items(), strict=True):
        assert torch.equal(read["step"], own["step"])
        for name in ("exp_avg", "exp_avg_sq"):
            bits = own[name].contiguous().numpy().view(np.uint32).astype(np.uint64)
            assert read[name].dtype == torch.float32
            assert np.array_equal(read[name].contiguous().numpy(), round_to_bfloat16(bits))


def test_rounding_is_told_from_training_in_bfloat16():
    network, optimizer = take_steps(torch.optim.Adam)
    exact = {"state_dict": network.state_dict(), "optimizer_states": [optimizer.state_dict()]}
    assert not has_narrowed_moments(exact)
    assert has_narrowed_moments({**exact, "optimizer_states": narrow_moments(exact["optimizer_states"])})
    own = {
        "state_dict": {name: value.bfloat16() for name, value in exact["state_dict"].items()},
        "optimizer_states": narrow_moments(exact["optimizer_states"]),
    }
    assert not has_narrowed_moments(own)
    assert not has_narrowed_moments({"state_dict": exact["state_dict"]})


def test_damage_in_rounded_moments_is_noticed(tmp_path):
    network, optimizer = take_steps(torch.optim.Adam)
    states = narrow_moments([optimizer.state_dict()])
    checkpoint = {"state_dict": network.state_dict(), "hyper_parameters": {}, "pix2pix_lightning": OWN}
    path = tmp_path / "last.ckpt"
    write_checkpoint({**checkpoint, "optimizer_states": states}, path)
    assert read_checkpoint(path)["optimizer_states"][0]["state"][0]["exp_avg"].dtype == torch.bfloat16
    moment = states[0]["state"][0]["exp_avg_sq"].untyped_storage().nbytes()
    with zipfile.ZipFile(path) as archive:
        (record, *_) = (one for one in archive.infolist() if "/data/" in one.filename and one.file_size == moment)
        content = archive.read(record)
    whole = bytearray(path.read_bytes())
    whole[whole.index(content) + moment // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"last\.ckpt"):
        read_checkpoint(path)
