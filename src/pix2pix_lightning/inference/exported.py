"""Exported files as networks: ONNX in onnxruntime, and programs of ``torch.export``."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pix2pix_lightning.checkpoints.files import PROJECT_KEY
from pix2pix_lightning.data.sides import PairSpec, SideSpec
from pix2pix_lightning.utils.errors import UserError

_FORMAT = 1
_MOST = 2**16  # pixels of a side


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value <= _MOST


_CAN_BE: dict[str, Callable[[Any], bool]] = {
    "pair_spec": lambda value: isinstance(value, dict),
    "side_multiple": _is_side,
    "least_side": _is_side,
    "norm": ("image", "running").__contains__,
    "input": ("float", "uint8").__contains__,
    "output": ("float", "uint8").__contains__,
    "context": lambda value: value is None or (type(value) is int and 0 <= value <= _MOST),
}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_GIVE = "give a file that export wrote"


class ExportedNetwork:
    """A graph that was exported, as a function of floats.

    Args:
        run: The input as the file has it to its output.
        facts: What the file says of itself.
        device: Where it runs.

    Attributes:
        norm: With which it was exported.
        context: How many pixels it sees beyond one of its output; None where its norms see the whole image.
        side_multiple: The sides of what it takes are multiples of this,
        least_side: and at least this.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], facts: dict[str, Any], device: torch.device) -> None:
        self._run, self.device = run, device
        try:
            self.pair_spec = PairSpec.from_dict(facts["pair_spec"])
        except (TypeError, AttributeError) as error:
            raise UserError(
                f"an exported file says pair_spec={facts['pair_spec']} of itself ({error}): {_GIVE}"
            ) from None
        self.side_multiple, self.least_side = facts["side_multiple"], facts["least_side"]
        self.norm: str = facts["norm"]
        self.context: int | None = facts["context"]
        self.size: int | None = facts.get("size")
        self._bytes_in, self._bytes_out = facts["input"] == "uint8", facts["output"] == "uint8"

    def __call__(self, source: Tensor) -> Tensor:
        """Translate (B, C, H, W) in [-1, 1] of sides that it takes.

        A file that takes or gives bytes is given those that the floats stand for, and its bytes become floats.

        Raises:
            ValueError: The file is of one size, and this is another.
        """
        if self.size is not None and source.shape[2:] != (self.size, self.size):
            raise UserError(
                f"an image of {source.shape[3]} x {source.shape[2]}, but the file was exported for {self.size} x "
                f"{self.size} alone: say resize={self.size}, or export it with size=null"
            )
        source = source.float()
        output = self._run(self.pair_spec.source.decode(source) if self._bytes_in else source)
        return _as_floats(self.pair_spec.target, output) if self._bytes_out else output


class OnnxSession:
    """A graph in onnxruntime.

    Args:
        path: An ONNX file, which holds its weights itself.
        device: ``cpu`` or ``cuda``.

    Attributes:
        metadata: What the file says of itself, by key.

    Raises:
        ValueError: The file is none, onnxruntime is missing, or it cannot use the device.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        with needs_onnx():
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as state

        if not onnx_runs_on(device):
            raise UserError(
                f"device={device}: onnxruntime {onnxruntime.__version__} does not run there; say device=cpu, or "
                "install onnxruntime-gpu"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # what it warns of is nothing for who translates
        failures: tuple[type[Exception], ...] = tuple(
            value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)
        )
        try:
            # its bytes, not its name: so that it leads to no other file
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=[_PROVIDERS[device.type]]
            )
        except failures as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path} cannot be read as ONNX ({reason}): {_GIVE}") from None
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._device, self._failures = device, failures

    def run(self, source: Tensor) -> Tensor:
        """The graph's output for ``source``."""
        try:
            (output,) = self._session.run(None, {self._session.get_inputs()[0].name: source.cpu().numpy()})
        except self._failures as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"onnxruntime refuses the image ({reason}): the file is not what it says; {_GIVE}"
            ) from None
        return torch.from_numpy(output).to(self._device)


class OnnxNetwork(ExportedNetwork):
    """An ONNX file of ``export``.

    Args:
        path: The file.
        device: ``cpu`` or ``cuda``.

    Raises:
        ValueError: The file is none that ``export`` wrote, or it cannot run here.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        session = OnnxSession(path, device)
        super().__init__(session.run, _facts(session.metadata.get(PROJECT_KEY, ""), path), device)


class ProgramNetwork(ExportedNetwork):
    """A ``.pt2`` file of ``export``. Reading one unpickles, which runs what its author put into it.

    Args:
        path: The file.
        device: A torch device.
        trust: Whether its author is trusted.

    Raises:
        ValueError: It is not, or the file is none that ``export`` wrote.
    """

    def __init__(self, path: Path, device: torch.device, *, trust: bool) -> None:
        if not trust:
            raise UserError(
                f"{path}: reading a .pt2 runs what its author put into it: if you know and trust it, say trust=true"
            )
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path} cannot be read as a program of torch.export: {_GIVE}")
        extra = {PROJECT_KEY: ""}
        try:
            program = torch.export.load(path, extra_files=extra)
        except Exception as error:  # a trusted file can raise anything
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path} cannot be read as a program of torch.export ({reason}): {_GIVE}") from None
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        super().__init__(program.module(), _facts(extra[PROJECT_KEY], path), device)


def open_exported(path: Path, device: torch.device | str, *, trust: bool) -> OnnxNetwork | ProgramNetwork:
    """The network of an ``.onnx`` or a ``.pt2`` file; on ``auto`` the GPU, if there is one that runs it.

    Raises:
        ValueError: It is none that ``export`` wrote, or it is not trusted.
    """
    is_onnx = path.suffix.lower() == ".onnx"
    if isinstance(device, str):
        gpu = torch.device("cuda")
        device = gpu if torch.cuda.is_available() and (not is_onnx or onnx_runs_on(gpu)) else torch.device("cpu")
    return OnnxNetwork(path, device) if is_onnx else ProgramNetwork(path, device, trust=trust)


def onnx_runs_on(device: torch.device) -> bool:
    """Whether onnxruntime is here, and works on the device."""
    try:
        import onnxruntime
    except ImportError:
        return False
    return _PROVIDERS.get(device.type) in onnxruntime.get_available_providers()


@contextmanager
def needs_onnx() -> Iterator[None]:
    """Inside, a package that is not there is named with its mend."""
    try:
        yield
    except ImportError as error:
        raise UserError(f'{error.name} is not installed: pip install "pix2pix-lightning[onnx]"') from None


def _facts(text: str | bytes, path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise UserError(f"{path} does not say what its images mean, as files of pix2pix_lightning do: {_GIVE}")
    if facts.get("format") != _FORMAT:
        raise UserError(f"{path} has format {facts.get('format')}, this version reads {_FORMAT}: install another one")
    for key, can_be in _CAN_BE.items():
        if key not in facts or not can_be(facts[key]):
            raise UserError(f"{path} says {key}={facts.get(key)!r} of itself, which cannot be: {_GIVE}")
    if facts["least_side"] % facts["side_multiple"]:
        raise UserError(f"{path} says least_side={facts['least_side']} of itself, which cannot be: {_GIVE}")
    return facts


def _as_floats(side: SideSpec, output: Tensor) -> Tensor:
    """What files hold, (B, 1 or 3, H, W), to what a network gives."""
    images = [side.snap(image.permute(1, 2, 0).cpu().numpy()) for image in output]
    return torch.stack([side.encode(torch.from_numpy(image).permute(2, 0, 1)[None])[0] for image in images]).to(
        output.device
    )
