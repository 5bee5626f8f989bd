"""The step against a plain PyTorch loop, and checkpoints that load by themselves."""

import copy

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.networks import PatchDiscriminator, UNetGenerator

SMALL_G = {
    "_target_": "pix2pix_lightning.networks.UNetGenerator",
    "num_downs": 4,
    "base_channels": 4,
    "norm": "instance",
    "dropout": 0.0,
}
SMALL_D = {
    "_target_": "pix2pix_lightning.networks.PatchDiscriminator",
    "num_layers": 2,
    "base_channels": 4,
    "norm": "instance",
}
ADAM = {"_target_": "torch.optim.Adam", "lr": 2e-3, "betas": [0.5, 0.999]}


def batches(count, size=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "source": torch.rand(size, 3, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1,
            "target": torch.rand(size, 3, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1,
            "name": [f"{i}_{j}" for j in range(size)],
        }
        for i in range(count)
    ]


def fit(module, data, epochs=1, **options):
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        precision="64-true",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, DataLoader(data, batch_size=None))
    return trainer


# ---- the plain loop, written from the papers' formulas and nothing of the package ------------------------------


def bce(logits, label):
    p = torch.sigmoid(logits)
    return -(torch.log(p) if label else torch.log(1 - p)).mean()


D_LOSS = {
    "Vanilla": lambda r, f: (bce(r, 1) + bce(f, 0)) / 2,
    "LeastSquares": lambda r, f: (((r - 1) ** 2).mean() + (f**2).mean()) / 2,
    "Hinge": lambda r, f: torch.clamp(1 - r, min=0).mean() + torch.clamp(1 + f, min=0).mean(),
    "Wasserstein": lambda r, f: f.mean() - r.mean(),
}
G_LOSS = {
    "Vanilla": lambda f: bce(f, 1),
    "LeastSquares": lambda f: ((f - 1) ** 2).mean(),
    "Hinge": lambda f: -f.mean(),
    "Wasserstein": lambda f: -f.mean(),
}


def plain_loop(generator, discriminator, data, form, *, conditional, epsilons=None, clip=None, windows=None):
    opt_g = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999)) if discriminator else None
    see = (lambda s, t: torch.cat([s, t], 1)) if conditional else (lambda s, t: t)
    for window in windows or [[i] for i in range(len(data))]:
        grads_d, grads_g = [], []
        opt_g.zero_grad()
        if opt_d:
            opt_d.zero_grad()
        for i in window:
            source, target = data[i]["source"], data[i]["target"]
            fake = generator(source)
            if discriminator:
                detached = fake.detach()
                loss = D_LOSS[form](discriminator(see(source, target)), discriminator(see(source, detached)))
                if form == "Wasserstein":
                    eps = epsilons[i]
                    mixed = (eps * target + (1 - eps) * detached).requires_grad_(True)
                    score = discriminator(see(source, mixed)).mean(dim=(1, 2, 3)).sum()
                    gradient = torch.autograd.grad(score, mixed, create_graph=True)[0]
                    loss = loss + 10 * ((gradient.pow(2).sum(dim=(1, 2, 3)).sqrt() - 1) ** 2).mean()
                grads_d.append(torch.autograd.grad(loss / len(window), list(discriminator.parameters())))
                if i == window[-1]:
                    apply(opt_d, discriminator, grads_d, clip)
            loss = 100 * (fake - target).abs().mean()
            if discriminator:
                loss = loss + G_LOSS[form](discriminator(see(source, fake)))
            grads_g.append(torch.autograd.grad(loss / len(window), list(generator.parameters())))
        apply(opt_g, generator, grads_g, clip)


def apply(optimizer, network, gradients, clip):
    for p, *g in zip(network.parameters(), *gradients, strict=True):
        p.grad = sum(g)
    if clip:
        norm = torch.sqrt(sum((p.grad**2).sum() for p in network.parameters()))
        for p in network.parameters():
            p.grad *= min(1.0, clip / (float(norm) + 1e-6))
    optimizer.step()


def assert_equal_weights(module, generator, discriminator, tolerance=1e-9):
    for ours, theirs in ((module.generator, generator), (module.discriminator, discriminator)):
        if theirs is None:
            continue
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert (a - b).abs().max() < tolerance, name


def double(module):
    return copy.deepcopy(module.generator).double(), copy.deepcopy(module.discriminator).double()


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("form", ["Vanilla", "LeastSquares", "Hinge", "Wasserstein"])
def test_five_steps_equal_a_plain_loop(form, conditional, monkeypatch):
    module = Pix2PixModule(
        SMALL_G,
        SMALL_D,
        adversarial={"_target_": f"pix2pix_lightning.losses.{form}Adversarial"},
        conditional=conditional,
        optimizer_g=ADAM,
        optimizer_d=ADAM,
    )
    generator, discriminator = double(module)
    data = batches(5)
    epsilons = [torch.rand(2, 1, 1, 1, dtype=torch.float64) for _ in data]
    left = iter(epsilons)
    monkeypatch.setattr("pix2pix_lightning.losses.adversarial.torch.rand", lambda *a, **k: next(left))
    fit(module, data)
    monkeypatch.undo()
    plain_loop(generator, discriminator, data, form, conditional=conditional, epsilons=epsilons)
    assert_equal_weights(module, generator, discriminator)
