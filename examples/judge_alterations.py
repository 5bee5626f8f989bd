"""Print how L1, perceptual distance and KID order alterations: ``python examples/judge_alterations.py photos``.

Each photo is compared with itself after an alteration. A person finds a photo that is shifted by 2 pixels as real as
before, and a blurred one less so; L1 does not. It needs ``pip install "pix2pix-lightning[judge]"``.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from pix2pix_lightning.evaluation import Interval
from pix2pix_lightning.evaluation.measures import Measurement, build_measurement
from pix2pix_lightning.metrics import FeatureExtractor, build_named_metrics

_METRICS = ("l1", "perceptual", "kid")
_NOISE = 10  # standard deviation in levels of 255
_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_photos(folder: Path, size: int, half: str | None) -> list[Image.Image]:
    """Read the photos of a folder, or one half of each where they are pairs side by side, as squares of ``size``."""
    photos = []
    for path in sorted(each for each in folder.rglob("*") if each.suffix.lower() in _SUFFIXES):
        photo = Image.open(path).convert("RGB")
        middle = photo.width // 2
        if half:
            left, right = (0, middle) if half == "left" else (middle, photo.width)
            photo = photo.crop((left, 0, right, photo.height))
        photos.append(photo.resize((size, size), Image.Resampling.BICUBIC))
    return photos


def iterate_alterations(photos: list[Image.Image]) -> Iterator[tuple[str, Callable[[int], Tensor]]]:
    """Yield the name of each alteration, and a function from a photo's number to the altered one, (1, 3, H, W)."""
    arrays = [np.asarray(photo) for photo in photos]
    mean = np.mean([array.astype(np.float64) for array in arrays], 0).round()

    def shift(number: int) -> Tensor:
        return _to_tensor(np.pad(arrays[number], ((2, 0), (2, 0), (0, 0)), mode="reflect")[:-2, :-2])

    def add_noise(number: int) -> Tensor:
        noise = np.random.default_rng(number).normal(0, _NOISE, arrays[number].shape)
        return _to_tensor((arrays[number] + noise).round().clip(0, 255))

    def blur(radius: int) -> Callable[[int], Tensor]:
        return lambda number: _to_tensor(np.asarray(photos[number].filter(ImageFilter.GaussianBlur(radius))))

    yield "shift by 2 px", shift
    yield f"noise, {_NOISE} levels", add_noise
    for radius in (1, 3, 8):
        yield f"blur, radius {radius}", blur(radius)
    yield "mean photo", lambda number: _to_tensor(mean)


def measure(photos: list[Image.Image], features: str = "lite1") -> dict[str, dict[str, Interval]]:
    """Return the values of each metric with their intervals, by alteration and metric."""
    shared = FeatureExtractor(features)
    alterations = dict(iterate_alterations(photos))
    measurements = {name: _build_measurements(shared) for name in alterations}
    for number, photo in enumerate(photos):
        real = _to_tensor(np.asarray(photo))
        for name, alter in alterations.items():
            altered = alter(number)
            for measurement in measurements[name].values():
                measurement.add(altered, real)
    return {
        name: {metric: measurement.compute()[1] for metric, measurement in row.items()}
        for name, row in measurements.items()
    }


def _build_measurements(features: FeatureExtractor) -> dict[str, Measurement]:
    metrics = build_named_metrics(list(_METRICS), eight_bit=True, features=features)
    return {name: build_measurement(name, metric) for name, metric in metrics.items()}


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.astype(np.float64) / 255).permute(2, 0, 1)[None]


def main() -> None:
    """Read the photos and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of photos, or of pairs side by side with --half")
    parser.add_argument("--size", type=int, default=256, help="side of the photos in pixels")
    parser.add_argument("--half", choices=("left", "right"), help="which half of each image is the photo")
    parser.add_argument("--features", default="lite1", help="pretrained network")
    options = parser.parse_args()
    photos = read_photos(options.folder, options.size, options.half)
    print(f"{len(photos)} photos, {options.size} px, {options.features}")
    print("| | L1 | perceptual | KID x 1,000 |\n|---|---|---|---|")
    for name, row in measure(photos, options.features).items():
        l1, perceptual, kid = (row[metric] for metric in _METRICS)
        interval = f"{1e3 * kid.low:.1f} to {1e3 * kid.high:.1f}"
        print(f"| {name} | {l1.mean:.4f} | {perceptual.mean:.4f} | {1e3 * kid.mean:.1f} ({interval}) |", flush=True)


if __name__ == "__main__":
    main()
