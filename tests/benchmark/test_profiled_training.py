import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.benchmark.profiled_training import profile_training
from pix2pix_lightning.benchmark.step_parts import OTHER, Part
from pix2pix_lightning.benchmark.step_ranges import mark_parts
from pix2pix_lightning.training.build import Training

CPU = torch.device("cpu")


def training(module, side=8, batches=100, **options):
    flags = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(accelerator="cpu", devices=1, **{"max_epochs": 9, **flags, **options})
    pair = {"source": torch.zeros(1, 3, side, side), "target": torch.zeros(1, 3, side, side), "name": [""]}
    return Training(DataLoader([pair] * batches, batch_size=None), module, trainer, {}, [])


def test_a_slow_layer_is_the_largest_part_and_the_parts_add_up():
    layers = {"narrow": nn.Conv2d(3, 64, 1), "slow": nn.Conv2d(64, 64, 9, padding=4), "last": nn.Conv2d(64, 3, 1)}
    generator = nn.Sequential()
    for name, layer in layers.items():
        generator.add_module(name, layer)
    discriminator = nn.Conv2d(6, 1, 1)
    parts = training(Pix2PixModule(generator, discriminator), side=64)
    result = profile_training(parts, CPU, rounds=3, turn=0)
    assert len(result.seconds) == len(result.profiled_seconds) == 3
    # 2.7 GFLOP forward and twice as many backward, next to 4 MFLOP
    largest = sorted(result.parts, key=lambda part: -result.parts[part])
    assert {*largest[:2]} == {Part("generator slow", "forward"), Part("generator slow", "backward")}
    assert sum(result.parts.values()) == pytest.approx(sorted(result.profiled_seconds)[1], rel=1e-6)
    assert 0 <= result.parts[OTHER] < sum(result.parts.values()) / 2
    assert {part.name for part in result.parts} >= {
        "generator narrow",
        "discriminator",
        "losses of the generator",
        "losses of the discriminator",
        "optimizer of the generator, Adam",
        "optimizer of the discriminator, Adam",
        "waiting for data",
        "batch to the device",
        "batch to floats",
        "logging",
        "clearing gradients",
    }
    assert not any("_Profiled" in part.name for part in result.parts)
    assert result.page_faults >= 0
    assert not result.epoch_ends


def build_small(**options):
    return Pix2PixModule(nn.Conv2d(3, 3, 1), nn.Conv2d(6, 1, 1), **options)


def test_turns_are_whole_cycles_of_the_settings_that_differ_between_steps():
    plain, cycles = (build_small(), build_small(accumulate=2, r1_weight=1.0, r1_every=3))
    for module in (plain, cycles):
        profile_training(training(module), CPU, rounds=1, turn=0)
    assert cycles.batches_seen - plain.batches_seen == 2 * (6 - 1)  # a turn and its profile


def test_ends_of_short_epochs_are_told():
    parts = training(build_small(r1_weight=1.0, r1_every=15), batches=20, max_epochs=30)
    assert profile_training(parts, CPU, rounds=1, turn=0, profiled=False).epoch_ends is False  # waits for the next one
    parts = training(build_small(), limit_train_batches=1, max_epochs=30)
    result = profile_training(parts, CPU, rounds=1, turn=0, profiled=False)
    assert result.epoch_ends is True
    assert result.parts == {}


def test_a_training_that_ends_early_is_an_error():
    with pytest.raises(ValueError, match=r"trainer\.max_epochs=1"):
        profile_training(training(build_small(), max_epochs=1, limit_train_batches=4), CPU, rounds=1, turn=0)


def test_marks_are_removed():
    module = build_small()
    optimizer = torch.optim.SGD(module.generator.parameters())
    before = {key: set(vars(owner)) for key, owner in (("module", module), ("optimizer", optimizer))}
    with mark_parts(module, [optimizer]):
        assert "step" in vars(optimizer)
        assert module.generator._forward_pre_hooks
    assert {"module": set(vars(module)), "optimizer": set(vars(optimizer))} == before
    assert not module.generator._forward_pre_hooks
    assert not module.generator._forward_hooks
