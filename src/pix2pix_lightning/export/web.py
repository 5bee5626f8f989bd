"""A generator as a folder for any file server: half the bytes, and a page that runs it in the browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from pix2pix_lightning import demo as drawing
from pix2pix_lightning.data.image_files import write_image
from pix2pix_lightning.data.sides import SideSpec
from pix2pix_lightning.demo.brushes import Brushes, brushes_of, known_of_run
from pix2pix_lightning.demo.start import start_picture
from pix2pix_lightning.evaluation.results import new_folder
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.onnx_file import write_onnx
from pix2pix_lightning.reports.page import escaped

_HERE, _DRAWING = Path(__file__).parent, Path(str(drawing.__file__)).parent
_MODEL, _MARK = "model.onnx", "page.json"
_SCRIPT, _BINARY = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
_CDN = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/"
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'{script}; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'{binary}; base-uri 'none'; form-action 'none'"
)
_MAX_BYTES = 20 * 2**20  # of an upload
_MOUNTED = (("mountCanvas", "canvas.js"), ("mountResults", "results.js"))


def write_web(
    graph: Graph,
    folder: Path,
    *,
    run: Path | None,
    made_by: Mapping[str, Any],
    runtime: Path | None = None,
    overwrite: bool = False,
) -> float:
    """Write a page with its model, whole or not at all.

    The canvas has the training's size, raised to what the network takes. Weights are held in half precision,
    and the arithmetic is float32.

    Args:
        graph: From bytes to bytes.
        folder: Where ``index.html`` lies then.
        run: The folder of the run, whose name and colours the page shows.
        made_by: What the model says of where it comes from.
        runtime: The folder ``dist`` of the npm package onnxruntime-web, of which two files are copied; without it the
            page takes them from a content delivery network.
        overwrite: Replace a folder that this has written.

    Returns:
        How far onnxruntime's outputs are from the module's.

    Raises:
        FileExistsError: The folder has something in it, and ``overwrite`` is off.
        ValueError: ``runtime`` lacks a file, the folder is of another kind, or the outputs are not the module's by
            2e-2; nothing is left.
    """
    for name in (_SCRIPT, _BINARY) if runtime else ():
        if not (Path(str(runtime)) / name).is_file():
            raise ValueError(
                f"runtime={runtime} holds no {name}: give the folder dist of the npm package onnxruntime-web"
            )
    spec, size = graph.spec, _side(graph)
    brushes = brushes_of(spec.source, known_of_run(run / "checkpoints" / "best.ckpt") if run else None)
    with new_folder(folder, kind="page of export", mark=_MARK, overwrite=overwrite) as growing:
        worst = write_onnx(graph, growing / _MODEL, made_by=made_by, half=True)
        count = (growing / _MODEL).stat().st_size
        write_image(growing / "start.png", start_picture(brushes, size))
        if runtime:
            (growing / "runtime").mkdir()
            shutil.copyfile(runtime / _SCRIPT, growing / "runtime" / "ort.js")  # some servers do not know .mjs
            shutil.copyfile(runtime / _BINARY, growing / "runtime" / _BINARY)
        page = {
            "canvas": _described(brushes, size),
            "source": {**_side_of(spec.source), "interpolation": spec.source.interpolation},
            "target": _side_of(spec.target),
            "bytes": count,
            "runtime": {
                "script": "./runtime/ort.js" if runtime else _CDN + _SCRIPT,
                "binary": f"./runtime/{_BINARY}" if runtime else _CDN + _BINARY,
            },
        }
        (growing / _MARK).write_text(json.dumps(page, indent=1) + "\n", encoding="utf-8")
        rows = _facts(graph, size, count, made_by)
        (growing / "index.html").write_text(_html(_title(run), rows, is_alone=runtime is not None), encoding="utf-8")
        mounted = [
            f"export function {name}(element, props, watch, trigger) {{\n{_text(_DRAWING / file)}}}\n"
            for name, file in _MOUNTED
        ]
        (growing / "parts.js").write_text("\n".join(mounted), encoding="utf-8")
        for name, source in (
            ("web.js", _HERE / "web.js"),
            ("web.css", _HERE / "web.css"),
            ("canvas.css", _DRAWING / "page.css"),
        ):
            shutil.copyfile(source, growing / name)
    return worst


def _side(graph: Graph) -> int:
    """The training's, raised to what the network takes."""
    multiple = graph.side_multiple
    return -(-max(graph.spec.size, graph.least_side) // multiple) * multiple


def _described(brushes: Brushes, size: int) -> dict[str, Any]:
    """What the canvas's script takes."""
    named = [{"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*c)} for name, c in brushes.colours.items()]
    return {
        "brushes": named,
        "free": brushes.free,
        "paints": brushes.paints,
        "size": size,
        "maxBytes": _MAX_BYTES,
        "start": "start.png",
        "picture": None,
    }


def _side_of(side: SideSpec) -> dict[str, Any]:
    """How a side's bytes become pixels; ``spread`` shows class numbers apart, as ``SideSpec.picture`` does."""
    is_numbers = side.kind == "label" and not side.palette
    return {
        "kind": "numbers" if is_numbers else side.kind,
        "channels": side.file_channels,
        "spread": 255 // max(1, side.channels - 1) if is_numbers else 1,
    }


def _title(run: Path | None) -> str:
    from omegaconf import OmegaConf

    config = run / "config.yaml" if run else None
    name = OmegaConf.select(OmegaConf.load(config), "name") if config and config.is_file() else None
    return f"pix2pix: {name}" if name else "pix2pix"


def _facts(graph: Graph, size: int, count: int, made_by: Mapping[str, Any]) -> list[tuple[str, object]]:
    facts = graph.facts(made_by)
    source, target = graph.spec.source, graph.spec.target
    return [
        ("Checkpoint", facts["made_by"].get("checkpoint")),
        ("Batches seen", facts["made_by"].get("batches_seen")),
        ("Translates", f"{source.kind} to {target.kind}, {size} x {size} pixels"),
        ("Statistics", f"norm={graph.norm}"),
        ("Model", f"{count / 1e6:.1f} MB of ONNX, weights in half precision"),
        ("Written by", f"pix2pix_lightning {facts['made_by']['pix2pix_lightning']}"),
    ]


def _html(title: str, rows: Sequence[tuple[str, object]], *, is_alone: bool) -> str:
    policy = _POLICY.format(
        script="" if is_alone else f" {_CDN}{_SCRIPT}", binary="" if is_alone else f" {_CDN}{_BINARY}"
    )
    shown = "".join(f"<dt>{escaped(k)}</dt><dd>{escaped(v)}</dd>\n" for k, v in rows if v is not None)
    return Template(_text(_HERE / "web.html")).substitute(
        policy=policy,
        title=escaped(title),
        canvas=_text(_DRAWING / "canvas.html"),
        results=_text(_DRAWING / "results.html"),
        facts=f"<dl>\n{shown}</dl>",
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
