"""The pairs that are measured: the run's own, or others that mean the same."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningDataModule
from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.data.sides import PairSpec
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, build, check_trusted, locate

SPLITS = ("val", "test")
_CONFIG = "config.yaml"
_OURS = "pix2pix_lightning"
_SEED = "${seed}"  # what a group of data says unless told: in training it is the run's


def run_of(checkpoint: Path) -> Path | None:
    """The run's folder that a checkpoint lies in, if it does."""
    folder = checkpoint.absolute().parent.parent
    return folder if (folder / _CONFIG).is_file() else None


def described(cfg: DictConfig, run: Path | None, trust: Sequence[str] = ()) -> dict[str, Any]:
    """The data module's description.

    Args:
        cfg: Of the evaluation. ``data`` is a group's, or the keys at which the run's is to be changed; ``batch_size``
            goes into it. A group's own seed is the run's, or 0: ``seed`` is of the noise, and draws no other pairs.
        run: The run's folder, with its ``config.yaml``.
        trust: Packages whose classes the run's description may name. A run's folder is data, not code.

    Raises:
        ValueError: There is no description, or it names what is not trusted.
    """
    config = cast(DictConfig, OmegaConf.create() if run is None else OmegaConf.load(run / _CONFIG))
    own = OmegaConf.select(config, "data")
    given = {str(key): value for key, value in _plain(cfg.data).items() if value is not None}
    if cfg.batch_size is not None:
        given["batch_size"] = cfg.batch_size
    if TARGET in given:
        if cast(dict[str, Any], OmegaConf.to_container(cfg.data, resolve=False)).get("seed") == _SEED:
            given["seed"] = OmegaConf.select(config, "data.seed") or 0
        return _without_augmentation(given)
    if run is None or own is None:
        raise UserError(
            f"checkpoint={cfg.checkpoint} is not in a run's folder, whose config.yaml would say on which data: say "
            "data=<group>, as for training"
        )
    description = _without_augmentation(_plain(OmegaConf.merge(own, given)))
    whence = str(run / _CONFIG)
    check_trusted(description, trust, kinds=(object,), packages=(_OURS,), origin=whence)
    if not issubclass(locate(description[TARGET]), LightningDataModule):
        raise UserError(f"{whence} names {description[TARGET]!r}, which is no data module: choose data=<group>")
    taken = _keywords(locate(description[TARGET]))
    for key, value in given.items():
        if key not in taken:
            raise UserError(
                f"data.{key}={value}: the run's data has no such key, but {', '.join(taken)}; choose other data by "
                "data=<group>"
            )
    return description


def pairs_of(description: Mapping[str, Any]) -> PairSpec:
    """What the images of a data module mean.

    Raises:
        ValueError: The description is none of a data module.
    """
    spec: PairSpec = _built(description).pair_spec
    return spec


def open_data(description: Mapping[str, Any], spec: PairSpec, split: str) -> Iterable[dict[str, Any]]:
    """The batches of a split, every pair once, in the files' order.

    Args:
        description: Of the data module.
        spec: Of the checkpoint: the pairs have to mean the same.
        split: ``val`` or ``test``.

    Raises:
        ValueError: The split is unknown or missing, or a pixel would mean something else than in training.
    """
    if split not in SPLITS:
        raise UserError(f"split={split!r} is unknown: one of {', '.join(SPLITS)} is expected")
    data = _built(description)
    _check_same(data.pair_spec, spec)
    data.setup("validate" if split == "val" else "test")
    batches: Iterable[dict[str, Any]] = data.val_dataloader() if split == "val" else data.test_dataloader()
    return batches


def _built(description: Mapping[str, Any]) -> Any:
    try:
        return build(description)
    except TypeError as error:  # keys that a class hands on to another
        raise UserError(f"data: {error}: leave that key out, or choose other data by data=<group>") from None


def _without_augmentation(description: dict[str, Any]) -> dict[str, Any]:
    """Leave out what only training uses, so that its classes need no trust."""
    return {key: value for key, value in description.items() if key not in ("augmentation", "_recursive_")}


def _plain(node: Any) -> dict[str, Any]:
    plain = OmegaConf.to_container(node, resolve=True)
    return cast(dict[str, Any], plain)


def _keywords(cls: type) -> list[str]:
    """What a class takes by name, with what it hands on to the one that it is made from."""
    names: list[str] = []
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        names += [parameter.name for parameter in list(parameters)[1:] if parameter.kind in named]
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return list(dict.fromkeys(names))


def _check_same(given: PairSpec, trained: PairSpec) -> None:
    """All that says what a pixel means; the size to which training images are resized before a crop does not."""
    here, there = _keys(given), _keys(trained)
    other = [key for key in there if here[key] != there[key]]
    if other:
        raise UserError(
            f"{' '.join(_said(key, here[key]) for key in other)}, but the checkpoint was trained on other pairs: say "
            + " ".join(_said(key, there[key]) for key in other)
        )


def _keys(spec: PairSpec) -> dict[str, Any]:
    a, b = (spec.source, spec.target) if spec.direction == "a_to_b" else (spec.target, spec.source)
    sides = {f"{name}.{key}": value for name, side in (("a", a), ("b", b)) for key, value in asdict(side).items()}
    return {"direction": spec.direction, "size": spec.size, **sides}


def _said(key: str, value: Any) -> str:
    return f"data.{key}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"
