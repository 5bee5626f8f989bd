"""R1, labels and pretrained discriminators in the training step, against plain loops."""

import copy
import logging
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from torch.nn import functional as F

import float_batches
from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.networks.features import loading
from pix2pix_lightning.training.cuda_graph import check_capturable
from pix2pix_lightning.utils.errors import UserError

G = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 3, "base_channels": 4, "dropout": 0.0}
D = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 1, "base_channels": 4, "norm": "none"}
SEGMENTATION = {
    "_target_": "pix2pix_lightning.networks.SegmentationDiscriminator",
    "num_downs": 3,
    "base_channels": 4,
    "spectral_norm": False,
}
PROJECTED = {
    "_target_": "pix2pix_lightning.networks.ProjectedDiscriminator",
    "base_channels": 4,
    "source_channels": 4,
}
SEGMENTATION_LOSS = {"_target_": "pix2pix_lightning.losses.SegmentationAdversarial"}
HINGE = {"_target_": "pix2pix_lightning.losses.HingeAdversarial"}
ADAM = {"_target_": "torch.optim.Adam", "lr": 2e-3, "betas": [0.5, 0.999]}
CLASSES = {"source": {"kind": "label", "num_classes": 3, "ignore_index": 255}}
fit = partial(float_batches.fit, precision="64-true")


def draw_batches(count, classes=False, side=16):
    generator = torch.Generator().manual_seed(1)
    made = []
    for _ in range(count):
        source = torch.rand(2, 3, side, side, generator=generator, dtype=torch.float64) * 2 - 1
        if classes:
            source = torch.randint(3, (2, 1, side, side), generator=generator)
            source[:, :, 5:7, 3:] = 255
        target = torch.rand(2, 3, side, side, generator=generator, dtype=torch.float64) * 2 - 1
        made.append({"source": source, "target": target})
    return made


def assert_same_weights(module, *networks, tolerance=1e-9):
    for ours, theirs in zip((module.generator, module.discriminator), networks, strict=True):
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert (a - b).abs().max() < tolerance, name


class KeepLogs(Callback):
    def __init__(self):
        self.logged = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})


# ---- R1 ----


@pytest.mark.parametrize("conditional", [True, False])
def test_lazy_r1_equals_a_plain_loop(conditional):
    module = Pix2PixModule(G, D, conditional=conditional, r1_weight=7.0, r1_every=2, optimizer_g=ADAM, optimizer_d=ADAM)
    generator, discriminator = copy.deepcopy(module.generator).double(), copy.deepcopy(module.discriminator).double()
    data, logs = draw_batches(5), KeepLogs()
    fit(module, data, logs)
    opt_g, opt_d = (torch.optim.Adam(net.parameters(), 2e-3, (0.5, 0.999)) for net in (generator, discriminator))
    penalties, losses = [], []
    for number, batch in enumerate(data):
        source, target = batch["source"], batch["target"]

        def judge(image, source=source):
            return discriminator(torch.cat([source, image], 1) if conditional else image)

        fake = generator(source)
        opt_d.zero_grad()
        loss = (F.softplus(-judge(target)).mean() + F.softplus(judge(fake.detach())).mean()) / 2
        losses.append(loss.item())
        if number in (0, 2, 4):
            real = target.clone().requires_grad_()
            score = judge(real).mean((1, 2, 3)).sum()
            (gradient,) = torch.autograd.grad(score, real, create_graph=True)
            penalties.append((gradient**2).sum((1, 2, 3)).mean() / 2)
            loss = loss + 2 * 7.0 * penalties[-1]
        loss.backward()
        opt_d.step()
        opt_g.zero_grad()
        (F.softplus(-judge(fake)).mean() + 100 * (fake - target).abs().mean()).backward()
        opt_g.step()
    assert_same_weights(module, generator, discriminator)
    expected = [penalties[index].item() for index in (0, 0, 1, 1, 2)]  # the last one is logged again
    assert [logged["train/r1"] for logged in logs.logged] == pytest.approx(expected, rel=1e-6)
    assert [logged["train/loss_d"] for logged in logs.logged] == pytest.approx(losses, rel=1e-6)


def test_r1_is_taken_up_where_a_checkpoint_stopped(tmp_path):
    options = {"r1_weight": 50.0, "r1_every": 4, "diff_augment": ["translation"]}
    whole = Pix2PixModule(G, D, **options)
    fit(whole, draw_batches(3), epochs=2)
    first = Pix2PixModule(G, D, **options)
    fit(first, draw_batches(3)).save_checkpoint(tmp_path / "a.ckpt")
    resumed = Pix2PixModule(G, D, **options)
    fit(resumed, draw_batches(3), epochs=2, ckpt_path=tmp_path / "a.ckpt")
    assert resumed.batches_seen == 6
    assert_same_weights(resumed, whole.generator, whole.discriminator, tolerance=1e-300)
    without = Pix2PixModule(G, D, **{**options, "r1_every": 7})  # only in the first batch, before the checkpoint
    fit(without, draw_batches(3), epochs=2, ckpt_path=tmp_path / "a.ckpt")
    assert any((a != b).any() for a, b in zip(without.parameters(), resumed.parameters(), strict=True))
    assert Pix2PixModule.load_from_checkpoint(tmp_path / "a.ckpt").r1_weight == 50.0


@pytest.mark.parametrize("form", ["LeastSquares", "Hinge", "Wasserstein", "RelativisticAverage"])
@pytest.mark.parametrize("network", ["several scales", "accumulated"])
def test_r1_goes_with_any_loss_and_network(form, network):
    scales = {**D, "_target_": "pix2pix_lightning.networks.MultiScaleDiscriminator", "num_scales": 2}
    module = Pix2PixModule(
        G,
        scales if network == "several scales" else D,
        adversarial={"_target_": f"pix2pix_lightning.losses.{form}Adversarial"},
        r1_weight=10.0,
        r1_every=1,
        accumulate=2 if network == "accumulated" else 1,
        diff_augment=["color", "cutout"],
        pair_spec={"target": {"kind": "raw", "num_channels": 3, "nodata": 7}},
    )
    data = draw_batches(2)
    for batch in data:
        batch["mask"] = torch.rand(2, 1, 16, 16) < 0.5
    logs = KeepLogs()
    fit(module, data, logs)
    assert logs.logged[-1]["train/r1"] > 0
    assert all(parameter.isfinite().all() for parameter in module.parameters())


def test_what_does_not_go_with_r1_is_refused():
    with pytest.raises(UserError, match=r"module\.discriminator\.norm=instance"):
        Pix2PixModule(G, {**D, "norm": "batch"}, r1_weight=1.0)
    with pytest.raises(UserError, match="without a discriminator"):
        Pix2PixModule(G, None, r1_weight=1.0)
    for wrong in ({"r1_weight": -1.0}, {"r1_weight": float("nan")}, {"r1_every": 0}, {"r1_every": 1.5}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            Pix2PixModule(G, D, **wrong)
    module = Pix2PixModule(G, D, r1_weight=1.0)
    with pytest.raises(UserError, match="bf16-mixed"):
        fit(module, draw_batches(1), precision="bf16-true")
    on_gpu = type("T", (), {"precision": "32-true", "world_size": 1, "strategy": type("S", (), {})})()
    on_gpu.strategy.root_device = torch.device("cuda")
    check_capturable(on_gpu, accumulate=1, r1_every=1)
    with pytest.raises(UserError, match=r"module\.r1_every=16, whose steps differ: set speed\.cuda_graph=false"):
        check_capturable(on_gpu, accumulate=1, r1_every=16)


# ---- the segmentation discriminator ----


def build_segmenting(**options):
    chosen = {"adversarial": {**SEGMENTATION_LOSS, "label_mix_weight": 0.0}, "conditional": False, **options}
    return Pix2PixModule(G, SEGMENTATION, optimizer_g=ADAM, optimizer_d=ADAM, pair_spec=CLASSES, **chosen)


def balanced(logits, labels):
    logp = torch.log_softmax(logits, 1)
    present = [number for number in range(3) if (labels == number).any()]
    return -sum(logp[:, number][labels == number].mean() for number in present) / len(present)


@pytest.mark.parametrize("has_mask", [False, True])
def test_steps_of_a_segmentation_discriminator_equal_a_plain_loop(has_mask):
    module = build_segmenting()
    generator, discriminator = copy.deepcopy(module.generator).double(), copy.deepcopy(module.discriminator).double()
    data = draw_batches(3, classes=True)
    mask = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    mask[:, :, :, 9:] = not has_mask
    for batch in data if has_mask else ():
        batch["mask"] = mask
    logs = KeepLogs()
    fit(module, data, logs)
    opt_g, opt_d = (torch.optim.Adam(net.parameters(), 2e-3, (0.5, 0.999)) for net in (generator, discriminator))
    for batch, logged in zip(data, logs.logged, strict=True):
        numbers, target = batch["source"], batch["target"]
        source = torch.cat([(numbers == number).double() for number in range(3)], 1) * 2 - 1
        labels = torch.where(mask, numbers, 255)[:, 0]
        fake = torch.where(mask, generator(source), target)
        opt_d.zero_grad()
        seen = discriminator(fake.detach())
        of_real = discriminator(target)
        loss = balanced(of_real, labels) - torch.log_softmax(seen, 1)[:, 3][labels != 255].mean()
        loss.backward()
        opt_d.step()
        assert logged["train/d_real"] == pytest.approx(1 - of_real.softmax(1)[:, 3].mean().item(), rel=1e-6)
        opt_g.zero_grad()
        l1 = (fake - target).abs().sum() / (3 * mask.sum())
        (balanced(discriminator(fake), labels) + 100 * l1).backward()
        opt_g.step()
    assert_same_weights(module, generator, discriminator)


def test_label_mix_is_added_with_its_weight():
    module = build_segmenting(adversarial=SEGMENTATION_LOSS).double()
    module.log = lambda *args, **options: None
    recorded = module.losses = {}
    (batch,) = draw_batches(1, classes=True)
    ready = module.on_after_batch_transfer(batch, 0)
    fake = torch.zeros_like(ready["target"])
    torch.manual_seed(0)  # which classes are taken from the target: neither all nor none
    loss = module.discriminator_loss(ready["source"], ready["target"], fake)
    assert recorded["label_mix"] > 0
    labels = torch.where(batch["source"] == 255, -1, batch["source"])[:, 0]
    entropy = module.adversarial.discriminator(
        module.discriminator(ready["target"]), module.discriminator(fake), labels
    )
    torch.testing.assert_close(loss, entropy + 10 * recorded["label_mix"])


def test_labels_move_with_the_changes_of_diff_augment():
    module = build_segmenting(diff_augment=["color", "translation", "cutout"])
    source = torch.arange(256).view(1, 1, 16, 16).double()  # the number of a pixel, also in the target
    classes = torch.cat([source % 3 == number for number in range(3)], 1).double() * 2 - 1
    target = (source + 1).expand(-1, 3, -1, -1)
    module.diff_augment.policies = ("translation", "cutout")
    for seed in range(5):
        torch.manual_seed(seed)
        fake, real, labels = module.show_pairs(classes, -target, target)
        assert torch.equal(fake, -real)
        numbers = real[:, 0].long() - 1
        assert torch.equal(labels, torch.where(numbers < 0, -1, numbers % 3))
        assert (labels < 0).any()
        assert (labels >= 0).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adversarial": HINGE}, "set adversarial=segmentation"),
        ({"discriminator": D}, "set discriminator=segmentation"),
        ({"conditional": True}, r"module\.conditional=false"),
        ({"pair_spec": {}}, "kind=rgb.*set kind=label"),
    ],
)
def test_what_does_not_go_with_a_segmentation_discriminator_is_refused(changes, message):
    options = {"adversarial": SEGMENTATION_LOSS, "conditional": False, "pair_spec": CLASSES}
    with pytest.raises(UserError, match=message) as caught:
        Pix2PixModule(**{"generator": G, "discriminator": SEGMENTATION, **options, **changes})
    assert "\n" not in str(caught.value)


def test_a_segmentation_discriminator_trains_with_everything_else(tmp_path, caplog):
    module = build_segmenting(
        adversarial=SEGMENTATION_LOSS,
        r1_weight=1.0,
        weights={"feature_matching": 10.0},
        diff_augment=["color", "translation"],
    )
    from pix2pix_lightning.training.callbacks import WatchTraining

    with caplog.at_level(logging.WARNING):
        trainer = fit(module, draw_batches(4, classes=True), WatchTraining())
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = Pix2PixModule.load_from_checkpoint(tmp_path / "a.ckpt")
    assert (loaded.discriminator.num_classes, loaded.hparams["discriminator"]["in_channels"]) == (3, 3)


# ---- pretrained discriminators ----


def test_a_checkpoint_has_no_pretrained_weights_and_is_loaded_without_them(tmp_path, monkeypatch):
    module = Pix2PixModule(G, PROJECTED, adversarial=HINGE, pair_spec={"source": {"kind": "grayscale"}})
    assert module.discriminator.target_channels == 3
    data = [{**batch, "source": batch["source"][:, :1]} for batch in draw_batches(2)]
    before = copy.deepcopy(module)
    trainer = fit(module, data)
    for name, parameter in module.named_parameters():
        if parameter.ndim == 4:  # what the hinge loss adds to the last bias for real pairs it takes away for others
            assert (parameter != before.get_parameter(name)).any(), name
    for name, buffer in module.discriminator.named_buffers():
        if "mix" in name:
            assert torch.equal(buffer.float(), before.discriminator.get_buffer(name)), name
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    sizes = sum(value.numel() for name, value in saved.items() if name.startswith("discriminator"))
    assert sizes < 20_000  # lite0 up to the layers that are used has 800,000

    def fail(version):
        raise UserError(f"no {version}")

    monkeypatch.setattr(loading, "FEATURES", {"lite0": lambda: fail("lite0")})
    loading._load.cache_clear()
    loaded = Pix2PixModule.load_from_checkpoint(tmp_path / "a.ckpt")
    source = torch.rand(1, 1, 16, 16)
    assert torch.equal(loaded.generate(source), module.float().generate(source))
    steps = []
    loaded.train().step = lambda *images: steps.append(images)
    with pytest.raises(UserError, match="no lite0"):
        fit(loaded, data)
    assert not steps, "it is looked for before the first step"


def test_each_part_with_a_pretrained_network_is_checked(monkeypatch):
    monkeypatch.setattr("pix2pix_lightning.models.trainer_checks.check_features", seen := [].append)
    names = seen.__self__
    distance = {"_target_": "pix2pix_lightning.losses.PretrainedPerceptual", "pretrained": "lite1"}
    module = Pix2PixModule(G, PROJECTED, adversarial=HINGE, reconstruction={"distance": distance})
    fit(module, draw_batches(1))
    assert sorted(names) == ["lite0", "lite1"]


@pytest.mark.parametrize(
    "target", [{"kind": "label", "num_classes": 3}, {"kind": "lab"}, {"kind": "raw", "num_channels": 4}]
)
def test_targets_that_a_pretrained_network_does_not_take_are_refused(target):
    spec = {"source": {"kind": "grayscale"}, "target": target} if target["kind"] == "lab" else {"target": target}
    with pytest.raises(UserError, match=r"gray (or|and) RGB"):
        fit(Pix2PixModule(G, PROJECTED, adversarial=HINGE, pair_spec=spec), draw_batches(1))
