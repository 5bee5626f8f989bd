"""The pairs of an evaluation: the run's own, or others whose pixels mean the same."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningDataModule
from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.checkpoints.files import PROJECT_KEY, find_checkpoint, infer_checkpoint_kind, open_checkpoint
from pix2pix_lightning.data.pair_folder import PairFolder
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.recognition import is_open
from pix2pix_lightning.data.sides import Side, build_side
from pix2pix_lightning.data.sides.ranges import has_percentiles
from pix2pix_lightning.data.sides.values import to_plain
from pix2pix_lightning.data.sizes import get_sides
from pix2pix_lightning.utils.checks import check_choice, check_not_inside
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, build, check_size, check_trusted, locate
from pix2pix_lightning.utils.saved_config import load_saved_config
from pix2pix_lightning.utils.saved_files import build_damaged_error

SPLITS = ("val", "test")
_CONFIG = "config.yaml"
_PACKAGE = "pix2pix_lightning"
_RUN_SEED = "${seed}"  # the default of a data group: in training it is the run's seed


def find_run(checkpoint: Path) -> Path | None:
    """Return the folder of the run that a checkpoint lies in, or None."""
    folder = checkpoint.absolute().parent.parent
    return folder if (folder / _CONFIG).is_file() else None


def describe_data(cfg: DictConfig, run: Path | None, trust: Sequence[str] = ()) -> dict[str, Any]:
    """Return the description of the data module.

    Args:
        cfg: Configuration of the evaluation. ``data`` is a group, or single keys that replace those of the run's data;
            ``batch_size`` is added to it. The seed of a group is the run's ``data.seed``, or 0: ``cfg.seed`` is the
            seed of the noise, and changes no pairs.
        run: The run's folder, with its ``config.yaml``; None for a file elsewhere, which may have a description itself.
        trust: Packages whose classes the run's description may name. A run's folder is data, not code.

    Raises:
        UserError: There is no description, or it names a class that is not trusted, a key is unknown, or images are to
            be resized on the device.
    """  # noqa: DOC501  build_damaged_error returns a UserError
    origin = Path(str(cfg.checkpoint)) if run is None else run / _CONFIG
    config = _read_file_config(origin) if run is None else load_saved_config(origin)
    own = OmegaConf.select(config, "data")
    given = {str(key): value for key, value in _to_plain(cfg.data).items() if value is not None}
    if given.get("resize_on", "cpu") != "cpu":
        raise UserError(
            f"data.resize_on={given['resize_on']}: an evaluation resizes on the CPU, so that its figures are the same "
            "on all machines: leave data.resize_on out"
        )
    if cfg.batch_size is not None:
        given["batch_size"] = cfg.batch_size
    if TARGET in given:
        if cast(dict[str, Any], OmegaConf.to_container(cfg.data, resolve=False)).get("seed") == _RUN_SEED:
            given["seed"] = OmegaConf.select(config, "data.seed") or 0
        return _keep_for_evaluation(given)
    if own is not None and not (OmegaConf.is_dict(own) and isinstance(own.get(TARGET), str)):
        raise build_damaged_error(origin, "data names no class")
    if own is None:
        raise UserError(
            f"checkpoint={cfg.checkpoint} is not in a run's folder, whose config.yaml would name the data: set "
            "data=folder data.root=<folder>, or another data=<group>, as for training"
        )
    if "download" in own:  # which the command line alone asks for
        own.download = False
    if isinstance(own.get("cache"), str):  # a folder outside of the run's, to which its file may not make this write
        own.cache = None
    description = _keep_for_evaluation(_to_plain(OmegaConf.merge(own, given)))
    _leave_out_fractions(description, given)
    has_crops = description.get("crop") is not None and description.get("resize") not in (None, "stretch")
    if has_crops and "val_whole" not in given:
        description["val_whole"] = True  # a training looks at their centre alone, since that is faster
    check_trusted(description, trust, kinds=(object,), packages=(_PACKAGE,), origin=str(origin))
    if not issubclass(locate(description[TARGET]), LightningDataModule):
        raise UserError(f"{origin} names {description[TARGET]!r}, which is no data module: choose data=<group>")
    accepted = _list_keywords(locate(description[TARGET]))
    for key, value in given.items():
        if key not in accepted:
            raise UserError(
                f"data.{key}={value}: the run's data has no such key; it has {', '.join(accepted)}; or set data=<group>"
            )
    return description


def _leave_out_fractions(description: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Leave out fractions of the run, in place, that pairs of another folder or another ``val_fraction`` contradict."""
    root = Path(str(given["root"])) if "root" in given else None
    for split, name in (("val", str(description.get("val_split") or "val")), ("test", "test")):
        key = f"{split}_fraction"
        has_folder = root is not None and _build_pair_folder({**description, **given}).has_split(name)
        if key not in given and (has_folder or (split == "test" and given.get("val_fraction") == 1)):
            description.pop(key, None)


def _read_file_config(checkpoint: Path) -> DictConfig:
    """Read the description of the data that ``export format=ckpt`` puts into a file."""
    path = find_checkpoint(checkpoint)
    if infer_checkpoint_kind(path) != "training":
        return OmegaConf.create()
    with open_checkpoint(path, skip=None) as saved:
        data = saved[PROJECT_KEY].get("data")
    check_size(data or {}, origin=str(path))
    return OmegaConf.create({"data": data})


def check_output(output: Path, checkpoint: Path, description: Mapping[str, Any]) -> None:
    """Check that an evaluation is not written over what it reads, or between the pairs, where it would be read as such.

    Args:
        output: Folder of the evaluation.
        checkpoint: The file that is measured.
        description: Description of the data module.

    Raises:
        UserError: It is.
    """
    root = description.get("root")
    sources = {"checkpoint": checkpoint, **({"data.root": Path(root)} if isinstance(root, str) else {})}
    check_not_inside("output", output, **sources)
    if "data.root" not in sources or not output.resolve().is_relative_to(sources["data.root"].resolve()):
        return
    within = output.resolve().relative_to(sources["data.root"].resolve())
    val_split, folder = str(description.get("val_split") or "val"), _build_pair_folder(description)
    is_split = re.fullmatch("[AB]|(train|val|test)[AB]?", within.parts[0]) or within.is_relative_to(val_split)
    if is_split or folder.is_flat():
        raise UserError(f"output={output} is among the pairs of data.root={root}: choose another output")


def _build_pair_folder(description: Mapping[str, Any]) -> PairFolder:
    return PairFolder(
        Path(str(description["root"])),
        str(description.get("layout") or "auto"),
        str(description.get("val_split") or "val"),
        description.get("val_fraction"),
        names=description.get("names"),
        columns=description.get("columns"),
    )


def read_pair_spec(description: Mapping[str, Any]) -> PairSpec:
    """Return what the pixels of a data module's pairs mean.

    Raises:
        UserError: The data module cannot be built.
    """
    spec: PairSpec = _build_data(description).pair_spec
    return spec


def open_data(description: Mapping[str, Any], spec: PairSpec, split: str) -> Iterable[dict[str, Any]]:
    """Return the batches of a split, every pair once, in the order of the files.

    Args:
        description: Description of the data module.
        spec: Pair specification of the checkpoint, which that of the data must equal.
        split: ``val`` or ``test``.

    Raises:
        UserError: The split is unknown or missing, or pixels do not mean the same as in training.
    """
    check_choice("split", split, SPLITS)
    known = {"a": spec.a.to_dict(), "b": spec.b.to_dict()}
    opened = {
        key: {**side, **_list_fixed(description.get(key) or {})}
        for key, side in known.items()
        if is_open(description.get(key))
    }
    data = _build_data({**description, **opened})
    _check_equal(data.pair_spec, spec, description)
    data.prepare_data()
    data.setup("validate" if split == "val" else "test")
    batches: Iterable[dict[str, Any]] = data.val_dataloader() if split == "val" else data.test_dataloader()
    return batches


def count_pairs(batches: Iterable[dict[str, Any]]) -> int | None:
    """Count the pairs of a split, without loading them.

    Args:
        batches: What `open_data` returned.

    Returns:
        The number; None where the data module is another one and does not tell it.
    """
    pairs: Any = getattr(batches, "dataset", None)
    return len(pairs) if hasattr(pairs, "__len__") else None


def list_names(batches: Iterable[dict[str, Any]]) -> list[str] | None:
    """List the names of the pairs of a split, without loading them.

    Args:
        batches: What `open_data` returned.

    Returns:
        The names in the order of the batches; None where the data module is another one and does not tell them.
    """
    pairs: Any = getattr(getattr(batches, "dataset", None), "pairs", None)
    return [pairs.get_name(index) for index in range(len(pairs))] if hasattr(pairs, "get_name") else None


def _list_fixed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the arguments of a side fix themselves, without what its files would tell."""
    fixed = {key: value for key, value in options.items() if value is not None and value != "auto"}
    if has_percentiles(fixed.get("value_range")):
        del fixed["value_range"]
    return fixed


def _build_data(description: Mapping[str, Any]) -> Any:
    try:
        return build(description)
    except TypeError as error:  # keys that a class passes on to another
        raise UserError(
            f"data: {error}: leave that key out, or set another data=<group>, such as data=folder"
        ) from None


def _keep_for_evaluation(description: dict[str, Any]) -> dict[str, Any]:
    """Leave out what only training uses, so that its classes need no trust, and all machines resize alike."""
    left_out = ("augmentation", "resize_on", "_recursive_")
    return {key: value for key, value in description.items() if key not in left_out}


def _to_plain(node: Any) -> dict[str, Any]:
    plain = OmegaConf.to_container(node, resolve=True)
    return cast(dict[str, Any], plain)


def _list_keywords(cls: type) -> list[str]:
    """Return the names of the arguments of a class, with those that it passes on to its base classes."""
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


def _check_equal(given: PairSpec, trained: PairSpec, description: Mapping[str, Any]) -> None:
    """Check that pixels mean the same. The size before a training crop may differ."""
    given_keys, trained_keys = _flatten(given), _flatten(trained)
    different = [key for key in trained_keys if given_keys.get(key) != trained_keys[key]]
    sides = {"a": trained.a, "b": trained.b}
    needed = {
        f"{name}.{key}" for name, side in sides.items() for key in _list_needed(side, description.get(name) or {})
    }
    shown = [key for key in different if key in needed or key.partition(".")[0] not in sides] or different
    if different:
        raise UserError(
            " ".join(_format_key(key, given_keys[key]) for key in shown if key in given_keys)
            + ", but the checkpoint was trained on other pairs: set "
            + " ".join(_format_key(key, trained_keys[key]) for key in shown)
        )


def _list_needed(side: Side, given: Mapping[str, Any]) -> set[str]:
    """Return the keys that describe a side where some are given: without those whose default is the side's value."""
    options = side.to_dict()
    for key in [key for key in options if key != "kind" and given.get(key) is None]:
        others = {name: value for name, value in options.items() if name != key}
        with suppress(UserError):
            options = others if build_side(**others) == side else options
    return set(options)


def _flatten(spec: PairSpec) -> dict[str, Any]:
    a, b = (spec.source, spec.target) if spec.direction == "a_to_b" else (spec.target, spec.source)
    sides = {f"{name}.{key}": value for name, side in (("a", a), ("b", b)) for key, value in side.to_dict().items()}
    sizes: dict[str, Any] = {"resize": spec.resize}
    if spec.resize != "none":  # files as they are have no size in common
        sizes["size"] = to_plain(spec.size if spec.resize == "stretch" else get_sides(spec.load_size)[1])
    return {"direction": spec.direction, **sizes, **sides}


def _format_key(key: str, value: Any) -> str:
    return f"data.{key}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"
