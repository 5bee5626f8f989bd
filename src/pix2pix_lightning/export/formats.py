"""The formats of ``export``, each a function that writes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pix2pix_lightning.checkpoints.junyanz import to_junyanz_state, write_junyanz
from pix2pix_lightning.checkpoints.pretrained import write_safetensors
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.model_card import model_card
from pix2pix_lightning.export.onnx_file import write_onnx
from pix2pix_lightning.export.torch_program import write_program
from pix2pix_lightning.export.web import write_web
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.utils.errors import UserError


@dataclass(frozen=True)
class Export:
    """A module that is to be exported.

    Args:
        module: As ``inference.open_module`` gives it.
        run: The folder of its run, if it lies in one.
        output: A file, or a folder.
        keys: Of ``conf/export.yaml``: ``norm``, ``values_in``, ``values_out``, ``size``, ``license``, ``pictures``,
            ``push_to``, ``private``, ``runtime``, ``weights``, ``overwrite``.
        made_by: What a file says of where it comes from.
    """

    module: Pix2PixModule
    run: Path | None
    output: Path
    keys: Mapping[str, Any]
    made_by: Mapping[str, Any]

    @property
    def graph(self) -> Graph:
        """What ``onnx`` and ``torch`` write."""
        return Graph(self.module, self.keys["norm"], self.keys["values_in"], self.keys["values_out"])

    @property
    def overwrite(self) -> bool:
        """Whether what is there may be written over."""
        return bool(self.keys["overwrite"])


def _onnx(export: Export) -> str:
    worst = write_onnx(export.graph, export.output, made_by=export.made_by, overwrite=export.overwrite)
    return f"{export.output}: norm={export.keys['norm']}, checked in onnxruntime, {worst:.0e} from the module"


def _torch(export: Export) -> str:
    size = export.keys["size"]
    worst = write_program(export.graph, export.output, size=size, made_by=export.made_by, overwrite=export.overwrite)
    sides = f"of {size} x {size} alone" if size else f"of sides from {2 * export.graph.side_multiple} on"
    return (
        f"{export.output}: norm={export.keys['norm']}, images {sides}, checked, {worst:.0e} from the module; reading "
        "it back needs trust=true"
    )


def _safetensors(export: Export) -> str:
    write_safetensors(export.module, export.output, overwrite=export.overwrite)
    return f"{export.output}: weights and settings"


def _junyanz(export: Export) -> str:
    networks = {"latest_net_G.pth": export.module.generator, "latest_net_D.pth": export.module.discriminator}
    present = {export.output / name: network for name, network in networks.items() if network is not None}
    stale = export.output / "latest_net_D.pth"
    if stale not in present and stale.exists():
        raise FileExistsError(f"{stale} exists, and would be another model's: choose another output")
    for path, network in present.items():
        to_junyanz_state(network)  # before the first is written
        if path.exists() and not export.overwrite:
            raise FileExistsError(f"{path} exists: choose another output, or say overwrite=true")
    for path, network in present.items():
        write_junyanz(network, path, overwrite=export.overwrite)
    return f"{' and '.join(path.name for path in present)} in {export.output}"


def _hub(export: Export) -> str:
    keys, name = export.keys, export.keys["push_to"]
    card = model_card(
        export.run,
        export.module,
        name=name,
        license=keys["license"],
        pictures=keys["pictures"],
        weights=keys["weights"],
    )
    export.module.save_pretrained(export.output, card=card, overwrite=export.overwrite)
    if name is None:
        return f"{export.output}: for Pix2PixModule.from_pretrained, with a model card"
    return f"{export.output}, and {export.module.push_to_hub(name, card=card, private=keys['private'])}"


def _web(export: Export) -> str:
    keys, runtime = export.keys, export.keys["runtime"]
    worst = write_web(
        Graph(export.module, keys["norm"], "uint8", "uint8"),
        export.output,
        run=export.run,
        made_by=export.made_by,
        runtime=Path(str(runtime)) if runtime else None,
        overwrite=export.overwrite,
    )
    fetches = "nothing from elsewhere" if runtime else "onnxruntime-web from a CDN, unless you say runtime="
    return (
        f"{export.output}: a page to put on any file server, checked in onnxruntime, {worst:.0e} from the module; it "
        f"fetches {fetches}"
    )


FORMATS: dict[str, Callable[[Export], str]] = {
    "onnx": _onnx,
    "torch": _torch,
    "safetensors": _safetensors,
    "junyanz": _junyanz,
    "hub": _hub,
    "web": _web,
}
"""Each writes ``output`` whole or not at all, and gives a line on what it has written."""

_OF_SOME: dict[str, tuple[Any, tuple[str, ...]]] = {
    "norm": (None, ("onnx", "torch", "web")),
    "values_in": ("float", ("onnx", "torch")),
    "values_out": ("float", ("onnx", "torch")),
    "size": (None, ("torch",)),
    "runtime": (None, ("web",)),
    "license": (None, ("hub",)),
    "pictures": (None, ("hub",)),
    "push_to": (None, ("hub",)),
    "private": (True, ("hub",)),
}  # keys that some formats have no use for, with what they are unless told


def check_taken(name: str, keys: Mapping[str, Any]) -> None:
    """Refuse what the format would pass over.

    Raises:
        ValueError: A key is set that is for other formats.
    """
    for key, (unless_told, formats) in _OF_SOME.items():
        if keys[key] != unless_told and name not in formats:
            raise UserError(
                f"{key}={keys[key]} does nothing for format={name}, it is for {', '.join(formats)}: leave it out"
            )


ENDINGS = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}
"""Of those that are files, by which they are known when they are read."""
