"""Convert the options of junyanz/pytorch-CycleGAN-and-pix2pix to a command of ``pix2pix_lightning.train``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pix2pix_lightning.cli.compose import compose
from pix2pix_lightning.data.sizes import enlarge
from pix2pix_lightning.prepare.junyanz_options import DEFAULTS, Options, is_colorization, is_on, parse_float, parse_int
from pix2pix_lightning.prepare.junyanz_schedule import convert_schedule

_ALWAYS = ("data.root", "data.direction", "trainer.max_epochs")  # shown even if they are the defaults
_GENERATORS = {
    "unet_256": "unet_256",
    "unet_128": "unet_128",
    "resnet_9blocks": "resnet_9",
    "resnet_6blocks": "resnet_6",
}
_PATCHES = {1: "patch_16", 2: "patch_34", 3: "patch_70", 4: "patch_142", 5: "image_286"}
_NORMS = {"batch": "batch", "syncbatch": "batch", "instance": "instance", "none": "none_no_bias"}
_ADVERSARIAL = {"vanilla": "vanilla", "lsgan": "lsgan", "wgangp": "wgan_gp"}
_DIRECTIONS = {"AtoB": "a_to_b", "BtoA": "b_to_a"}

# Flags without an equivalent, noted if they are not the default.
_NO_EQUIVALENT = {
    "phase": "rename the folder of the training images to train",
    "checkpoints_dir": "runs lie in runs/<name>/<date_time>; run_dir=<folder> puts one elsewhere",
    "init_type": "weights are initialized from N(0, 0.02)",
    "init_gain": "weights are initialized from N(0, 0.02)",
    "pool_size": "the discriminator sees only the newest outputs",
    "serial_batches": "the pairs are shuffled in each epoch, as seed= determines",
    "max_dataset_size": "data.max_pairs= takes the first by name, in validation too; junyanz the first on the disk",
    "epoch": "resume= resumes a run of this package",
    "load_iter": "resume= resumes a run of this package",
    "save_latest_freq": "checkpoints/last.ckpt is written after each epoch, and when a run is interrupted",
    "save_epoch_freq": "last.ckpt and best.ckpt are kept, no others",
    "save_by_iter": "last.ckpt and best.ckpt are kept, no others",
    "print_freq": "losses are in metrics.csv; trainer.log_every_n_steps= sets the interval in batches",
    **{
        flag: "there is no display server: gallery/index.html shows the same pairs after each epoch"
        for flag in DEFAULTS
        if flag.startswith(("display_", "update_html"))
    },
}


@dataclass
class TrainCommand:
    """A command line of ``train``, with notes on what it cannot express.

    Attributes:
        groups: Choices of configuration groups, by group.
        keys: Values by key. A key with a leading plus is added to the configuration.
        notes: One line for each difference from junyanz's training.
    """

    groups: dict[str, str] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_overrides(self) -> list[str]:
        """Return the arguments of ``train``: all groups, and the keys whose values differ from those of the groups."""
        from omegaconf import OmegaConf

        groups = [f"{group}={choice}" for group, choice in self.groups.items()]
        cfg = compose("train", groups)
        keys = {key: value for key, value in self.keys.items() if key in _ALWAYS or OmegaConf.select(cfg, key) != value}
        return groups + [f"{key}={_format_value(value)}" for key, value in keys.items()]

    def __str__(self) -> str:
        """Return a line for the shell, followed by the notes as comments."""
        line = shlex.join(["python", "-m", "pix2pix_lightning.train", *self.to_overrides()])
        return "\n".join([line, *(f"# {note}" for note in self.notes)])


def build_command(options: Options, period: str = "2025") -> TrainCommand:
    """Build the training command that is equivalent to junyanz's options.

    Args:
        options: What `read_options` returns.
        period: What `infer_period` returns: when the version was current, whose learning rates differ.

    Returns:
        The command, with notes on what differs.

    Raises:
        UserError: A value has the wrong type for its flag.
    """
    command = TrainCommand()
    _convert_data(options, command)
    _convert_networks(options, command)
    _convert_losses(options, command)
    _convert_schedule(options, command, period)
    _convert_devices(options, command)
    _convert_run(options, command)
    for flag, instead in _NO_EQUIVALENT.items():
        if options[flag] != DEFAULTS[flag]:
            command.notes.append(f"{flag}={options[flag]}: {instead}")
    for flag in sorted(options.keys() - DEFAULTS.keys()):
        command.notes.append(f"{flag}={options[flag]}: unknown flag, not converted")
    return command


def _convert_data(options: Options, command: TrainCommand) -> None:
    direction = _convert_choice(options, "direction", _DIRECTIONS, command)
    colors = is_colorization(options)
    command.groups["data"] = "colorization" if colors else "folder"
    command.keys |= {
        "data.root": options["dataroot"],
        "data.direction": direction,
        "data.mirror": not is_on(options, "no_flip"),
        "data.num_workers": parse_int(options, "num_threads"),
    }
    _convert_size(options, command)
    for flag, side in zip(("input_nc", "output_nc"), "ab" if direction == "a_to_b" else "ba", strict=True):
        if colors:
            continue  # L, and a, b of Lab
        if options[flag] == "1":
            command.keys[f"data.{side}.kind"] = "grayscale"
        elif options[flag] != "3":
            command.notes.append(f"{flag}={options[flag]}: a side is rgb, grayscale or label: set data.{side}.kind=")
    if not options["dataroot"].startswith("/"):
        command.notes.append(f"dataroot={options['dataroot']} was relative to the folder of junyanz's train.py")
    command.notes.append(
        "val/ in data.root is used for validation, unlike in junyanz: if there is only test/, add data.val_split=test"
    )


def _convert_size(options: Options, command: TrainCommand) -> None:
    """Convert ``preprocess``, ``load_size`` and ``crop_size``."""
    load, crop, how = parse_int(options, "load_size"), parse_int(options, "crop_size"), options["preprocess"]
    keys: dict[str, Any]
    if how == "resize_and_crop":
        is_jitter = load == enlarge(crop)
        keys = {"data.size": crop} if is_jitter else {"data.size": load, "data.jitter": load > crop}
        if load > crop and not is_jitter:
            keys["data.crop"] = crop
    elif how == "scale_width":
        keys = {"data.resize": how, "data.size": load}
        command.notes.append(f"preprocess={how}: theirs stretches images to a height of crop_size={crop} at least")
    elif how == "scale_width_and_crop":
        keys = {"data.resize": "scale_width", "data.size": load, "data.crop": min(load, crop)}
    elif how == "crop":
        keys = {"data.resize": "none", "data.crop": crop}
        command.notes.append("preprocess=crop: theirs leaves smaller images as they are, here they are an error")
    else:
        keys = {"data.resize": "none"}
        command.notes.append(f"preprocess={how}: theirs resizes sides to multiples of 4, here the networks pad them")
    command.keys |= {"data.jitter": True, **keys}


def _convert_networks(options: Options, command: TrainCommand) -> None:
    generator = _convert_choice(options, "netG", _GENERATORS, command)
    command.groups["generator"] = generator
    norm = _convert_choice(options, "norm", _NORMS, command)
    command.keys |= {
        "module.generator.base_channels": parse_int(options, "ngf"),
        "module.generator.norm": norm,
        "module.generator.dropout": 0.0 if is_on(options, "no_dropout") else 0.5,
    }
    layers = parse_int(options, "n_layers_D") if options["netD"] == "n_layers" else 3
    patch = _PATCHES.get(layers, "patch_70")
    choices = {"basic": patch, "n_layers": patch, "pixel": "pixel"}
    command.groups["discriminator"] = discriminator = _convert_choice(options, "netD", choices, command)
    if discriminator != "pixel":
        command.keys["module.discriminator.num_layers"] = layers
    command.keys |= {
        "module.discriminator.base_channels": parse_int(options, "ndf"),
        "module.discriminator.norm": norm,
    }
    if options["norm"] == "syncbatch":
        command.keys["+trainer.sync_batchnorm"] = True


def _convert_losses(options: Options, command: TrainCommand) -> None:
    command.groups["loss"] = "l1_cgan"
    command.groups["adversarial"] = _convert_choice(options, "gan_mode", _ADVERSARIAL, command)
    command.keys["module.weights.l1"] = parse_float(options, "lambda_L1")
    if options["gan_mode"] == "wgangp":
        command.keys["module.adversarial.penalty_weight"] = 0.0
        command.notes.append(
            "gan_mode=wgangp: junyanz's pix2pix omits the gradient penalty, and so does this command; to add it: "
            "module.adversarial.penalty_weight=10 module.discriminator.norm=instance; junyanz halves the "
            "discriminator's loss, here it is twice that, which Adam divides out"
        )


def _convert_schedule(options: Options, command: TrainCommand, period: str) -> None:
    schedule = convert_schedule(options, period)
    command.groups |= {"schedule": schedule.choice, "optimizer": "adam"}
    command.keys |= schedule.keys
    for network in ("optimizer_g", "optimizer_d"):
        command.keys |= {
            f"module.{network}.lr": schedule.rate,
            f"module.{network}.betas": [parse_float(options, "beta1"), 0.999],
        }
    command.keys["trainer.max_epochs"] = schedule.epochs
    command.notes += schedule.notes


def _convert_devices(options: Options, command: TrainCommand) -> None:
    batch_size = parse_int(options, "batch_size")
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
        command.notes.append(f"gpu_ids={options['gpu_ids']}: data.batch_size is per process, so {each} of {batch_size}")
        batch_size = each
    is_whole = command.keys.get("data.resize", "stretch") != "stretch" and "data.crop" not in command.keys
    if is_whole and batch_size > 1:  # images of several sizes
        command.keys["module.accumulate"] = batch_size
        command.notes.append(f"batch_size={batch_size}: of images of several sizes, one is in a batch")
        batch_size = 1
    command.keys["data.batch_size"] = batch_size


def _convert_run(options: Options, command: TrainCommand) -> None:
    command.keys["name"] = options["name"]
    command.keys["trainer.enable_model_summary"] = is_on(options, "verbose")
    if is_on(options, "no_html"):
        command.keys["callbacks.gallery"] = None
    if is_on(options, "use_wandb"):
        command.groups["logger"] = "[csv,wandb]"
        command.keys["logger.wandb.project"] = options["wandb_project_name"]


def _convert_choice(options: Options, flag: str, choices: Mapping[str, str], command: TrainCommand) -> str:
    if options[flag] not in choices:
        default = choices[DEFAULTS[flag]]
        command.notes.append(f"{flag}={options[flag]}: none of {', '.join(choices)}; the command uses {default}")
        return default
    return choices[options[flag]]


def _format_value(value: Any) -> str:
    """Format a value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_format_value, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_format_value(item)}' for key, item in value.items())}}}"
    if not isinstance(value, str) or re.fullmatch(r"(?!(null|true|false|inf|nan)$)[A-Za-z._/][\w./-]*", value, re.I):
        return str(value)
    text = re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), value)
    return "'" + text.replace("${", "\\${") + "'"
