"""Compare the writers of checkpoints: how long they hold up training, and how much memory they take.

python examples/measure_checkpoint_writers.py --folder <folder on the disk to measure>
"""

import argparse
import multiprocessing
import statistics
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning.pytorch.plugins.io import AsyncCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn, TrainerState, TrainerStatus

from pix2pix_lightning.checkpoints.io import AtomicCheckpointIO, BackgroundCheckpointIO
from pix2pix_lightning.checkpoints.moments import narrow_moments
from pix2pix_lightning.networks import PatchDiscriminator, UNetGenerator

ROUNDED = " with moments in bfloat16"  # what saving.moments=bfloat16 does
WRITERS = (
    "AtomicCheckpointIO",
    f"AtomicCheckpointIO{ROUNDED}",
    "AsyncCheckpointIO",
    "BackgroundCheckpointIO",
    f"BackgroundCheckpointIO{ROUNDED}",
)


def main() -> None:
    """Print a line per writer: the median of each figure, and its range."""
    parser = argparse.ArgumentParser(description="writers of checkpoints: held-up time and memory")
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1, help="epochs that end while the disk is still busy")
    parser.add_argument("--channels", type=int, default=64, help="base channels of both networks")
    arguments = parser.parse_args()
    figures = {name: [] for name in WRITERS}
    for _ in range(arguments.repeats):  # the writers take turns, so that a busy machine disturbs all alike
        for name in WRITERS:
            with (
                TemporaryDirectory(dir=arguments.folder) as folder,
                multiprocessing.get_context("spawn").Pool(1) as own,
            ):
                figures[name].append(own.apply(measure, (name, folder, arguments.epochs, arguments.channels)))
    for name in WRITERS:
        held_up, done, memory, size = (
            f"{statistics.median(column):.2f} ({min(column):.2f} to {max(column):.2f})"
            for column in zip(*figures[name], strict=True)
        )
        memory = f"peak memory {memory} exact checkpoints more"
        print(f"{name}: held up {held_up} s, all written after {done} s, {memory}, file {size} MB")


def measure(name: str, folder: str, epochs: int, channels: int) -> tuple[float, ...]:
    """Save best and last of some epochs.

    Returns:
        Seconds per epoch, seconds in all, the peak memory in sizes of an exact checkpoint, and the MB of a file.
    """
    checkpoint = make_checkpoint(channels)
    size = sum(tensor.nbytes for tensor in tensors(checkpoint))
    is_rounding = name.endswith(ROUNDED)
    writer = make_writer(name.removesuffix(ROUNDED))
    before, peak = resident_bytes(), PeakMemory()
    held_up, start = 0.0, time.perf_counter()
    with peak:
        for epoch in range(epochs):
            begin = time.perf_counter()
            for path in ("best.ckpt", "last.ckpt"):
                saved = {**checkpoint, "epoch": epoch}
                if is_rounding:  # each time, as the callback does
                    saved["optimizer_states"] = narrow_moments(saved["optimizer_states"])
                writer.save_checkpoint(saved, Path(folder, path))
                del saved
            held_up += time.perf_counter() - begin
            next(tensors(checkpoint)).add_(1)  # as training does
        writer.teardown()
    seconds = time.perf_counter() - start
    return held_up / epochs, seconds, (peak.bytes - before) / size, Path(folder, "last.ckpt").stat().st_size / 1e6


def make_checkpoint(channels: int) -> dict:
    """Return weights and Adam's moments of U-Net 256 and the 70x70 PatchGAN: 686 MB with 64 channels."""
    networks = {
        "generator": UNetGenerator(num_downs=8, base_channels=channels),
        "discriminator": PatchDiscriminator(in_channels=6, base_channels=channels),
    }
    checkpoint = {"state_dict": {}, "optimizer_states": []}
    for name, network in networks.items():
        optimizer = torch.optim.Adam(network.parameters())
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        checkpoint["optimizer_states"].append(optimizer.state_dict())
        checkpoint["state_dict"] |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
    return checkpoint


def make_writer(name: str):
    """Return a writer as a trainer has it while it trains."""
    if name == "BackgroundCheckpointIO":
        return BackgroundCheckpointIO(TrainerState(fn=TrainerFn.FITTING, status=TrainerStatus.RUNNING))
    return AsyncCheckpointIO(AtomicCheckpointIO()) if name == "AsyncCheckpointIO" else AtomicCheckpointIO()


def tensors(value):
    """Yield all tensors in nested dicts and lists."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors(item)


def resident_bytes() -> int:
    """Return the memory of this process that is private and resident (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


class PeakMemory(threading.Thread):
    """Keep the highest `resident_bytes` of the block, sampled every 10 ms."""

    def __init__(self):
        super().__init__(daemon=True)
        self.bytes, self._stop_now = 0, threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self._stop_now.set()
        self.join()

    def run(self):
        """Sample until the block ends."""
        while not self._stop_now.wait(0.01):
            self.bytes = max(self.bytes, resident_bytes())


if __name__ == "__main__":
    main()
