"""Measure what decoding, resizing, cropping and floats of JPEG strips take alone, and how a training starts on many.

python examples/measure_pair_loading.py --strips <folder>                   # milliseconds of each part of a pair
python examples/measure_pair_loading.py --strips <folder> --start 140000    # seconds until the first batch
"""

import argparse
import random
import shutil
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from pix2pix_lightning.data import PairedDataModule
from pix2pix_lightning.training.performance import keep_memory

SIZE, LOAD_SIZE = 256, 286
NUM_VAL = 200


def main() -> None:
    """Print the parts of a pair, or the starts."""
    parser = argparse.ArgumentParser(description="loading of JPEG strips")
    parser.add_argument("--strips", type=Path, required=True, help="a folder of JPEG strips")
    parser.add_argument("--folder", type=Path, default=Path(), help="where copies of them may lie")
    parser.add_argument("--start", type=int, help="number of strips of a training, copied from the folder")
    arguments = parser.parse_args()
    files = sorted(arguments.strips.glob("*.jpg"))
    if arguments.start:
        with TemporaryDirectory(dir=arguments.folder) as folder:
            measure_starts(Path(folder), files, arguments.start)
    else:
        measure_kernels(files)


def measure_kernels(files: list[Path]) -> None:
    """Print the median milliseconds of each part of a pair, without a check, a loader or a seed."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_memory(True)
    parts = defaultdict(list)
    for _ in range(600):
        times = [time.perf_counter()]
        content = random.choice(files).read_bytes()
        times.append(time.perf_counter())
        strip = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
        times.append(time.perf_counter())
        sides = [resize(half) for half in np.split(strip, 2, 1)]
        times.append(time.perf_counter())
        top, left, is_mirrored = random.randrange(31), random.randrange(31), random.random() < 0.5
        crops = [side[top : top + SIZE, left : left + SIZE] for side in sides]
        crops = [cv2.flip(crop, 1) if is_mirrored else np.ascontiguousarray(crop) for crop in crops]
        times.append(time.perf_counter())
        for crop in crops:
            torch.from_numpy(crop).permute(2, 0, 1)[None].to(torch.float32).mul_(2 / 255).sub_(1)
        times.append(time.perf_counter())
        for name, before, after in zip(("read", "decode", "resize", "crop", "floats"), times, times[1:], strict=False):
            parts[name].append(1000 * (after - before))
        parts["all"].append(1000 * (times[-1] - times[0]))
    for name, times in parts.items():
        print(f"{name:8} {median(times):6.3f} ms, one in ten {sorted(times)[len(times) // 10]:6.3f}")


def resize(half: np.ndarray) -> np.ndarray:
    """Resize a half of a strip by torch's bicubic kernel."""
    images = torch.from_numpy(np.ascontiguousarray(half))[None].permute(0, 3, 1, 2)
    resized = F.interpolate(images, (LOAD_SIZE, LOAD_SIZE), mode="bicubic", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def measure_starts(root: Path, files: list[Path], number: int) -> None:
    """Print the seconds from the data module to the first batch, with new headers and with remembered ones."""
    for split, count in (("train", number - NUM_VAL), ("val", NUM_VAL)):
        (root / split).mkdir()
        for place in range(count):
            shutil.copyfile(files[place % len(files)], root / split / f"{place}.jpg")
    for name in ("new", "remembered", "remembered"):
        start = time.perf_counter()
        data = PairedDataModule(root, size=SIZE, num_workers=0)
        data.setup("fit")
        next(iter(data.train_dataloader()))
        print(f"{number} strips, {name} headers: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
