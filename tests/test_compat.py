"""Each private interface in compat.py still exists and does what its caller relies on."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from omegaconf import OmegaConf
from torch import nn

from pix2pix_lightning import compat
from pix2pix_lightning.cli.conf import find_conf_dir


def test_a_configuration_is_composed_inside_of_another_and_gives_hydra_back():
    with initialize_config_dir(str(find_conf_dir()), version_base="1.3"):
        outer = GlobalHydra.instance().hydra
        with compat.isolate_hydra(), initialize_config_dir(str(find_conf_dir()), version_base="1.3"):
            assert compose("predict").mode == "deterministic"
        assert GlobalHydra.instance().hydra is outer
    with pytest.raises(KeyError), compat.isolate_hydra():
        raise KeyError
    assert GlobalHydra.instance().hydra is None


def test_overrides_are_parsed():
    single, swept, added = compat.parse_overrides(["data.size=128", "loss=l1,l2", "+a.b={c: [1, x]}"])
    assert (single.key_or_group, single.value(), single.is_sweep_override()) == ("data.size", 128, False)
    assert swept.is_sweep_override()
    assert added.is_add()
    assert added.value() == {"c": [1, "x"]}


def test_overrides_are_applied():
    cfg = OmegaConf.create({"data": {"size": 256, "root": "pairs"}})
    OmegaConf.set_struct(cfg, True)
    compat.apply_overrides(cfg, compat.parse_overrides(["data.size=128", "~data.root", "+data.mirror=true"]))
    assert cfg == {"data": {"size": 128, "mirror": True}}
    with pytest.raises(HydraException, match=r"data\.sise"):
        compat.apply_overrides(cfg, compat.parse_overrides(["data.sise=128"]))


def test_bfloat16_of_the_cpu_is_known():
    assert compat.cpu_has_bfloat16() in (True, False)


def test_changes_of_a_tensor_are_counted():
    weight = nn.Linear(2, 2).weight
    before = compat.count_changes(weight)
    with torch.no_grad():
        weight.sum()
        assert compat.count_changes(weight) == before
        weight.add_(1)
    assert compat.count_changes(weight) > before


def test_plain_ddp_is_told_to_find_unused_parameters():
    strategy = DDPStrategy()
    compat.allow_unused_parameters(strategy)
    told = DDPStrategy(find_unused_parameters=True)
    assert strategy._ddp_kwargs == told._ddp_kwargs


def test_synchronized_batch_norm_is_recognised():
    strategy = DDPStrategy()
    assert not compat.syncs_batch_norm(strategy)
    strategy._layer_sync = TorchSyncBatchNorm()
    assert compat.syncs_batch_norm(strategy)
    assert not compat.syncs_batch_norm(SingleDeviceStrategy(torch.device("cpu")))
    synced = TorchSyncBatchNorm().apply(nn.Sequential(nn.BatchNorm2d(2)))
    reverted = TorchSyncBatchNorm().revert(synced)
    assert compat.is_unsynced_batch_norm(reverted[0])
    assert not compat.is_unsynced_batch_norm(nn.BatchNorm2d(2))


def test_an_interruption_is_known_with_and_without_a_trainer():
    module = LightningModule()
    assert not compat.is_interrupted(module)
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert not compat.is_interrupted(module)
    module.trainer.state.status = "interrupted"
    assert compat.is_interrupted(module)


def test_a_step_outside_of_python_is_counted():
    optimizer = LightningOptimizer(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))
    calls = []
    optimizer._on_before_step = lambda: calls.append("before")
    optimizer._on_after_step = lambda: calls.append("after")
    compat.count_optimizer_step(optimizer)
    assert calls == ["before", "after"]
