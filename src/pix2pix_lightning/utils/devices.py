"""The devices that a trainer or a command takes, and whether they compute in bfloat16."""

from __future__ import annotations

from typing import Any

from pix2pix_lightning.compat import cpu_has_bfloat16
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import Process, count_available_cores

AUTO = "auto"


def resolve_device(accelerator: Any) -> str:
    """Return the torch device type, such as ``cpu`` or ``cuda``, that a Trainer takes for ``accelerator`` here."""
    import torch

    if accelerator in ("gpu", "cuda", AUTO) and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("gpu", "mps", AUTO) and torch.backends.mps.is_available():
        return "mps"
    return "cpu" if accelerator in (AUTO, "cpu") else str(accelerator)


def supports_bfloat16(device: str) -> bool:
    """Return whether a device type has instructions for bfloat16, and does not only emulate it."""
    import torch

    if device == "cuda":
        return torch.cuda.is_available() and bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        return cpu_has_bfloat16()
    return False


def list_devices(devices: object, device: str, process: Process) -> list[str]:
    """List the devices of a command's processes: as many as are asked for, each of which gets one.

    Args:
        devices: Their number; ``auto`` for all GPUs, and without one for the CPU alone.
        device: ``auto``, or the kind of device: ``cuda``, ``cpu`` or another one of torch.
        process: The process that the command was started in.

    Returns:
        ``cuda:0``, ``cuda:1`` and so on, or ``cpu`` for each process; ``device`` itself where one is enough.

    Raises:
        UserError: ``devices`` is no such number, there are fewer of that kind, or torchrun or srun has started the
            processes.
    """
    text = str(devices)
    if text == "1":
        return [device]
    if text != AUTO and not (text.isdecimal() and int(text) > 1):
        raise UserError(f"devices={devices}: a number from 1 is expected, or auto for all GPUs")
    asked = None if text == AUTO else int(text)
    if process.total > 1 or process.can_gather:
        raise UserError(
            f"devices={devices}, but torchrun or srun has started {process.total} process"
            f"{'es, which divide the work' if process.total > 1 else ''}: leave devices out, or start the command alone"
        )
    import torch

    kind, _, number = device.partition(":")
    if number:
        raise UserError(f"devices={devices} with device={device}, a single one: set device={kind} or leave devices out")
    num_gpus = torch.cuda.device_count()
    if kind == "cuda" or (kind == AUTO and num_gpus):
        count = num_gpus if asked is None else asked
        if count > num_gpus:
            there = "is 1 GPU" if num_gpus == 1 else f"are {num_gpus} GPUs"
            fix = "set devices=auto" if num_gpus else "set device=cpu"
            raise UserError(f"devices={devices} with device={device}, but there {there}: {fix}")
        return [f"cuda:{index}" for index in range(count)] if count > 1 else [device]
    if asked is None:
        return [device]
    if kind not in (AUTO, "cpu"):
        raise UserError(f"devices={devices} with device={device}, of which there is one: leave devices out")
    cores = count_available_cores()
    if asked > cores:
        raise UserError(f"devices={devices} on a CPU of which {cores} cores can be used: set devices={cores}")
    return ["cpu"] * asked
