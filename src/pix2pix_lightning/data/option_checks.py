"""Check the arguments of a data module, which are the keys ``data.*``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pix2pix_lightning.utils.checks import check_choice, check_counts, check_switch, is_whole_number
from pix2pix_lightning.utils.errors import UserError


def check_options(
    *,
    counts: Mapping[str, object],
    optional_counts: Mapping[str, object],
    choices: Mapping[str, tuple[object, Collection[str]]],
    switches: Mapping[str, object],
    folders: Mapping[str, object],
    seed: object,
) -> None:
    """Check arguments of a data module, each by its name.

    Args:
        counts: Whole numbers of at least 1.
        optional_counts: The same, or None for a default.
        choices: Values with those that are allowed.
        switches: True or false.
        folders: Names of folders.
        seed: Seed of the order and of the augmentation.

    Raises:
        UserError: A value is out of range. The message has its key.
    """
    given: dict[str, Any] = {name: count for name, count in optional_counts.items() if count is not None}
    check_counts(prefix="data.", **{**counts, **given})
    for name, (value, allowed) in choices.items():
        check_choice(f"data.{name}", value, allowed)
    for name, value in switches.items():
        check_switch(f"data.{name}", value)
    for name, folder in folders.items():
        if folder is None:
            raise UserError(f"data.{name}=null: a folder is expected")
    if not (is_whole_number(seed) and 0 <= seed < 2**32):  # type: ignore[operator]
        raise UserError(f"seed={seed}: a whole number from 0 to 2**32 - 1 is expected")


def check_geometry(geometry: Mapping[str, Any], *, batch_size: int, val_whole: bool, decode: object) -> None:
    """Check what does not go with the sizes of images.

    Args:
        geometry: What ``build_geometry`` returns.
        batch_size: Pairs in a batch.
        val_whole: Whether validation sees whole images where training sees crops.
        decode: The key ``data.decode``.

    Raises:
        UserError: Images of several sizes would be in a batch, or a key has no effect.
    """
    rule = geometry["resize"]
    check_choice("data.decode", decode, ("exact", "reduced"))
    if decode == "reduced" and rule != "stretch":
        raise UserError(f"data.decode=reduced has no effect with data.resize={rule}: leave data.decode out")
    if geometry["is_whole"] and batch_size > 1:
        raise UserError(
            f"data.batch_size={batch_size} with data.resize={rule}, after which images differ in size: set "
            f"data.batch_size=1 module.accumulate={batch_size}, or crops by data.crop="
        )
    if val_whole and (rule == "stretch" or geometry["is_whole"]):
        reason = "after which" if rule == "stretch" else "with which, without data.crop=,"
        raise UserError(
            f"data.val_whole=true with data.resize={rule}, {reason} all images are whole anyway: leave val_whole out"
        )
