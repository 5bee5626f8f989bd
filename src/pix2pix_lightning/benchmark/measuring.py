"""All that a benchmark was asked for, on this machine."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.benchmark import cases
from pix2pix_lightning.benchmark.machine import describe_machine, describe_versions, matrix_rate
from pix2pix_lightning.benchmark.report import HEADER, closing_lines, machine_lines, row_line
from pix2pix_lightning.benchmark.strips import with_files
from pix2pix_lightning.inference.exported import can_run_onnx
from pix2pix_lightning.training.performance import keep_memory
from pix2pix_lightning.training.performance_choice import choose_compile, choose_options
from pix2pix_lightning.utils.devices import resolve_device, supports_bfloat16
from pix2pix_lightning.utils.errors import UserError

WHAT = ("step", "training", "prediction", "data", "communication", "runtimes")
_SETTINGS = ("batch_sizes", "rounds", "turn", "allocator", "module", "data", "trainer", "speed")


def measure(cfg: DictConfig, say: Callable[[str], object] = print) -> dict[str, Any]:
    """Measure what ``cfg.what`` names.

    Args:
        cfg: As ``compose("benchmark", [...])`` gives it.
        say: Is given each line as soon as it is known.

    Returns:
        Plain data: ``machine``, ``versions``, ``settings``, ``matrix_rate`` (FLOP a second), ``rows`` and
        ``communication`` (bytes).

    Raises:
        ValueError: A setting is out of range.
    """
    cfg = cfg.copy()
    if isinstance(cfg.what, str):
        cfg.what = [cfg.what]
    _check(cfg)
    device = torch.device(resolve_device(cfg.device))
    cfg.data.size = cfg.size
    cfg.trainer.update({"accelerator": device.type, "devices": 1})
    choose_options(cfg)
    data = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    choose_compile(cfg, data)
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    report: dict[str, Any] = {
        "machine": describe_machine(device),
        "versions": describe_versions(),
        "settings": {key: plain[key] for key in _SETTINGS},
        "matrix_rate": {
            name: matrix_rate(device, getattr(torch, name), seconds=2 * cfg.turn) for name in ("float32", "bfloat16")
        },
        "rows": [],
    }
    for line in machine_lines(report):
        say(line)
    try:
        for row in _rows(cfg, device):
            if not report["rows"]:
                say(HEADER)
            report["rows"].append(_with_shares(row, max(report["matrix_rate"].values())))
            say(row_line(row))
    finally:
        keep_memory(False)
    if "communication" in cfg.what:
        from pix2pix_lightning.benchmark.communication import measure_communication

        report["communication"] = measure_communication()
    for line in closing_lines(report):
        say(line)
    return report


def _check(cfg: DictConfig) -> None:
    for name in cfg.what:
        if name not in WHAT:
            raise UserError(f"what={name} is unknown: some of {', '.join(WHAT)} are expected")
    for size in cfg.batch_sizes:
        if not isinstance(size, int) or size < 1:
            raise UserError(f"batch_sizes={cfg.batch_sizes}: whole numbers of at least 1 are expected")
    if not cfg.batch_sizes:
        raise UserError("batch_sizes=[]: at least one is expected")
    if cfg.rounds < 1:
        raise UserError(f"rounds={cfg.rounds}: at least 1 is expected")
    if cfg.turn < 0:
        raise UserError(f"turn={cfg.turn}: seconds are expected, 0 for a single step in each turn")
    for key, choices in (("allocator", ("own", "same")), ("device", ("auto", "cpu", "cuda", "gpu"))):
        if cfg[key] not in choices:
            raise UserError(f"{key}={cfg[key]} is unknown: one of {', '.join(choices)} is expected")
    if cfg.device in ("cuda", "gpu") and not torch.cuda.is_available():
        raise UserError(f"device={cfg.device}: torch {torch.__version__} finds no GPU here: say device=cpu")


def _rows(cfg: DictConfig, device: torch.device) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        setting = cases.Setting(with_files(cfg, Path(folder)), device, Path(folder))
        first = cfg.batch_sizes[0]
        work: list[tuple[str, int, Callable[[], dict[str, Any]]]] = []
        for size in cfg.batch_sizes:
            work.append(("step", size, partial(cases.measure_step, setting, size)))
            work.append(("training", size, partial(cases.measure_training, setting, size)))
        work.append(("prediction", 1, partial(cases.measure_prediction, setting, "32")))
        if supports_bfloat16(setting.device.type):
            work.append(("prediction, bf16", 1, partial(cases.measure_prediction, setting, "bf16")))
        work.append(("data", first, partial(cases.measure_data, setting, first, cache=False)))
        work.append(("data, cached", first, partial(cases.measure_data, setting, first, cache=True)))
        runtimes = ["32", "torch"]
        runtimes += ["bf16"] if supports_bfloat16(setting.device.type) else []
        runtimes += ["onnx"] if can_run_onnx(setting.device) else []
        work += [(f"runtimes, {name}", 1, partial(cases.measure_runtime, setting, name)) for name in runtimes]
        for what, size, measured in work:
            if what.partition(",")[0] in cfg.what:
                gc.collect()  # trainers and modules know each other
                yield {"what": what, "batch_size": size, **measured()}


def _with_shares(row: dict[str, Any], rate: float) -> dict[str, Any]:
    """A row with ``ratio``, ours by the reference, and what share of ``rate`` its steps come to."""
    ours, reference = row["ours"], row["reference"]
    row["ratio"] = ours["images_per_second"] / reference["images_per_second"]
    if "flop" in row:
        for side in (ours, reference):
            side["share"] = row["flop"] / row["batch_size"] * side["images_per_second"] / rate
    return row
