"""Memory of a piece of work: its peak, and what tensors it consists of."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_INTERVAL = 0.005  # seconds between samples


class Step(Protocol):
    """A training step on source and target, (B, C, H, W) in [-1, 1], and what it changes."""

    networks: list[nn.Module]
    optimizers: list[Optimizer]

    def __call__(self, source: Tensor, target: Tensor) -> object:
        """Take the step."""


class PeakMemory:
    """Measure the peak of memory within a ``with`` block, beyond what was in use before.

    On a GPU this is the memory that torch allocated. On a CPU it is the resident memory of the process: the kernel's
    high-water mark where that can be reset, else samples.

    Attributes:
        bytes: The peak, known at the end of the block; None where the system does not provide it.
    """

    def __init__(self, device: torch.device) -> None:
        self.bytes: int | None = None
        self._device = device
        self._done = threading.Event()
        self._sampler: threading.Thread | None = None
        self._highest = 0

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        elif _STATUS.exists():
            self._before = _read_status("VmRSS")
            try:
                _CLEAR.write_text("5")
            except OSError:
                self._sampler = threading.Thread(target=self._sample, daemon=True)
                self._sampler.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Set ``bytes``; the rest of the block does not count."""
        if self.bytes is not None:
            return
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device) - self._before
        elif _STATUS.exists():
            highest = _read_status("VmHWM")
            if self._sampler is not None:
                self._done.set()
                self._sampler.join()
                highest = self._highest
            self.bytes = max(highest - self._before, 0)

    def _sample(self) -> None:
        while not self._done.wait(_INTERVAL):
            self._highest = max(self._highest, _read_status("VmRSS"))


def measure_memory_by_part(step: Step, source: Tensor, target: Tensor) -> dict[str, int]:
    """Measure the bytes of the tensors of a training step.

    Args:
        step: Has been taken before, so that the optimizers have states; it is taken once more.
        source: Images (B, C, H, W) in [-1, 1].
        target: Images (B, C', H, W) in [-1, 1].

    Returns:
        ``weights`` (with running statistics), ``gradients``, ``optimizer`` (its states), and at the peak
        of what autograd saves, ``activations`` and ``narrowed_weights`` (copies in a narrower type).
    """
    tensors = [t for network in step.networks for t in (*network.parameters(), *network.buffers())]
    saved = _SavedBytes(tensors)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, _unpack):
        step(source, target)
    gradients = [p.grad for network in step.networks for p in network.parameters() if p.grad is not None]
    states = [s for optimizer in step.optimizers for state in optimizer.state.values() for s in state.values()]
    return {
        "weights": _count_bytes(tensors),
        "gradients": _count_bytes(gradients),
        "optimizer": _count_bytes([state for state in states if isinstance(state, Tensor)]),
        **saved.peak,
    }


class _SavedBytes:
    """Count what autograd saves: each storage once, without the tensors of the networks."""

    def __init__(self, own: Sequence[Tensor]) -> None:
        self._own = {tensor.untyped_storage().data_ptr() for tensor in own}
        self._shapes = {tensor.shape for tensor in own if tensor.ndim > 1}
        self._users: Counter[int] = Counter()
        self._current = {"activations": 0, "narrowed_weights": 0}
        self.peak = dict(self._current)

    def pack(self, tensor: Tensor) -> _SavedTensor:
        storage = tensor.untyped_storage()
        pointer, size = storage.data_ptr(), storage.nbytes()
        if pointer in self._own:
            return _SavedTensor(tensor)
        part = "narrowed_weights" if tensor.shape in self._shapes else "activations"
        self._users[pointer] += 1
        if self._users[pointer] == 1:
            self._current[part] += size
            if sum(self._current.values()) > sum(self.peak.values()):
                self.peak = dict(self._current)

        def release() -> None:
            self._users[pointer] -= 1
            if not self._users[pointer]:
                self._current[part] -= size

        return _SavedTensor(tensor, release)


class _SavedTensor:
    """A tensor that autograd saves; it is released with the graph."""

    def __init__(self, tensor: Tensor, release: Callable[[], None] | None = None) -> None:
        self.tensor = tensor
        self._release = release

    def __del__(self) -> None:
        if self._release is not None:
            self._release()


def _unpack(saved: Any) -> Tensor:
    tensor: Tensor = saved.tensor
    return tensor


def _count_bytes(tensors: Sequence[Tensor]) -> int:
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def _read_status(key: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024
