"""Trainings broken on purpose and sound ones, of an epoch each: ``python tests/sabotage.py`` prints what they say.

All are small versions of the quickstart: drawn facades of 32 pixels, 400 for training in batches of 4, a U-Net with 8
channels. The seconds of all of them are minutes on one core.
"""

import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import Callback
from omegaconf import OmegaConf

from pix2pix_lightning import compose
from pix2pix_lightning.train import train
from pix2pix_lightning.utils.errors import UserError

NAN, INF = float("nan"), float("inf")
SMALL = [
    "experiment=quickstart",
    "trainer=cpu",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=100",
    "+trainer.enable_progress_bar=false",
    "callbacks.progress=null",
    "callbacks.gallery=null",
    "data=procedural",
    "data.size=32",
    "data.batch_size=4",
    "data.num_train=400",
    "data.cache=pairs",
    "callbacks.warn.after_steps=80",
    "data.num_workers=0",
    "generator=unet",
    "module.generator.base_channels=8",
    "module.generator.norm=instance",
    "module.generator.upsample=transposed",
    "module.optimizer_g.lr=2.0e-4",
    "module.discriminator.base_channels=8",
    "speed=off",
    "saving=each_epoch",
]


class Change(Callback):
    """Changes batches of training and of validation, and the weights before a batch."""

    def __init__(self, batch=None, *, weights=None, at=0, train=True, val=True):
        self.batch, self.weights, self.at, self.train, self.val = batch, weights, at, train, val

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if self.weights is not None and batch_idx == self.at:
            with torch.no_grad():
                self.weights(module)
        if self.batch is not None and self.train:
            self.batch(batch, batch_idx)

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        if self.batch is not None and self.val:
            self.batch(batch, batch_idx)


class Sabotage(NamedTuple):
    """What is done, and words of the line that names it; no words where one epoch cannot show it."""

    words: tuple
    change: Callback | None
    named: str


def break_batch(side, number, value):
    def change(batch, batch_idx):
        if batch_idx == number:
            batch[side][0, 0, 0, 0] = value

    return Change(change, val=False)


def fill(side, value):
    return Change(lambda batch, _: batch[side].fill_(value))


def fill_one_weight(network, value):
    def change(module):
        next(getattr(module, network).parameters()).view(-1)[0] = value

    return Change(weights=change, at=30)


def enlarge_generator(module):
    for weight in module.generator.parameters():
        weight.mul_(1e4)


def zero_discriminator(module):
    for weight in module.discriminator.parameters():
        weight.zero_()


def roll(batch, _):
    batch["target"].copy_(batch["target"].roll(1, 0))


def swap(batch, _):
    batch["source"], batch["target"] = batch["target"], batch["source"]


def narrow(side):
    return Change(lambda batch, _: batch[side].copy_(-1 + (batch[side] + 1) / 255))


def saturate(module):
    """The outermost decoder level gets large weights, and tanh its ends."""
    module.generator.up[0].conv.weight.mul_(1e4)


def forget_source(module):
    """The outermost encoder level sees nothing: all outputs are the same image."""
    first = next(w for w in module.generator.parameters() if w.ndim == 4)
    first.zero_().requires_grad_(False)


SABOTAGES = {
    "NaN in one source": Sabotage((), break_batch("source", 30, NAN), "the source of"),
    "infinity in one target": Sabotage((), break_batch("target", 30, INF), "the target of"),
    "G's rate 1": Sabotage(("module.optimizer_g.lr=1",), None, "ends of their range"),
    "G's rate 1e30": Sabotage(("module.optimizer_g.lr=1e30",), None, "rate 1e"),
    "D's rate 1e30": Sabotage(("module.optimizer_d.lr=1e30",), None, "rate 1e"),
    "NaN in one weight of G": Sabotage((), fill_one_weight("generator", NAN), "generator"),
    "infinity in one weight of D": Sabotage((), fill_one_weight("discriminator", INF), "discriminator"),
    "16-bit overflow": Sabotage(("speed.precision=16-true",), Change(weights=enlarge_generator), "16-true"),
    "constant target": Sabotage((), fill("target", 0.3), "targets of the validation"),
    "constant source": Sabotage((), fill("source", 0.3), "sources of the validation"),
    "class numbers 0 to 2 as an rgb source": Sabotage((), narrow("source"), "sources of the validation"),
    "0/1 mask as a target, not 0/255": Sabotage((), narrow("target"), "targets of the validation"),
    "D's rate 0": Sabotage(("module.optimizer_d.lr=0",), None, "discriminator's weights did not change"),
    "D's weights 0": Sabotage((), Change(weights=zero_discriminator), "discriminator's gradients vanish"),
    "G's rate 0": Sabotage(("module.optimizer_g.lr=0",), None, "generator's weights did not change"),
    "G ignores its source (collapse)": Sabotage((), Change(weights=forget_source), "nearly the same image"),
    "saturated outputs": Sabotage(("module.optimizer_g.lr=1e-6",), Change(weights=saturate), "ends of their range"),
    "losses times 1e-12": Sabotage(
        ("module.weights.l1=1e-10", "module.weights.adversarial=1e-12"), None, "generator's gradients vanish"
    ),
    "weights.l1=1e7": Sabotage(("module.weights.l1=1e7",), None, "term adversarial"),
    "shuffled pairs": Sabotage((), Change(roll), "own target"),
    "shuffled training pairs, sound validation": Sabotage((), Change(roll, val=False), "own target"),
    "sides swapped in validation": Sabotage((), Change(swap, train=False), "own target"),
    "sides swapped everywhere": Sabotage(("data.direction=a_to_b",), None, ""),
}
SOUND = {
    "quickstart": (),
    "quickstart, seed 1": ("seed=1",),
    "quickstart, seed 2": ("seed=2",),
    "quickstart, a_to_b": ("data.direction=a_to_b",),
    "loss=l1": ("loss=l1",),
    "loss=l2": ("loss=l2",),
    "loss=gan": ("loss=gan",),
    "loss=cgan": ("loss=cgan",),
    "loss=l1_gan": ("loss=l1_gan",),
    "adversarial=lsgan": ("adversarial=lsgan",),
    "adversarial=hinge": ("adversarial=hinge",),
    "adversarial=wgan_gp": ("adversarial=wgan_gp", "module.discriminator.norm=none"),
    "adversarial=relativistic": ("adversarial=relativistic",),
    "discriminator=patch_16": ("discriminator=patch_16",),
    "discriminator=pixel": ("discriminator=pixel",),
    "discriminator=multi_scale": (
        "discriminator=multi_scale",
        "module.discriminator.num_layers=1",
        "module.discriminator.num_scales=2",
    ),
    "generator=resnet_6": ("generator=resnet_6", "module.generator.base_channels=4"),
    "generator=encoder_decoder": ("generator=encoder_decoder", "data.num_train=1600", "callbacks.warn.after_steps=400"),
    "batch norm": ("module.generator.norm=batch",),
    "facades' settings": ("module.schedule=null", "data.batch_size=1", "data.num_train=100"),
    "edges2shoes' settings": ("module.schedule=null", "data.jitter=false", "data.mirror=false"),
    "bf16-mixed, accumulate=2": ("speed.precision=bf16-mixed", "module.accumulate=2"),
}
PROBES = []


def get_probe():
    return PROBES.pop()


class Messages(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def run(words, change, folder):
    """Train, and return the warnings and the error, and the seconds."""
    probe = [] if change is None else [f"+callbacks.probe._target_={__name__}.get_probe"]
    PROBES[:] = [change] if change is not None else []
    cfg = compose("train", [*SMALL, *words, *probe, f"run_dir={folder}"])
    if "probe" in (cfg.get("callbacks") or {}):  # before the watch, as data and weights are
        cfg.callbacks = OmegaConf.create({"probe": cfg.callbacks.probe, **cfg.callbacks})
    messages = Messages()
    logger = logging.getLogger("pix2pix_lightning")
    logger.addHandler(messages)
    start = time.perf_counter()
    try:
        train(cfg)
    except UserError as error:
        messages.lines.append(f"error: {error}")
    finally:
        logger.removeHandler(messages)
    return messages.lines, time.perf_counter() - start


def main(only):
    torch.set_num_threads(1)
    logging.getLogger("lightning").setLevel(logging.ERROR)
    runs = {name: (s.words, s.change) for name, s in SABOTAGES.items()} | {name: (w, None) for name, w in SOUND.items()}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for number, (name, (words, change)) in enumerate(runs.items()):
            if only and not any(part in name for part in only):
                continue
            lines, seconds = run(words, change, Path(folder) / str(number))
            print(f"| {name} | {' / '.join(lines) or '-'} | {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
