"""The benchmark: all cases that a configuration asks for."""

from __future__ import annotations

import gc
import math
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.benchmark import cases
from pix2pix_lightning.benchmark.machine import describe_machine, describe_versions, measure_matrix_rate
from pix2pix_lightning.benchmark.profile import measure_profile
from pix2pix_lightning.benchmark.report import HEADER, format_machine, format_row, format_summary
from pix2pix_lightning.benchmark.strips import use_files
from pix2pix_lightning.training.performance_choice import choose_compile, choose_options
from pix2pix_lightning.utils.allocator import keep_memory
from pix2pix_lightning.utils.checks import check_counts
from pix2pix_lightning.utils.devices import resolve_device, supports_bfloat16
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.onnx_graph import can_run_onnx

WHAT = ("step", "training", "prediction", "data", "communication", "runtimes", "profile")
_SETTINGS = ("batch_sizes", "rounds", "turn", "allocator", "module", "data", "trainer", "speed")


def measure(cfg: DictConfig, print_line: Callable[[str], object] = print) -> dict[str, Any]:
    """Measure the cases in ``cfg.what``.

    Args:
        cfg: Configuration, as ``compose("benchmark", [...])`` returns it.
        print_line: Is called with each line of the table as soon as it is known.

    Returns:
        Plain data: ``machine``, ``versions``, ``settings``, ``matrix_rate`` (FLOP per second), ``rows``,
        ``communication`` (bytes) and ``profile`` (`measure_profile`).

    Raises:
        UserError: A setting is out of range.
    """
    cfg = cfg.copy()
    if isinstance(cfg.what, str):
        cfg.what = [cfg.what]
    _check_config(cfg)
    device = torch.device(resolve_device(cfg.device))
    if "profile" in cfg.what and device.type not in ("cpu", "cuda"):
        raise UserError(f"device={cfg.device}: what=[profile] sees no kernels of {device.type}: set device=cpu")
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
            name: measure_matrix_rate(device, getattr(torch, name), seconds=2 * cfg.turn)
            for name in ("float32", "bfloat16")
        },
        "rows": [],
    }
    for line in format_machine(report):
        print_line(line)
    rate = report["matrix_rate"]["bfloat16" if "16" in str(cfg.trainer.precision) else "float32"]
    try:
        for row in _iterate_rows(cfg, device):
            if not report["rows"]:
                print_line(HEADER)
            report["rows"].append(_add_shares(row, rate))
            print_line(format_row(row))
    finally:
        keep_memory(False)
    if "communication" in cfg.what:
        from pix2pix_lightning.benchmark.communication import measure_communication

        report["communication"] = measure_communication()
    for line in format_summary(report) if _compares(cfg) else ():
        print_line(line)
    if "profile" in cfg.what:
        try:
            with tempfile.TemporaryDirectory() as folder:
                report["profile"] = measure_profile(cases.Setting(cfg, device, Path(folder)), print_line)
        finally:
            keep_memory(False)
    return report


def _compares(cfg: DictConfig) -> bool:
    """Return whether anything is compared with plain code, which a profile is not."""
    return set(cfg.what) != {"profile"}


def _check_config(cfg: DictConfig) -> None:
    for name in cfg.what:
        if name not in WHAT:
            raise UserError(f"what={name} is unknown: some of {', '.join(WHAT)} are expected")
    for size in cfg.batch_sizes:
        check_counts(batch_sizes=size)
    if _compares(cfg):
        check_counts(size=cfg.size)
        if cfg.data.get("crop") is not None or cfg.data.get("resize", "stretch") != "stretch":
            raise UserError("data.resize= and data.crop= have no plain counterpart to compare with: leave them out")
    if not cfg.batch_sizes:
        raise UserError("batch_sizes=[]: at least one is expected")
    check_counts(rounds=cfg.rounds)
    if not 0 <= cfg.turn < math.inf:
        raise UserError(f"turn={cfg.turn}: seconds are expected, 0 for a single step in each turn")
    for key, choices in (("allocator", ("own", "same")), ("device", ("auto", "cpu", "cuda", "gpu"))):
        if cfg[key] not in choices:
            raise UserError(f"{key}={cfg[key]} is unknown: one of {', '.join(choices)} is expected")
    if cfg.device in ("cuda", "gpu") and not torch.cuda.is_available():
        raise UserError(f"device={cfg.device}: torch {torch.__version__} finds no GPU here: set device=cpu")


def _iterate_rows(cfg: DictConfig, device: torch.device) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        setting = cases.Setting(use_files(cfg, Path(folder)), device, Path(folder))
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
        runtimes += ["onnx"] if can_run_onnx(setting.device.type) else []
        if setting.device.type == "cpu" and can_run_onnx("cpu"):
            runtimes += ["int8", "openvino"] if find_spec("openvino") else ["int8"]
        work += [(f"runtimes, {name}", 1, partial(cases.measure_runtime, setting, name)) for name in runtimes]
        for what, size, measured in work:
            if what.partition(",")[0] in cfg.what:
                gc.collect()  # trainers and modules form reference cycles
                yield {"what": what, "batch_size": size, **measured()}


def _add_shares(row: dict[str, Any], rate: float) -> dict[str, Any]:
    """Add ``ratio``, ours by the reference's, and each side's ``share`` of a matrix rate, and return the row."""
    ours, reference = row["ours"], row["reference"]
    row["ratio"] = ours["images_per_second"] / reference["images_per_second"]
    if "flop" in row:
        for side in (ours, reference):
            side["share"] = row["flop"] / row["batch_size"] * side["images_per_second"] / rate
    return row
