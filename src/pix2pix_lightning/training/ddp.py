"""Distributed data parallel training with one reducer for each network."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import timedelta
from inspect import signature
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, Strategy, StrategyRegistry
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from pix2pix_lightning.compat import is_interrupted, is_unsynced_batch_norm, syncs_batch_norm
from pix2pix_lightning.utils.errors import UserError

NAME = "ddp_per_network"
"""Name of the strategy in ``Trainer(strategy="ddp_per_network")``, once this file is imported."""
NETWORKS = ("generator", "discriminator")
"""Attributes of the module that are wrapped."""

_STRATEGY_ARGUMENTS = set(signature(DDPStrategy).parameters) - {"kwargs"}
_REDUCER_ARGUMENTS = set(signature(DistributedDataParallel).parameters) - {"module", "device_ids"}
_FORWARD = "forward_sync_buffers"  # torch 2.12 renamed it
_KEEP_BUFFERS = _FORWARD if _FORWARD in _REDUCER_ARGUMENTS else "broadcast_buffers"


class PerNetworkDDPStrategy(DDPStrategy):
    """Train two networks that step in turn by distributed data parallel.

    Lightning's strategy wraps the whole module in one reducer, which expects every gradient in every backward pass:
    with ``find_unused_parameters`` it moves both networks' gradients twice a step. Here ``module.wrapped_networks``
    holds one ``DistributedDataParallel`` for each network, so that G's gradients are averaged in G's step, D's in D's,
    once, and nothing else is moved. Batch norm's running statistics, which each process gathers alone, are averaged
    before validation and when a state is asked for, as a checkpoint does.

    Args:
        reduce_in: ``bfloat16`` rounds gradients to it while they are moved, half of the bytes of float32. None moves
            them as they are.
        bucket_mb: Size in MiB of the buckets in which gradients are moved, each as soon as it is full. Above 0.
        timeout_minutes: Minutes that a process waits for the others before the run ends. Above 0.
        ddp_comm_state: State of a communication hook of torch.
        ddp_comm_hook: A communication hook of torch, instead of ``reduce_in``.
        ddp_comm_wrapper: Wraps that hook.
        **options: Further arguments of ``DDPStrategy`` or of ``DistributedDataParallel``.

    Attributes:
        timeout: How long a process waits for the others, also in groups that callbacks make.

    Raises:
        UserError: An argument is unknown, out of range, or contradicts another.
    """

    strategy_name = NAME
    reduces_per_network = True

    def __init__(
        self,
        *,
        reduce_in: str | None = None,
        bucket_mb: float = 25,
        timeout_minutes: float = 10,
        ddp_comm_state: object = None,
        ddp_comm_hook: Any = None,
        ddp_comm_wrapper: Any = None,
        **options: Any,
    ) -> None:
        for name, value in (("bucket_mb", bucket_mb), ("timeout_minutes", timeout_minutes)):
            if not (isinstance(value, int | float) and value > 0):
                raise UserError(f"strategy.{name}={value}: a number above 0 is expected")
        if reduce_in not in (None, "bfloat16"):
            raise UserError(f"strategy.reduce_in={reduce_in}: bfloat16 is expected, or null")
        if reduce_in is not None and ddp_comm_hook is not None:
            raise UserError(f"strategy.reduce_in={reduce_in} and ddp_comm_hook= both say how gradients are moved")
        hook = ddp_comm_hook if reduce_in is None else _compress_to_bfloat16
        self._hook = ddp_comm_wrapper(hook) if hook is not None and ddp_comm_wrapper is not None else hook
        self._hook_state = ddp_comm_state
        # Buffers are left alone: D runs twice before its backward pass, and a broadcast in between would change what
        # the first run has saved for it. Gradients as views of the buckets are neither copied nor held twice.
        reducing = {"bucket_cap_mb": bucket_mb, _KEEP_BUFFERS: False, "gradient_as_bucket_view": True}
        of_reducer = {key: value for key, value in options.items() if key in _REDUCER_ARGUMENTS}
        self._reducer_options: dict[str, Any] = {**reducing, **of_reducer}
        of_strategy = {key: value for key, value in options.items() if key not in of_reducer}
        for key in of_strategy.keys() - _STRATEGY_ARGUMENTS:  # Lightning would keep them for a reducer of its own
            raise UserError(f"strategy.{key}={of_strategy[key]} is no argument of DDPStrategy: leave it out")
        settings = {"timeout": timedelta(minutes=timeout_minutes), **of_strategy}
        self.timeout: timedelta | None = settings["timeout"]
        super().__init__(**settings)

    def configure_ddp(self) -> None:
        """Wrap each network that has something to learn; the module itself stays unwrapped.

        Raises:
            UserError: The module is no ``Pix2PixModule``, or batch norm is to be synchronized on a CPU.
        """
        if syncs_batch_norm(self) and self.root_device.type == "cpu":
            raise UserError("trainer.sync_batchnorm=true on a CPU: torch has it for GPUs alone; leave it out")
        module = cast(LightningModule, self.lightning_module)
        wrapped = getattr(module, "wrapped_networks", None)
        if not isinstance(wrapped, dict):
            raise UserError(f"strategy={NAME} is for a Pix2PixModule, not for a {type(module).__name__}: use ddp")
        for name in NETWORKS:
            network = getattr(module, name)
            if network is not None and any(parameter.requires_grad for parameter in network.parameters()):
                wrapped[name] = self._wrap(network)

    def _wrap(self, network: nn.Module) -> DistributedDataParallel:
        device_ids = self.determine_ddp_device_ids()
        # the reducer's own work must not wait for the default stream (torch's notes on CUDA semantics)
        stream = nullcontext() if device_ids is None else torch.cuda.stream(torch.cuda.Stream())  # type: ignore[no-untyped-call]
        with stream:
            reducer = DistributedDataParallel(network, device_ids=device_ids, **self._reducer_options)
        if self._hook is not None:
            reducer.register_comm_hook(self._hook_state, self._hook)
        return reducer

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Hold back the exchange of gradients in a block that only accumulates them."""
        with ExitStack() as stack:
            for reducer in cast(Any, self.lightning_module).wrapped_networks.values():
                stack.enter_context(reducer.no_sync())
            yield

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the module's state, the same in all processes."""
        if not self._is_ending():
            average_buffers(cast(LightningModule, self.lightning_module), self)
        return super().lightning_module_state_dict()

    def on_validation_start(self) -> None:
        """Average the buffers, so that all processes validate the same generator."""
        super().on_validation_start()
        module = cast(LightningModule, self.lightning_module)
        if not module.trainer.sanity_checking:
            average_buffers(module, self)

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        """Wait for the other processes, but not when Ctrl-C has stopped each of them somewhere else."""
        if not self._is_ending():
            super().barrier(*args, **kwargs)

    def _is_ending(self) -> bool:
        return self.lightning_module is not None and is_interrupted(self.lightning_module)

    def on_exception(self, exception: BaseException) -> None:
        """End the processes that this one started: on a GPU they would wait for it until the timeout.

        If one of them failed first, it has printed its error already: it closes its connections only afterwards.
        """
        super().on_exception(exception)
        children = getattr(self.launcher, "procs", [])
        if isinstance(exception, KeyboardInterrupt):  # which they got too, and Lightning ends them
            return
        ending, children[:] = list(children), []  # out of the sight of Lightning's observer, which would end this one
        for child in ending:
            child.kill()
            child.wait()

    def teardown(self) -> None:
        """Unwrap the networks."""
        getattr(self.lightning_module, "wrapped_networks", {}).clear()
        super().teardown()
        if syncs_batch_norm(self) and self.lightning_module is not None:
            restore_batch_norms(self.lightning_module)


def _compress_to_bfloat16(state: object, bucket: GradBucket) -> Future[Tensor]:
    """Call torch's hook, which DDP refuses to register by itself outside of CUDA, although gloo supports the type."""
    return bf16_compress_hook(cast(Any, None), bucket)


def average_buffers(module: nn.Module, strategy: Strategy) -> None:
    """Replace float buffers, batch norm's running statistics, by their mean over the processes, in place."""
    for buffer in module.buffers():
        if buffer.is_floating_point():
            buffer.copy_(cast(Tensor, strategy.reduce(buffer.clone(), reduce_op="mean")))


def restore_batch_norms(module: nn.Module) -> None:
    """Give batch norms their class back, which Lightning forgets when it ends their synchronization."""
    for layer in module.modules():
        if is_unsynced_batch_norm(layer):
            cast(Any, layer).__class__ = nn.BatchNorm2d


def uses_plain_ddp(trainer: Trainer, asked: object) -> bool:
    """Return whether a trainer that was asked for ``auto`` or ``ddp`` has one reducer for both networks."""
    return asked in ("auto", "ddp") and type(trainer.strategy) is DDPStrategy


StrategyRegistry.register(
    NAME, PerNetworkDDPStrategy, description="one DDP reducer for each network of a Pix2PixModule"
)
