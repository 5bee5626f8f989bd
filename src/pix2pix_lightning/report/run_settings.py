"""Settings at which runs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pix2pix_lightning.report.run_card import RunCard
from pix2pix_lightning.utils.instantiate import TARGET


def list_differing(cards: Sequence[RunCard]) -> list[list[tuple[str, str]]]:
    """List for each run the settings that not all of these runs have alike.

    A part that some runs have and others leave out, such as a discriminator, is named as a whole; what it consists of
    is not listed.

    Args:
        cards: The runs. Those without settings are not compared.

    Returns:
        For each run key and value, in the order of the configurations.
    """
    compared = [card.settings for card in cards if card.settings]
    if len(compared) < 2:
        return [[] for _ in cards]
    first = compared[0]
    keys = dict.fromkeys(key for settings in compared for key in settings)
    differing = [key for key in keys if any(settings.get(key) != first.get(key) for settings in compared)]
    leaves = {prefix for key in differing for prefix in _list_prefixes(key) if prefix in keys}
    # a leaf in one run, such as null, is what other runs have keys below
    wholes = dict.fromkeys(
        next((prefix for prefix in _list_prefixes(key) if prefix in leaves), key) for key in differing
    )
    return [[pair for key in wholes if (pair := _describe(key, card.settings)) is not None] for card in cards]


def _list_prefixes(key: str) -> Iterator[str]:
    """Yield the keys above a dotted key, the shortest first."""
    parts = key.split(".")
    for end in range(1, len(parts)):
        yield ".".join(parts[:end])


def _describe(key: str, settings: Mapping[str, str]) -> tuple[str, str] | None:
    """Return key and value as they are shown: of a class its name alone, under the key of what is built of it."""
    name = key.removesuffix(f".{TARGET}")
    target = settings.get(f"{name}.{TARGET}")
    if target is not None and (name != key or key not in settings):
        return name, target.rpartition(".")[2]
    return (key, settings[key]) if key in settings else None
