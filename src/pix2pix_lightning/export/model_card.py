"""Build a model's card for the Hub from the run that trained it."""

from __future__ import annotations

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
)
from pix2pix_lightning.cli.conf import find_conf_dir
from pix2pix_lightning.data.archives.archive import find_url
from pix2pix_lightning.data.files.image_files import read_image
from pix2pix_lightning.export.run_record import (
    format_training_command,
    read_evaluations,
    read_last_validation,
    read_validated_weights,
)
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.report.gallery_files import find_picture, format_output_name
from pix2pix_lightning.utils.saved_config import read_saved_values
from pix2pix_lightning.utils.saved_files import read_json

_NUM_PICTURES = 4
_PROCEDURAL = "pix2pix_lightning.data.ProceduralDataModule"
_DATA_KEYS = (
    *("direction", "size", "resize", "crop", "jitter", "mirror", "batch_size", "max_pairs"),
    *("num_train", "num_val", "num_looks", "seed"),
)
_TRAINER_KEYS = ("max_epochs", "precision", "limit_train_batches", "devices", "num_nodes")
_SUMMARY_KEYS = ("epochs", "device", "num_devices", "precision", "images_per_second")


def build_model_card(
    run: Path | None,
    module: Pix2PixModule,
    *,
    name: str | None = None,
    license: str | None = None,
    pictures: bool | None = None,
    weights: str = "trained",
    checkpoint: str | None = None,
) -> Card:
    """Build a card of what the model is, how it was trained and how good it is.

    It contains no path and no name of the user's machine.

    Args:
        run: Folder of the run; files that are missing are left out. None for a module of another origin.
        module: Module that the run trained. Metrics of other weights are left out.
        name: ``user/name`` on the Hub, for the commands.
        license: The Hub's name of the license; None for a note that it has to be chosen.
        pictures: Whether some validation pairs of the gallery are shown. By default they are for procedural data
            only, since the user alone knows whether other images may be published.
        weights: Weights of the module, ``trained`` or ``ema``, whose metrics are shown.
        checkpoint: Name of the file that they are of; None leaves it out.

    Returns:
        The card, with its pictures.

    Raises:
        UserError: A file of the run is damaged, or ``name`` or ``license`` is not valid on the Hub.
    """
    if run is None:
        return Card(format_card(module, name=name, license=license))
    settings = read_saved_values(run / "config.yaml") if (run / "config.yaml").is_file() else {}
    data = _select(settings.get("data"), ("_target_", "archive", *_DATA_KEYS))
    known = _find_data_group(data)
    validation = read_last_validation(run, module.batches_seen)
    is_shown = data.get("_target_") == _PROCEDURAL if pictures is None else pictures
    shown = _read_pictures(run, validation) if is_shown else {}
    sections = {
        "Figures": _format_metrics(run, module.batches_seen, weights, validation),
        "Data": _format_data(data, known) if data else "",
        "Training": _format_training(run, settings, module, {"checkpoint": checkpoint, "weights": weights}),
    }
    filled = {title: text for title, text in sections.items() if text}
    return Card(format_card(module, filled, data=known, pictures=shown, name=name, license=license), shown)


def _read_pictures(run: Path, validation: Mapping[str, float] | None) -> dict[str, npt.NDArray[np.uint8]]:
    """Read strips of input, output and target from the gallery of a validation, by their path in the model's folder."""
    if validation is None:
        return {}
    strips: dict[str, npt.NDArray[np.uint8]] = {}
    for folder in sorted((run / "gallery/images").glob("*/"))[:_NUM_PICTURES]:
        names = ("input", format_output_name(int(validation["epoch"])), "target")
        files = [file for name in names if (file := find_picture(folder, name)) is not None]
        if len(files) == len(names):
            strips[f"pictures/{len(strips)}.png"] = np.concatenate([read_image(file) for file in files], axis=1)
    return strips


def _format_metrics(run: Path, batches_seen: int, weights: str, validation: Mapping[str, float] | None) -> str:
    evaluations = read_evaluations(run, batches_seen, weights)
    if evaluations:
        return "\n\n".join(_format_evaluation(evaluation) for evaluation in evaluations)
    if validation is None or weights != read_validated_weights(run):
        return ""
    rows = [[format_code(key[4:]), f"{value:.4f}"] for key, value in validation.items() if key.startswith("val/")]
    return f"In validation, after epoch {validation['epoch'] + 1:.0f}:\n\n{format_table(['metric', 'mean'], rows)}"


def _format_evaluation(evaluation: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{key} {format_code(evaluation.get(key))}" for key in ("split", "mode", "norm", "dropout"))
    metrics = evaluation.get("metrics")
    rows = [
        [format_code(metric), *(_format_number(_select(values, (key,)).get(key)) for key in ("mean", "low", "high"))]
        for metric, values in (metrics.items() if isinstance(metrics, dict) else ())
    ]
    num_images = format_code(evaluation.get("num_images"))
    return (
        f"{num_images} pairs, {settings}; the mean over images and its 95 % interval:\n\n"
        f"{format_table(['metric', 'mean', 'from', 'to'], rows)}"
    )


def _format_number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "undefined"


def _format_data(data: Mapping[str, Any], known: str | None) -> str:
    rows = [[format_code(key), format_code(data[key])] for key in _DATA_KEYS if key in data]
    if data.get("_target_") == _PROCEDURAL:
        what = "Facades that the program draws itself"
    else:
        what = f"Pairs from <{find_url(data.get('archive'))}>" if known else "Pairs of the user's own"
    return f"{what}{f' (`data={known}`)' if known else ''}.\n\n{format_table(['setting', 'value'], rows)}"


def _find_data_group(data: Mapping[str, Any]) -> str | None:
    """Find the file of ``conf/data`` that the run used; names of the user's own files stay private."""
    for path in sorted((find_conf_dir() / "data").glob("*.yaml")):
        group = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path), resolve=False))
        is_procedural = data.get("_target_") == _PROCEDURAL == group.get("_target_")
        url = find_url(group.get("archive"))
        if is_procedural or (url is not None and url == find_url(data.get("archive"))):
            return path.stem
    return None


def _format_training(
    run: Path, settings: Mapping[str, Any], module: Pix2PixModule, chosen: Mapping[str, str | None]
) -> str:
    summary = read_json(run / "summary.json") if (run / "summary.json").is_file() else {}
    hparams = module.hparams
    run_rows = {**_select(settings.get("trainer"), _TRAINER_KEYS), **_select(summary, _SUMMARY_KEYS)}
    run_rows |= {f"{package} version": number for package, number in (summary.get("versions") or {}).items()}
    module_rows = {key: hparams[key] for key in ("accumulate", "discriminator_steps", "gradient_clip", "seed")}
    module_rows["diff_augment"] = hparams["diff_augment"] or None
    rows = [["optimizer of the generator", format_part(hparams["optimizer_g"])]]
    if module.discriminator is not None:
        rows.append(["optimizer of the discriminator", format_part(hparams["optimizer_d"])])
    rows.append(["schedule", "constant" if module.parts["schedule"] is None else format_part(hparams["schedule"])])
    if settings.get("init_from"):
        rows.append(["first weights", "of another model: `init_from=`"])
    rows += [
        [format_code(key), format_code(value)]
        for key, value in {**chosen, **module_rows, **run_rows}.items()
        if value is not None
    ]
    command = format_training_command(settings.get("command"))
    again = f"\n\nThe command that repeats it:\n\n```\n{command}\n```" if command else ""
    return format_table(["setting", "value"], rows) + again


def _select(values: Any, keys: Sequence[str]) -> dict[str, Any]:
    return {key: values[key] for key in keys if values.get(key) is not None} if isinstance(values, dict) else {}
