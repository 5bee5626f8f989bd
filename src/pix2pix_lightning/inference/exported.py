"""Run exported files as networks: ONNX in onnxruntime, and programs of ``torch.export``."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pix2pix_lightning.checkpoints.checksums import check_embedded, verify_archive
from pix2pix_lightning.checkpoints.files import PROJECT_KEY
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides.ranges import DTYPES
from pix2pix_lightning.data.sizes import Size, format_size, get_sides, parse_size
from pix2pix_lightning.inference.openvino_session import OpenVinoSession
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.finite import NonFiniteError, check_finite, sum_wide
from pix2pix_lightning.utils.memory import is_out_of_memory
from pix2pix_lightning.utils.onnx_graph import OnnxGraph, can_run_onnx, require_onnx

_FORMAT = 1
_MAX_SIDE = 2**16  # pixels


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value <= _MAX_SIDE


_VALIDATORS: dict[str, Callable[[Any], bool]] = {
    "pair_spec": lambda value: isinstance(value, dict),
    "side_multiple": _is_side,
    "min_side": _is_side,
    "norm": ("image", "running").__contains__,
    "input": ("float", *DTYPES).__contains__,
    "output": ("float", *DTYPES).__contains__,
    "context": lambda value: value is None or (type(value) is int and 0 <= value <= _MAX_SIDE),
}
_FIX = "give a file that export wrote"


class ExportedNetwork:
    """An exported graph as a function of floats.

    Args:
        run: Runs the graph on an input of the file's type.
        metadata: The file's metadata, as ``export.graph.Graph.build_metadata`` built them.
        device: Device on which it runs.
        gains_by_batches: Whether several images at once take less time than one after the other.

    Attributes:
        gains_by_batches: The argument.
        pair_spec: Meaning of the images.
        norm: Norm mode with which it was exported, ``image`` or ``running``.
        context: How many pixels it sees beyond a pixel of its output; None where its norms see the whole image.
        side_multiple: Divisor of the sides of its input, in pixels.
        min_side: Smallest side of its input, in pixels.
        size: The only size of its input, as ``PairSpec.size`` has one; None where there are several.
        returns_file: Whether the graph returns values of files, which it has rounded itself.

    Raises:
        UserError: The metadata do not describe a pair.
    """

    def __init__(
        self,
        run: Callable[[Tensor], Tensor],
        metadata: dict[str, Any],
        device: torch.device,
        *,
        gains_by_batches: bool = False,
    ) -> None:
        self._run, self.device, self.gains_by_batches = run, device, gains_by_batches
        try:
            self.pair_spec = PairSpec.from_dict(metadata["pair_spec"])
        except (TypeError, AttributeError) as error:
            raise UserError(
                f"an exported file has pair_spec={metadata['pair_spec']} in its metadata ({error}): {_FIX}"
            ) from None
        self.side_multiple, self.min_side = metadata["side_multiple"], metadata["min_side"]
        self.norm: str = metadata["norm"]
        self.context: int | None = metadata["context"]
        size = metadata.get("size")
        self.size: Size | None = None if size is None else parse_size("size", size)
        self._takes_file, self.returns_file = metadata["input"] != "float", metadata["output"] != "float"

    def __call__(self, source: Tensor) -> Tensor:
        """Translate images.

        Floats are converted for a graph that takes values of files, and values of files that it returns to floats.

        Args:
            source: Images (B, C, H, W) in [-1, 1], of sides that the graph takes.

        Returns:
            (B, C', H, W) in [-1, 1].

        Raises:
            UserError: The file was exported for one size, and the images have another.
            NonFiniteError: The file returns values that are not finite.
        """
        if self.size is not None and source.shape[2:] != get_sides(self.size):
            height, width = get_sides(self.size)
            raise UserError(
                f"an image of {source.shape[3]} x {source.shape[2]}, but the file was exported for {width} x {height} "
                f"only: set resize={format_size(self.size)}, or export it with size=null"
            )
        source = source.float()
        with torch.no_grad():  # a program's weights have gradients, in which floats of a file would take part
            output = self._run(self.pair_spec.source.decode(source) if self._takes_file else source)
        if not self.returns_file and not bool(sum_wide(output).isfinite()):
            raise NonFiniteError(
                "the exported file returns values that are not finite: export a checkpoint that is sound"
            )
        return self.pair_spec.target.encode_file(output) if self.returns_file else output


class OnnxSession:
    """A graph in onnxruntime.

    Args:
        path: ONNX file, with its weights inside.
        device: ``cpu`` or ``cuda``.

    Attributes:
        metadata: The file's metadata by key.
        takes_batches: Whether the graph takes any number of images at once.

    Raises:
        UserError: The file is not ONNX or is damaged, onnxruntime is missing, or it cannot use the device.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        with require_onnx():
            import onnxruntime

        if not can_run_onnx(device.type):
            raise UserError(
                f"device={device}: onnxruntime {onnxruntime.__version__} does not run there; set device=cpu, or "
                "install onnxruntime-gpu"
            )
        content = path.read_bytes()
        check_embedded(content, path)
        self._graph = OnnxGraph(
            content,
            str(path),
            device_type=device.type,
            device_index=device.index or 0,
            num_threads=torch.get_num_threads(),
            fix=_FIX,
        )
        self.metadata: dict[str, str] = self._graph.metadata
        batch_sizes = [size for source in self._graph.inputs[:1] for size in source.shape[:1]]
        self.takes_batches = not any(isinstance(size, int) for size in batch_sizes)
        self._device = device

    def run(self, source: Tensor) -> Tensor:
        """Run the graph.

        Args:
            source: Images (B, C, H, W) of the type that the file takes.

        Returns:
            (B, C', H, W) of the type that the file returns.

        Raises:
            UserError: onnxruntime refuses the input.
        """
        (output,) = self._graph.run(source.cpu().numpy(), fix=f"the file's metadata are wrong; {_FIX}")
        return torch.from_numpy(output).to(self._device)


class OnnxNetwork(ExportedNetwork):
    """An ONNX file of ``export``, in onnxruntime, or in OpenVINO if it was laid out for that.

    Args:
        path: The file.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: ``export`` did not write the file, or it cannot run here.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        session = OnnxSession(path, device)
        metadata = _read_metadata(session.metadata.get(PROJECT_KEY, ""), path)
        if metadata.get("engine") == "openvino":
            super().__init__(OpenVinoSession(path.read_bytes(), str(path)).run, metadata, device)
        else:
            super().__init__(session.run, metadata, device, gains_by_batches=session.takes_batches)


class ProgramNetwork(ExportedNetwork):
    """A ``.pt2`` file of ``export``. Reading one unpickles it, which runs any code that its author put there.

    Args:
        path: The file.
        device: A torch device.
        trust: Whether its author is trusted.

    Raises:
        UserError: ``trust`` is off, ``export`` did not write the file, or its weights are not finite.
    """

    def __init__(self, path: Path, device: torch.device, *, trust: bool) -> None:
        if not trust:
            raise UserError(f"{path}: reading a .pt2 file runs code in it: set trust=true if you trust its author")
        try:
            verify_archive(path)
        except zipfile.BadZipFile:
            raise UserError(f"{path} cannot be read as a program of torch.export: {_FIX}") from None
        extra = {PROJECT_KEY: ""}
        try:
            program = torch.export.load(path, extra_files=extra)
        except Exception as error:  # a trusted file can raise anything
            if is_out_of_memory(error):
                raise
            raise UserError(f"{path} cannot be read as a program of torch.export ({_shorten(error)}): {_FIX}") from None
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        check_finite(program.state_dict, program.module(), path)
        super().__init__(program.module(), _read_metadata(extra[PROJECT_KEY], path), device)


def open_exported(path: Path, device: torch.device | str, *, trust: bool) -> OnnxNetwork | ProgramNetwork:
    """Open the network of an exported file.

    Args:
        path: An ``.onnx`` or a ``.pt2`` file.
        device: A device; a string for the GPU where there is one that runs the file, else the CPU.
        trust: Whether the author of a ``.pt2`` file is trusted.

    Returns:
        The network.

    Raises:
        UserError: ``export`` did not write the file, or it is not trusted.
    """
    is_onnx = path.suffix.lower() == ".onnx"
    if isinstance(device, str):
        gpu = torch.device("cuda")
        device = gpu if torch.cuda.is_available() and (not is_onnx or can_run_onnx(gpu.type)) else torch.device("cpu")
    return OnnxNetwork(path, device) if is_onnx else ProgramNetwork(path, device, trust=trust)


def _read_metadata(text: str | bytes, path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise UserError(f"{path} has no metadata of pix2pix_lightning: {_FIX}")
    if metadata.get("format") != _FORMAT:
        raise UserError(f"{path} has format {metadata.get('format')}, this version reads {_FORMAT}: install another")
    for key, is_valid in _VALIDATORS.items():
        if key not in metadata or not is_valid(metadata[key]):
            raise UserError(f"{path} has {key}={metadata.get(key)!r} in its metadata, which is invalid: {_FIX}")
    if metadata["min_side"] % metadata["side_multiple"]:
        raise UserError(f"{path} has min_side={metadata['min_side']} in its metadata, which is invalid: {_FIX}")
    return metadata


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
