"""Define the formats of ``export``, each as a function that writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pix2pix_lightning.checkpoints.junyanz import format_flags, to_junyanz_state, write_junyanz
from pix2pix_lightning.checkpoints.pretrained import write_safetensors
from pix2pix_lightning.data.sizes import get_sides
from pix2pix_lightning.export.checkpoint_file import write_generator_checkpoint
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.int8.calibration import NUM_IMAGES, read_images
from pix2pix_lightning.export.int8.onnx_file import MIN_PSNR, write_int8
from pix2pix_lightning.export.model_card import build_model_card
from pix2pix_lightning.export.onnx_file import write_onnx
from pix2pix_lightning.export.run_record import describe_data, describe_training
from pix2pix_lightning.export.torch_program import write_program
from pix2pix_lightning.export.web import write_web
from pix2pix_lightning.inference.openvino_session import ENGINES
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.utils.checks import check_absent, check_choice
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import parse_trust


@dataclass(frozen=True)
class Export:
    """A module to export, and how.

    Args:
        module: Module of ``inference.loading.open_module``.
        run: Folder of its run, if it has one.
        output: File or folder to write.
        keys: Keys of ``conf/export.yaml``: ``norm``, ``values_in``, ``values_out``, ``precision``, ``calibrate``,
            ``calibration_images``, ``float_layers``, ``min_psnr``, ``engine``, ``size``, ``license``, ``pictures``,
            ``push_to``, ``private``, ``runtime``, ``half``, ``weights``, ``overwrite``, ``checkpoint``, ``trust``.
        made_by: Origin of the model, for the metadata of the file.
    """

    module: Pix2PixModule
    run: Path | None
    output: Path
    keys: Mapping[str, Any]
    made_by: Mapping[str, Any]

    @property
    def graph(self) -> Graph:
        """The graph that ``onnx`` and ``torch`` write."""
        return Graph(self.module, self.keys["norm"], self.keys["values_in"], self.keys["values_out"])

    @property
    def overwrite(self) -> bool:
        """Whether an output that exists may be replaced."""
        return bool(self.keys["overwrite"])


def _export_onnx(export: Export) -> str:
    if export.keys["precision"] is not None:
        return _export_int8(export)
    worst = write_onnx(export.graph, export.output, made_by=export.made_by, overwrite=export.overwrite)
    return f"{export.output}: norm={export.keys['norm']}, checked in onnxruntime, {worst:.0e} from the module"


def _export_int8(export: Export) -> str:
    keys = export.keys
    images = read_images(
        export.module.pair_spec,
        checkpoint=Path(str(keys["checkpoint"])),
        run=export.run,
        folder=None if keys["calibrate"] is None else Path(str(keys["calibrate"])),
        count=keys["calibration_images"],
        trust=parse_trust(keys["trust"]),
    )
    written = write_int8(
        export.graph,
        export.output,
        images,
        made_by=export.made_by,
        float_layers=keys["float_layers"],
        min_psnr=keys["min_psnr"],
        engine=keys["engine"],
        overwrite=export.overwrite,
    )
    return f"{export.output}: norm={keys['norm']}, {written}"


def _export_torch(export: Export) -> str:
    size = export.keys["size"]
    worst = write_program(export.graph, export.output, size=size, made_by=export.made_by, overwrite=export.overwrite)
    least = max(export.graph.min_side, 2 * export.graph.side_multiple)  # as write_program has it
    sides = f"of {' x '.join(map(str, reversed(get_sides(size))))} only" if size else f"with sides from {least}"
    return (
        f"{export.output}: norm={export.keys['norm']}, images {sides}, checked, {worst:.0e} from the module; reading "
        "it needs trust=true"
    )


def _export_safetensors(export: Export) -> str:
    write_safetensors(export.module, export.output, overwrite=export.overwrite)
    return f"{export.output}: weights and settings"


def _export_ckpt(export: Export) -> str:
    run, weights = export.run, export.keys["weights"]
    training = describe_training(run, export.module.batches_seen, weights) if run else {}
    worst = write_generator_checkpoint(
        export.module,
        export.output,
        half=export.keys["half"],
        made_by={**export.made_by, **training},
        data=describe_data(run) if run else None,
        overwrite=export.overwrite,
    )
    size = export.output.stat().st_size / 1e6
    return f"{export.output}: the generator and its settings, {size:.1f} MB, checked, {worst:.0e} from the module"


def _export_junyanz(export: Export) -> str:
    networks = {"latest_net_G.pth": export.module.generator, "latest_net_D.pth": export.module.discriminator}
    present = {export.output / name: network for name, network in networks.items() if network is not None}
    stale = export.output / "latest_net_D.pth"
    if stale not in present and stale.exists():
        raise FileExistsError(f"{stale} exists, and belongs to another model: choose another output")
    for path, network in present.items():
        to_junyanz_state(network)  # raises before the first file is written
        check_absent(path, overwrite=export.overwrite)
    for path, network in present.items():
        write_junyanz(network, path, overwrite=export.overwrite)
    names = " and ".join(path.name for path in present)
    return f"{names} in {export.output}, for their test.py: {format_flags(export.module.generator)}"


def _export_hub(export: Export) -> str:
    keys, name = export.keys, export.keys["push_to"]
    card = build_model_card(
        export.run,
        export.module,
        name=name,
        license=keys["license"],
        pictures=keys["pictures"],
        weights=keys["weights"],
        checkpoint=export.made_by["checkpoint"],
    )
    export.module.save_pretrained(export.output, card=card, overwrite=export.overwrite)
    if name is None:
        return f"{export.output}: for Pix2PixModule.from_pretrained, with a model card"
    return f"{export.output}, and {export.module.push_to_hub(name, card=card, private=keys['private'])}"


def _export_web(export: Export) -> str:
    keys, runtime = export.keys, export.keys["runtime"]
    worst = write_web(
        Graph(export.module, keys["norm"], "file", "file"),
        export.output,
        run=export.run,
        made_by=export.made_by,
        runtime=Path(str(runtime)) if runtime else None,
        overwrite=export.overwrite,
    )
    fetches = "nothing from other servers" if runtime else "onnxruntime-web from a CDN, unless runtime= is set"
    return (
        f"{export.output}: a page to put on any file server, checked in onnxruntime, {worst:.0e} from the module; it "
        f"fetches {fetches}"
    )


FORMATS: dict[str, Callable[[Export], str]] = {
    "onnx": _export_onnx,
    "torch": _export_torch,
    "safetensors": _export_safetensors,
    "ckpt": _export_ckpt,
    "junyanz": _export_junyanz,
    "hub": _export_hub,
    "web": _export_web,
}
"""Each function writes ``output`` completely or not at all, and returns a line that describes it."""

_FORMATS_OF_KEY: dict[str, tuple[Any, tuple[str, ...]]] = {
    "norm": (None, ("onnx", "torch", "web")),
    "values_in": ("float", ("onnx", "torch")),
    "values_out": ("float", ("onnx", "torch")),
    "precision": (None, ("onnx",)),
    "size": (None, ("torch",)),
    "runtime": (None, ("web",)),
    "half": (False, ("ckpt",)),
    "license": (None, ("hub",)),
    "pictures": (None, ("hub",)),
    "push_to": (None, ("hub",)),
    "private": (True, ("hub",)),
}  # default and formats of the keys that only some formats use


_INT8_KEYS: dict[str, Any] = {
    "calibrate": None,
    "calibration_images": NUM_IMAGES,
    "float_layers": "none",
    "min_psnr": MIN_PSNR,
    "engine": "onnxruntime",
}
"""Keys that only precision=int8 uses, and their defaults."""


def check_keys(name: str, keys: Mapping[str, Any]) -> None:
    """Check that no key is set that a format would ignore.

    Args:
        name: Name of the format.
        keys: Keys of ``conf/export.yaml``.

    Raises:
        UserError: A key is set that belongs to other formats.
    """
    for key, (default, formats) in _FORMATS_OF_KEY.items():
        if keys[key] != default and name not in formats:
            raise UserError(
                f"{key}={keys[key]} has no effect for format={name}, it is for {', '.join(formats)}: leave it out"
            )
    if keys["precision"] not in (None, "int8"):
        raise UserError(f"precision={keys['precision']}: int8 is expected, or null for float32")
    for key, default in _INT8_KEYS.items():
        if keys["precision"] is None and keys[key] != default:
            raise UserError(f"{key}={keys[key]} has no effect without precision=int8: set that, or leave {key} out")
    check_choice("engine", keys["engine"], ENGINES)
    if isinstance(keys["min_psnr"], bool) or not isinstance(keys["min_psnr"], int | float):
        raise UserError(f"min_psnr={keys['min_psnr']}: a number of decibels is expected, such as {MIN_PSNR:g}")
    for key in ("pictures", "private", "half"):
        if keys[key] not in (None, True, False):
            raise UserError(f"{key}={keys[key]}: true or false is expected")


SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors", "ckpt": ".ckpt"}
"""Suffixes of the formats that are files, by which they are recognized when they are read."""
