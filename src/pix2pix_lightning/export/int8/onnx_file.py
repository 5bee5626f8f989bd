"""Export a generator to an ONNX file that computes with integers of 8 bits."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pix2pix_lightning.checkpoints.checksums import CHECKSUM_KEY, NO_CHECKSUM
from pix2pix_lightning.checkpoints.files import PROJECT_KEY
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.int8.calibration import Images
from pix2pix_lightning.export.int8.loss import Loss, measure_loss
from pix2pix_lightning.export.int8.quantize import FLOAT_LAYERS, quantize
from pix2pix_lightning.export.onnx_file import save_model, write_onnx
from pix2pix_lightning.inference.exported import OnnxNetwork
from pix2pix_lightning.inference.openvino_session import ENGINES, check_openvino
from pix2pix_lightning.networks.padding import pad_to_multiple
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.checks import check_absent, check_choice
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.onnx_graph import require_onnx

MIN_PSNR = 35.0
"""Least PSNR to the float output, in dB, mean over the images."""


@dataclass(frozen=True)
class Int8File:
    """What `write_int8` wrote.

    Args:
        loss: How much its outputs differ from the module's.
        num_bytes: Size of the file.
        num_float_bytes: Size of the float file of the same generator.
        num_calibration: Number of images that it was calibrated on.
    """

    loss: Loss
    num_bytes: int
    num_float_bytes: int
    num_calibration: int

    def __str__(self) -> str:
        """Format the loss and the size for a message."""
        ratio = self.num_bytes / self.num_float_bytes
        size = f"{self.num_bytes / 1e6:.1f} MB, {ratio:.2f} of the float file"
        return f"int8, calibrated on {self.num_calibration} images, {self.loss}, {size}"


def write_int8(
    graph: Graph,
    path: Path,
    images: Images,
    *,
    made_by: Mapping[str, Any],
    float_layers: str = "none",
    min_psnr: float = MIN_PSNR,
    engine: str = "onnxruntime",
    overwrite: bool = False,
) -> Int8File:
    """Write an ONNX file whose convolutions compute with integers of 8 bits, and compare it with the module.

    Args:
        graph: Graph to export, as for `write_onnx`.
        path: Path of the file.
        images: Images for calibration, and others for the comparison, of any size.
        made_by: Origin of the model, for the file's metadata.
        float_layers: Which convolutions stay float32: ``none``, ``first``, ``last`` or ``first_last``.
        min_psnr: Least PSNR in dB to the module's output that is accepted, the mean over the images.
        engine: What runs the file, one of `ENGINES`: the graph is laid out for that, and `OnnxNetwork` uses it.
        overwrite: Replace a file that exists.

    Returns:
        The loss and the size.

    Raises:
        FileExistsError: The file exists, and ``overwrite`` is off.
        UserError: The PSNR is below ``min_psnr``, an argument is unknown, the engine is not installed, or the float
            graph cannot be written; no file is written then.
    """
    check_absent(path, overwrite=overwrite)
    check_choice("float_layers", float_layers, FLOAT_LAYERS)
    check_choice("engine", engine, ENGINES)
    if engine == "openvino":
        check_openvino()
    with require_onnx():
        import onnx

    threads = torch.get_num_threads()
    # a graph for values of files begins with the conversion from them
    calibration = [_to_input(graph, image) for image in images.calibration]
    with tempfile.TemporaryDirectory() as folder:
        float_path = Path(folder) / "float.onnx"
        write_onnx(graph, float_path, made_by=made_by)
        model, num_float_bytes = onnx.load(float_path), float_path.stat().st_size
    quantize(model, calibration, float_layers=float_layers, engine=engine, num_threads=threads)
    (entry,) = model.metadata_props
    metadata = {**json.loads(entry.value), "precision": "int8", "engine": engine, CHECKSUM_KEY: NO_CHECKSUM}
    onnx.helper.set_model_props(model, {PROJECT_KEY: json.dumps(metadata)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch:
        num_bytes = save_model(model, scratch)
        loss = _compare(graph, scratch, images)
        if not loss.psnr >= min_psnr:  # NaN is refused too
            raise UserError(
                f"precision=int8: {loss}, below min_psnr={min_psnr:g}: set calibrate= to a folder of more images, "
                "or export the file with float_layers=first_last, or with a lower min_psnr="
            )
    return Int8File(loss, num_bytes, num_float_bytes, len(calibration))


def _compare(graph: Graph, path: Path, images: Images) -> Loss:
    network = OnnxNetwork(path, torch.device("cpu"))
    held_out = [_pad(graph, image) for image in images.held_out]
    floats = Graph(graph.module, graph.norm)
    with floats.use_eval_module() as module:
        return measure_loss(held_out, graph.spec.target, module, network)


def _to_input(graph: Graph, image: torch.Tensor) -> torch.Tensor:
    padded = _pad(graph, image)
    return graph.spec.source.decode(padded) if graph.values_in == "file" else padded


def _pad(graph: Graph, image: torch.Tensor) -> torch.Tensor:
    return pad_to_multiple(image, graph.side_multiple, graph.min_side)
