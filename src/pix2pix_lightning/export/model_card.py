"""A model's page on the Hub, made from the run that trained it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from omegaconf import OmegaConf

from pix2pix_lightning.checkpoints.pretrained import Card
from pix2pix_lightning.checkpoints.pretrained.card import (
    format_card,
    format_code,
    format_part,
    format_table,
    join_lines,
)
from pix2pix_lightning.cli.conf import conf_dir
from pix2pix_lightning.data.image_files import read_image
from pix2pix_lightning.evaluation import METRICS_FILE
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.reports.run_files import read_json, read_yaml
from pix2pix_lightning.utils.csv_file import read_metrics

_NUM_PICTURES = 4
_DRAWN = "pix2pix_lightning.data.ProceduralDataModule"
_OF_DATA = (
    *("direction", "size", "jitter", "mirror", "batch_size", "max_pairs"),
    *("num_train", "num_val", "num_looks", "seed"),
)
_OF_TRAINER = ("max_epochs", "precision", "limit_train_batches", "devices", "num_nodes")
_OF_SUMMARY = ("epochs", "device", "num_devices", "precision", "images_per_second")
_DOOR = ["python", "-m", "pix2pix_lightning.train"]
_REPEATED = (
    *("experiment", "data", "module", "generator", "discriminator", "loss", "adversarial", "optimizer", "schedule"),
    *("trainer", "speed", "seed", "debug"),
)
"""What a command says of training itself; other words are of folders, loggers and accounts."""


def model_card(
    run: Path | None,
    module: Pix2PixModule,
    *,
    name: str | None = None,
    license: str | None = None,
    pictures: bool | None = None,
    weights: str = "trained",
) -> Card:
    """What the model is, how it was trained and how good it is, without a place or a name of the user's machine.

    Args:
        run: The run's folder, of which what is missing is left out; None for a module of another origin.
        module: That the run trained. Figures of other weights than its own are left out.
        name: ``user/name`` on the Hub, for the commands.
        license: By the Hub's name for it; None says that it is to be chosen.
        pictures: Whether some validation pairs are shown, as the gallery has them. By default they are if the program
            drew them itself: whether others may be published only the user knows.
        weights: Which the module has, ``trained`` or ``ema``: figures are of one of them.

    Raises:
        ValueError: A file of the run is damaged, or ``name`` or ``license`` can be none.
    """
    if run is None:
        return Card(format_card(module, name=name, license=license))
    config = read_yaml(run / "config.yaml") if (run / "config.yaml").is_file() else OmegaConf.create()
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))
    data = _some(settings.get("data"), ("_target_", "archive", *_OF_DATA))
    known = _known(data)
    validation = _last_validation(run, module.batches_seen)
    is_shown = data.get("_target_") == _DRAWN if pictures is None else pictures
    shown = _pictures(run, validation) if is_shown else {}
    sections = {
        "Figures": _figures(run, module.batches_seen, weights, validation),
        "Data": _data(data, known) if data else "",
        "Training": _training(run, settings, module),
    }
    filled = {title: text for title, text in sections.items() if text}
    return Card(format_card(module, filled, data=known, pictures=shown, name=name, license=license), shown)


def _pictures(run: Path, validation: Mapping[str, float] | None) -> dict[str, npt.NDArray[np.uint8]]:
    """Strips of input, output and target from the gallery, of that validation, by their place in the model's folder."""
    if validation is None:
        return {}
    strips: dict[str, npt.NDArray[np.uint8]] = {}
    for folder in sorted((run / "gallery/images").glob("*/"))[:_NUM_PICTURES]:
        files = [folder / f"{name}.png" for name in ("input", f"epoch_{validation['epoch']:04.0f}", "target")]
        if all(file.is_file() for file in files):
            strips[f"pictures/{len(strips)}.png"] = np.concatenate([read_image(file) for file in files], axis=1)
    return strips


def _last_validation(run: Path, batches_seen: int) -> Mapping[str, float] | None:
    """The row of the last validation that the weights have gone through."""
    rows = read_metrics(run / "metrics.csv")
    measured = [row for row in rows if "epoch" in row and any(key.startswith("val/") for key in row)]
    own = [row for row in measured if row["step"] < batches_seen]
    return own[-1] if own else None


def _figures(run: Path, batches_seen: int, weights: str, validation: Mapping[str, float] | None) -> str:
    evaluations = [
        facts
        for path in sorted((run / "evaluation").glob(f"*/{METRICS_FILE}"))
        if (facts := read_json(path)).get("batches_seen") == batches_seen and facts.get("weights") == weights
    ]
    if evaluations:
        return "\n\n".join(_evaluation(facts) for facts in evaluations)
    if validation is None or weights != "trained":
        return ""
    rows = [[format_code(key[4:]), f"{value:.4f}"] for key, value in validation.items() if key.startswith("val/")]
    return f"In validation, after epoch {validation['epoch'] + 1:.0f}:\n\n{format_table(['metric', 'mean'], rows)}"


def _evaluation(facts: Mapping[str, Any]) -> str:
    how = ", ".join(f"{key} {format_code(facts.get(key))}" for key in ("split", "mode", "norm", "dropout"))
    figures = facts.get("metrics")
    rows = [
        [format_code(metric), *(_number(_some(figure, (key,)).get(key)) for key in ("mean", "low", "high"))]
        for metric, figure in (figures.items() if isinstance(figures, dict) else ())
    ]
    return (
        f"{format_code(facts.get('num_images'))} pairs, {how}; the mean over images and its 95 % interval:\n\n"
        f"{format_table(['metric', 'mean', 'from', 'to'], rows)}"
    )


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "undefined"


def _data(data: Mapping[str, Any], known: str | None) -> str:
    rows = [[format_code(key), format_code(data[key])] for key in _OF_DATA if key in data]
    if data.get("_target_") == _DRAWN:
        what = "Facades that the program draws itself"
    else:
        what = f"Pairs from <{data['archive']}>" if known else "Pairs of the user's own"
    return f"{what}{f' (`data={known}`)' if known else ''}.\n\n{format_table(['setting', 'value'], rows)}"


def _known(data: Mapping[str, Any]) -> str | None:
    """The group of ``conf/data`` that the run's data is of: what a user's own is called is the user's."""
    for path in sorted((conf_dir() / "data").glob("*.yaml")):
        group = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path), resolve=False))
        is_drawn = data.get("_target_") == _DRAWN == group.get("_target_")
        if is_drawn or (group.get("archive") and group["archive"] == data.get("archive")):
            return path.stem
    return None


def _training(run: Path, settings: Mapping[str, Any], module: Pix2PixModule) -> str:
    summary = read_json(run / "summary.json") if (run / "summary.json").is_file() else {}
    hparams = module.hparams
    of_run = {**_some(settings.get("trainer"), _OF_TRAINER), **_some(summary, _OF_SUMMARY)}
    of_run |= {f"{package} version": number for package, number in (summary.get("versions") or {}).items()}
    of_module = {key: hparams[key] for key in ("accumulate", "discriminator_steps", "gradient_clip", "seed")}
    rows = [["optimizer of the generator", format_part(hparams["optimizer_g"])]]
    if module.discriminator is not None:
        rows.append(["optimizer of the discriminator", format_part(hparams["optimizer_d"])])
    rows.append(["schedule", "constant" if module._schedule is None else format_part(hparams["schedule"])])
    if settings.get("init_from"):
        rows.append(["first weights", "of another model: `init_from=`"])
    rows += [
        [format_code(key), format_code(value)] for key, value in {**of_module, **of_run}.items() if value is not None
    ]
    command = _command(settings.get("command"))
    again = f"\n\nThe command that repeats it:\n\n```\n{command}\n```" if command else ""
    return format_table(["setting", "value"], rows) + again


def _some(values: Any, keys: Sequence[str]) -> dict[str, Any]:
    return {key: values[key] for key in keys if values.get(key) is not None} if isinstance(values, dict) else {}


def _command(command: Any) -> str | None:
    """The words that are of training itself, with marks in the place of paths."""
    try:
        words = shlex.split(str(command or ""))
    except ValueError:
        return None
    if words[:3] != _DOOR:
        return None
    kept = []
    for word in words[3:]:
        key, _, value = word.partition("=")
        if key.lstrip("+~").partition(".")[0].partition("/")[0] in _REPEATED:
            is_place = key == "data.root" or re.search(r"[/\\~]", value)
            kept.append(f"{key}=<path>" if is_place else word)
    return join_lines(shlex.join([*_DOOR, *kept]))
