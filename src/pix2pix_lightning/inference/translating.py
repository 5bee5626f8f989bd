"""Files through a translator into files, read before and written behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from pix2pix_lightning.data.image_files import write_image
from pix2pix_lightning.data.sides import SideSpec
from pix2pix_lightning.inference.in_order import in_order
from pix2pix_lightning.inference.translator import Translator
from pix2pix_lightning.utils.errors import UserError

Image = npt.NDArray[np.uint8]
Broken = Callable[[Path, Exception], None]


def translate_files(
    translator: Translator,
    outputs: Mapping[Path, Sequence[Path]],
    *,
    samples: int | None = None,
    broken: Broken | None = None,
) -> Iterator[Path]:
    """Translate files into files, also into those that exist.

    Args:
        translator: Of the model.
        outputs: For each input the files to write, in the order of work: the translation, or with ``samples`` as many
            of them as there are samples and, where there is one file more, how far these differ (``Spread``).
        samples: Translations of each input, each with a noise of its own.
        broken: Is given an input that is no image, or none that fits the model, with the reason; the others go on.
            By default the error is raised.

    Yields:
        Each file that was written.

    Raises:
        ValueError: An input cannot be translated.
        OSError: An output cannot be written. What was begun before is finished.
    """

    def read(path: Path) -> tuple[Path, Image | Exception]:
        try:
            return path, translator.read(path)
        except (ValueError, OSError) as error:
            return path, error

    def write(result: tuple[Path, Image]) -> Path:
        place, image = result
        place.parent.mkdir(parents=True, exist_ok=True)
        write_image(place, image, overwrite=True)
        return place

    def translated() -> Iterator[tuple[Path, Image]]:
        for path, image in in_order(read, outputs):
            try:
                if isinstance(image, Exception):
                    raise image
                yield from zip(outputs[path], _results(translator, image, len(outputs[path]), samples), strict=True)
            except (ValueError, OSError) as error:
                named = _naming(error, path)
                if broken is None:
                    raise named from None
                broken(path, named)

    yield from in_order(write, translated())


def check_noisy(translator: Translator, samples: int | None) -> None:
    """Refuse samples, if any are asked for, that would all be equal.

    Raises:
        ValueError: Dropout is off, or the generator has none.
    """
    if samples is None:
        return
    if translator.dropout == "off":
        raise UserError(f"samples={samples} without noise are all equal: say mode=paper")
    layers = translator.generator.modules()
    if not any(isinstance(layer, nn.Dropout | nn.Dropout2d) and layer.p > 0 for layer in layers):
        raise UserError(f"samples={samples} are all equal, since this generator has no dropout: leave samples out")


class Spread:
    """How far the samples of an image differ, pixel by pixel, gathered one after the other.

    A picture of it is grey: the standard deviation over the samples (Welford's sums), mean over the channels, white
    from an eighth of the range on. Of a label side it is the share of samples that have another class than the most
    frequent one, white where that is all of them.

    Args:
        side: What the samples' pixels mean.
    """

    def __init__(self, side: SideSpec) -> None:
        self._side = side
        self._samples: list[Image] = []
        self._count = 0
        self._mean: npt.NDArray[np.floating[Any]] = np.zeros(1, np.float32)
        self._squares: npt.NDArray[np.floating[Any]] = np.zeros(1, np.float32)

    def add(self, sample: Image) -> None:
        """Take a sample, (H, W, C)."""
        self._count += 1
        if self._side.kind == "label":
            self._samples.append(sample)
            return
        difference = sample - self._mean
        self._mean = self._mean + difference / self._count
        self._squares = self._squares + difference * (sample - self._mean)

    def picture(self) -> Image:
        """The spread of the samples so far, (H, W, 1)."""
        share: npt.NDArray[np.float32]
        if self._side.kind == "label":
            share = _share_of_others(self._samples)
        else:
            low, high = self._side.value_range
            deviation = np.sqrt(self._squares / self._count).mean(2, keepdims=True)
            share = (deviation / ((high - low) / 8)).astype(np.float32)
        levels: Image = (share.clip(0, 1) * 255).round().astype(np.uint8)
        return levels


def _share_of_others(samples: Sequence[Image]) -> npt.NDArray[np.float32]:
    equal = [sum(((one == other).all(2, keepdims=True)).astype(np.float32) for other in samples) for one in samples]
    share: npt.NDArray[np.float32] = 1 - np.maximum.reduce(equal) / len(samples)
    return share


def _results(translator: Translator, image: Image, wanted: int, samples: int | None) -> Iterator[Image]:
    if samples is None:
        yield translator.translate_arrays([image])[0]
        return
    spread = Spread(translator.pair_spec.target)
    for translator.sample in range(samples):
        translation = translator.translate_arrays([image])[0]
        spread.add(translation)
        yield translation
    if wanted > samples:
        yield spread.picture()


def _naming(error: Exception, path: Path) -> Exception:
    """The same, with the file's name where it lacks that."""
    if isinstance(error, OSError) or str(path) in str(error):
        return error
    return UserError(f"{path}: {error}").with_traceback(error.__traceback__)
