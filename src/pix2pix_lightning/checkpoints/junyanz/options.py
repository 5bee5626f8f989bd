"""Read the options that junyanz/pytorch-CycleGAN-and-pix2pix writes next to its weights: ``train_opt.txt``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET

OLD_NAMES = {
    "batchSize": "batch_size",
    "display_single_pane_ncols": "display_ncols",
    "fineSize": "crop_size",
    "identity": "lambda_identity",
    "lambda_A": "lambda_L1",
    "loadSize": "load_size",
    "nThreads": "num_threads",
    "niter": "n_epochs",
    "niter_decay": "n_epochs_decay",
    "no_lsgan": "gan_mode",
    "resize_or_crop": "preprocess",
    "use_dropout": "no_dropout",
    "which_direction": "direction",
    "which_epoch": "epoch",
    "which_model_netD": "netD",
    "which_model_netG": "netG",
}
"""Present names of flags by their older names."""
_OLD_VALUES = {
    "lr_policy": {"lambda": "linear"},
    "no_lsgan": {"True": "vanilla", "False": "lsgan"},
    "use_dropout": {"True": "False", "False": "True"},
}
# "   batch_size: 4    \t[default: 1]"; the files of 2017 have "batchSize: 4"
_LINE = re.compile(r"\s*(\w+):(?:\s+(.*?))??(?:\s+\[default: [^]]*\])?\s*")
_END = re.compile(r"-+ *End *-+\s*")
_FILES = ("train_opt.txt", "opt.txt", "test_opt.txt")  # opt.txt until April 2019, of the last training or test

RESIZE_RULES = {
    "resize_and_crop": "stretch",
    "scale_width": "scale_width",
    "scale_width_and_crop": "scale_width",
    "crop": "none",
    "none": "none",
}
"""``PairSpec.resize`` by ``--preprocess``."""
DIRECTIONS = {"AtoB": "a_to_b", "BtoA": "b_to_a"}
_NORMS = {"batch": "batch", "syncbatch": "batch", "instance": "instance", "none": "none_no_bias"}
_GENERATORS: dict[str, tuple[str, dict[str, int]]] = {
    "unet_256": ("UNetGenerator", {"num_downs": 8}),
    "unet_128": ("UNetGenerator", {"num_downs": 7}),
    "resnet_9blocks": ("ResNetGenerator", {"num_blocks": 9}),
    "resnet_6blocks": ("ResNetGenerator", {"num_blocks": 6}),
}
_GENERATOR_FLAGS = {
    **dict.fromkeys((TARGET, "num_downs", "num_blocks"), "netG"),
    "in_channels": "input_nc",
    "out_channels": "output_nc",
    "base_channels": "ngf",
    "norm": "norm",
    "dropout": "no_dropout",
}
_DISCRIMINATOR_FLAGS = {TARGET: "netD", "num_layers": "netD", "base_channels": "ndf", "norm": "norm"}
_MAX_COUNT = 2**16
_OTHER_IMAGES = ("cycle_gan",)  # models with generators for both directions, so that channels and direction vary


class ModelOptions(NamedTuple):
    """Options of the training, or of a test, that belong to a file of weights.

    Attributes:
        path: The file of the options.
        values: Values as text by the present names of the flags. Flags may be missing.
        is_whole: Whether the file has the line that ends it.
    """

    path: Path
    values: Mapping[str, str]
    is_whole: bool

    @property
    def size(self) -> int | None:
        """Side in pixels of what the networks saw, of ``scale_width`` the width; None if the file does not name it."""
        return self._parse_side("load_size" if self.values.get("preprocess") == "scale_width" else "crop_size")

    @property
    def load_size(self) -> int | None:
        """Side or width in pixels to which images were resized before a random crop; None without one."""
        crops = self.values.get("preprocess") in ("resize_and_crop", "scale_width_and_crop")
        load = self._parse_side("load_size") if crops else None
        return load if load and self.size and load > self.size else None

    @property
    def resize(self) -> str | None:
        """How images were resized: ``stretch``, ``scale_width`` or ``none``; None if the file does not name it."""
        return RESIZE_RULES.get(self.values.get("preprocess", ""))

    @property
    def has_whole_images(self) -> bool:
        """Whether the networks saw whole images, of several sizes."""
        return self.values.get("preprocess") in ("scale_width", "none")

    @property
    def direction(self) -> str | None:
        """``a_to_b`` or ``b_to_a``; None if the file does not name it, or the images were no pairs.

        Raises:
            UserError: The value is unknown.
        """
        is_pair = self.values.get("dataset_mode", "aligned") == "aligned" and not self._has_other_images
        if not is_pair or "direction" not in self.values:
            return None
        return DIRECTIONS[self._check("direction", DIRECTIONS)]

    @property
    def has_strips(self) -> bool:
        """Whether the files held A and B side by side."""
        return self.values.get("dataset_mode") == "aligned" and not self._has_other_images

    @property
    def is_colorization(self) -> bool:
        """Whether the channels are L and a, b of the colour space Lab."""
        return "colorization" in (self.values.get("model"), self.values.get("dataset_mode"))

    def complete(self, description: Mapping[str, Any], weights: Path) -> dict[str, Any]:
        """Compare a network with the options, and take over what the weights do not show.

        Args:
            description: Class and arguments of the network that was inferred from the weights.
            weights: Their file, for the message.

        Returns:
            The description, with the dropout of a U-Net.

        Raises:
            UserError: The options are those of another network, or a value is unknown.
        """
        found = {**description, TARGET: description[TARGET].rpartition(".")[2]}
        is_generator = not found[TARGET].endswith("Discriminator")
        stated = self._describe_generator() if is_generator else self._describe_discriminator()
        if found[TARGET] == "UNetGenerator" and "dropout" in stated:
            found["dropout"] = stated["dropout"]
        if not is_generator and (stated.get("norm"), found["norm"]) == ("none_no_bias", "instance"):
            found["norm"] = stated["norm"] = "none"  # in spring 2019 discriminators without norms had biases
        flags = _GENERATOR_FLAGS if is_generator else _DISCRIMINATOR_FLAGS
        for key, value in stated.items():
            if found.get(key) != value:
                holds = found[TARGET] if key == TARGET else f"{key}={found[key]}"
                raise UserError(
                    f"{self.path} has {flags[key]}={self.values[flags[key]]}, but {weights} holds {holds}: they belong "
                    f"to different trainings; put {self.path.name} elsewhere, or give the weights of its training"
                )
        return {**found, TARGET: description[TARGET]}

    @property
    def _has_other_images(self) -> bool:
        return self.values.get("model") in _OTHER_IMAGES

    def _describe_generator(self) -> dict[str, Any]:
        stated: dict[str, Any] = {}
        if self.values.get("netG") in _GENERATORS:
            cls, depth = _GENERATORS[self.values["netG"]]
            stated = {TARGET: cls, **depth}
        channels = {} if self._has_other_images else {"input_nc": "in_channels", "output_nc": "out_channels"}
        stated |= self._parse_counts({**channels, "ngf": "base_channels"}) | self._describe_norm()
        if "no_dropout" in self.values:
            stated["dropout"] = 0.0 if self._check("no_dropout", ("True", "False")) == "True" else 0.5
        return stated

    def _describe_discriminator(self) -> dict[str, Any]:
        stated: dict[str, Any] = {}
        kind = self.values.get("netD")
        if kind in ("basic", "n_layers", "pixel"):
            stated = {TARGET: "PixelDiscriminator" if kind == "pixel" else "PatchDiscriminator"}
        if kind == "basic":
            stated["num_layers"] = 3
        elif kind == "n_layers":
            stated |= self._parse_counts({"n_layers_D": "num_layers"})
        return stated | self._parse_counts({"ndf": "base_channels"}) | self._describe_norm()

    def _describe_norm(self) -> dict[str, str]:
        return {"norm": _NORMS[self.values["norm"]]} if self.values.get("norm") in _NORMS else {}

    def _parse_counts(self, names: Mapping[str, str]) -> dict[str, int]:
        return {key: self._parse_count(flag) for flag, key in names.items() if flag in self.values}

    def _parse_side(self, flag: str) -> int | None:
        return self._parse_count(flag) if flag in self.values else None

    def _parse_count(self, flag: str) -> int:
        value = self.values[flag]
        if not re.fullmatch(r"[1-9]\d{0,4}", value) or int(value) > _MAX_COUNT:
            raise UserError(f"{self.path} has {flag}={value}, where a whole number is expected: correct or remove it")
        return int(value)

    def _check(self, flag: str, choices: Mapping[str, str] | tuple[str, ...]) -> str:
        value = self.values[flag]
        if value not in choices:
            raise UserError(
                f"{self.path} has {flag}={value}, which is none of {', '.join(choices)}: correct or remove it"
            )
        return value


def find_generator_name(description: Mapping[str, Any]) -> str | None:
    """Return the value of ``--netG`` that builds a generator, or None if none does."""
    for name, (cls, depth) in _GENERATORS.items():
        if description[TARGET].endswith(f".{cls}") and description.items() >= depth.items():
            return name
    return None


def find_options(weights: Path) -> ModelOptions | None:
    """Find the options of the training that wrote a file of weights, in the same folder.

    Args:
        weights: ``<epoch>_net_G.pth`` or the like.

    Returns:
        What ``train_opt.txt`` says, else ``opt.txt`` (until April 2019) or ``test_opt.txt``; None if there is no such
        file with options in it.

    Raises:
        OSError: The file cannot be read.
    """
    for name in _FILES:
        path = weights.with_name(name)
        if path.is_file():
            table, is_whole = read_table(path)
            if values := rename_flags(table):
                return ModelOptions(path, values, is_whole)
    return None


def read_table(path: Path) -> tuple[dict[str, str], bool]:
    """Read the lines of an options file, of any version, or of what the script printed.

    Args:
        path: The file.

    Returns:
        Values as text by the flags' names in the file; and whether the line that ends the table is there. Without it, a
        last line without a line break may be cut short, and is left out.

    Raises:
        OSError: The file cannot be read.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    is_whole = any(_END.fullmatch(line) for line in lines)
    if not is_whole and lines and not text.endswith(("\n", "\r")):
        lines.pop()
    return {match[1]: match[2] or "" for line in lines if (match := _LINE.fullmatch(line))}, is_whole


def rename_flags(table: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a table by the present names of the flags."""
    values = {}
    for flag, value in table.items():
        values[OLD_NAMES.get(flag, flag)] = _OLD_VALUES.get(flag, {}).get(value, value)
    if "fineSize" in table and "preprocess" in values:  # before 2019
        if values.get("dataset_mode", "aligned") == "aligned":
            values["preprocess"] = "resize_and_crop"  # pairs were resized so, whatever the flag said
        elif values["preprocess"] == "scale_width":
            values["load_size"] = values["crop_size"]  # fineSize was the width to scale to
    return values
