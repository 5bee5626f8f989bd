"""One run in many processes: each network has a reducer of its own."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from inspect import signature
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins.layer_sync import _BatchNormXd
from lightning.pytorch.strategies import DDPStrategy, Strategy, StrategyRegistry
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

NAME = "ddp_per_network"
"""What a trainer knows the strategy by, ``Trainer(strategy="ddp_per_network")``, once this file is imported."""
NETWORKS = {"g": "generator", "d": "discriminator"}
"""What a reducer is called, and the module's attribute that it reduces."""

_FORWARD = "forward_sync_buffers"  # torch 2.12 renamed it
_KEEP_BUFFERS = _FORWARD if _FORWARD in signature(DistributedDataParallel).parameters else "broadcast_buffers"


class ReducerPerNetwork(DDPStrategy):
    """Distributed data parallel training of two networks that step in turn.

    Lightning's own wraps the whole module in one reducer, which expects every gradient in every backward pass: with
    ``find_unused_parameters`` it moves both networks' gradients twice a step. Here ``module.reducers`` holds one
    ``DistributedDataParallel`` for each network, so that G's gradients are averaged in G's step, D's in D's, once, and
    nothing else is moved. Batch norm's running statistics are made equal when a state is asked for, as a checkpoint
    does, and before validation by the module.

    Args:
        reduce_in: ``bfloat16`` rounds gradients to it while they are moved, half of the bytes of float32; None moves
            them as they are.
        bucket_mb: Gradients are moved in buckets of about so many MiB, each as soon as it is full.
        timeout_minutes: How long a process waits for the others before it gives up, and with it the run.
        **options: Of ``DDPStrategy``.

    Raises:
        ValueError: An argument is out of range, or contradicts another.
    """

    strategy_name = NAME

    def __init__(
        self,
        *,
        reduce_in: str | None = None,
        bucket_mb: float = 25,
        timeout_minutes: float = 10,
        **options: Any,
    ) -> None:
        for name, value in (("bucket_mb", bucket_mb), ("timeout_minutes", timeout_minutes)):
            if not (isinstance(value, int | float) and value > 0):
                raise ValueError(f"strategy.{name}={value}: a number above 0 is expected")
        if reduce_in not in (None, "bfloat16"):
            raise ValueError(f"strategy.reduce_in={reduce_in}: bfloat16 is expected, or null")
        if reduce_in is not None and options.get("ddp_comm_hook") is not None:
            raise ValueError(f"strategy.reduce_in={reduce_in} and ddp_comm_hook= both say how gradients are moved")
        hook = {} if reduce_in is None else {"ddp_comm_hook": _in_bfloat16}
        timeout = {"timeout": timedelta(minutes=timeout_minutes)}
        # Buffers are left alone: D runs twice before its backward pass, and a broadcast in between would change what
        # the first run has saved for it. Gradients as views of the buckets are neither copied nor held twice.
        reducing = {"bucket_cap_mb": bucket_mb, _KEEP_BUFFERS: False, "gradient_as_bucket_view": True}
        super().__init__(**{**reducing, **timeout, **hook, **options})

    def configure_ddp(self) -> None:
        """Give the module a reducer for each network that has something to learn; the module itself stays unwrapped.

        Raises:
            ValueError: The module has no place for them, or batch norm is to be synchronised on a CPU.
        """
        if self._layer_sync is not None and self.root_device.type == "cpu":
            raise ValueError("trainer.sync_batchnorm=true on a CPU: torch has it for GPUs alone; leave it out")
        module = cast(LightningModule, self.lightning_module)
        reducers = getattr(module, "reducers", None)
        if not isinstance(reducers, dict):
            raise ValueError(f"strategy={NAME} is for a Pix2PixModule, not for a {type(module).__name__}: use ddp")
        for name, attribute in NETWORKS.items():
            network = getattr(module, attribute)
            if network is not None and any(parameter.requires_grad for parameter in network.parameters()):
                reducers[name] = self._reducer(network)

    def _reducer(self, network: nn.Module) -> DistributedDataParallel:
        reducer = self._setup_model(network)
        if self._ddp_comm_hook is not None:
            hook = self._ddp_comm_hook
            reducer.register_comm_hook(
                self._ddp_comm_state, self._ddp_comm_wrapper(hook) if self._ddp_comm_wrapper else hook
            )
        return reducer

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Around forward and backward passes whose gradients are only gathered."""
        with ExitStack() as stack:
            for reducer in cast(Any, self.lightning_module).reducers.values():
                stack.enter_context(reducer.no_sync())
            yield

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The module's state, the same in all processes."""
        if not self._is_ending():
            average_buffers(cast(LightningModule, self.lightning_module), self)
        return super().lightning_module_state_dict()

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        """Wait for the other processes; not when Ctrl-C has stopped each of them somewhere else."""
        if not self._is_ending():
            super().barrier(*args, **kwargs)

    def _is_ending(self) -> bool:
        trainer = None if self.lightning_module is None else self.lightning_module._trainer
        return trainer is not None and trainer.interrupted

    def on_exception(self, exception: BaseException) -> None:
        """End the processes that this one started: on a GPU they would wait for it until the timeout.

        One of them that has failed has said why, or its connections would still be open.
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
        """Take the reducers away."""
        getattr(self.lightning_module, "reducers", {}).clear()
        super().teardown()
        if self._layer_sync is not None and self.lightning_module is not None:
            as_they_were(self.lightning_module)


def _in_bfloat16(state: object, bucket: GradBucket) -> Future[Tensor]:
    """Torch's own, which by its name is refused outside of CUDA, though gloo knows the type."""
    return bf16_compress_hook(cast(Any, None), bucket)


def average_buffers(module: nn.Module, strategy: Strategy) -> None:
    """Make what each process gathers alone, batch norm's running statistics, their mean in all of them, in place."""
    for buffer in module.buffers():
        if buffer.is_floating_point():
            buffer.copy_(cast(Tensor, strategy.reduce(buffer.clone(), reduce_op="mean")))


def as_they_were(module: nn.Module) -> None:
    """Give batch norms their class back, which Lightning forgets when it ends their synchronisation."""
    for layer in module.modules():
        if isinstance(layer, _BatchNormXd):
            cast(Any, layer).__class__ = nn.BatchNorm2d


def chose_plain_ddp(trainer: Trainer, asked: object) -> bool:
    """Whether a trainer that was asked for ``auto`` or ``ddp`` has one reducer for both networks."""
    return asked in ("auto", "ddp") and type(trainer.strategy) is DDPStrategy


StrategyRegistry.register(NAME, ReducerPerNetwork, description="a reducer for each network of a Pix2PixModule")
