"""Export a generator to one ONNX file."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.export import Dim

from pix2pix_lightning.checkpoints.checksums import CHECKSUM_KEY, NO_CHECKSUM, embed_checksum
from pix2pix_lightning.checkpoints.files import PROJECT_KEY
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.output_check import TOLERANCE, check_outputs, choose_sizes
from pix2pix_lightning.inference.exported import OnnxSession
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.checks import check_absent
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.onnx_graph import require_onnx

if TYPE_CHECKING:
    from onnx import ModelProto

_MAX_BYTES = 2**31 - 2**20  # a protobuf holds less than 2 GiB
_MAX_DIM = 2**16  # images of a batch, and pixels of a side
_MIN_HALF_BYTES = 2**10  # smaller tensors, as scales, shifts and statistics, stay float32
TOLERANCE_HALF = 2e-2
"""Greatest difference of outputs in [-1, 1] with weights in half precision: 2.5 gray levels."""


def write_onnx(
    graph: Graph, path: Path, *, made_by: Mapping[str, Any], half: bool = False, overwrite: bool = False
) -> float:
    """Write an ONNX file for any number of images and any sides that the network takes, and check it in onnxruntime.

    Args:
        graph: Graph to export; its input is named ``source``, its output ``target``.
        path: Path of the file, which contains the weights too.
        made_by: Origin of the model, for the file's metadata.
        half: Store the weights in half precision, which halves the file; the arithmetic stays float32.
        overwrite: Replace a file that exists.

    Returns:
        The largest difference between the outputs of onnxruntime and of the module.

    Raises:
        FileExistsError: The file exists, and ``overwrite`` is off.
        UserError: It would be too large, or its outputs differ from the module's by more than 1e-4 (2e-2 with
            ``half``); no file is written then.
    """
    check_absent(path, overwrite=overwrite)
    with require_onnx():
        import onnx
        import onnxscript  # noqa: F401 (torch.onnx needs it)

    weights = sum(tensor.numel() * tensor.element_size() for tensor in graph.generator.state_dict().values())
    if weights > _MAX_BYTES:
        raise UserError(
            f"the generator has {weights / 1e9:.1f} GB of weights, and an ONNX file holds 2: use format=torch"
        )
    stride, least = graph.side_multiple, graph.min_side
    height, width = (Dim(name, min=-(-least // stride), max=_MAX_DIM // stride) for name in ("height", "width"))
    sides = {0: Dim("batch", min=1, max=_MAX_DIM), 2: stride * height, 3: stride * width}
    example = torch.zeros(2, graph.in_channels, least + 2 * stride, least + stride, dtype=graph.in_dtype)
    with graph.use_eval_module() as module, _silence_exporter():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes={"source": sides},
            input_names=["source"],
            output_names=["target"],
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    if half:
        _store_half(model)
    metadata = graph.build_metadata({**made_by, "onnx": onnx.__version__})
    onnx.helper.set_model_props(model, {PROJECT_KEY: json.dumps({**metadata, CHECKSUM_KEY: NO_CHECKSUM})})
    model.producer_name = PROJECT_KEY
    model.doc_string = "A generator of pix2pix_lightning: source to target, (batch, channels, height, width)"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch:
        save_model(model, scratch)
        run, tolerance = OnnxSession(scratch, torch.device("cpu")).run, TOLERANCE_HALF if half else TOLERANCE
        return check_outputs(graph, run, choose_sizes(graph, least), tolerance)


def save_model(model: ModelProto, path: Path) -> int:
    """Write a model with its checksum in place of ``NO_CHECKSUM``, and let onnx check it.

    Args:
        model: Model with the metadata of `Graph.build_metadata`.
        path: File to write.

    Returns:
        Bytes of the file.
    """
    import onnx

    content = bytearray(model.SerializeToString())
    embed_checksum(content)
    path.write_bytes(content)
    onnx.checker.check_model(str(path))
    return len(content)


def _store_half(model: ModelProto) -> None:
    """Store the weights as float16 and cast each to float32 in the graph, which runtimes do once, on loading."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.nbytes <= _MIN_HALF_BYTES:
            continue
        name, stored = tensor.name, f"{tensor.name}.half"
        with np.errstate(over="ignore"):  # check_outputs finds infinite weights
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    others = list(model.graph.node)
    model.graph.ClearField("node")
    model.graph.node.extend([*casts, *others])


@contextmanager
def _silence_exporter() -> Iterator[None]:
    """Silence the exporter's warnings, on optional packages and on torch's own deprecated calls."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
