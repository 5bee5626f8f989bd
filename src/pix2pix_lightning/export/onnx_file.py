"""A generator as one ONNX file."""

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

from pix2pix_lightning.checkpoints.files import PROJECT_KEY
from pix2pix_lightning.export.checking import TOLERANCE, check_equal, sizes_of
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.inference.exported import OnnxSession, needs_onnx
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto

_MOST = 2**31 - 2**20  # bytes: a protobuf holds less than 2 GiB
_LARGEST = 2**16  # images of a batch, and pixels of a side
_LEAST_HALVED = 2**10  # bytes of a tensor: scales, shifts and statistics stay as they are
TOLERANCE_HALF = 2e-2
"""Of floats in [-1, 1], with weights in half precision; 2.5 grey levels."""


def write_onnx(
    graph: Graph, path: Path, *, made_by: Mapping[str, Any], half: bool = False, overwrite: bool = False
) -> float:
    """Write a graph of any number of images and of any sides that the network takes, and check it in onnxruntime.

    Args:
        graph: What is exported; input ``source``, output ``target``.
        path: Of the file, which holds the weights too.
        made_by: What it says of where it comes from.
        half: Hold the weights in half precision, which halves the file; the arithmetic stays as it is.
        overwrite: Write over a file that is there.

    Returns:
        How far onnxruntime's outputs are from the module's.

    Raises:
        FileExistsError: The file is there, and ``overwrite`` is off.
        ValueError: It is too large, or its outputs are not the module's by 1e-4 (2e-2 with ``half``); none is left.
    """
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: choose another output, or say overwrite=true")
    with needs_onnx():
        import onnx
        import onnxscript  # noqa: F401 (torch wants it)

    weights = sum(tensor.numel() * tensor.element_size() for tensor in graph.generator.state_dict().values())
    if weights > _MOST:
        raise UserError(
            f"the generator has {weights / 1e9:.1f} GB of weights, and an ONNX file holds 2: use format=torch"
        )
    stride, least = graph.side_multiple, graph.least_side
    height, width = (Dim(name, min=-(-least // stride), max=_LARGEST // stride) for name in ("height", "width"))
    sides = {0: Dim("batch", min=1, max=_LARGEST), 2: stride * height, 3: stride * width}
    example = torch.zeros(
        2,
        graph.channels_in,
        least + 2 * stride,
        least + stride,
        dtype=torch.uint8 if graph.values_in == "uint8" else torch.float32,
    )
    with graph.as_at_test_time() as module, _quiet():
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
        _halve(model)
    facts = graph.facts({**made_by, "onnx": onnx.__version__})
    onnx.helper.set_model_props(model, {PROJECT_KEY: json.dumps(facts)})
    model.producer_name = PROJECT_KEY
    model.doc_string = "A generator of pix2pix_lightning: source to target, (batch, channels, height, width)"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch:
        scratch.write_bytes(model.SerializeToString())
        onnx.checker.check_model(str(scratch))
        run, tolerance = OnnxSession(scratch, torch.device("cpu")).run, TOLERANCE_HALF if half else TOLERANCE
        return check_equal(graph, run, sizes_of(graph, least), tolerance)


def _halve(model: ModelProto) -> None:
    """Hold the weights as float16 and widen each to float32 in the graph, which runtimes do once, when they load it."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.nbytes <= _LEAST_HALVED:
            continue
        name, held = tensor.name, f"{tensor.name}.half"
        with np.errstate(over="ignore"):  # of what is infinite then, the check says so
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), held))
        casts.append(helper.make_node("Cast", [held], [name], to=TensorProto.FLOAT))
    others = list(model.graph.node)
    model.graph.ClearField("node")
    model.graph.node.extend([*casts, *others])


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of packages that are not there, and of torch's own use of itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
