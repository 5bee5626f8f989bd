"""Commands for junyanz's options: composed, compared key by key, and trained."""

import csv
import functools
import random
import shlex
import subprocess

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from helpers import make_strips
from pix2pix_lightning import PairedDataModule, compose
from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.prepare.junyanz_command import build_command
from pix2pix_lightning.prepare.junyanz_options import DEFAULTS
from pix2pix_lightning.prepare.junyanz_schedule import PERIODS, describe_doubts, infer_period
from pix2pix_lightning.train import main as train_main
from pix2pix_lightning.training.schedulers import LinearDecay

BASE = {**DEFAULTS, "dataroot": "/data/facades", "name": "facades"}
NEAR = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 7, "gamma": 0.1}
COSINE = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 30, "eta_min": 0.0}
NETWORKS = "pix2pix_lightning.networks."

PER_NETWORK = {
    "_target_": "pix2pix_lightning.training.ddp.PerNetworkDDPStrategy",
    "reduce_in": None,
    "bucket_mb": 25.0,
    "timeout_minutes": 10.0,
}


def both(key, value):
    return {f"module.{network}.{key}": value for network in ("generator", "discriminator")}


def optimizers(key, value):
    return {f"module.optimizer_{network}.{key}": value for network in "gd"}


def discriminator(num_layers):
    return {"module.discriminator.num_layers": num_layers}


# junyanz's options, and the keys that they change here; None: the key is gone
CASES = [
    ({"dataroot": "../pairs"}, {"data.root": "../pairs"}),
    ({"name": "2023"}, {"name": "2023"}),
    ({"batch_size": "8"}, {"data.batch_size": 8}),
    ({"lr": "1e-05"}, optimizers("lr", 1e-5)),
    ({"beta1": "0.9"}, optimizers("betas", [0.9, 0.999])),
    ({"n_epochs": "3", "n_epochs_decay": "5"}, {"trainer.max_epochs": 8, "module.schedule.hold_epochs": 3,
                                                 "module.schedule.decay_epochs": 5}),
    ({"n_epochs": "30", "n_epochs_decay": "0"}, {"trainer.max_epochs": 30, "module.schedule": None}),
    ({"lr_policy": "step", "lr_decay_iters": "7"}, {"module.schedule": NEAR}),
    ({"lr_policy": "cosine", "n_epochs": "30"}, {"module.schedule": COSINE, "trainer.max_epochs": 130}),
    ({"netG": "unet_128"}, {"module.generator.num_downs": 7}),
    ({"netG": "resnet_6blocks"}, {"module.generator._target_": f"{NETWORKS}ResNetGenerator",
                                  "module.generator.num_blocks": 6}),
    ({"netG": "resnet_9blocks", "no_dropout": "True"}, {"module.generator._target_": f"{NETWORKS}ResNetGenerator",
                                                        "module.generator.num_blocks": 9,
                                                        "module.generator.dropout": 0.0}),
    ({"no_dropout": "True"}, {"module.generator.dropout": 0.0}),
    ({"netD": "n_layers", "n_layers_D": "1"}, discriminator(1)),
    ({"netD": "n_layers", "n_layers_D": "5"}, discriminator(5)),
    ({"netD": "n_layers", "n_layers_D": "7"}, discriminator(7)),
    ({"netD": "basic", "n_layers_D": "5"}, discriminator(3)),
    ({"netD": "pixel"}, {"module.discriminator._target_": f"{NETWORKS}PixelDiscriminator"}),
    ({"ngf": "32"}, {"module.generator.base_channels": 32}),
    ({"ndf": "48"}, {"module.discriminator.base_channels": 48}),
    ({"norm": "instance"}, both("norm", "instance")),
    ({"norm": "none"}, both("norm", "none_no_bias")),
    ({"norm": "syncbatch"}, {"trainer.sync_batchnorm": True}),
    ({"gan_mode": "lsgan"}, {"module.adversarial._target_": "pix2pix_lightning.losses.LeastSquaresAdversarial"}),
    ({"gan_mode": "wgangp"}, {"module.adversarial._target_": "pix2pix_lightning.losses.WassersteinAdversarial",
                              "module.adversarial.penalty_weight": 0.0}),
    ({"lambda_L1": "10"}, {"module.weights.l1": 10.0}),
    ({"direction": "BtoA"}, {"data.direction": "b_to_a"}),
    ({"load_size": "256"}, {"data.jitter": False}),
    ({"load_size": "572", "crop_size": "512"}, {"data.size": 512}),
    ({"load_size": "128"}, {"data.jitter": False, "data.size": 128}),
    ({"load_size": "300"}, {"data.size": 300, "data.crop": 256}),
    ({"preprocess": "scale_width", "load_size": "512"}, {"data.resize": "scale_width", "data.size": 512}),
    ({"preprocess": "scale_width_and_crop", "load_size": "1024", "crop_size": "512"},
     {"data.resize": "scale_width", "data.size": 1024, "data.crop": 512}),
    ({"preprocess": "crop", "crop_size": "128"}, {"data.resize": "none", "data.crop": 128}),
    ({"preprocess": "none"}, {"data.resize": "none"}),
    ({"preprocess": "none", "batch_size": "4"}, {"data.resize": "none", "module.accumulate": 4}),
    ({"no_flip": "True"}, {"data.mirror": False}),
    ({"input_nc": "1"}, {"data.a.kind": "grayscale"}),
    ({"input_nc": "1", "direction": "BtoA"}, {"data.b.kind": "grayscale", "data.direction": "b_to_a"}),
    ({"output_nc": "1"}, {"data.b.kind": "grayscale"}),
    ({"num_threads": "0"}, {"data.num_workers": 0}),
    ({"gpu_ids": "-1"}, {"trainer.accelerator": "cpu", "trainer.devices": 1}),
    ({"gpu_ids": "[0]"}, {}),
    ({"gpu_ids": "2"}, {"trainer.devices": [2]}),
    ({"gpu_ids": ""}, {"trainer.accelerator": "auto", "trainer.devices": "auto"}),
    ({"gpu_ids": "0,3", "batch_size": "6"}, {"trainer.devices": [0, 3], "data.batch_size": 3,
                                             "trainer.strategy": PER_NETWORK}),
    ({"verbose": "True"}, {"trainer.enable_model_summary": True}),
    ({"no_html": "True"}, {"callbacks.gallery": None}),
    ({"epoch_count": "41"}, {"trainer.max_epochs": 160, "module.schedule.hold_epochs": 60}),
    ({"continue_train": "True", "epoch_count": "41"}, {}),
]  # fmt: skip


def leaves(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def composed(options):
    """Return the configuration of the command, key by key, without the key that repeats the command line."""
    words = build_command(options).to_overrides()
    cfg = OmegaConf.to_container(compose("train", words), resolve=False)
    cfg["module"]["generator"].pop("dropout_at", None)  # the ResNet has none
    return {key: value for key, value in leaves(cfg) if key != "command"}


def expected(baseline, changes):
    changed = dict(baseline)
    for key, value in changes.items():
        for old in [old for old in changed if old == key or old.startswith(f"{key}.")]:
            del changed[old]
        changed |= dict(leaves({key: value}))
    return changed


@pytest.fixture(scope="module", autouse=True)
def _cached_compose():
    """Compose each set of groups once: it takes most of the time, and many commands have the same groups."""
    once = functools.cache(lambda name, words: compose(name, words))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pix2pix_lightning.prepare.junyanz_command.compose", lambda name, words: once(name, tuple(words)))
        yield


@pytest.fixture(scope="module")
def baseline():
    return composed(BASE)


def test_defaults_are_those_of_the_reference():
    cfg = compose("train", build_command(BASE).to_overrides())
    with torch.device("meta"):
        module = instantiate(cfg.module)
    assert sum(p.numel() for p in module.generator.parameters()) == 54_413_955
    assert sum(p.numel() for p in module.discriminator.parameters()) == 2_768_705
    assert [m.p for m in module.generator.modules() if isinstance(m, torch.nn.Dropout)] == [0.5] * 3
    assert type(module.adversarial).__name__ == "VanillaAdversarial"
    assert (module.weights["adversarial"], module.weights["l1"], module.conditional) == (1.0, 100.0, True)
    for network in (cfg.module.optimizer_g, cfg.module.optimizer_d):
        assert dict(network) == {"_target_": "torch.optim.Adam", "lr": 0.0002, "betas": [0.5, 0.999]}
    assert cfg.module.schedule == {
        "_target_": "pix2pix_lightning.training.schedulers.LinearDecay",
        "hold_epochs": 100,
        "decay_epochs": 100,
    }
    data = instantiate(cfg.data, _convert_="all")
    assert (data.pair_spec.size, data.pair_spec.load_size, data.pair_spec.direction) == (256, 286, "a_to_b")
    assert (data.batch_size, data.mirror, data.num_workers, str(data.root)) == (1, True, 4, "/data/facades")
    assert data.pair_spec.source.channels == data.pair_spec.target.channels == 3
    assert (cfg.trainer.max_epochs, cfg.trainer.accelerator, cfg.trainer.devices) == (200, "gpu", 1)
    assert cfg.name == "facades"


def test_command_has_no_defaults():
    command = build_command(BASE)
    assert set(command.to_overrides()) == {
        *("data=folder", "generator=unet_256", "discriminator=patch_70", "loss=l1_cgan", "adversarial=vanilla"),
        *("schedule=linear_decay", "optimizer=adam", "trainer=gpu", "name=facades", "data.root=/data/facades"),
        *("data.direction=a_to_b", "data.num_workers=4", "trainer.max_epochs=200"),
    }
    assert len(command.notes) == 1
    assert "data.val_split=test" in command.notes[0]


# flags that affect the same keys are not combined in one command
TOPICS = [
    {"load_size", "crop_size", "preprocess"},
    {"gpu_ids", "batch_size"},
    {"direction", "input_nc", "output_nc"},
    {"n_epochs", "n_epochs_decay", "epoch_count", "continue_train", "lr_policy", "lr_decay_iters"},
    {"netD", "n_layers_D"},
    {"netG", "no_dropout"},
]


def mixtures():
    """Yield all cases, combined into few commands."""
    left = list(CASES)
    while left:
        flags, changes = {}, {}
        for case in list(left):
            taken = {flag for topic in TOPICS if topic & flags.keys() for flag in topic} | flags.keys()
            if not case[0].keys() & taken:
                flags, changes = flags | case[0], changes | case[1]
                left.remove(case)
        yield flags, changes


@pytest.mark.parametrize(("flags", "changes"), list(mixtures()))
def test_flags_change_their_keys_and_no_others(baseline, flags, changes):
    got, wanted = composed({**BASE, **flags}), expected(baseline, changes)
    replaced = [key.removesuffix("._target_") for key in changes if key.endswith("or._target_")]
    own = {f"{node}.{key}" for node in replaced for key in ("num_downs", "upsample", "num_layers", "num_blocks")}
    for key in own - changes.keys():  # arguments that the other network does not have
        got.pop(key, None)
        wanted.pop(key, None)
    assert got == wanted


def test_wandb_is_added_to_the_loggers():
    flags = {"use_wandb": "True", "wandb_project_name": "my own"}
    cfg = compose("train", build_command({**BASE, **flags}).to_overrides())
    assert cfg.logger.wandb.project == "my own"
    assert "csv" in cfg.logger


POLICIES = ("linear", "step", "cosine", "plateau")


def run_their_loop(period, policy, hold, decay, first, every, rate):
    """Return the rate of each epoch, by the loops and formulas of junyanz's versions."""
    epochs = range(first, hold + decay + 1)
    if period == "2017":  # without torch's schedules
        rates, lr = [], rate
        for epoch in epochs:
            rates.append(lr)
            lr -= rate / decay if epoch > hold else 0
        return rates
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    ahead = 1 if period == "2018" else 0
    schedules = torch.optim.lr_scheduler
    if policy == "linear":
        schedule = schedules.LambdaLR(optimizer, lambda e: 1.0 - max(0, e + ahead + first - hold) / float(decay + 1))
    elif policy == "step":
        schedule = schedules.StepLR(optimizer, step_size=every, gamma=0.1)
    elif policy == "cosine":
        schedule = schedules.CosineAnnealingLR(optimizer, T_max=hold, eta_min=0)
    else:
        schedule = schedules.ReduceLROnPlateau(optimizer, mode="min", factor=0.2, threshold=0.01, patience=5)
    rates = []
    for _ in epochs:
        steps = [lambda: schedule.step(*([0] if policy == "plateau" else []))]
        if period == "2020":
            steps.pop()()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for step in steps:
            step()
    return rates


def run_our_schedule(keys):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=keys["module.optimizer_g.lr"])
    names = ("hold_epochs", "decay_epochs")
    linear = {name: keys[f"module.schedule.{name}"] for name in names if f"module.schedule.{name}" in keys}
    schedule = LinearDecay(optimizer, **linear) if linear else None
    if "module.schedule" in keys:
        schedule = instantiate(keys["module.schedule"], optimizer)
    rates = []
    for _ in range(keys["trainer.max_epochs"]):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return rates


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")  # that of versions from 2020 on
@pytest.mark.parametrize(
    ("period", "policy"),
    [("2017", "linear"), *((period, policy) for period in list(PERIODS)[1:] for policy in POLICIES)],
)
def test_learning_rates_are_those_of_the_version(period, policy):
    rng = random.Random(0)
    for hold, decay in [
        (0, 1),
        (1, 1),
        (1, 9),
        (100, 100),
        *((rng.randint(1, 9), rng.randint(1, 40)) for _ in range(6)),
    ]:
        first, every = rng.randint(1, hold + decay), rng.randint(1, 12)
        if policy == "cosine" and not hold:
            continue  # an error of torch
        theirs = run_their_loop(period, policy, hold, decay, first, every, 2e-4)
        flags = {"lr_policy": policy, "n_epochs": hold, "n_epochs_decay": decay, "epoch_count": first}
        flags = {**BASE, **{flag: str(value) for flag, value in flags.items()}, "lr_decay_iters": str(every)}
        if not any(theirs) and policy == "linear":
            with pytest.raises(ValueError, match="leave no epoch"):
                build_command(flags, period)
            continue
        command = build_command(flags, period)
        ours = run_our_schedule(command.keys)
        if (period, policy) == ("2020", "cosine"):
            assert any("an epoch ahead" in note for note in command.notes)
            ours, theirs = ours[1:], theirs[:-1]
        assert ours == pytest.approx(theirs[: len(ours)], rel=1e-9, abs=1e-16), flags
        assert theirs[len(ours) :] == pytest.approx([0.0] * (len(theirs) - len(ours)), abs=1e-12)
        assert any("rate of 0" in note for note in command.notes) == (len(ours) < len(theirs))


@pytest.mark.parametrize(
    ("flags", "name", "period", "doubts"),
    [
        ("which_model_netG niter batchSize", "opt.txt", "2017", 0),
        ("which_model_netG niter lr_policy", "opt.txt", "2018", 0),
        ("netG niter lr_policy load_iter", "opt.txt", "2019", 0),
        ("netG niter lr_policy load_iter preprocess", "opt.txt", "2019", 1),
        ("netG niter lr_policy load_iter preprocess", "train_opt.txt", "2019", 0),
        ("netG n_epochs lr_policy gpu_ids", "train_opt.txt", "2020", 1),
        ("netG n_epochs lr_policy gpu_ids use_wandb", "train_opt.txt", "2020", 0),
        ("netG n_epochs lr_policy use_wandb", "train_opt.txt", "2025", 0),
    ],
)
def test_version_is_inferred_from_the_flags(flags, name, period, doubts):
    table = dict.fromkeys(flags.split(), "linear")
    assert infer_period(table) == period
    assert len(describe_doubts(table, name)) == doubts


def test_any_load_size_is_carried_over():
    for size in (64, 256, 1000):
        for load in (size + 1, round(size * 286 / 256), 2 * size):
            keys = composed({**BASE, "load_size": str(load), "crop_size": str(size)})
            spec = PairedDataModule(".", size=keys["data.size"], crop=keys["data.crop"]).pair_spec
            assert (spec.size, spec.load_size, keys["data.jitter"]) == (size, load, True)


NOTED = {
    "phase": "trainB",
    "checkpoints_dir": "/models",
    "init_type": "xavier",
    "init_gain": "0.1",
    "pool_size": "50",
    "serial_batches": "True",
    "max_dataset_size": "100",
    "epoch": "50",
    "load_iter": "500",
    "save_latest_freq": "100",
    "save_epoch_freq": "1",
    "save_by_iter": "True",
    "print_freq": "10",
    "update_html_freq": "5",
    "display_freq": "5",
    "display_ncols": "1",
    "display_id": "-1",
    "display_server": "http://other",
    "display_env": "one",
    "display_port": "1",
    "display_winsize": "1",
    "preprocess": "crop",
    "input_nc": "4",
    "output_nc": "2",
    "netG": "unet_512",
    "netD": "big",
    "gan_mode": "wgangp",
    "direction": "sideways",
    "lr_policy": "plateau",
    "continue_train": "True",
    "gpu_ids": "0,1",
    "attention": "on",
}


@pytest.mark.parametrize(("flag", "value"), NOTED.items())
def test_differences_are_noted(flag, value):
    before = build_command(BASE)
    command = build_command({**BASE, flag: value})
    (note,) = [note for note in command.notes if note not in before.notes]
    assert note.startswith((f"{flag}={value}: ", "continue_train: "))
    assert len(note) > len(f"{flag}={value}: ") + 10
    assert "\n" not in note


def test_all_flags_have_a_case():
    flags = {flag for flags, _ in CASES for flag in flags} | NOTED.keys()
    used = {"use_wandb", "wandb_project_name"}  # above
    nothing = {"isTrain", "suffix", "lambda_B", "lambda_identity", "model", "dataset_mode"}
    assert flags | used | nothing == DEFAULTS.keys() | {"attention"}
    for flag in ("suffix", "lambda_B", "lambda_identity"):
        assert build_command({**BASE, flag: "0.7"}) == build_command(BASE)


@pytest.mark.parametrize(
    ("flag", "value"),
    [("batch_size", "many"), ("n_epochs", "1.5"), ("lr", "small"), ("no_flip", "yes"), ("epoch_count", "201")],
)
def test_values_of_the_wrong_type_are_refused(flag, value):
    with pytest.raises(ValueError, match=f"{flag}={value}"):
        build_command({**BASE, flag: value})


SPECIAL_TEXTS = [
    *("it's", 'a "b"', "$HOME `id` $(id)", "a,b=c", "[x]{y: z}", "a;b&c|d>e", "back\\slash", "end\\", "a\\'b"),
    *("${oc.env:HOME}", "null", "True", "1e3", "ünï", "a: b", "#x", "~/x", "a*b?", "!!", "%d", "inf"),
]


def test_special_characters_survive_the_shell_and_hydra():
    """The lines run in bash, whose arguments the command reads."""
    script = "python() { printf '%s\\0' \"$@\"; printf '\\n\\0'; }\n"
    script += "\n".join(str(build_command({**BASE, "dataroot": text, "name": text})) for text in SPECIAL_TEXTS)
    output = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True).stdout
    lines = [line.split("\0")[:-1] for line in output.split("\n\0")[:-1]]
    assert len(lines) == len(SPECIAL_TEXTS)
    values = {}
    for number, line in enumerate(lines):
        assert line[:2] == ["-m", "pix2pix_lightning.train"]
        for key in ("data.root", "name"):
            (values[f"{key[-4:]}_{number}"],) = [word[len(key) + 1 :] for word in line if word.startswith(f"{key}=")]
    cfg = compose("train", [f"+{key}={value}" for key, value in values.items()])
    for number, text in enumerate(SPECIAL_TEXTS):
        assert (cfg[f"root_{number}"], cfg[f"name_{number}"]) == (text, text)
    got = []
    assert run_command("train", got.append, lines[0][2:]) == 0  # the command quotes paths itself
    assert (got[0].data.root, got[0].name) == (SPECIAL_TEXTS[0], SPECIAL_TEXTS[0])


def test_command_trains(tmp_path):
    make_strips(tmp_path / "it's here", train=2, val=1)
    flags = {
        "dataroot": "it's here",
        "name": "small one",
        "netG": "resnet_6blocks",
        "ngf": "2",
        "netD": "n_layers",
        "n_layers_D": "1",
        "ndf": "2",
        "crop_size": "32",
        "load_size": "36",
        "gan_mode": "wgangp",
        "norm": "none",
        "lr_policy": "step",
        "lr_decay_iters": "1",
        "n_epochs": "2",
        "n_epochs_decay": "1",
        "gpu_ids": "-1",
        "num_threads": "0",
        "input_nc": "1",
    }
    words = shlex.split(str(build_command({**BASE, **flags})).splitlines()[0])
    assert train_main([*words[3:], "callbacks.progress=null", "+trainer.enable_progress_bar=false"]) == 0
    (metrics,) = tmp_path.glob("runs/small one/*/metrics.csv")
    with metrics.open(newline="") as file:
        rates = [float(row["train/lr_d"]) for row in csv.DictReader(file) if row["train/lr_d"]]
    assert rates == pytest.approx([2e-4, 2e-5, 2e-6])


def test_colorization_trains_on_photos_alone():
    options = {**BASE, "model": "colorization", "dataset_mode": "colorization", "input_nc": "1", "output_nc": "2"}
    cfg = compose("train", build_command(options).to_overrides())
    assert (cfg.data.layout, cfg.data.root, cfg.data.direction) == ("photos", "/data/facades", "a_to_b")
    assert [(cfg.data[side].kind, cfg.data[side].part) for side in "ab"] == [("lab", "l"), ("lab", "ab")]
    assert (cfg.data.batch_size, cfg.data.jitter, cfg.trainer.max_epochs) == (1, True, 200)
