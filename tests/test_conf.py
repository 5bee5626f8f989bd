"""Every configuration that ships is composed, instantiated and stepped."""

import inspect
import itertools
from functools import lru_cache

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch import Trainer
from omegaconf import OmegaConf

from pix2pix_lightning import PairSpec, Pix2PixModule, compose
from pix2pix_lightning.cli.conf import find_conf_dir
from pix2pix_lightning.training.monitor_choice import resolve_monitor
from pix2pix_lightning.utils.configs import list_differences

CONF = find_conf_dir()
FILES = (path.relative_to(CONF) for path in CONF.rglob("*.yaml"))
FIRST_DATA_KEYS = {  # which every run has
    *(
        "_recursive_",
        "_target_",
        "a",
        "b",
        "batch_size",
        "direction",
        "jitter",
        "mirror",
        "root",
        "seed",
        "size",
        "val_split",
    ),
}
GROUPS = sorted((str(path.parent), path.stem) for path in FILES if path.parts[0] not in ("sweep", path.name))


WITH_LABELS = ["data=procedural_classes", "data.direction=b_to_a", "discriminator=segmentation"]
WITH_LABELS += ["adversarial=segmentation", "module.conditional=false"]
COMPANIONS = {("discriminator", "segmentation"): WITH_LABELS, ("adversarial", "segmentation"): WITH_LABELS}
COMPANIONS[("ingredient", "oasis")] = WITH_LABELS[:2]
COMPANIONS[("loss", "cross_entropy")] = ["data=procedural_classes", "data.direction=a_to_b"]
"""What a choice does not go without."""


def override(group, name):
    return f"{group}@module.optimizer_g={name}" if group == "optimizer/network" else f"{group}={name}"


@lru_cache
def compose_once(*words):
    return compose("train", [*words])


def narrow(cfg, side):
    """The same networks with two channels and, where the side is small, fewer levels."""
    for network in ("generator", "discriminator"):
        if cfg.module[network] is not None:
            cfg.module[network].base_channels = 2
    if side < 256 and "num_downs" in cfg.module.generator:
        cfg.module.generator.num_downs = 5
    if cfg.module.adversarial._target_.endswith("WassersteinAdversarial") and cfg.module.discriminator:
        cfg.module.discriminator.norm = "instance"
    return cfg


def step(module, side):
    """One step of each network, through the module's own methods, on random pairs."""
    optimizers, _ = module.configure_optimizers()
    module.log = lambda *args, **kwargs: None
    source = torch.rand(1, module.pair_spec.source.channels, side, side) * 2 - 1
    target = torch.rand(1, module.pair_spec.target.channels, side, side) * 2 - 1
    before = [p.clone() for p in module.generator.parameters()]
    fake = module.generator(source)
    if module.discriminator is not None:
        optimizers[1].zero_grad()
        module.discriminator_loss(source, target, fake.detach()).backward()
        optimizers[1].step()
    optimizers[0].zero_grad()
    loss = module.generator_loss(source, target, fake)
    loss.backward()
    optimizers[0].step()
    assert torch.isfinite(loss)
    assert any((p != q).any() for p, q in zip(module.generator.parameters(), before, strict=True))


@pytest.mark.parametrize(("group", "name"), GROUPS, ids=[f"{group}={name}" for group, name in GROUPS])
def test_every_configuration_is_instantiated_and_stepped(group, name, tmp_path):
    side = 256 if group in ("generator", "discriminator") or name == "multi_scale" else 64
    companions = COMPANIONS.get((group, name), [])
    cfg = compose("train", [*({override(group, name): 0} | dict.fromkeys(companions)), f"run_dir={tmp_path}/run"])
    cfg.data.size = side
    is_default = group != "module" and cfg.module == compose_once().module
    narrow(cfg, side)
    data = instantiate(cfg.data, _convert_="all")
    assert data.pair_spec.size == side
    resolve_monitor(cfg)  # as a training does first
    for node in [*cfg.callbacks.values(), *cfg.logger.values()]:
        assert node is None or instantiate(node) is not None
    assert not set(cfg.trainer) - set(inspect.signature(Trainer).parameters)
    sides = data.pair_spec.source, data.pair_spec.target
    if not is_default or sides != (PairSpec().source, PairSpec().target):  # module=pix2pix is stepped
        step(instantiate(cfg.module, pair_spec=data.pair_spec.to_dict()), side)


LOSSES = ["l1", "l2", "gan", "cgan", "l1_gan", "l1_cgan"]
FORMS = sorted(path.stem for path in (CONF / "adversarial").glob("*.yaml") if path.stem != "segmentation")
"""The forms that any discriminator goes with; what goes with segmentation is a row of COMPANIONS."""


@pytest.mark.parametrize(
    ("loss", "adversarial"),
    [pair for pair in itertools.product(LOSSES, FORMS) if pair[0] not in ("l1", "l2") or pair[1] == "vanilla"],
)
def test_the_papers_objectives_with_any_adversarial_form(loss, adversarial):
    cfg = compose_once(f"loss={loss}", "discriminator=patch_16").copy()
    form = compose_once(f"adversarial={adversarial}", "discriminator=patch_16").module
    cfg.module.adversarial = form.adversarial
    module = instantiate(narrow(cfg, 32).module)
    assert (module.discriminator is None) == (loss in ("l1", "l2"))
    assert (
        set(module.weights) - {"feature_matching"}
        == {
            "l1": {"l1"},
            "l2": {"l2"},
            "gan": {"adversarial"},
            "cgan": {"adversarial"},
            "l1_gan": {"adversarial", "l1"},
            "l1_cgan": {"adversarial", "l1"},
        }[loss]
    )
    if module.discriminator is not None:
        first = next(module.discriminator.parameters())
        assert first.shape[1] == (6 if "cgan" in loss else 3)
    step(module, 32)


def test_the_module_node_stands_alone_and_is_the_papers_network():
    cfg = compose("train", ["experiment=facades"])
    with torch.device("meta"):
        module = instantiate(cfg.module)
    assert isinstance(module, Pix2PixModule)
    # REFERENCE.md: U-Net 256 and the 70x70 discriminator
    assert sum(p.numel() for p in module.generator.parameters()) == 54_413_955
    assert sum(p.numel() for p in module.discriminator.parameters()) == 2_768_705


@pytest.mark.parametrize(
    ("name", "batch", "epochs", "direction", "jitter"),
    [
        ("facades", 1, 200, "b_to_a", True),
        ("maps", 1, 200, "a_to_b", True),
        ("edges2shoes", 4, 15, "a_to_b", False),
        ("edges2handbags", 4, 15, "a_to_b", False),
        ("night2day", 4, 17, "b_to_a", True),
    ],
)
def test_experiments_have_the_papers_settings(name, batch, epochs, direction, jitter, monkeypatch):
    monkeypatch.setenv("PIX2PIX_DATA_DIR", "/pairs")
    cfg = compose("train", [f"experiment={name}"])
    assert (cfg.data.batch_size, cfg.trainer.max_epochs, cfg.data.direction) == (batch, epochs, direction)
    assert (cfg.data.jitter, cfg.data.mirror, cfg.data.size) == (jitter, jitter, 256)
    assert cfg.data.root == f"/pairs/{name}"
    assert cfg.data.archive.url.endswith(f"pix2pix/datasets/{name}.tar.gz")
    assert cfg.name == name
    assert cfg.module.weights == {"adversarial": 1.0, "feature_matching": 0.0, "l1": 100.0}
    assert cfg.module.conditional
    for network in "gd":
        optimizer = cfg.module[f"optimizer_{network}"]
        assert (optimizer.lr, list(optimizer.betas)) == (2e-4, [0.5, 0.999])
    assert cfg.module.schedule is None


def test_photos_alone_have_the_papers_settings():
    cfg = compose("train", ["experiment=colorization"])
    assert (cfg.data.batch_size, cfg.trainer.max_epochs, cfg.data.jitter, cfg.data.mirror) == (4, 6, False, True)
    sides = {key: {k: v for k, v in cfg.data[key].items() if v is not None} for key in "ab"}
    spec = PairSpec.from_dict({"source": sides["a"], "target": sides["b"]})
    with torch.device("meta"):
        module = instantiate(cfg.module, pair_spec=spec.to_dict())
    assert sum(p.numel() for p in module.generator.parameters()) == 54_409_858  # as of junyanz, 1 to 2 channels
    cfg = compose("train", ["experiment=inpainting"])
    assert (cfg.data.batch_size, cfg.trainer.max_epochs, cfg.data.jitter, cfg.data.mirror) == (4, 25, True, True)
    cfg = compose("train", ["experiment=cityscapes"])
    assert (cfg.data.batch_size, cfg.trainer.max_epochs, cfg.data.direction) == (1, 200, "b_to_a")


def test_each_networks_optimizer_can_be_chosen_by_itself():
    cfg = compose("train", ["optimizer/network@module.optimizer_g=rmsprop", "module.optimizer_d.lr=1e-3"])
    assert cfg.module.optimizer_g._target_ == "torch.optim.RMSprop"
    assert (cfg.module.optimizer_d._target_, cfg.module.optimizer_d.lr) == ("torch.optim.Adam", 1e-3)


def test_wgan_gp_with_batch_norm_says_what_to_do():
    cfg = compose("train", ["adversarial=wgan_gp", "module.generator.base_channels=2"])
    with pytest.raises(Exception, match=r"module\.discriminator\.norm=instance"):
        instantiate(cfg.module)


def test_a_run_from_before_a_key_of_the_data_is_resumed_with_its_default():
    now = compose_once("data=folder", "data.root=x")
    before = now.copy()
    OmegaConf.set_struct(before, False)
    for key in [key for key in before.data if key not in FIRST_DATA_KEYS]:
        del before.data[key]
    assert list_differences(before, now, ("data",)) == []
    assert list_differences(before, compose_once("data=folder", "data.root=x", "data.decode=reduced"), ("data",))


def test_combinations_of_networks_compose():
    for generator, discriminator in (("unet_128", "pixel"), ("resnet_6", "image_286")):
        cfg = compose("train", [f"generator={generator}", f"discriminator={discriminator}"])
        assert cfg.module.generator.base_channels == 64
        assert cfg.module.discriminator.norm == "batch"


@pytest.mark.parametrize("name", ["my conf", "a, b", "it's", "x=y"])
def test_the_users_folder_may_have_any_name(tmp_path, name):
    (tmp_path / name / "experiment").mkdir(parents=True)
    (tmp_path / name / "experiment/mine.yaml").write_text("# @package _global_\nseed: 7\n")
    assert compose("train", ["experiment=mine"], config_dir=tmp_path / name).seed == 7
