"""Compare reading of large and of 16-bit files: this package against reading them whole, and against scikit-image.

python examples/measure_data_files.py --side 4096    # needs 1 GB below --folder; scikit-image for the last row
"""

import argparse
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import tifffile
import torch

from pix2pix_lightning.benchmark.turns import Contender, take_turns
from pix2pix_lightning.data import PairedDataModule

CROP = 256
LINKS = 16  # names of each file
WRITERS = {
    "npy": lambda path, image: np.save(path.with_suffix(".npy"), image),
    "TIFF": lambda path, image: tifffile.imwrite(path.with_suffix(".tif"), image, photometric="rgb"),
    "TIFF, Deflate strips": lambda path, image: tifffile.imwrite(
        path.with_suffix(".tif"), image, photometric="rgb", compression="zlib", rowsperstrip=16
    ),
    "TIFF, Deflate tiles": lambda path, image: tifffile.imwrite(
        path.with_suffix(".tif"), image, photometric="rgb", compression="zlib", tile=(256, 256)
    ),
    "PNG": lambda path, image: cv2.imwrite(str(path.with_suffix(".png")), image),
}
READERS = {".npy": np.load, ".tif": tifffile.imread, ".png": lambda path: cv2.cvtColor(cv2.imread(str(path)), 4)}


def main() -> None:
    """Print a row per kind of file: milliseconds a pair of both, and the ratio."""
    parser = argparse.ArgumentParser(description="reading of large and of 16-bit files")
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--side", type=int, default=4096, help="sides of the large images in pixels")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f"{'pairs':34} {'ours, ms':>9} {'reference':>9} {'ratio':>6}")
    with TemporaryDirectory(dir=arguments.folder) as folder:
        for name, write in WRITERS.items():
            root = write_pairs(Path(folder, name.replace(", ", "_").replace(" ", "_")), arguments.side, write)
            ours, reference = crop_ours(root), read_whole(root)
            report(f"crops, {name}", ours, reference, arguments.rounds)
            if name in ("npy", "PNG"):
                report(f"crops, {name}, data.cache=true", crop_ours(root, cache=True), reference, arguments.rounds)
        if find_spec("skimage"):
            root = write_pairs(Path(folder, "deep"), 600, WRITERS["TIFF"], dtype=np.uint16, count=16)
            report("16-bit TIFF, 600 to 286 pixels", resize_ours(root), resize_by_skimage(root), arguments.rounds)


def write_pairs(root: Path, side: int, write: Callable, dtype: type = np.uint8, count: int = 2) -> Path:
    """Write smooth colours with noise, which compress about as photos do."""
    rng = np.random.default_rng(0)
    top = np.iinfo(dtype).max
    for name in "AB":
        (root / "train" / name).mkdir(parents=True)
        for number in range(count):
            smooth = cv2.resize(rng.uniform(0, top * 0.9, (side // 32, side // 32, 3)), (side, side))
            write(
                root / "train" / name / f"{number}", (smooth + rng.uniform(0, top * 0.05, smooth.shape)).astype(dtype)
            )
        for path in list((root / "train" / name).iterdir()):  # an epoch of a few pairs would be mostly its start
            for link in range(1, LINKS):
                path.with_stem(f"{path.stem}_{link}").hardlink_to(path)
    return root


def crop_ours(root: Path, *, cache: bool = False) -> Callable[[], object]:
    """Take random crops as a training does."""
    return load(PairedDataModule(root, resize="none", crop=CROP, cache=cache, num_workers=0, val_split="train"))


def resize_ours(root: Path) -> Callable[[], object]:
    """Resize pairs to 286 pixels and crop 256, as a training does."""
    return load(PairedDataModule(root, num_workers=0, val_split="train"))


def load(data: PairedDataModule) -> Callable[[], object]:
    """Return what loads the next pair as floats in [-1, 1]."""
    data.setup("fit")
    batches = iterate(data)

    def work() -> list[torch.Tensor]:
        batch = next(batches)
        return [data.pair_spec.encode(batch[side], side) for side in ("source", "target")]

    return work


def iterate(data: PairedDataModule) -> Iterator[dict]:
    """Yield batches of all epochs."""
    while True:
        yield from data.train_dataloader()


def read_whole(root: Path) -> Callable[[], object]:
    """Return what reads the next pair of files whole, and cuts out the crop."""
    return by_pair(root, lambda path, place: READERS[path.suffix](path)[place : place + CROP, place : place + CROP])


def resize_by_skimage(root: Path) -> Callable[[], object]:
    """Return what reads the next pair by tifffile, and resizes it by scikit-image with antialiasing."""
    from skimage.transform import resize

    def read(path: Path, place: int) -> np.ndarray:
        image = resize(tifffile.imread(path), (286, 286), order=3, anti_aliasing=True)
        return (image * 65535)[place : place + CROP, place : place + CROP]

    return by_pair(root, read)


def by_pair(root: Path, read: Callable[[Path, int], np.ndarray]) -> Callable[[], object]:
    """Return what reads the next pair by a function, and makes floats of it."""
    pairs = cycle(zip(*(sorted((root / "train" / name).iterdir()) for name in "AB"), strict=True))
    rng = np.random.default_rng(0)

    def work() -> list[torch.Tensor]:
        place = int(rng.integers(0, 31))
        images = [np.ascontiguousarray(read(path, place).transpose(2, 0, 1)) for path in next(pairs)]
        top = 65535 if images[0].dtype != np.uint8 else 255
        return [torch.from_numpy(image).float().div_(top / 2).sub_(1) for image in images]

    return work


def report(name: str, ours: Callable[[], object], reference: Callable[[], object], rounds: int) -> None:
    """Let both take turns, and print a row."""
    cpu = torch.device("cpu")
    contenders = {key: Contender(1, cpu, keeps_memory=key == "ours", turn=0.3) for key in ("ours", "reference")}
    contenders["ours"].build(lambda: ours)
    contenders["reference"].build(lambda: reference)
    take_turns(list(contenders.values()), rounds)
    times = {key: 1000 * median(contender.seconds) for key, contender in contenders.items()}
    ratio = median(r / o for o, r in zip(contenders["ours"].seconds, contenders["reference"].seconds, strict=True))
    print(f"{name:34} {times['ours']:9.2f} {times['reference']:9.1f} {ratio:6.1f}", flush=True)


if __name__ == "__main__":
    main()
