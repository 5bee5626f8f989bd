#!/usr/bin/env bash
# openvino: a quantized model with a DepthToSpace behind a Concat cannot be compiled, if the parts have one zero point.
#
# Expected: the model runs, as it does where the parts have different zero points, and in onnxruntime and onnx's reference.
# Happens: compile_model raises "Argument shapes are inconsistent": the zero points of the 8 channels before the
#   DepthToSpace are subtracted from the 2 channels behind it.
# Avoid: compute the parts as the channels of one convolution, so that there is no Concat and the zero point is a number.
# Python 3.11, openvino 2026.4.1 (CPU), onnx 1.23.0
# Seen 2026-11-30: zero points 100 and 60: right; 100 and 100: RuntimeError
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet openvino==2026.4.1 onnx==1.23.0 numpy
cd "$tmp"
"$tmp/venv/bin/python" - <<'PY'
import sys

import numpy as np
import openvino
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def build(zero_points):
    """Two quantized inputs of four channels, put together, spread over space, and convolved by quantized weights."""
    nodes, constants = [], {"weight": np.ones((1, 2, 1, 1), np.int8), "one": np.float32(1), "zero": np.int8(0)}

    def quantize(name, zero_point):
        constants[f"{name}.scale"], constants[f"{name}.zero"] = np.float32(0.01), np.uint8(zero_point)
        levels = [f"{name}.levels", f"{name}.scale", f"{name}.zero"]
        nodes.append(helper.make_node("QuantizeLinear", [name, *levels[1:]], levels[:1]))
        nodes.append(helper.make_node("DequantizeLinear", levels, [f"{name}.rounded"]))
        return f"{name}.rounded"

    parts = [quantize(name, zero_point) for name, zero_point in zip("ab", zero_points, strict=True)]
    nodes.append(helper.make_node("Concat", parts, ["both"], axis=1))
    nodes.append(helper.make_node("DepthToSpace", ["both"], ["space"], blocksize=2, mode="DCR"))
    nodes.append(helper.make_node("DequantizeLinear", ["weight", "one", "zero"], ["kernel"]))
    nodes.append(helper.make_node("Conv", [quantize("space", 100), "kernel"], ["target"]))
    shapes = {"a": [1, 4, 2, 2], "b": [1, 4, 2, 2], "target": [1, 1, 4, 4]}
    a, b, target = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    initializers = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "graph", [a, b], [target], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


inputs = {name: np.random.default_rng(0).uniform(-0.5, 1, (1, 4, 2, 2)).astype(np.float32) for name in "ab"}
found = {}
for zero_points in ((100, 60), (100, 100)):
    model = build(zero_points)
    (expected,) = ReferenceEvaluator(model).run(None, inputs)
    core = openvino.Core()
    try:
        compiled = core.compile_model(core.read_model(model.SerializeToString(), b""), "CPU")
        found[zero_points] = bool(np.allclose(compiled(inputs)[0], expected, atol=0.03))
    except RuntimeError as error:
        found[zero_points] = "inconsistent shapes" if "shapes are inconsistent" in str(error) else str(error)
print("openvino", openvino.__version__, found)
if found != {(100, 60): True, (100, 100): "inconsistent shapes"}:
    sys.exit("no longer as described")
PY
