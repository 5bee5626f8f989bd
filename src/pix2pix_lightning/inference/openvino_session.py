"""Run ONNX files in OpenVINO, which computes with integers of 8 bits faster than onnxruntime."""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

from pix2pix_lightning.utils.errors import UserError

ENGINES = ("onnxruntime", "openvino")
"""What runs files of ``precision=int8``."""


def check_openvino() -> None:
    """Check that OpenVINO is installed.

    Raises:
        UserError: It is not.
    """
    if importlib.util.find_spec("openvino") is None:
        raise UserError('engine=openvino: it is not installed: pip install "pix2pix-lightning[openvino]"')


class OpenVinoSession:
    """A graph in OpenVINO on the CPU. What is not quantized is computed in float32.

    Args:
        content: ONNX file, with its weights inside.
        name: What the file is called in errors.

    Raises:
        UserError: OpenVINO is missing or refuses the file.
    """

    def __init__(self, content: bytes, name: str) -> None:
        check_openvino()
        import openvino

        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # it chooses bfloat16 by default where the machine has it
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        core = openvino.Core()
        try:
            model = core.read_model(content, b"")
            self._request = core.compile_model(model, "CPU", options).create_infer_request()
        except RuntimeError as error:
            text = " ".join(str(error).split())[:200]
            raise UserError(f"{name} cannot be read by openvino {openvino.__version__} ({text})") from None

    def run(self, source: Tensor) -> Tensor:
        """Run the graph.

        Args:
            source: Images (B, C, H, W) of the type that the file takes.

        Returns:
            (B, C', H, W) of the type that the file returns, on the device of ``source``.
        """
        results = self._request.infer({0: source.cpu().contiguous().numpy()})
        return torch.from_numpy(results[0].copy()).to(source.device)  # the next run writes into the same memory
