"""Measure the training step: ``python -m pix2pix_lightning.benchmark``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.door import open_door

if TYPE_CHECKING:
    from omegaconf import DictConfig


def benchmark(cfg: DictConfig) -> list[dict[str, Any]]:
    """Measure and print a table; it asserts nothing.

    Args:
        cfg: As ``config.compose("benchmark", [...])`` gives it.

    Returns:
        A row for each batch size: what ``benchmarks.measure_step`` gives, and ``batch_size``.

    Raises:
        ValueError: A setting is out of range.
    """
    import json
    import platform
    from pathlib import Path

    import torch
    from hydra.utils import instantiate

    from pix2pix_lightning.benchmarks import measure_step
    from pix2pix_lightning.runs import on_terminal

    if cfg.rounds < 1:
        raise ValueError(f"rounds={cfg.rounds}: at least 1 is expected")
    if cfg.output is not None and Path(cfg.output).exists():
        raise FileExistsError(f"output={cfg.output} exists: choose another file")
    options = {key: cfg[key] for key in ("size", "rounds", "device", "precision")}
    rows: list[dict[str, Any]] = []
    print("batch  ours, images/s  plain float32 loop, images/s  ratio", flush=True)
    with on_terminal():
        for batch_size in cfg.batch_sizes:
            row = measure_step(instantiate(cfg.module), batch_size=batch_size, **options)
            rows.append({"batch_size": batch_size, **row})
            ours, plain = (f"{row[n]:.2f} (spread {row[f'{n}_spread']:.0%})" for n in ("ours", "plain"))
            print(f"{batch_size:>5}  {ours:>14}  {plain:>28}  {row['ratio']:.2f}", flush=True)
    if cfg.output is not None:
        settings = {**options, "threads": torch.get_num_threads(), "torch": torch.__version__}
        machine = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
        Path(cfg.output).write_text(json.dumps({"machine": machine, **settings, "rows": rows}, indent=2) + "\n")
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    return open_door("benchmark", benchmark, argv)


if __name__ == "__main__":
    sys.exit(main())
