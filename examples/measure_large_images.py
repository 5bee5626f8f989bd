"""Time and memory of large images through the default generator, next to images of 1024 x 1024 pixels at once.

python examples/measure_large_images.py --sides 2048 4096 8192 --norms image running --memory 3GB

Each size runs in a process of its own. ``files`` is the disk that maps need at once, and ``their time`` how long it
takes to write and read as many bytes without a network.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_PIXELS = 1024**2


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description="measure large images")
    parser.add_argument("--sides", type=int, nargs="+", default=[2048, 4096, 8192])
    parser.add_argument("--norms", nargs="+", default=["image", "running"])
    parser.add_argument("--memory", default="3GB")
    parser.add_argument("--precision", default="32")
    parser.add_argument("--tile", default="auto", help="auto, or the side of windows")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(**json.loads(arguments.one))))
        return
    print("| norm | side | time, s | at once, s | ratio | peak memory, GB | files, GB | their time, s |")
    print("|---|---|---|---|---|---|---|---|")
    for norm in arguments.norms:
        for side in arguments.sides:
            task = {"norm": norm, "side": side, "memory": arguments.memory, "precision": arguments.precision}
            task["tile"] = "auto" if arguments.tile == "auto" else int(arguments.tile)
            command = [sys.executable, __file__, "--one", json.dumps(task)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(
                f"| {norm} | {side} | {found['time']:.1f} | {found['at_once']:.1f} | "
                f"{found['time'] / found['at_once']:.2f} | {found['peak']:.2f} | {found['files']:.1f} | "
                f"{found['files_time']:.1f} |",
                flush=True,
            )


def measure(*, norm: str, side: int, memory: str, precision: str, tile: str | int) -> dict[str, float]:
    """Translate an image, and as many images of 1024 x 1024 as it has pixels of; return seconds and bytes."""
    import resource

    import torch

    from pix2pix_lightning import Pix2PixModule, Translator
    from pix2pix_lightning.inference.precision import optimize_layout

    lines: list[str] = []
    torch.manual_seed(0)
    module = Pix2PixModule({"_target_": "pix2pix_lightning.networks.UNetGenerator"}, None)
    optimize_layout(module.generator, torch.device("cpu"), precision)
    options = {"memory": memory} if tile == "auto" else {"tile": tile}
    translator = Translator(module, norm=norm, precision=precision, report=lines.append, **options)
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        translator(small)
        times.append(time.perf_counter() - start)
    image = np.tile(small, (side // 1024, side // 1024, 1))
    start = time.perf_counter()
    translator(image)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    amount, unit = lines[0].split("up to ")[1].split()[:2] if lines else ("0", "GB")
    files = float(amount) / {"GB": 1, "MB": 1000}[unit]
    return {
        "time": seconds,
        "at_once": min(times) * side**2 / _PIXELS,
        "peak": peak,
        "files": files,
        "files_time": measure_files(int(files * 1e9)) if files else 0.0,
    }


def measure_files(size: int) -> float:
    """Write and read as many bytes, and return the seconds."""
    from pix2pix_lightning.inference.layerwise import find_folder

    block = bytes(2**24)
    start = time.perf_counter()
    with tempfile.TemporaryFile(dir=Path(find_folder())) as file:
        for _ in range(size // len(block)):
            file.write(block)
        file.seek(0)
        while file.read(len(block)):
            pass
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
