"""Compare configurations key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

LOADING_KEYS = {
    f"data.{key}"
    for key in ("archive", "cache", "check", "download", "num_workers", "on_error", "pin_memory", "prefetch_factor")
}
"""Keys that change where data comes from and how batches are loaded, and not what is in them."""
WATCHING = ("watch", "warn")
"""Callbacks that change nothing in a training that they do not end."""
_ADDED_KEYS = {
    "data.layout": "auto",
    "data.resize": "stretch",
    "data.decode": "exact",
    "data.resize_on": "cpu",
    "data.val_whole": False,
    "data.volumes.axis": 2,
    "data.volumes.neighbours": 0,
    "data.test_fraction": 0.0,
    "data.split_seed": 0,
    "callbacks.gallery.max_megabytes": 48.0,
    "saving.monitor": "val/l1",
    "saving.moments": "exact",
    "module.r1_weight": 0.0,
    "module.r1_every": 16,
    "callbacks.ema.validate": False,
    "init_weights": "trained",
    "module.generator.noise_channels": 0,
}
"""What keys stand for that a run of an earlier version does not have, where that is not null."""


def list_differences(one: DictConfig, other: DictConfig, nodes: Sequence[str]) -> list[str]:
    """List the keys at which two configurations differ, without `LOADING_KEYS`.

    Args:
        one: A configuration.
        other: Another one.
        nodes: Top-level keys to compare; none compares all.

    Returns:
        Dotted keys, sorted.
    """
    from omegaconf import OmegaConf

    flat = [dict(flatten_config(OmegaConf.to_container(cfg, resolve=True), nodes)) for cfg in (one, other)]
    keys = {key for key in (*flat[0], *flat[1]) if not is_loading_key(key)}
    one_flat, other_flat = ({**_ADDED_KEYS, **node} for node in flat)
    return sorted(key for key in keys if one_flat.get(key) != other_flat.get(key))


def is_loading_key(key: str) -> bool:
    """Return whether a dotted key is one of `LOADING_KEYS`, or below one."""
    return ".".join(key.split(".", 2)[:2]) in LOADING_KEYS


def flatten_config(node: Any, nodes: Sequence[str] = (), prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of each leaf.

    Args:
        node: A configuration as nested dicts.
        nodes: Top-level keys to go into; none goes into all.
        prefix: Put before each key.
    """
    assert isinstance(node, Mapping)
    for key, value in node.items():
        if nodes and key not in nodes:
            continue
        if isinstance(value, dict) and value:
            yield from flatten_config(value, (), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
