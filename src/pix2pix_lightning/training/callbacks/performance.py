"""Run the training step in the way that is fastest on a machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from pix2pix_lightning.compat import count_optimizer_step
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.training.cuda_graph import CudaGraphStep, check_capturable, check_lr_tensors
from pix2pix_lightning.training.performance import (
    PerformanceOptions,
    optimizer_flags,
    restore_optimizer_flags,
    use_contiguous_views,
)
from pix2pix_lightning.utils.errors import UserError


class Performance(Callback):
    """Change how a `Pix2PixModule` computes its step: memory layout, optimizer flags, compilation, one CUDA graph.

    Results change by rounding alone. Names and values of the weights stay, and nothing of it is part of a checkpoint,
    so that a run can be resumed under other options.

    Args:
        options: ``PerformanceOptions``, or its fields by name. Default: as the step is written down.

    Example:
        >>> Performance({"channels_last": True}).options.channels_last
        True
    """

    def __init__(self, options: PerformanceOptions | Mapping[str, Any] | None = None) -> None:
        self.options = options if isinstance(options, PerformanceOptions) else PerformanceOptions.from_settings(options)
        self._optimizers: dict[str, Any] = {}  # the module's own descriptions
        self._flags: list[list[dict[str, Any]]] = []  # of each optimizer, when it was new

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Prepare the networks and the descriptions of the optimizers before these are built.

        Raises:
            UserError: Two options exclude each other, or the step cannot run as a CUDA graph here.
        """
        if stage != "fit":
            return
        module, options = cast(Pix2PixModule, pl_module), self.options
        if options.checkpoint_activations and (options.compile or options.cuda_graph):
            raise UserError(
                "speed.checkpoint_activations=true goes with neither speed.compile nor speed.cuda_graph: choose one"
            )
        if options.cuda_graph:
            r1_every = module.r1_every if module.r1_weight else 1
            check_capturable(trainer, accumulate=module.accumulate, r1_every=r1_every)
        # a fused step takes the loss scale away by itself, after the clipping
        can_fuse = module.gradient_clip is None or trainer.precision != "16-mixed"
        for name, network in (("optimizer_g", module.generator), ("optimizer_d", module.discriminator)):
            if network is not None:
                options.prepare(network)
                self._optimizers[name] = module.parts[name]
                module.parts[name] = options.add_optimizer_flags(module.parts[name], network, can_fuse=can_fuse)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the new optimizers' flags: a checkpoint is read after this and brings those of the run that wrote it."""
        for optimizer in trainer.optimizers:
            use_contiguous_views(optimizer)
        self._flags = [optimizer_flags(optimizer) for optimizer in trainer.optimizers]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the optimizers' flags after a checkpoint was read, and capture the step where that is asked for."""
        for optimizer, flags in zip(trainer.optimizers, self._flags, strict=True):
            restore_optimizer_flags(optimizer, flags)
        if self.options.cuda_graph:
            check_lr_tensors(trainer.optimizers)
            module = cast(Pix2PixModule, pl_module)
            step = CudaGraphStep(module.step, on_replay=lambda: count_steps(module))
            setattr(module, "step", step)  # noqa: B010 - the method stays in the class

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Bring the images of a batch into the memory layout of the weights, in place."""
        self._lay_out(batch)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Bring the images of a batch into the memory layout of the weights, in place."""
        self._lay_out(batch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the CUDA graph, which holds the optimizers."""
        if self.options.cuda_graph:
            vars(pl_module).pop("step", None)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the module its own descriptions of the optimizers back."""
        cast(Pix2PixModule, pl_module).parts.update(self._optimizers)
        self._optimizers = {}

    def _lay_out(self, batch: dict[str, Any]) -> None:
        for side in ("source", "target"):
            batch[side] = batch[side].contiguous(memory_format=self.options.memory_format)


def count_steps(module: Pix2PixModule) -> None:
    """Count the optimizer steps of a replay, which runs no Python: ``global_step`` and checkpoints depend on them."""
    for network in ("g",) if module.discriminator is None else ("d", "g"):
        for _ in range(module.discriminator_steps if network == "d" else 1):
            count_optimizer_step(module.get_optimizer(network))
