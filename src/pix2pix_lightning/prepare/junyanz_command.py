"""A training of junyanz/pytorch-CycleGAN-and-pix2pix as a command of ``pix2pix_lightning.train``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pix2pix_lightning.cli.compose import compose
from pix2pix_lightning.prepare.junyanz_options import DEFAULTS, Options, is_on, number, whole
from pix2pix_lightning.utils.errors import UserError

_ALWAYS = ("data.root", "data.direction", "trainer.max_epochs")  # what everybody looks for
_JITTER = 286 / 256  # data.jitter's
_GENERATORS = {
    "unet_256": "unet_256",
    "unet_128": "unet_128",
    "resnet_9blocks": "resnet_9",
    "resnet_6blocks": "resnet_6",
}
_PATCHES = {1: "patch_16", 2: "patch_34", 3: "patch_70", 4: "patch_142", 5: "image_286"}
_NORMS = {"batch": "batch", "syncbatch": "batch", "instance": "instance", "none": "none"}
_ADVERSARIAL = {"vanilla": "vanilla", "lsgan": "lsgan", "wgangp": "wgan_gp"}
_DIRECTIONS = {"AtoB": "a_to_b", "BtoA": "b_to_a"}

# What has no equal, said where it is not the default.
_NO_EQUAL = {
    "phase": "rename the folder of the training images to train",
    "checkpoints_dir": "runs lie in runs/<name>/<date_time>; run_dir=<folder> puts one elsewhere",
    "init_type": "networks begin with N(0, 0.02)",
    "init_gain": "networks begin with N(0, 0.02)",
    "pool_size": "the discriminator sees the newest outputs alone",
    "serial_batches": "each epoch has an order of its own, which seed= determines",
    "max_dataset_size": "data.max_pairs= takes the first by name, in validation too; theirs what the disk lists first",
    "epoch": "resume= goes on with a run of this package",
    "load_iter": "resume= goes on with a run of this package",
    "save_latest_freq": "checkpoints/last.ckpt is written after each epoch, and where a run is stopped",
    "save_epoch_freq": "last.ckpt and best.ckpt are kept, no others",
    "save_by_iter": "last.ckpt and best.ckpt are kept, no others",
    "print_freq": "losses are in metrics.csv; trainer.log_every_n_steps= says how often, in batches",
    **{
        flag: "there is no display server: gallery/index.html shows the same pairs after each epoch"
        for flag in DEFAULTS
        if flag.startswith(("display_", "update_html"))
    },
}


@dataclass
class Command:
    """A command line of ``train``, as choices of groups and values of keys, and what it cannot say.

    Attributes:
        groups: Name of the group to its choice.
        keys: Key to value; a plus before it adds the key.
        notes: A line for each thing that differs from the training that it stands for.
    """

    groups: dict[str, str] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def overrides(self) -> list[str]:
        """The words behind ``train``: all groups, and the keys that differ from what these have."""
        from omegaconf import OmegaConf

        groups = [f"{group}={choice}" for group, choice in self.groups.items()]
        cfg = compose("train", groups)
        keys = {key: value for key, value in self.keys.items() if key in _ALWAYS or OmegaConf.select(cfg, key) != value}
        return groups + [f"{key}={_written(value)}" for key, value in keys.items()]

    def __str__(self) -> str:
        """A line for the shell, and the notes as comments under it."""
        line = shlex.join(["python", "-m", "pix2pix_lightning.train", *self.overrides()])
        return "\n".join([line, *(f"# {note}" for note in self.notes)])


def equal_command(options: Options) -> Command:
    """The training of ours that equals theirs in effect.

    Args:
        options: As ``read_options`` gives them.

    Raises:
        ValueError: A value is not of its flag's kind.
    """
    command = Command()
    _say_data(options, command)
    _say_networks(options, command)
    _say_losses(options, command)
    _say_schedule(options, command)
    _say_devices(options, command)
    _say_run(options, command)
    for flag, instead in _NO_EQUAL.items():
        if options[flag] != DEFAULTS[flag]:
            command.notes.append(f"{flag}={options[flag]}: {instead}")
    for flag in sorted(options.keys() - DEFAULTS.keys()):
        command.notes.append(f"{flag}={options[flag]}: unknown, so not carried over")
    return command


def _say_data(options: Options, command: Command) -> None:
    direction = _choice(options, "direction", _DIRECTIONS, command)
    command.groups["data"] = "folder"
    command.keys |= {
        "data.root": options["dataroot"],
        "data.direction": direction,
        "data.mirror": not is_on(options, "no_flip"),
        "data.num_workers": whole(options, "num_threads"),
    }
    _say_size(options, command)
    for flag, side in zip(("input_nc", "output_nc"), "ab" if direction == "a_to_b" else "ba", strict=True):
        if options[flag] == "1":
            command.keys[f"data.{side}.kind"] = "grayscale"
        elif options[flag] != "3":
            command.notes.append(
                f"{flag}={options[flag]}: a side is rgb, grayscale or label: data.{side}.kind= says which"
            )
    if not options["dataroot"].startswith("/"):
        command.notes.append(f"dataroot={options['dataroot']} was relative to the folder of their train.py")
    command.notes.append(
        "val/ in data.root is validated on, as theirs was not: where only test/ is there, add data.val_split=test"
    )


def _say_size(options: Options, command: Command) -> None:
    load, crop, how = whole(options, "load_size"), whole(options, "crop_size"), options["preprocess"]
    size, jitter = min(load, crop), load > crop
    if how in ("resize_and_crop", "scale_width_and_crop"):
        ours = round(size * _JITTER)
        if jitter and load != ours:
            command.notes.append(f"load_size={load}: jitter resizes to size x 286/256, here {ours}")
    elif how == "scale_width":
        size, jitter = load, False
    elif how == "crop":
        size, jitter = crop, True
        command.notes.append(
            "preprocess=crop: images are resized to a square before the crop; cut large ones beforehand"
        )
    else:
        size, jitter = crop, False
        command.notes.append(f"preprocess={how}: all images are resized to a square of data.size={size}: say their own")
    if how.startswith("scale_width"):
        command.notes.append(f"preprocess={how}: images that are no squares are resized to one")
    command.keys |= {"data.size": size, "data.jitter": jitter}


def _say_networks(options: Options, command: Command) -> None:
    generator = _choice(options, "netG", _GENERATORS, command)
    command.groups["generator"] = generator
    norm = _choice(options, "norm", _NORMS, command)
    command.keys |= {
        "module.generator.base_channels": whole(options, "ngf"),
        "module.generator.norm": norm,
        "module.generator.dropout": 0.0 if is_on(options, "no_dropout") else 0.5,
    }
    layers = whole(options, "n_layers_D") if options["netD"] == "n_layers" else 3
    patch = _PATCHES.get(layers, "patch_70")
    choices = {"basic": patch, "n_layers": patch, "pixel": "pixel"}
    command.groups["discriminator"] = discriminator = _choice(options, "netD", choices, command)
    if discriminator != "pixel":
        command.keys["module.discriminator.num_layers"] = layers
    command.keys |= {
        "module.discriminator.base_channels": whole(options, "ndf"),
        "module.discriminator.norm": norm,
    }
    if options["norm"] == "syncbatch":
        command.keys["+trainer.sync_batchnorm"] = True
    if norm == "none":
        command.notes.append("norm=none: convolutions have a bias here, and had none")


def _say_losses(options: Options, command: Command) -> None:
    command.groups["loss"] = "l1_cgan"
    command.groups["adversarial"] = _choice(options, "gan_mode", _ADVERSARIAL, command)
    command.keys["module.weights.l1"] = number(options, "lambda_L1")
    if options["gan_mode"] == "wgangp":
        command.keys["module.adversarial.penalty_weight"] = 0.0
        command.notes.append(
            "gan_mode=wgangp: their pix2pix leaves the gradient penalty out, and so does this; with it: "
            "module.adversarial.penalty_weight=10 module.discriminator.norm=instance"
        )


def _say_schedule(options: Options, command: Command) -> None:
    hold, decay = whole(options, "n_epochs"), whole(options, "n_epochs_decay")
    rate = number(options, "lr")
    policy, parts = options["lr_policy"], {}
    if policy == "step":
        parts = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": whole(options, "lr_decay_iters")}
        parts["gamma"] = 0.1
    elif policy == "cosine":
        parts = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": hold, "eta_min": 0.0}
    elif policy != "linear":
        command.notes.append(f"lr_policy={policy}: not offered, the rate is constant here; schedule= has others")
    if is_on(options, "continue_train"):
        command.notes.append(
            "continue_train: this is the whole training from its first epoch; a run of this package goes on with "
            "resume=<run folder>"
        )
    else:
        hold -= whole(options, "epoch_count") - 1
    epochs = hold + decay
    if epochs < 1:
        raise UserError(f"epoch_count={options['epoch_count']} leaves no epoch of {options['n_epochs']} + {decay}")
    if policy == "linear" and decay:
        if hold < 0:  # it began in the middle of the fall
            rate *= (epochs + 1) / (decay + 1)
            hold, decay = 0, epochs
        command.groups["schedule"] = "linear_decay"
        command.keys |= {"module.schedule.hold_epochs": hold, "module.schedule.decay_epochs": decay}
    else:
        command.groups["schedule"] = "constant"
    if parts:
        command.keys["module.schedule"] = parts
    command.groups["optimizer"] = "adam"
    for network in ("optimizer_g", "optimizer_d"):
        command.keys |= {
            f"module.{network}.lr": rate,
            f"module.{network}.betas": [number(options, "beta1"), 0.999],
        }
    command.keys["trainer.max_epochs"] = epochs


def _say_devices(options: Options, command: Command) -> None:
    batch_size = whole(options, "batch_size")
    gpus = [int(gpu) for gpu in re.findall(r"-?\d+", options["gpu_ids"]) if int(gpu) >= 0]
    if not options["gpu_ids"]:
        command.groups["trainer"] = "auto"
    elif not gpus:
        command.groups["trainer"] = "cpu"
    elif gpus == [0]:
        command.groups["trainer"] = "gpu"
    else:
        command.groups["trainer"] = "auto" if len(gpus) == 1 else "ddp"
        command.keys |= {"trainer.accelerator": "gpu", "trainer.devices": gpus}
    if len(gpus) > 1:
        each = max(1, batch_size // len(gpus))
        command.notes.append(
            f"gpu_ids={options['gpu_ids']}: data.batch_size is each process's, so {each} of their {batch_size}"
        )
        batch_size = each
    command.keys["data.batch_size"] = batch_size


def _say_run(options: Options, command: Command) -> None:
    command.keys["name"] = options["name"]
    command.keys["trainer.enable_model_summary"] = is_on(options, "verbose")
    if is_on(options, "no_html"):
        command.keys["callbacks.gallery"] = None
    if is_on(options, "use_wandb"):
        command.groups["logger"] = "[csv,wandb]"
        command.keys["logger.wandb.project"] = options["wandb_project_name"]


def _choice(options: Options, flag: str, choices: Mapping[str, str], command: Command) -> str:
    if options[flag] not in choices:
        ours = choices[DEFAULTS[flag]]
        command.notes.append(f"{flag}={options[flag]}: none of {', '.join(choices)}; the command has {ours}")
        return ours
    return choices[options[flag]]


def _written(value: Any) -> str:
    """A value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_written(item)}' for key, item in value.items())}}}"
    if not isinstance(value, str) or re.fullmatch(r"(?!(null|true|false|inf|nan)$)[A-Za-z._/][\w./-]*", value, re.I):
        return str(value)
    text = re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), value)
    return "'" + text.replace("${", "\\${") + "'"
