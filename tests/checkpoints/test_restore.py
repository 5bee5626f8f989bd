import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR, ExponentialLR, SequentialLR

from pix2pix_lightning.checkpoints.files import PROJECT_KEY
from pix2pix_lightning.checkpoints.restore import detach_lr_tensors, restore_module


def test_memory_that_runs_out_is_no_fault_of_the_file():
    def build(**parts):
        return torch.empty(2**50)

    saved = {"hyper_parameters": {}, "state_dict": {}, PROJECT_KEY: {"live": []}}
    with pytest.raises(RuntimeError, match="you tried to allocate"):
        restore_module(build, saved, origin="a.ckpt", live={})


def test_learning_rates_become_numbers_in_optimizers_and_nested_schedules():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.5))
    parts = [ConstantLR(optimizer, factor=1.0), ExponentialLR(optimizer, 0.9)]
    schedule = SequentialLR(optimizer, parts, milestones=[2])
    checkpoint = {"optimizer_states": [optimizer.state_dict()], "lr_schedulers": [schedule.state_dict()]}
    detach_lr_tensors(checkpoint)
    (group,) = checkpoint["optimizer_states"][0]["param_groups"]
    rates = [group["lr"], *checkpoint["lr_schedulers"][0]["_last_lr"]]
    rates += [rate for part in checkpoint["lr_schedulers"][0]["_schedulers"] for rate in part["base_lrs"]]
    assert rates == [0.5] * 4
    assert {type(rate) for rate in rates} == {float}
