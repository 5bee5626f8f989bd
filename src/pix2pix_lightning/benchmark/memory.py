"""How much memory a piece of work takes, at its peak and part by part."""

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
_EACH = 0.005  # seconds between samples


class Step(Protocol):
    """A training step on two images, (B, C, H, W) in [-1, 1], and what it changes."""

    networks: list[nn.Module]
    optimizers: list[Optimizer]

    def __call__(self, source: Tensor, target: Tensor) -> object:
        """Takes the step."""


class PeakMemory:
    """Around a piece of work, the bytes that it took at its peak beyond what there was before.

    On a GPU these are torch's own; on a CPU the process's resident memory, by the kernel's mark of its highest where
    that can be set back, else by samples.

    Attributes:
        bytes: Known when it is left; None where the system does not say.
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
            self._before = _status("VmRSS")
            try:
                _CLEAR.write_text("5")
            except OSError:
                self._sampler = threading.Thread(target=self._sample, daemon=True)
                self._sampler.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Set ``bytes``; what happens after it, in here, does not count."""
        if self.bytes is not None:
            return
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device) - self._before
        elif _STATUS.exists():
            highest = _status("VmHWM")
            if self._sampler is not None:
                self._done.set()
                self._sampler.join()
                highest = self._highest
            self.bytes = max(highest - self._before, 0)

    def _sample(self) -> None:
        while not self._done.wait(_EACH):
            self._highest = max(self._highest, _status("VmRSS"))


def memory_by_part(step: Step, source: Tensor, target: Tensor) -> dict[str, int]:
    """The bytes of a training step's tensors.

    Args:
        step: It has been taken before, so that the optimizers have their states, and is taken once more.
        source: (B, C, H, W) in [-1, 1].
        target: Likewise.

    Returns:
        ``weights`` (with running statistics), ``gradients``, ``optimizer`` (its states), and of what is kept for the
        backward passes, at its peak, ``activations`` and ``narrowed_weights`` (copies in a narrower type).
    """
    tensors = [t for network in step.networks for t in (*network.parameters(), *network.buffers())]
    ledger = _Ledger(tensors)
    with torch.autograd.graph.saved_tensors_hooks(ledger.pack, _unpacked):
        step(source, target)
    gradients = [p.grad for network in step.networks for p in network.parameters() if p.grad is not None]
    states = [s for optimizer in step.optimizers for state in optimizer.state.values() for s in state.values()]
    return {
        "weights": _bytes_of(tensors),
        "gradients": _bytes_of(gradients),
        "optimizer": _bytes_of([state for state in states if isinstance(state, Tensor)]),
        **ledger.peak,
    }


class _Ledger:
    """What autograd keeps at a time: each storage counted once, the networks' own tensors not."""

    def __init__(self, own: Sequence[Tensor]) -> None:
        self._own = {tensor.untyped_storage().data_ptr() for tensor in own}
        self._shapes = {tensor.shape for tensor in own if tensor.ndim > 1}
        self._users: Counter[int] = Counter()
        self._kept = {"activations": 0, "narrowed_weights": 0}
        self.peak = dict(self._kept)

    def pack(self, tensor: Tensor) -> _Kept:
        storage = tensor.untyped_storage()
        pointer, size = storage.data_ptr(), storage.nbytes()
        if pointer in self._own:
            return _Kept(tensor)
        part = "narrowed_weights" if tensor.shape in self._shapes else "activations"
        self._users[pointer] += 1
        if self._users[pointer] == 1:
            self._kept[part] += size
            if sum(self._kept.values()) > sum(self.peak.values()):
                self.peak = dict(self._kept)

        def release() -> None:
            self._users[pointer] -= 1
            if not self._users[pointer]:
                self._kept[part] -= size

        return _Kept(tensor, release)


class _Kept:
    """A tensor that autograd keeps; it goes when the graph does."""

    def __init__(self, tensor: Tensor, release: Callable[[], None] | None = None) -> None:
        self.tensor = tensor
        self._release = release

    def __del__(self) -> None:
        if self._release is not None:
            self._release()


def _unpacked(kept: Any) -> Tensor:
    tensor: Tensor = kept.tensor
    return tensor


def _bytes_of(tensors: Sequence[Tensor]) -> int:
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def _status(key: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024
