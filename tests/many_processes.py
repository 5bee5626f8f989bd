"""Runs trainings in one, two and four processes that share one start of Python, and writes down what each had.

    python many_processes.py <folder of pairs> <folder for what comes out> [cuda]

Processes are forked after everything is imported, and set up as if something else had started them. With ``cuda`` they
share a GPU, and their batch norm is synchronised.
"""

import os
import sys
import warnings
from collections import Counter
from pathlib import Path

import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.pytorch import Callback, Trainer
from torch import multiprocessing
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from pix2pix_lightning import PairedDataModule, Pix2PixModule
from pix2pix_lightning.training.ddp import PerNetworkDDPStrategy

GENERATOR = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 4, "base_channels": 4}
DISCRIMINATOR = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 1, "base_channels": 4}
INSTANCE = {"norm": "instance", "dropout": 0.0}


class Watch(Callback):
    """Keeps what was moved, validated and held."""

    def __init__(self):
        self.moved = []  # of each batch, bytes of each network
        self.names = []
        self.statistics = []  # before and in a checkpoint from the middle of an epoch

    def count(self, state, bucket: torch.distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
        self.moved[-1][bucket.parameters()[0].reducer] += bucket.buffer().nbytes
        return allreduce_hook(None, bucket)

    def on_train_start(self, trainer, module):
        for name in ("generator", "discriminator"):
            for parameter in getattr(module, name).parameters():
                parameter.reducer = name

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.moved.append(Counter())

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if any("running_mean" in name for name in module.state_dict()):
            before = running_statistics(module.state_dict())
            trainer.save_checkpoint("middle.ckpt")
            self.statistics.append((before, running_statistics(module.state_dict())))

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        self.names += batch["name"]


def running_statistics(state):
    return {name: value.clone() for name, value in state.items() if "running_" in name}


def trained(root, num_processes, *, epochs=5, norm=INSTANCE, precision="64-true", device="cpu", **options):
    """A training in which all processes together take four pairs at a time."""
    watch = Watch()
    data = PairedDataModule(root, size=16, batch_size=4 // num_processes, num_workers=0)
    of_discriminator = {key: value for key, value in norm.items() if key == "norm"}
    module = Pix2PixModule({**GENERATOR, **norm}, {**DISCRIMINATOR, **of_discriminator}, **options)
    strategy = PerNetworkDDPStrategy(
        ddp_comm_hook=watch.count,
        parallel_devices=[torch.device(device, 0) if device == "cuda" else torch.device(device)] * num_processes,
        process_group_backend="gloo",
    )
    trainer = Trainer(
        accelerator=device,
        precision=precision,
        max_epochs=epochs,
        strategy=strategy,
        sync_batchnorm=device == "cuda",
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    assert not module.reducers
    return {
        "state": {name: value.cpu() for name, value in module.state_dict().items()},
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")},
        "moved": [dict(counted) for counted in watch.moved],
        "names": watch.names,
        "statistics": watch.statistics,
    }


def process(rank, num_processes, root, out, device="cpu"):
    os.environ["LOCAL_RANK"] = str(rank)
    if device == "cuda":
        facts = {"batch_norm": trained(root, num_processes, norm={"dropout": 0.0}, device=device)}
    else:
        facts = {
            "steps": trained(root, num_processes),
            "accumulated": trained(root, num_processes, epochs=2, accumulate=2),
        }
        if num_processes == 2:
            facts["batch_norm"] = trained(root, num_processes, epochs=1, norm={}, precision="32-true")
    torch.save(facts, Path(out) / f"{num_processes}_{rank}.pt")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    on_gpu = sys.argv[3:] == ["cuda"]
    for number in (1, 2) if on_gpu else (1, 2, 4):
        os.environ["MASTER_PORT"] = str(find_free_network_port())
        arguments = (number, *sys.argv[1:])
        multiprocessing.start_processes(process, arguments, nprocs=number, start_method="spawn" if on_gpu else "fork")
