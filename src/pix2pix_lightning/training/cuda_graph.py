"""A training step as one CUDA graph: at batch size 1 a GPU waits for Python, a replay does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

from pix2pix_lightning.utils.errors import UserError

Losses = dict[str, Tensor]


class CudaGraphStep:
    """Run a step eagerly a few times, capture it once, and replay it from then on.

    What the step does in Python alone (counters, hooks) happens when it is captured, not when it is replayed. Noise is
    drawn anew in each replay, by the seed that the device's generator has then. A batch of another shape than the
    first, such as the last of an epoch, runs eagerly.

    Args:
        step: A function of source and target, (B, C, H, W) each, and a mask or None, that changes weights, gradients
            and optimizers in place and returns losses as tensors. Nothing in it may wait for the device.
        on_replay: Called after each replay, for what Python must count.
        warm_up: Eager calls before the capture, in which optimizers create their state and kernels are chosen.
    """

    def __init__(self, step: Callable[..., Losses], *, on_replay: Callable[[], None], warm_up: int = 3) -> None:
        self._step = step
        self._on_replay = on_replay
        self._warm_up_left = warm_up
        self._graph: torch.cuda.CUDAGraph | None = None
        self._shapes: tuple[torch.Size, ...] = ()
        self._inputs: tuple[Tensor, ...] = ()
        self._losses: Losses = {}

    def __call__(self, source: Tensor, target: Tensor, mask: Tensor | None = None) -> Losses:
        """Run the step on a batch on the GPU, as ``Pix2PixModule.step`` takes it, and return its losses."""
        batch = (source, target) if mask is None else (source, target, mask)
        shapes = tuple(image.shape for image in batch)
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            return self._step(*batch)
        if self._warm_up_left:
            self._warm_up_left -= 1
            return self._run_on_side_stream(*batch)
        if self._graph is None:
            self._capture(*batch)
            return self._replay(*batch)
        losses = self._replay(*batch)
        self._on_replay()
        return losses

    def _run_on_side_stream(self, *batch: Tensor) -> Losses:
        """Run eagerly on another stream: the libraries' workspaces must exist before a capture (torch.cuda.graphs)."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            losses = self._step(*batch)
        torch.cuda.current_stream().wait_stream(stream)
        return losses

    def _capture(self, *batch: Tensor) -> None:
        self._inputs = tuple(image.clone() for image in batch)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # another thread pins the next batch
            self._losses = self._step(*self._inputs)
        self._graph = graph

    def _replay(self, *batch: Tensor) -> Losses:
        assert self._graph is not None
        for own, given in zip(self._inputs, batch, strict=True):
            own.copy_(given)
        self._graph.replay()
        return {name: loss.clone() for name, loss in self._losses.items()}


def check_capturable(trainer: Trainer, *, accumulate: int, r1_every: int = 1) -> None:
    """Refuse settings under which a step cannot be captured.

    Args:
        trainer: The trainer that is about to train.
        accumulate: Batches of one optimizer step.
        r1_every: Batches from one R1 penalty to the next; 1 where there is none.

    Raises:
        UserError: The step cannot be captured; the line gives the reason.
    """
    device = trainer.strategy.root_device.type
    reasons = {
        f"on {device}, where there are no CUDA graphs": device != "cuda",
        f"with {trainer.world_size} processes, for which a captured step does not wait": trainer.world_size > 1,
        "with trainer.precision=16-mixed, whose loss scale is looked at in every step": trainer.precision == "16-mixed",
        f"with module.accumulate={accumulate}, whose batches differ": accumulate > 1,
        f"with module.r1_weight and module.r1_every={r1_every}, whose steps differ": r1_every > 1,
    }
    for reason, holds in reasons.items():
        if holds:
            raise UserError(f"speed.cuda_graph=true {reason}: set speed.cuda_graph=false")


def check_lr_tensors(optimizers: Iterable[Optimizer]) -> None:
    """Refuse optimizers whose learning rate a capture would freeze.

    Raises:
        UserError: An optimizer is not capturable, or its learning rate is no tensor.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if not (group.get("capturable") and isinstance(group["lr"], Tensor)):
                raise UserError(
                    f"speed.cuda_graph=true with {type(optimizer).__name__}, whose learning rate a captured step would "
                    "not follow: describe torch.optim.Adam, AdamW or another one that is capturable"
                )
