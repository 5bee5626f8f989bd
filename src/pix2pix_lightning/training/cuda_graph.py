"""A training step recorded as one CUDA graph: at batch 1 a GPU waits for Python, a replay does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

Losses = dict[str, Tensor]


class RecordedStep:
    """Runs a step as it is a few times, records it once, and replays it from then on.

    What the step does in Python alone (counters, hooks) happens when it is recorded, and not when it is replayed.
    Noise is drawn anew in each replay, by the seed that the device's generator has then. A batch of another shape than
    the first, the last of an epoch, runs as it is.

    Args:
        step: A function of tensors that changes weights, gradients and optimizers in place, and gives losses as
            tensors. Nothing in it may wait for the device.
        replayed: Called after each replay, for what Python has to count.
        warm_up: Calls before the recording, in which optimizers make their states and kernels are chosen.
    """

    def __init__(
        self, step: Callable[[Tensor, Tensor], Losses], *, replayed: Callable[[], None], warm_up: int = 3
    ) -> None:
        self._step = step
        self._replayed = replayed
        self._left = warm_up
        self._graph: torch.cuda.CUDAGraph | None = None
        self._shapes: tuple[torch.Size, ...] = ()
        self._inputs: tuple[Tensor, ...] = ()
        self._losses: Losses = {}

    def __call__(self, source: Tensor, target: Tensor) -> Losses:
        """The step on a batch, (B, C, H, W) each on the GPU."""
        shapes = source.shape, target.shape
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            return self._step(source, target)
        if self._left:
            self._left -= 1
            return self._beside(source, target)
        if self._graph is None:
            self._record(source, target)
            return self._replay(source, target)
        losses = self._replay(source, target)
        self._replayed()
        return losses

    def _beside(self, source: Tensor, target: Tensor) -> Losses:
        """On a stream of its own, as the libraries' workspaces are to be made before a recording."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            losses = self._step(source, target)
        torch.cuda.current_stream().wait_stream(stream)
        return losses

    def _record(self, source: Tensor, target: Tensor) -> None:
        self._inputs = source.clone(), target.clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # another thread pins the next batch
            self._losses = self._step(*self._inputs)
        self._graph = graph

    def _replay(self, source: Tensor, target: Tensor) -> Losses:
        assert self._graph is not None
        for own, given in zip(self._inputs, (source, target), strict=True):
            own.copy_(given)
        self._graph.replay()
        return {name: loss.clone() for name, loss in self._losses.items()}


def check_recordable(trainer: Trainer, *, accumulate: int) -> None:
    """Refuse what a recording cannot hold.

    Args:
        trainer: That is about to train.
        accumulate: Batches of a step.

    Raises:
        ValueError: The line gives the reason.
    """
    device = trainer.strategy.root_device.type
    reasons = {
        f"on {device}, where there are no CUDA graphs": device != "cuda",
        f"with {trainer.world_size} processes, for which a recorded step does not wait": trainer.world_size > 1,
        "with trainer.precision=16-mixed, whose loss scale is looked at in every step": trainer.precision == "16-mixed",
        f"with module.accumulate={accumulate}, whose batches differ": accumulate > 1,
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(f"speed.cuda_graph=true {reason}: say speed.cuda_graph=false")


def check_rates(optimizers: Iterable[Optimizer]) -> None:
    """Refuse optimizers whose numbers a recording would freeze.

    Raises:
        ValueError: The line gives the reason.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if not (group.get("capturable") and isinstance(group["lr"], Tensor)):
                raise ValueError(
                    f"speed.cuda_graph=true with {type(optimizer).__name__}, whose learning rate a recorded step would "
                    "not follow: describe torch.optim.Adam, AdamW or another one that is capturable"
                )
