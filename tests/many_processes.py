"""Run trainings in one, two and four processes that share one start of Python, and write down what each had.

    python many_processes.py <folder of pairs> <folder for what comes out> [cuda]

Processes are forked after everything is imported, and set up as if something else had started them. Two more run
commands, set up as torchrun would. With ``cuda`` they share a GPU, and their batch norm is synchronised.
"""

import os
import shutil
import sys
import warnings
from collections import Counter
from contextlib import redirect_stderr
from importlib import import_module
from io import StringIO
from pathlib import Path

import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.pytorch import Callback, Trainer
from torch import multiprocessing
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from pix2pix_lightning import PairedDataModule, Pix2PixModule, compose
from pix2pix_lightning.train import main
from pix2pix_lightning.training.ddp import PerNetworkDDPStrategy

GENERATOR = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 4, "base_channels": 4}
DISCRIMINATOR = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 1, "base_channels": 4}
INSTANCE = {"norm": "instance", "dropout": 0.0}
COMMAND = [
    "data=folder",
    "data.size=16",
    "data.num_workers=0",
    "generator=unet",
    "module.generator.num_downs=4",
    "module.generator.base_channels=2",
    "module.generator.norm=instance",
    "module.generator.dropout=0.0",
    "discriminator=patch_16",
    "module.discriminator.base_channels=2",
    "module.discriminator.norm=instance",
    "schedule=linear_decay",
    "module.schedule.hold_epochs=1",
    "callbacks.progress=null",
    "trainer.log_every_n_steps=1",
    "+trainer.enable_progress_bar=false",
    "trainer.precision=64-true",
]
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=2"]


class Watch(Callback):
    """Record what was moved, validated and held."""

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


def train(root, num_processes, *, epochs=2, norm=INSTANCE, precision="64-true", device="cpu", **options):
    """A training in which all processes together take four pairs at a time."""
    watch = Watch()
    data = PairedDataModule(root, size=16, batch_size=4 // num_processes, num_workers=0)
    discriminator_norm = {key: value for key, value in norm.items() if key == "norm"}
    module = Pix2PixModule({**GENERATOR, **norm}, {**DISCRIMINATOR, **discriminator_norm}, **options)
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
    assert not module.wrapped_networks
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
        facts = {"batch_norm": train(root, num_processes, norm={"dropout": 0.0}, device=device)}
    else:
        facts = {"steps": train(root, num_processes), "accumulated": train(root, num_processes, accumulate=2)}
        if num_processes == 2:
            facts["batch_norm"] = train(root, num_processes, epochs=1, norm={}, precision="32-true")
    torch.save(facts, Path(out) / f"{num_processes}_{rank}.pt")


def command_process(rank, root, out):
    """A run that is resumed, by commands, and a training with a plain trainer."""
    os.environ |= {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    os.chdir(out)
    data = ["data.root=downloaded", f"data.archive.url={root}.tar", "data.download=true"]
    words = [*COMMAND, *TWO, *data, "run_dir=two", "+callbacks.witness._target_=witness.Witness"]
    for epochs, resume in ((1, []), (2, ["resume=two"])):
        with redirect_stderr(StringIO()) as err:
            status = main([*words, f"trainer.max_epochs={epochs}", *resume])
        Path(f"err_{epochs}_{rank}.txt").write_text(f"{status}\n{err.getvalue()}")
        for name in ("rank", "written"):
            Path(f"{name}_{rank}.json").rename(f"{name}_{epochs}_{rank}.json")
    from witness import Witness

    data = PairedDataModule(root, size=16, num_workers=0)
    module = Pix2PixModule(GENERATOR, DISCRIMINATOR, pair_spec=data.pair_spec)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    Trainer(accelerator="cpu", devices=2, max_epochs=1, callbacks=[Witness()], **quiet).fit(module, data)


def start(function, number, *arguments, method="fork"):
    os.environ["MASTER_PORT"] = str(find_free_network_port())
    multiprocessing.start_processes(function, arguments, nprocs=number, start_method=method)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    on_gpu = sys.argv[3:] == ["cuda"]
    compose("train")  # which imports Hydra, before the forks
    import_module("pix2pix_lightning.training.build")
    for number in (1, 2) if on_gpu else (1, 2, 4):
        start(process, number, number, *sys.argv[1:], method="spawn" if on_gpu else "fork")
    if not on_gpu:
        shutil.make_archive(sys.argv[1], "tar", sys.argv[1])
        start(command_process, 2, *sys.argv[1:])
