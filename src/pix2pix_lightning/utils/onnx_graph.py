"""Run ONNX files in onnxruntime; what goes wrong is an error of one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.memory import is_out_of_memory

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""What onnxruntime calls the kinds of device of torch."""


@contextmanager
def require_onnx() -> Iterator[None]:
    """Turn an ``ImportError`` inside into an error that names the package to install.

    Raises:
        UserError: A package is missing.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(f'{error.name} is not installed: pip install "pix2pix-lightning[onnx]"') from None


def can_run_onnx(device_type: str) -> bool:
    """Return whether onnxruntime is installed and supports a kind of device, ``cpu`` or ``cuda``."""
    try:
        import onnxruntime
    except ImportError:
        return False
    return PROVIDERS.get(device_type) in onnxruntime.get_available_providers()


class OnnxGraph:
    """A graph in onnxruntime.

    Args:
        content: The file, with its weights inside.
        name: What the file is called in errors.
        device_type: ``cpu`` or ``cuda``.
        device_index: Number of the GPU.
        num_threads: Threads of one operation.
        fix: End of the error about a file that cannot be read.

    Attributes:
        inputs: Its inputs, each with name, type and shape.
        outputs: Its outputs.
        metadata: The file's metadata by key.

    Raises:
        UserError: The file is not ONNX, or onnxruntime is missing.
    """

    def __init__(
        self,
        content: bytes,
        name: str,
        *,
        device_type: str = "cpu",
        device_index: int = 0,
        num_threads: int = 1,
        fix: str = "",
    ) -> None:
        with require_onnx():
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as state

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3  # its warnings do not concern users
        self._name = name
        self._failures: tuple[type[Exception], ...] = tuple(
            value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)
        )
        try:
            # bytes, not a path: a hostile file cannot refer to others
            provider = PROVIDERS[device_type], {} if device_type == "cpu" else {"device_id": str(device_index)}
            self._session = onnxruntime.InferenceSession(content, options, providers=[provider])
        except self._failures as error:
            if is_out_of_memory(error):
                raise
            raise UserError(
                f"{name} cannot be read as ONNX with its weights inside ({_shorten(error)}){fix and f': {fix}'}"
            ) from None
        self.inputs: list[Any] = self._session.get_inputs()
        self.outputs: list[Any] = self._session.get_outputs()
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, values: Any, outputs: Sequence[str] | None = None, *, fix: str = "") -> list[Any]:
        """Run the graph.

        Args:
            values: Array for its only input.
            outputs: Names of outputs; None for all.
            fix: End of the error.

        Returns:
            An array for each output.

        Raises:
            UserError: onnxruntime refuses the input.
        """
        try:
            results: list[Any] = self._session.run(outputs, {self.inputs[0].name: values})
        except self._failures as error:
            if is_out_of_memory(error):
                raise
            raise UserError(
                f"{self._name} refuses an input of {tuple(values.shape)} ({_shorten(error)}){fix and f': {fix}'}"
            ) from None
        return results


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
