"""Read ``train_opt.txt``, the options file of a training of junyanz/pytorch-CycleGAN-and-pix2pix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pix2pix_lightning.checkpoints.junyanz.options import read_table, rename_flags
from pix2pix_lightning.utils.errors import UserError

Options = Mapping[str, str]

# junyanz's defaults for pix2pix. A file lists all flags, but files of older versions have fewer.
DEFAULTS = {
    "dataroot": "",
    "name": "experiment_name",
    "checkpoints_dir": "./checkpoints",
    "model": "pix2pix",
    "isTrain": "True",
    "phase": "train",
    "suffix": "",
    "verbose": "False",
    # networks
    "netG": "unet_256",
    "netD": "basic",
    "n_layers_D": "3",
    "ngf": "64",
    "ndf": "64",
    "norm": "batch",
    "no_dropout": "False",
    "init_type": "normal",
    "init_gain": "0.02",
    "input_nc": "3",
    "output_nc": "3",
    # data
    "dataset_mode": "aligned",
    "direction": "AtoB",
    "preprocess": "resize_and_crop",
    "load_size": "286",
    "crop_size": "256",
    "no_flip": "False",
    "batch_size": "1",
    "num_threads": "4",
    "serial_batches": "False",
    "max_dataset_size": "inf",
    # losses and optimizers
    "gan_mode": "vanilla",
    "lambda_L1": "100.0",
    "pool_size": "0",
    "lr": "0.0002",
    "beta1": "0.5",
    "lr_policy": "linear",
    "lr_decay_iters": "50",
    "n_epochs": "100",
    "n_epochs_decay": "100",
    # resuming
    "continue_train": "False",
    "epoch_count": "1",
    "epoch": "latest",
    "load_iter": "0",
    # devices, saving, display
    "gpu_ids": "0",
    "save_latest_freq": "5000",
    "save_epoch_freq": "5",
    "save_by_iter": "False",
    "print_freq": "100",
    "use_wandb": "False",
    "wandb_project_name": "CycleGAN-and-pix2pix",
    "no_html": "False",
    "update_html_freq": "1000",
    "display_freq": "400",
    "display_ncols": "4",
    "display_id": "1",
    "display_server": "http://localhost",
    "display_env": "main",
    "display_port": "8097",
    "display_winsize": "256",
    # flags of CycleGAN, which files of 2017 list for every model
    "lambda_B": "10.0",
    "lambda_identity": "0.0",
}


def read_options(path: Path) -> dict[str, str]:
    """Read the options of a pix2pix or colorization training.

    Args:
        path: A ``train_opt.txt``, an ``opt.txt`` (2017), or the printed output of the script.

    Returns:
        Values as text by the present names of the flags: all flags of ``DEFAULTS``, and unknown ones of the file.

    Raises:
        UserError: The file does not belong to a training of pix2pix.
    """
    found, _ = read_table(path)
    if "model" not in found or not found.get("dataroot"):
        raise UserError(
            f"input={path} has no model and dataroot: give the train_opt.txt that a training wrote into "
            "checkpoints/<name>"
        )
    if found.get("isTrain") == "False" or "results_dir" in found:
        raise UserError(f"input={path} belongs to a test: give the train_opt.txt of that model's training")
    for flag, choices in (("model", ("pix2pix", "colorization")), ("dataset_mode", ("aligned", "colorization"))):
        if found.get(flag, choices[0]) not in choices:
            raise UserError(f"input={path} has {flag}={found[flag]}: only {' and '.join(choices)} can be converted")
    # since 2025 the launcher chooses the devices, and the file has no gpu_ids
    return {**DEFAULTS, "gpu_ids": "", **rename_flags(found)}


def is_colorization(options: Options) -> bool:
    """Return whether a training colored photos: from L to a, b of Lab."""
    return "colorization" in (options["model"], options["dataset_mode"])


def is_on(options: Options, flag: str) -> bool:
    """Return the value of a switch.

    Raises:
        UserError: The value is neither True nor False.
    """
    if options[flag] not in ("True", "False"):
        raise UserError(f"{flag}={options[flag]}: True or False is expected")
    return options[flag] == "True"


def parse_int(options: Options, flag: str) -> int:
    """Return a value as a whole number.

    Raises:
        UserError: The value is no whole number.
    """
    if not re.fullmatch(r"-?\d+", options[flag]):
        raise UserError(f"{flag}={options[flag]}: a whole number is expected")
    return int(options[flag])


def parse_float(options: Options, flag: str) -> float:
    """Return a value as a number.

    Raises:
        UserError: The value is no number.
    """
    try:
        return float(options[flag])
    except ValueError:
        raise UserError(f"{flag}={options[flag]}: a number is expected") from None
