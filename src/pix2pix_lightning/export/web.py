"""Export a generator as a folder for any file server: a model in half precision, and a page that runs it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pix2pix_lightning.data.files.image_files import write_image
from pix2pix_lightning.data.sides.class_numbers import compute_level_step
from pix2pix_lightning.data.sides.picture import PictureSide
from pix2pix_lightning.data.sizes import Size, get_sides, parse_size
from pix2pix_lightning.demo.brushes import build_brushes, find_run_colours
from pix2pix_lightning.demo.start_picture import draw_start_picture
from pix2pix_lightning.evaluation.results import open_output_folder
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.onnx_file import write_onnx
from pix2pix_lightning.networks.padding import compute_padded_side
from pix2pix_lightning.report.rendering import build_environment, render
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.saved_config import read_saved_values

_HERE, _DEMO = Path(__file__).parent, Path(str(files("pix2pix_lightning.demo")))
_MODEL, _MARK = "model.onnx", "page.json"
_SCRIPT, _BINARY = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
_CDN = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/"
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'{script}; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'{binary}; base-uri 'none'; form-action 'none'"
)
_MAX_BYTES = 20 * 2**20  # largest upload
_MODULES = (("mountCanvas", "canvas.js"), ("mountResults", "results.js"))


def write_web(
    graph: Graph,
    folder: Path,
    *,
    run: Path | None,
    made_by: Mapping[str, Any],
    runtime: Path | None = None,
    overwrite: bool = False,
) -> float:
    """Write a page with its model, completely or not at all.

    The canvas has the training's size, raised to what the network takes. Weights are stored in half precision,
    and computed with in float32.

    Args:
        graph: Graph to export, with the values of files as inputs and outputs.
        folder: Folder of the page; ``index.html`` is in it.
        run: Folder of the run whose name and colours the page shows; None for a model of another origin.
        made_by: Origin of the model, for its metadata and for the page.
        runtime: Folder ``dist`` of the npm package onnxruntime-web, from which two files are copied; without it the
            page loads them from a content delivery network.
        overwrite: Replace a folder that an earlier export wrote.

    Returns:
        The largest difference between the outputs of onnxruntime and of the module.

    Raises:
        FileExistsError: The folder is not empty, and ``overwrite`` is off.
        UserError: ``runtime`` lacks a file, the folder is of another kind, or the outputs differ from the module's by
            more than 2e-2, or a side has no 8-bit pictures; nothing is written.
    """
    for name in (_SCRIPT, _BINARY) if runtime else ():
        if not (Path(str(runtime)) / name).is_file():
            raise UserError(
                f"runtime={runtime} does not contain {name}: set it to the folder dist of the npm package "
                "onnxruntime-web"
            )
    spec, size = graph.spec, _compute_size(graph)
    source, target = spec.source, spec.target
    if not (isinstance(source, PictureSide) and isinstance(target, PictureSide)):
        raise UserError(
            f"format=web translates 8-bit pictures, not {source.kind} to {target.kind}: choose format=onnx, or predict"
        )
    brushes = build_brushes(source, find_run_colours(run / "checkpoints" / "best.ckpt") if run else None)
    with open_output_folder(folder, kind="page of export", mark=_MARK, overwrite=overwrite) as growing:
        worst = write_onnx(graph, growing / _MODEL, made_by=made_by, half=True)
        count = (growing / _MODEL).stat().st_size
        write_image(growing / "start.png", draw_start_picture(brushes, size))
        if runtime:
            (growing / "runtime").mkdir()
            # some servers do not know the type of .mjs
            shutil.copyfile(runtime / _SCRIPT, growing / "runtime" / "ort.js")
            shutil.copyfile(runtime / _BINARY, growing / "runtime" / _BINARY)
        page = {
            "canvas": {**brushes.describe(size=size, max_bytes=_MAX_BYTES), "start": "start.png", "picture": None},
            "source": {
                **_describe_side(source),
                "interpolation": spec.source.interpolation,
                "alpha": source.alpha,
            },
            "target": _describe_side(target),
            "bytes": count,
            "runtime": {
                "script": "./runtime/ort.js" if runtime else _CDN + _SCRIPT,
                "binary": f"./runtime/{_BINARY}" if runtime else _CDN + _BINARY,
            },
        }
        (growing / _MARK).write_text(json.dumps(page, indent=1) + "\n", encoding="utf-8")
        facts = _list_facts(graph, size, count, made_by)
        text = _render_page(_read_title(run), facts, is_standalone=runtime is not None)
        (growing / "index.html").write_text(text, encoding="utf-8")
        modules = [
            f"export function {name}(element, props, watch, trigger) {{\n{_read(_DEMO / file)}}}\n"
            for name, file in _MODULES
        ]
        (growing / "parts.js").write_text("\n".join(modules), encoding="utf-8")
        for name, file in (
            ("web.js", _HERE / "web.js"),
            ("web.css", _HERE / "web.css"),
            ("canvas.css", _DEMO / "page.css"),
        ):
            shutil.copyfile(file, growing / name)
    return worst


def _compute_size(graph: Graph) -> Size:
    """Return the training's size, raised to what the network takes."""
    sides = (graph.spec.height, graph.spec.width)
    return parse_size("size", [compute_padded_side(side, graph.side_multiple, graph.min_side) for side in sides])


def _describe_side(side: PictureSide) -> dict[str, Any]:
    """Describe how bytes become pixels; ``spread`` makes class numbers visible, as ``Side.preview`` does."""
    return {
        "kind": "numbers" if side.has_class_numbers else "rgb" if side.kind == "lab" else side.kind,
        "channels": side.file_channels,
        "background": list(side.background),
        "spread": compute_level_step(side.channels, side.ignore_index) if side.has_class_numbers else 1,
    }


def _read_title(run: Path | None) -> str:
    config = run / "config.yaml" if run else None
    name = read_saved_values(config).get("name") if config and config.is_file() else None
    return f"pix2pix: {name}" if name else "pix2pix"


def _list_facts(graph: Graph, size: Size, count: int, made_by: Mapping[str, Any]) -> list[tuple[str, object]]:
    facts = graph.build_metadata(made_by)
    source, target = graph.spec.source, graph.spec.target
    height, width = get_sides(size)
    return [
        ("Checkpoint", facts["made_by"].get("checkpoint")),
        ("Weights", facts["made_by"].get("weights")),
        ("Batches seen", facts["made_by"].get("batches_seen")),
        ("Translates", f"{source.kind} to {target.kind}, {width} x {height} pixels"),
        ("Statistics", f"norm={graph.norm}"),
        ("Model", f"{count / 1e6:.1f} MB of ONNX, weights in half precision"),
        ("Written by", f"pix2pix_lightning {facts['made_by']['pix2pix_lightning']}"),
    ]


def _render_page(title: str, facts: Sequence[tuple[str, object]], *, is_standalone: bool) -> str:
    policy = _POLICY.format(
        script="" if is_standalone else f" {_CDN}{_SCRIPT}", binary="" if is_standalone else f" {_CDN}{_BINARY}"
    )
    template = build_environment(_HERE, _DEMO).get_template("web.html")
    return render(template, policy=policy, title=title, facts=[fact for fact in facts if fact[1] is not None])


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
