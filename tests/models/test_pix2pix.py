"""The step against a plain PyTorch loop, and checkpoints that load by themselves."""

import copy
import sys
import types
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import LambdaCallback
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

import float_batches
import small_networks
from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.networks import PatchDiscriminator, UNetGenerator

SMALL_G = {
    "_target_": "pix2pix_lightning.networks.UNetGenerator",
    "num_downs": 4,
    "base_channels": 4,
    "dropout": 0.0,
}
SMALL_D = {
    "_target_": "pix2pix_lightning.networks.PatchDiscriminator",
    "num_layers": 2,
    "base_channels": 4,
    "norm": "none",  # a bias before a norm has a gradient of rounding noise, which Adam makes steps of
}
ADAM = {"_target_": "torch.optim.Adam", "lr": 2e-3, "betas": [0.5, 0.999]}
fit = partial(float_batches.fit, precision="64-true")


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


def save(module, path, **options):
    trainer = fit(module, batches(1), **options)
    trainer.save_checkpoint(path)
    return path


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


def plain_loop(generator, discriminator, data, form, *, conditional=True, epsilons=None, clip=None, windows=None):
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
            if "counts" in data[i]:
                fake = data[i]["counts"] * fake + (1 - data[i]["counts"]) * target
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
            num_counted = data[i]["counts"].expand_as(target).sum() if "counts" in data[i] else target.numel()
            loss = 100 * (fake - target).abs().sum() / num_counted
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


def list_paths(form):
    return {"_target_": f"pix2pix_lightning.losses.{form}Adversarial"}


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("form", ["Vanilla", "LeastSquares", "Hinge", "Wasserstein"])
def test_five_steps_equal_a_plain_loop(form, conditional, monkeypatch):
    module = Pix2PixModule(
        SMALL_G, SMALL_D, adversarial=list_paths(form), conditional=conditional, optimizer_g=ADAM, optimizer_d=ADAM
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


LABELS = {"target": {"kind": "label", "num_classes": 3, "ignore_index": 255}}


def ignore_pixels(data, share=0.4):
    """Give the targets classes, but for a share of the pixels and for all of the last image; return the batches."""
    generator = torch.Generator().manual_seed(0)
    for batch in data:
        numbers = torch.randint(3, (2, 1, 32, 32), generator=generator)
        is_ignored = torch.rand(2, 1, 32, 32, generator=generator) < share
        is_ignored[1] |= batch is data[-1]
        batch["target"] = numbers.masked_fill(is_ignored, 255)
    return data


def encode_by_hand(batch):
    """One-hot targets in [-1, 1] of floats, and which pixels count."""
    numbers = batch["target"]
    one_hot = torch.cat([(numbers == number).double() for number in range(3)], 1)
    return {**batch, "target": one_hot * 2 - 1, "counts": (numbers != 255).double()}


@pytest.mark.parametrize("form", ["Vanilla", "Wasserstein"])
def test_steps_on_targets_without_a_class_in_some_pixels_equal_a_plain_loop(form, monkeypatch):
    module = Pix2PixModule(
        SMALL_G, SMALL_D, adversarial=list_paths(form), optimizer_g=ADAM, optimizer_d=ADAM, pair_spec=LABELS
    )
    generator, discriminator = double(module)
    data = ignore_pixels(batches(3))
    epsilons = [torch.rand(2, 1, 1, 1, dtype=torch.float64) for _ in data]
    left = iter(epsilons)
    monkeypatch.setattr("pix2pix_lightning.losses.adversarial.torch.rand", lambda *a, **k: next(left))
    fit(module, data)
    monkeypatch.undo()
    by_hand = [encode_by_hand(batch) for batch in data]
    plain_loop(generator, discriminator, by_hand, form, epsilons=epsilons)
    assert_equal_weights(module, generator, discriminator)


class Picture(nn.Module):
    """A generator of one output, whose every pixel is learned by itself."""

    def __init__(self):
        super().__init__()
        self.pixels = nn.Parameter(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5)

    def forward(self, source):
        return self.pixels.expand(len(source), -1, -1, -1)


def test_nothing_depends_on_an_output_where_its_target_has_no_class():
    (batch,) = ignore_pixels(batches(1))
    batch = {key: value[:1] for key, value in batch.items()}
    is_ignored = (batch["target"] == 255).expand(1, 3, 32, 32)
    trained = []
    for change in (0.0, 0.7):
        module = Pix2PixModule(Picture(), SMALL_D, weights={"feature_matching": 10.0}, pair_spec=LABELS)
        module.generator.pixels.data += change * is_ignored
        before = module.generator.pixels.detach().double()
        losses = {}
        keep = LambdaCallback(on_train_batch_end=lambda t, m, outputs, *_, to=losses: to.update(outputs))
        fit(module, [batch], keep)
        trained.append((module, losses))
        has_moved = module.generator.pixels != before
        assert not has_moved[is_ignored].any()
        assert has_moved[~is_ignored].float().mean() > 0.99
        difference = (before - encode_by_hand(batch)["target"]).abs()[~is_ignored]
        assert float(losses["l1"]) == pytest.approx(float(difference.mean()))
    (first, losses), (second, other_losses) = trained
    assert losses == other_losses
    torch.testing.assert_close(first.discriminator.state_dict(), second.discriminator.state_dict(), rtol=0, atol=0)


def test_five_steps_without_a_discriminator_equal_a_plain_loop():
    module = Pix2PixModule(SMALL_G, None, optimizer_g=ADAM)
    generator = copy.deepcopy(module.generator).double()
    fit(module, batches(5))
    plain_loop(generator, None, batches(5), None, conditional=False)
    assert module.discriminator is None
    for a, b in zip(module.generator.parameters(), generator.parameters(), strict=True):
        assert (a - b).abs().max() < 1e-9


def test_batch_norm_in_both_networks_equals_a_plain_loop():
    module = Pix2PixModule(SMALL_G, {**SMALL_D, "norm": "batch"}, optimizer_g=ADAM, optimizer_d=ADAM)
    generator, discriminator = double(module)
    fit(module, batches(5))
    see = torch.cat
    opt_g = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    for batch in batches(5):
        source, target = batch["source"], batch["target"]
        fake = generator(source)
        opt_d.zero_grad()
        loss_fake = bce(discriminator(see([source, fake.detach()], 1)), 0)
        loss_real = bce(discriminator(see([source, target], 1)), 1)
        ((loss_fake + loss_real) / 2).backward()
        opt_d.step()
        opt_g.zero_grad()
        (bce(discriminator(see([source, fake], 1)), 1) + 100 * F.l1_loss(fake, target)).backward()
        opt_g.step()
    assert_equal_weights(module, generator, discriminator)
    # J sees the fake pair first, then the real one, then the fake one again: so do the running statistics
    for (name, ours), theirs in zip(module.discriminator.named_buffers(), discriminator.buffers(), strict=True):
        assert torch.allclose(ours.double(), theirs.double(), atol=1e-9), name


@pytest.mark.parametrize(("accumulate", "windows"), [(2, [[0, 1], [2, 3], [4]]), (5, [[0, 1, 2, 3, 4]])])
def test_accumulation_averages_gradients_and_steps_on_the_partial_window(accumulate, windows):
    module = Pix2PixModule(SMALL_G, SMALL_D, accumulate=accumulate, optimizer_g=ADAM, optimizer_d=ADAM)
    generator, discriminator = double(module)
    trainer = fit(module, batches(5))
    plain_loop(generator, discriminator, batches(5), "Vanilla", conditional=True, windows=windows)
    assert_equal_weights(module, generator, discriminator)
    assert trainer.global_step == 2 * len(windows)


def test_data_of_unknown_length_steps_on_each_full_window():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(batches(5))

    module = Pix2PixModule(SMALL_G, SMALL_D, accumulate=2, optimizer_g=ADAM, optimizer_d=ADAM)
    generator, discriminator = double(module)
    trainer = fit(module, Stream())
    plain_loop(generator, discriminator, batches(4), "Vanilla", conditional=True, windows=[[0, 1], [2, 3]])
    assert_equal_weights(module, generator, discriminator)
    assert trainer.global_step == 2 * 2


def test_clipping_bounds_each_networks_gradient():
    module = Pix2PixModule(SMALL_G, SMALL_D, gradient_clip=0.05, optimizer_g=ADAM, optimizer_d=ADAM)
    generator, discriminator = double(module)
    fit(module, batches(5))
    plain_loop(generator, discriminator, batches(5), "Vanilla", conditional=True, clip=0.05)
    assert_equal_weights(module, generator, discriminator)


def test_more_discriminator_steps_step_it_more_often():
    module = Pix2PixModule(SMALL_G, SMALL_D, discriminator_steps=3, optimizer_g=ADAM, optimizer_d=ADAM)
    generator, discriminator = double(module)
    fit(module, batches(1))
    (batch,) = batches(1)
    fake = generator(batch["source"]).detach()
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    for _ in range(3):
        real = discriminator(torch.cat([batch["source"], batch["target"]], 1))
        loss = D_LOSS["Vanilla"](real, discriminator(torch.cat([batch["source"], fake], 1)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for a, b in zip(module.discriminator.parameters(), discriminator.parameters(), strict=True):
        assert (a - b).abs().max() < 1e-9


def test_feature_matching_is_part_of_the_generators_loss():
    module = Pix2PixModule(SMALL_G, SMALL_D, weights={"feature_matching": 10.0, "l1": 0.0}).double()
    module.log = lambda *a, **k: None
    batch = batches(1)[0]
    fake = module.generator(batch["source"])
    got = module.generator_loss(batch["source"], batch["target"], fake)
    layers = next(iter(module.discriminator.children()))
    x, y = torch.cat([batch["source"], fake], 1), torch.cat([batch["source"], batch["target"]], 1)
    distances = []
    for layer in layers:
        x, y = layer(x), layer(y)
        distances.append((x - y).abs().mean())
    expected = 10 * sum(distances[:-1]) / len(distances[:-1]) + bce(x, 1)
    assert torch.allclose(got, expected, atol=1e-10)


def test_each_backward_pass_leaves_gradients_in_one_network_only():
    module = Pix2PixModule(SMALL_G, SMALL_D)
    seen = []

    class Spy(Pix2PixModule):
        def on_before_optimizer_step(self, optimizer):
            g = [p.requires_grad for p in self.generator.parameters()]
            d = [p.requires_grad for p in self.discriminator.parameters()]
            other = self.generator if all(d) else self.discriminator
            seen.append((all(g), all(d), any(g), any(d), [p.grad is None for p in other.parameters()]))

    module = Spy(SMALL_G, SMALL_D)
    fit(module, batches(1))
    (d_all_g, d_all_d, d_any_g, _, no_g), (g_all_g, _, _, g_any_d, _) = seen
    assert d_all_d
    assert not d_any_g
    assert not d_all_g
    assert all(no_g)
    assert g_all_g
    assert not g_any_d
    assert all(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("noise", ["dropout", "diff_augment"])
def test_noise_is_a_function_of_seed_and_batch_counter_alone(noise):
    noisy = {**SMALL_G, "num_downs": 5, "dropout": 0.5, "dropout_at": "paper"} if noise == "dropout" else SMALL_G
    policies = ["color", "translation", "cutout"] if noise == "diff_augment" else []

    def trained(disturb, **options):
        module = Pix2PixModule(noisy, SMALL_D, diff_augment=policies, **options)
        torch.manual_seed(disturb)
        state = torch.get_rng_state()
        fit(module, batches(2))
        assert torch.equal(torch.get_rng_state(), state), "training drew from the global generator"
        return next(module.generator.parameters()).detach()

    first = trained(1)
    assert torch.equal(first, trained(2))
    assert not torch.equal(first, trained(1, seed=5))


def test_dropout_differs_between_the_ranks(monkeypatch):
    noisy = {**SMALL_G, "num_downs": 5, "dropout": 0.5, "dropout_at": "paper"}
    results = []
    for rank in (0, 1, 1):
        monkeypatch.setattr(Pix2PixModule, "global_rank", property(lambda self, rank=rank: rank))
        module = Pix2PixModule(noisy, SMALL_D)
        fit(module, batches(1))
        results.append(next(module.generator.parameters()).detach())
    assert not torch.equal(results[0], results[1])
    assert torch.equal(results[1], results[2])


def test_described_weights_are_a_function_of_the_seed():
    def first_weight(seed):
        return next(Pix2PixModule(SMALL_G, SMALL_D, seed=seed).parameters())

    assert torch.equal(first_weight(3), first_weight(3))
    assert not torch.equal(first_weight(3), first_weight(4))


def test_schedules_are_stepped_after_each_epoch_for_both_networks():
    schedule = {"_target_": "pix2pix_lightning.training.schedulers.LinearDecay", "hold_epochs": 1, "decay_epochs": 2}
    rates = []

    class Spy(Pix2PixModule):
        def on_train_epoch_start(self):
            rates.append([optimizer.param_groups[0]["lr"] for optimizer in self.trainer.optimizers])

    fit(
        Spy(SMALL_G, SMALL_D, schedule=schedule, optimizer_g={**ADAM, "lr": 0.3}, optimizer_d={**ADAM, "lr": 0.6}),
        batches(1),
        epochs=3,
    )
    # REFERENCE: 1 - max(0, epoch + 1 - hold) / (decay + 1)
    factors = [1, 2 / 3, 1 / 3]
    assert rates == [[pytest.approx(0.3 * f), pytest.approx(0.6 * f)] for f in factors]


def test_a_schedule_that_follows_a_metric_is_refused():
    module = Pix2PixModule(SMALL_G, None, schedule={"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"})
    with pytest.raises(ValueError, match="ReduceLROnPlateau"):
        module.configure_optimizers()


def test_gradient_penalty_with_batch_norm_is_refused():
    with pytest.raises(ValueError, match="batch norm"):
        Pix2PixModule(SMALL_G, {**SMALL_D, "norm": "batch"}, adversarial=list_paths("Wasserstein"))


def test_accumulation_under_a_16_bit_scaler_is_refused():
    module = Pix2PixModule(SMALL_G, SMALL_D, accumulate=2)
    module._trainer = type("T", (), {"strategy": None, "precision": "16-mixed"})()
    with pytest.raises(ValueError, match="bf16-mixed"):
        module.setup("fit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": {"l3": 1.0}}, r"weights\.l3"),
        ({"discriminator": None, "reconstruction": {}}, "nothing to train"),
        ({"reconstruction": {"adversarial": {"_target_": "torch.nn.L1Loss"}}}, r"reconstruction\.adversarial"),
        ({"reconstruction": {"l1.5": {"_target_": "torch.nn.L1Loss"}}}, r"reconstruction\.l1\.5"),
        ({"metrics": ["accuracy"]}, "accuracy"),
        ({"accumulate": 0}, "accumulate=0"),
        ({"diff_augment": "color"}, "diff_augment=color"),
        ({"diff_augment": ["colour"]}, "'colour'"),
        ({"diff_augment": ["cutout"], "discriminator": None}, "without a discriminator"),
        ({"diff_augment": ["color"], "pair_spec": {"target": {"kind": "label", "num_classes": 3}}}, "classes"),
        ({"accumulate": 1.5}, "accumulate=1.5"),
        ({"accumulate": 2, "discriminator_steps": 2}, "only one"),
        ({"generator": {**SMALL_G, "depth": 3}}, "depth"),
        ({"generator": {"_target_": "pix2pix_lightning.networks.UNet"}}, "UNet"),
        ({"generator": {"_target_": ".networks.UNet"}}, r"\.networks\.UNet"),
        ({"generator": {**SMALL_G, "norm": ["batch"]}}, r"norm=\['batch'\]"),
    ],
)
def test_contradictions_are_named(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        Pix2PixModule(**{"generator": SMALL_G, "discriminator": SMALL_D, **arguments})
    assert "\n" not in str(caught.value)


def test_channels_come_from_the_pair_spec():
    module = Pix2PixModule(
        SMALL_G, SMALL_D, pair_spec={"source": {"kind": "label", "num_classes": 5}, "target": {"kind": "grayscale"}}
    )
    assert module(torch.zeros(1, 5, 16, 16)).shape == (1, 1, 16, 16)
    assert module.discriminator(module.condition(torch.zeros(1, 5, 32, 32), torch.zeros(1, 1, 32, 32))).shape[1] == 1
    assert module.hparams["generator"]["in_channels"] == 5


# ---- checkpoints -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("discriminator", [SMALL_D, None])
def test_a_checkpoint_loads_without_arguments(tmp_path, discriminator):
    module = Pix2PixModule(
        {**SMALL_G, "base_channels": 3},
        discriminator,
        conditional=False,
        pair_spec={"direction": "b_to_a"},
        diff_augment=["cutout"] if discriminator else (),
    )
    loaded = Pix2PixModule.load_from_checkpoint(save(module, tmp_path / "a.ckpt", precision="32-true"))
    source = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded(source), module.eval()(source))
    assert loaded.pair_spec == module.pair_spec
    assert loaded.hparams == module.hparams
    assert loaded.batches_seen == 1


def test_live_modules_are_asked_for_by_name(tmp_path):
    live = PatchDiscriminator(6, num_layers=1, base_channels=4, norm="none")
    path = save(Pix2PixModule(UNetGenerator(num_downs=4, base_channels=4), live), tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="give generator=, discriminator="):
        Pix2PixModule.load_from_checkpoint(path)
    again = Pix2PixModule.load_from_checkpoint(
        path,
        generator=UNetGenerator(num_downs=4, base_channels=4),
        discriminator=PatchDiscriminator(6, num_layers=1, base_channels=4, norm="none"),
    )
    assert all(
        torch.equal(a, b.float()) for a, b in zip(again.discriminator.parameters(), live.parameters(), strict=True)
    )


class OwnGenerator(nn.Conv2d):
    def __init__(self, in_channels=3, out_channels=3):
        super().__init__(in_channels, out_channels, 1)


def test_a_generator_of_ones_own_is_loaded_when_it_is_trusted(tmp_path):
    own = {"_target_": f"{__name__}.OwnGenerator"}
    path = save(Pix2PixModule(own, None), tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="trust"):
        Pix2PixModule.load_from_checkpoint(path)
    assert isinstance(Pix2PixModule.load_from_checkpoint(path, trust=[__name__]).generator, OwnGenerator)


HOSTILE = [
    "os.system",
    "builtins.eval",
    "torch.nn.parallel.distributed.os.system",
    "torch.optim.optimizer.torch.load",
    "torch.nn.modules.module.torch.hub.load",
    "torch.nn.modules.module.torch",
    "torch.nn.functional.relu",
    "torch.nn.init.normal_",
    "torch.nnx.Module",
    "torch.nn.Module.__init__",
    "pix2pix_lightning.utils.instantiate.importlib.import_module",
    "pix2pix_lightning.utils.instantiate.build",
    "pix2pix_lightning.train.main",
    "subprocess.Popen",
    # classes, importable, and all the same not what a checkpoint may name
    "pix2pix_lightning.models.pix2pix.LightningModule",
    "pix2pix_lightning.training.loggers.MetricsCSV",
    "pix2pix_lightning.inference.Translator",
    "torch.nn.Parameter",
    "pix2pix_lightning_evil.Network",
    "torch.nnx.Network",
    "",
    None,
    3,
]


@pytest.mark.parametrize("target", HOSTILE, ids=str)
@pytest.mark.parametrize("where", ["generator", "reconstruction", "nested", "optimizer"])
def test_hostile_descriptions_are_refused_before_anything_is_called(tmp_path, monkeypatch, target, where):
    path = tmp_path / "a.ckpt"
    torch.save(_hostile_checkpoint(target, where), path)
    # a package whose name begins like a trusted one, and that leaves a mark when it is imported
    mark = f"import pathlib, torch; pathlib.Path({str(tmp_path / 'imported')!r}).touch()\n"
    (tmp_path / "pix2pix_lightning_evil.py").write_text(mark + "class Network(torch.nn.Module): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    fake = types.ModuleType("torch.nnx")
    fake.Network = type("Network", (nn.Module,), {"__module__": "torch.nnx"})
    monkeypatch.setitem(sys.modules, "torch.nnx", fake)
    called = []
    monkeypatch.setattr("os.system", lambda *a: called.append(a))
    monkeypatch.setattr("pix2pix_lightning.models.components.build", lambda *a: called.append(a))
    monkeypatch.setattr("pix2pix_lightning.checkpoints.restore.build", lambda *a: called.append(a))
    with pytest.raises(ValueError, match=r"_target_|a\.ckpt names"):
        Pix2PixModule.load_from_checkpoint(path)
    assert not called
    assert not (tmp_path / "imported").exists()


def _hostile_checkpoint(target, where):
    bad = {"_target_": target, "command": "touch /nowhere"}
    hparams = {
        "generator": bad if where == "generator" else SMALL_G,
        "discriminator": {**SMALL_D, "norm": {"deep": [bad]}} if where == "nested" else SMALL_D,
        "reconstruction": {"l1": bad if where == "reconstruction" else {"_target_": "torch.nn.L1Loss"}},
        "optimizer_d": bad if where == "optimizer" else ADAM,
    }
    own = {"version": "0", "module": "pix2pix_lightning.models.pix2pix.Pix2PixModule", "live": [], "batches_seen": 0}
    return {"hyper_parameters": hparams, "state_dict": {}, "pix2pix_lightning": own}


def test_a_pickle_with_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (__import__("os").mkdir, (str(tmp_path / "owned"),))

    torch.save({"hyper_parameters": Evil(), "pix2pix_lightning": {}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"posix\.mkdir"):
        Pix2PixModule.load_from_checkpoint(tmp_path / "a.ckpt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "damage",
    [
        {"pix2pix_lightning": {}},
        {"pix2pix_lightning": {"module": "x", "batches_seen": 0}},
        {"state_dict": None},
        {"state_dict": {}},
        {"hyper_parameters": {"generator": "x"}},
        {"hyper_parameters": {"generator": {**SMALL_G, "num_downs": "x"}}},
        {"hyper_parameters": {"generator": {**SMALL_G, "base_channels": 5}}},
        {"hyper_parameters": {"generator": SMALL_G, "surprise": 3}},
    ],
)
def test_a_damaged_checkpoint_is_one_line(tmp_path, damage):
    path = save(Pix2PixModule(SMALL_G, None), tmp_path / "a.ckpt")
    torch.save({**torch.load(path, weights_only=True), **damage}, path)
    with pytest.raises(ValueError, match=r"a\.ckpt") as caught:
        Pix2PixModule.load_from_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_gradient_penalty_with_half_precision_weights_is_refused():
    module = Pix2PixModule(SMALL_G, SMALL_D, adversarial=list_paths("Wasserstein"))
    with pytest.raises(ValueError, match="bf16-mixed"):
        fit(module, batches(1), precision="bf16-true")


def test_a_subclass_saves_its_own_arguments(tmp_path):
    class Extended(Pix2PixModule):
        def __init__(self, *args, edge_weight=1.0, **kwargs):
            super().__init__(*args, **kwargs)
            self.save_hyperparameters("edge_weight")

    path = save(Extended(SMALL_G, SMALL_D, edge_weight=7.0), tmp_path / "a.ckpt")
    assert Extended.load_from_checkpoint(path).hparams["edge_weight"] == 7.0


def test_bf16_mixed_trains_and_keeps_float32_weights():
    seed_everything(0, verbose=False)
    module = Pix2PixModule(SMALL_G, SMALL_D)
    before = [p.clone() for p in module.parameters()]
    data = [{k: v.float() if isinstance(v, torch.Tensor) else v for k, v in b.items()} for b in batches(3)]
    fit(module, data, precision="bf16-mixed")
    assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in module.parameters())
    assert all((p != q).any() for p, q in zip(module.generator.parameters(), before, strict=False))


def test_validation_normalizes_each_image_by_its_own_statistics(monkeypatch):
    module = small_networks.trained(small_networks.UNET).double()
    monkeypatch.setattr(module, "log_dict", lambda *args, **options: None)
    (batch,) = batches(1)
    by_image, by_running = (small_networks.by_hand(module, batch["source"], norm) for norm in ("image", "running"))
    with torch.no_grad():
        output = module.validation_step(batch, 0)["output"]
    torch.testing.assert_close(output, by_image)
    assert not torch.allclose(output, by_running, atol=1e-2)


def test_accuracy_of_a_label_target_compares_classes():
    spec = {"target": {"kind": "label", "num_classes": 3}}
    module = Pix2PixModule(SMALL_G, None, metrics=["l1", "accuracy"], pair_spec=spec)
    (batch,) = batches(1)
    batch["target"] = classes = torch.randint(3, (2, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    output = module.validation_step(module.on_after_batch_transfer(batch, 0), 0)["output"]
    values = module.val_metrics.compute()
    expected = (output.argmax(1) == classes[:, 0]).double().mean()
    torch.testing.assert_close(values["val/accuracy"].double(), expected)
    one_hot = torch.stack([classes[:, 0] == number for number in range(3)], 1)
    torch.testing.assert_close(values["val/l1"], ((output + 1) / 2 - one_hot.float()).abs().mean())


@pytest.mark.parametrize("ignore_index", [255, 1])
def test_metrics_of_a_label_target_leave_out_pixels_and_images_without_a_class(ignore_index):
    spec = {"target": {"kind": "label", "num_classes": 3, "ignore_index": ignore_index}}
    module = Pix2PixModule(SMALL_G, None, metrics=["l1", "psnr", "ssim", "accuracy"], pair_spec=spec)
    outputs, expected = [], []
    data = ignore_pixels(batches(2))
    for batch in data:
        batch["target"][batch["target"] == 255] = ignore_index
        output = module.validation_step(module.on_after_batch_transfer(batch, 0), 0)["output"]
        for image, numbers in zip(output.detach().numpy(), batch["target"][:, 0].numpy(), strict=True):
            counts = numbers != ignore_index
            if not counts.any():
                continue
            allowed = [number for number in range(3) if number != ignore_index]
            predicted = np.array(allowed)[image[allowed].argmax(0)]
            l1 = np.abs(image - (np.stack([numbers == number for number in range(3)]) * 2.0 - 1))[:, counts].sum() / 2
            expected.append([l1 / (3 * counts.sum()), (predicted == numbers)[counts].mean()])
        outputs.append(output)
    assert len(expected) == 3
    values = module.val_metrics.compute()
    measured = [float(values["val/l1"]), float(values["val/accuracy"])]
    np.testing.assert_allclose(measured, np.mean(expected, 0), rtol=1e-5)
    assert all(value.isfinite() for value in values.values())
    nowhere = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    module.val_metrics.update(outputs[-1], -torch.ones(2, 3, 32, 32), nowhere)  # no image of a validation has a class
    assert all(value.isnan() for value in module.val_metrics.compute().values())


def test_masked_batches_of_other_types_train_and_predict():
    spec = {
        "source": {"kind": "raw", "num_channels": 2, "dtype": "float32", "value_range": [0, 1]},
        "target": {"kind": "raw", "num_channels": 1, "dtype": "uint16", "nodata": 7},
    }
    module = Pix2PixModule(SMALL_G, SMALL_D, pair_spec=spec)
    generator = torch.Generator().manual_seed(0)
    source = torch.rand(2, 2, 32, 32, generator=generator)
    target = torch.randint(0, 65536, (2, 1, 32, 32), generator=generator)
    source[:, :, :4] = torch.nan
    target[:, :, :, 8:16] = 7
    mask = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    mask[1, :, 20:] = False
    batch = {"source": source, "target": target.to(torch.uint16), "mask": mask, "name": ["a", "b"]}
    losses = {}
    keep = LambdaCallback(on_train_batch_end=lambda t, m, outputs, *_: losses.update(outputs))
    trainer = fit(module, [batch], keep)
    assert all(value.isfinite() for value in losses.values())
    assert all(p.isfinite().all() for p in module.parameters())
    ready = module.on_after_batch_transfer(batch, 0)
    output = module.validation_step(ready, 0)["output"].double()
    counts = mask & (target != 7) & ~source[:, :1].isnan()
    expected = [
        ((one + 1) / 2 - real / 65535).abs()[kept].mean()
        for one, real, kept in zip(output, target.double(), counts, strict=True)
    ]
    assert float(module.val_metrics.compute()["val/l1"]) == pytest.approx(float(sum(expected)) / 2, rel=1e-5)
    (predicted,) = trainer.predict(module, DataLoader([batch], batch_size=None))
    assert predicted["output"].dtype == torch.uint16
    values = predicted["output"].int()
    assert ((values == 7) == source[:, :1].isnan()).all()
    wanted = (output + 1) / 2 * 65535
    assert (values - wanted).abs()[(values != 7) & (wanted.round() != 7)].max() <= 0.51
