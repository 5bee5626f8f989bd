from dataclasses import replace

import pytest
from lightning.pytorch import Trainer

from pix2pix_lightning import Pix2PixModule, compose
from pix2pix_lightning.benchmark.advice import Facts, add_measured, collect_facts, find_options
from pix2pix_lightning.benchmark.profiled_training import StepProfile
from pix2pix_lightning.benchmark.step_parts import GPU_WAITING, OTHER, WAITING

CPU = Facts(
    device="cpu",
    computes_bfloat16=True,
    is_own=True,
    can_fuse=True,
    has_matmul=True,
    has_winograd=True,
    can_keep_memory=True,
    can_capture=False,
    can_compile=False,
    cores=4,
    page_faults=50_000,
    waiting=0.2,
)
GPU = replace(CPU, device="cuda", can_capture=True, can_compile=True, gpu_waiting=0.5)
FLAGS = ["channels_last", "fused_optimizer", "matmul_convolutions", "keep_memory"]
ON_CPU = ["speed.precision", *(f"speed.{flag}" for flag in FLAGS), "data.num_workers", "data.cache"]
ON_GPU = ["speed.precision", "speed.channels_last", "speed.fused_optimizer", "speed.cuda_graph", "speed.compile"]
ON_GPU += ["data.num_workers", "data.cache"]


@pytest.fixture(scope="module")
def off():
    return compose("train", ["speed=off", "data=folder"])


def find_keys(cfg, facts):
    return [key for option in find_options(cfg, facts) for key in option.keys]


@pytest.mark.parametrize(("facts", "expected"), [(CPU, ON_CPU), (GPU, ON_GPU)], ids=["cpu", "gpu"])
def test_what_is_off_is_advised_and_what_is_on_is_not(off, facts, expected):
    assert find_keys(off, facts) == expected
    for key in expected:
        cfg = off.copy()
        group, _, name = key.partition(".")
        cfg[group][name] = {"precision": "bf16-mixed", "num_workers": 4}.get(name, True)
        assert find_keys(cfg, facts) == [other for other in expected if other != key]


@pytest.mark.parametrize(
    ("facts", "missing"),
    [
        ({"computes_bfloat16": False, "has_winograd": False}, {"speed.precision"}),
        ({"is_own": False}, {"speed.channels_last"}),
        ({"can_fuse": False}, {"speed.fused_optimizer"}),
        ({"has_matmul": False}, {"speed.matmul_convolutions"}),
        ({"can_keep_memory": False}, {"speed.keep_memory"}),
        ({"page_faults": 10}, {"speed.keep_memory"}),
        ({"waiting": 0.01}, {"data.num_workers", "data.cache"}),
        ({"cores": 2}, {"data.num_workers"}),  # there are two already
    ],
)
def test_an_option_is_advised_only_where_it_applies(off, facts, missing):
    assert set(ON_CPU) - set(find_keys(off, replace(CPU, **facts))) == missing


@pytest.mark.parametrize(
    ("facts", "missing"),
    [
        ({"gpu_waiting": 0.1}, {"speed.cuda_graph", "speed.compile"}),
        ({"can_capture": False}, {"speed.cuda_graph"}),
        ({"can_compile": False}, {"speed.compile"}),
        ({"is_own": False}, {"speed.channels_last", "speed.compile"}),
    ],
)
def test_a_gpu_that_waits_is_the_reason_for_graphs(off, facts, missing):
    assert set(ON_GPU) - set(find_keys(off, replace(GPU, **facts))) == missing


def test_fewer_products_are_for_float32_on_a_cpu(off):
    slow = replace(CPU, computes_bfloat16=False)
    assert "speed.winograd_convolutions" in find_keys(off, slow)
    assert "speed.winograd_convolutions" not in find_keys(off, replace(slow, has_winograd=False))
    assert "speed.winograd_convolutions" not in find_keys(off, replace(GPU, computes_bfloat16=False))
    cfg = off.copy()
    cfg.speed.winograd_convolutions = True
    assert "speed.winograd_convolutions" not in find_keys(cfg, slow)


def test_values_are_those_to_set(off):
    options = {key: value for option in find_options(off, CPU) for key, value in option.keys.items()}
    assert options["speed.precision"] == "bf16-mixed"
    assert options["data.num_workers"] == 4  # twice as many, no more than cores
    assert options["data.cache"] is True
    cfg = off.copy()
    cfg.trainer.precision = "32-true"  # by hand, which speed.precision would not change
    cfg.data.num_workers = 0
    options = {key: value for option in find_options(cfg, CPU) for key, value in option.keys.items()}
    assert options["trainer.precision"] == "bf16-mixed"
    assert "speed.precision" not in options
    assert options["data.num_workers"] == 1
    cfg.data.resize_on = "device"  # a cache holds resized pairs
    assert "data.cache" not in find_keys(cfg, CPU)


def test_the_defaults_leave_nothing_to_set():
    cfg = compose("train", ["speed=off", *(f"speed.{flag}=true" for flag in FLAGS), "speed.precision=bf16-mixed"])
    assert find_options(cfg, replace(CPU, waiting=0.0)) == []


def build_facts(generator, channels=4, **options):
    networks = "pix2pix_lightning.networks"
    discriminator = {"_target_": f"{networks}.PixelDiscriminator", "base_channels": 4}
    module = Pix2PixModule({"_target_": f"{networks}.{generator}", "base_channels": channels}, discriminator, **options)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    return collect_facts(compose("train"), module, trainer, "cpu")


def test_facts_of_networks_and_optimizers():
    facts = build_facts("UNetGenerator")
    assert (facts.is_own, facts.can_fuse, facts.has_matmul, facts.can_capture, facts.can_compile) == (
        True,
        True,
        True,
        False,
        False,
    )
    slow = {"_target_": "torch.optim.RMSprop"}  # has no fused step
    facts = build_facts("ResNetGenerator", optimizer_g=slow, optimizer_d=slow)
    assert not facts.can_fuse
    assert not facts.has_matmul
    assert not facts.has_winograd  # of 16 channels
    assert build_facts("ResNetGenerator", channels=32).has_winograd
    fused = {"_target_": "torch.optim.Adam", "fused": True}
    assert not build_facts("ResNetGenerator", optimizer_g=fused, optimizer_d=fused).can_fuse


def test_shares_are_of_the_profiled_step():
    result = StepProfile(parts={OTHER: 0.5, WAITING: 0.3, GPU_WAITING: 0.2}, page_faults=7.0)
    facts = add_measured(replace(CPU, waiting=0.0), result)
    assert (facts.page_faults, facts.waiting, facts.gpu_waiting) == (7.0, pytest.approx(0.3), pytest.approx(0.2))
