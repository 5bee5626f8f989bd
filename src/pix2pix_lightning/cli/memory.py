"""Advise on memory that ran out and on loader processes that ended, by the keys of each command."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

_GPU = re.compile(r"CUDA|CUBLAS|CUDNN|CUSOLVER|HIP|MPS|XPU")
_AMOUNT = re.compile(r"(?:allocat\w+|of size:?) (\d[\d.]*) ?([KMGT]i?B|bytes)?", re.IGNORECASE)
_SIGNAL = re.compile(r"killed by signal: ([\w ]+)")


def format_memory_error(error: BaseException, config_name: str, cfg: DictConfig | None = None) -> str:
    """Format what to change in a command whose memory ran out.

    Args:
        error: The error, for which `is_out_of_memory` holds. Its notes are added.
        config_name: Name of the command.
        cfg: The command's configuration, whose present values are named; None names none.

    Returns:
        One line.
    """
    on_gpu = _GPU.search(str(error)) is not None
    where = "the GPU has" if on_gpu else "this machine has"
    amount = _find_amount(str(error))
    return _join(
        f"{where} not enough free memory{f', {amount} more were needed' if amount else ''}: "
        + _ADVICE.get(config_name, _advise_nothing)(_Values(cfg), on_gpu),
        error,
    )


def format_loader_error(error: BaseException, cfg: DictConfig | None = None) -> str:
    """Format why a loader process may have ended, and what to change.

    Args:
        error: The error, for which `is_loader_ended` holds. Its notes are added.
        cfg: The command's configuration, whose present values are named; None names none.

    Returns:
        One line.
    """
    message = str(error)
    workers = _Values(cfg).describe("data.num_workers")
    if re.search(r"ancdata", message):
        line = f"too many open files between the loader processes: raise ulimit -n, or reduce {workers}"
    elif re.search(r"Bus error|shared memory|torch_\d+", message):
        line = (
            f"no room for batches in the shared memory of the loader processes, {_describe_shared_memory()}: make it "
            f"larger (docker run --shm-size=8g), or reduce {workers}; data.num_workers=0 needs none"
        )
    elif "Killed" in message:
        line = (
            "a loader process was killed, which the system does when memory runs out: reduce "
            f"{workers}, or set data.prefetch_factor=1"
        )
    else:
        found = _SIGNAL.search(message)
        line = (
            f"a loader process has ended{f' by a {found[1].lower()}' if found else ''}, with {workers}: set "
            "data.num_workers=0, which names the cause"
        )
    return _join(line, error)


class _Values:
    """Present values of keys, for a line."""

    def __init__(self, cfg: DictConfig | None) -> None:
        self._cfg = cfg

    def get(self, key: str) -> Any:
        """Return the value of a key, or None."""
        from omegaconf import OmegaConf

        return None if self._cfg is None else OmegaConf.select(self._cfg, key, throw_on_resolution_failure=False)

    def describe(self, key: str) -> str:
        """Return ``key=value``, or ``key=`` without a value."""
        value = self.get(key)
        return f"{key}={'' if value is None else value}"


def _advise_train(values: _Values, on_gpu: bool) -> str:
    advice = [f"a smaller {values.describe('data.batch_size')}"] if values.get("data.batch_size") != 1 else []
    if not values.get("speed.checkpoint_activations"):
        advice.append("speed.checkpoint_activations=true")
    if on_gpu and str(values.get("trainer.precision")).startswith("32"):
        advice.append("speed.precision=bf16-mixed")
    size = f"a smaller {values.describe('data.size')}"
    return f"set {', '.join(advice)}, or for a new run {size}" if advice else f"start a new run with {size}"


def _advise_predict(values: _Values, on_gpu: bool) -> str:
    tile = values.get("tile")
    smaller = f"a smaller {values.describe('tile')}" if isinstance(tile, int) else "tile=512 to translate it in parts"
    precision = ", precision=bf16" if str(values.get("precision")) == "32" else ""
    return f"set {smaller}, resize=<pixels>{precision}{' or device=cpu' if on_gpu else ''}"


def _advise_evaluate(values: _Values, on_gpu: bool) -> str:
    return f"set batch_size=1, fewer metrics=[l1,psnr]{' or device=cpu' if on_gpu else ''}"


def _advise_export(values: _Values, on_gpu: bool) -> str:
    smaller = f", or set a smaller {values.describe('size')}" if values.get("format") == "torch" else ""
    return f"export on a machine with more memory, or end other programs{smaller}"


def _advise_demo(values: _Values, on_gpu: bool) -> str:
    restart = " kept=1 or device=cpu" if on_gpu else " kept=1"
    return f"use a smaller picture or fewer samples, or start the demo with a smaller max_pixels=,{restart}"


def _advise_benchmark(values: _Values, on_gpu: bool) -> str:
    if "profile" in (values.get("what") or ()):
        return f"set a smaller {values.describe('data.batch_size')} or a smaller {values.describe('size')}"
    return f"set smaller {values.describe('batch_sizes')} or a smaller {values.describe('size')}"


def _advise_nothing(values: _Values, on_gpu: bool) -> str:
    return "end other programs, or use a machine with more memory"


_ADVICE = {
    "train": _advise_train,
    "predict": _advise_predict,
    "evaluate": _advise_evaluate,
    "export": _advise_export,
    "demo": _advise_demo,
    "benchmark": _advise_benchmark,
}


def _find_amount(message: str) -> str | None:
    """Return how much memory was asked for, as ``20.00 GiB``."""
    found = _AMOUNT.search(message)
    if found is None:
        return None
    amount, unit = found.groups()
    return f"{amount} {unit}" if unit and unit != "bytes" else f"{float(amount) / 2**30:.2f} GiB"


def _describe_shared_memory() -> str:
    try:
        return f"/dev/shm of {shutil.disk_usage('/dev/shm').total / 2**20:.0f} MiB"
    except OSError:
        return "/dev/shm"


def _join(line: str, error: BaseException) -> str:
    return "; ".join([line, *getattr(error, "__notes__", ())])
