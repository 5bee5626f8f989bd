"""Every use of a private interface of Lightning, Hydra, torch and gradio, each with its reason.

When a new version of one of these libraries breaks something, this is the file to look at: each function says which
private name it uses and why no public one serves. Where such a name is gone, `tests/test_compat.py` fails, for gradio
a test of the demo.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradio import Blocks
    from lightning.pytorch import LightningModule
    from lightning.pytorch.core.optimizer import LightningOptimizer
    from lightning.pytorch.strategies import DDPStrategy, Strategy
    from omegaconf import DictConfig
    from torch import Tensor, nn


@contextmanager
def isolate_hydra() -> Iterator[None]:
    """Let a block compose a configuration, although the process may be inside a Hydra job already.

    Hydra keeps one global instance and refuses to be initialized twice (`GlobalHydra`, hydra-core 1.3). The public
    `hydra.initialize_config_dir` clears that instance for good, so a job that composes another configuration would
    lose its own. The instance is put back at the end.
    """
    from hydra.core.global_hydra import GlobalHydra

    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = before


def parse_overrides(words: Sequence[str]) -> list[Any]:
    """Parse words of a command line by Hydra's grammar.

    Hydra documents the grammar but exports no parser (`hydra.core.override_parser`, hydra-core 1.3). Without it every
    use would split words by hand and fail on quotes and brackets.

    Args:
        words: Overrides such as ``data.size=128`` or ``loss=l1,l2``.

    Returns:
        Hydra's `Override` objects, in the same order.

    Raises:
        hydra.errors.HydraException: A word does not follow the grammar.
    """
    return [_parse_override(word) for word in words]


@lru_cache(maxsize=1024)
def _parse_override(word: str) -> Any:
    """Parse one word, once for all that look at the words of a command line; nothing changes an `Override`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([word])
    return override


def apply_overrides(cfg: DictConfig, overrides: Sequence[Any]) -> None:
    """Set, add and delete keys of a composed configuration, in place, as Hydra does at the end of composing.

    Hydra offers that as a part of composing alone (`ConfigLoaderImpl._apply_overrides_to_config`, hydra-core 1.3),
    so that what the files give could not be kept from one configuration to the next, which is most of the time.

    Args:
        cfg: The configuration.
        overrides: Parsed overrides of single keys, none of a group and none with several values.

    Raises:
        hydra.errors.HydraException: A key is unknown, or is to be added and exists.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    ConfigLoaderImpl._apply_overrides_to_config(list(overrides), cfg)


def cpu_has_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16, so that it is faster than float32.

    torch reports the vector units by private functions alone (`torch.cpu._is_...`, torch 2.6 to 2.13);
    `torch.backends.cpu.get_cpu_capability` does not tell AMX and AVX512-BF16 apart.
    """
    import torch

    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def compute_relu_gradient(gradient: Tensor, output: Tensor) -> Tensor:
    """Compute the gradient of the input of a ReLU, dense whatever the strides of the arguments are.

    It is torch's own derivative of `torch.relu`, which has no public name (`aten.threshold_backward`, torch 2.13). By
    `torch.where` or products it takes two to nine times as long on a CPU.

    Args:
        gradient: Gradient of the output.
        output: The output, of the same shape.

    Returns:
        ``gradient`` where the output is above 0, and 0 elsewhere.
    """
    import torch

    of_input: Tensor = torch.ops.aten.threshold_backward(gradient, output, 0)
    return of_input


def count_changes(tensor: Tensor) -> int:
    """Return how often a tensor was changed in place, with which what was computed from it is known to be old.

    torch counts for autograd (`Tensor._version`, torch 2.13) and has no public name for it; comparing all values of a
    weight would take as long as computing from it.
    """
    return 0 if tensor.is_inference() else int(tensor._version)


def has_hooks(network: nn.Module) -> bool:
    """Return whether a module or one inside of it has hooks of its forward pass, which only a call of it runs.

    torch has no public name for them (`Module._forward_hooks`, torch 2.13); without a look at them, layers that are
    computed one by one would pass over them.
    """
    return any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def allow_unused_parameters(strategy: DDPStrategy) -> None:
    """Let plain DDP pass over gradients that a backward pass does not reach, in place.

    A strategy takes `find_unused_parameters` in its constructor only, which has run when a module sees it
    (`DDPStrategy._ddp_kwargs`, lightning 2.6). Without it DDP waits forever, or raises, since each backward pass
    reaches one of the two networks.
    """
    strategy._ddp_kwargs["find_unused_parameters"] = True


def syncs_batch_norm(strategy: Strategy) -> bool:
    """Return whether ``Trainer(sync_batchnorm=True)`` was given.

    The trainer hands that on to the strategy alone (`ParallelStrategy._layer_sync`, lightning 2.6).
    """
    return getattr(strategy, "_layer_sync", None) is not None


def is_unsynced_batch_norm(layer: nn.Module) -> bool:
    """Return whether a layer is what Lightning leaves of a batch norm when it ends the synchronization.

    It converts `SyncBatchNorm` back to a class of its own (`layer_sync._BatchNormXd`, lightning 2.6), which checks no
    shapes and is unknown to every test for `nn.BatchNorm2d`.
    """
    from lightning.pytorch.plugins.layer_sync import _BatchNormXd

    return isinstance(layer, _BatchNormXd)


def is_interrupted(module: LightningModule) -> bool:
    """Return whether the trainer of a module was stopped by Ctrl-C.

    `LightningModule.trainer` raises without a trainer, and a strategy is asked for a state after the trainer has let
    go of its module as well (`LightningModule._trainer`, lightning 2.6).
    """
    trainer = module._trainer
    return trainer is not None and bool(trainer.interrupted)


def count_optimizer_step(optimizer: LightningOptimizer) -> None:
    """Count a step of an optimizer that ran outside of Python, in a CUDA graph.

    Lightning counts in `LightningOptimizer.step`, by two hooks that the loop of manual optimization sets
    (`_on_before_step`, `_on_after_step`, lightning 2.6); `global_step`, and with it checkpoints, depend on them.
    """
    optimizer._on_before_step()
    optimizer._on_after_step()


def check_gradio_files(page: Blocks) -> None:
    """Let gradio check which files a request may name, although the page is mounted in another app.

    gradio skips the check for an app that was not started by `launch` (`Blocks.has_launched` in
    `processing_utils`, gradio 6.31), and `mount_gradio_app` has no option for it.
    """
    _replace(page, "has_launched", True)


def limit_gradio_sessions(page: Blocks, count: int) -> None:
    """Limit the number of visitors whose last pictures gradio keeps in memory, megabytes each.

    The limit is an argument of `launch` (`Blocks.state_session_capacity`, gradio 6.31), which a mounted app never
    calls; the default is 10,000.
    """
    _replace(page, "state_session_capacity", count)


def _replace(page: Blocks, name: str, value: object) -> None:
    getattr(page, name)  # raises where a new version has dropped the name, which setting it would hide
    setattr(page, name, value)


def refuse_gradio_objects(page: Blocks) -> None:
    """Refuse requests whose inputs are dicts or lists, where the page expects plain values.

    gradio takes an object with the keys of a file for one in any input: it reads the path on the server or downloads
    the address (`Blocks.preprocess_data`, gradio 6.31). No setting turns that off.
    """
    import gradio as gr

    preprocess_data = page.preprocess_data

    async def preprocess_plain_data(block_fn: Any, inputs: list[Any], *others: Any, **options: Any) -> Any:
        if any(isinstance(value, dict | list) for value in inputs):
            raise gr.Error("a value of another type than expected", print_exception=False)
        return await preprocess_data(block_fn, inputs, *others, **options)

    page.preprocess_data = preprocess_plain_data  # type: ignore[method-assign]
