"""The reference for files: a data set and a prediction with Pillow, as they are commonly written."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

_BICUBIC = Image.Resampling.BICUBIC


class PillowPairs(Dataset[tuple[Tensor, Tensor]]):
    """Pairs with the paper's jitter by Pillow: open, split, resize, crop, mirror, convert, normalize.

    Args:
        files: Strips of A and B side by side, or pairs of files.
        size: Side of the crop in pixels.
        load_size: Side of the resized image in pixels.
        direction: ``a_to_b`` or ``b_to_a``.
    """

    def __init__(self, files: Sequence[Path | tuple[Path, Path]], *, size: int, load_size: int, direction: str) -> None:
        self.files, self.size, self.load_size, self.direction = files, size, load_size, direction

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return source and target, (3, size, size) float32 in [-1, 1] each."""
        a, b = _open_pair(self.files[index])
        left, top = (random.randint(0, self.load_size - self.size) for _ in range(2))
        box = (left, top, left + self.size, top + self.size)
        a, b = (image.resize((self.load_size, self.load_size), _BICUBIC).crop(box) for image in (a, b))
        if random.random() < 0.5:
            a, b = (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in (a, b))
        return (_to_tensor(a), _to_tensor(b)) if self.direction == "a_to_b" else (_to_tensor(b), _to_tensor(a))


def translate_file(generator: nn.Module, path: Path, output: Path, *, size: int, device: torch.device) -> None:
    """Translate one file: open, resize, a batch of one, float32 forward, save as PNG.

    Args:
        generator: Generator in its test-time mode.
        path: Image file.
        output: PNG file to write.
        size: Side of the network's input in pixels.
        device: Device of the generator.
    """
    image = Image.open(path).convert("RGB").resize((size, size), _BICUBIC)
    Image.fromarray(translate_array(generator, np.asarray(image), device)).save(output)


def translate_array(generator: nn.Module, image: npt.NDArray[np.uint8], device: torch.device) -> npt.NDArray[np.uint8]:
    """Translate an array by one float32 pass with a batch of one.

    Args:
        generator: Generator in its test-time mode.
        image: (H, W, 3) uint8.
        device: Device of the generator.

    Returns:
        The output, (H, W, 3) uint8.
    """
    with torch.no_grad():
        fake = generator(_to_tensor(image)[None].to(device))
    array: npt.NDArray[np.uint8] = (
        ((fake[0] + 1) / 2 * 255).clamp(0, 255).permute(1, 2, 0).cpu().numpy().astype(np.uint8)
    )
    return array


def _open_pair(file: Path | tuple[Path, Path]) -> tuple[Image.Image, Image.Image]:
    if isinstance(file, tuple):
        return Image.open(file[0]).convert("RGB"), Image.open(file[1]).convert("RGB")
    strip = Image.open(file).convert("RGB")
    half = strip.width // 2
    return strip.crop((0, 0, half, strip.height)), strip.crop((half, 0, strip.width, strip.height))


def _to_tensor(image: Image.Image | npt.NDArray[np.uint8]) -> Tensor:
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
    return tensor.sub_(0.5).div_(0.5)
