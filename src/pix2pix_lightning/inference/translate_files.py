"""Translate files into files, which are read and written in threads next to the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from pix2pix_lightning.data.files.image_files import write_image
from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.inference.prefetch import map_ahead
from pix2pix_lightning.inference.spread import Spread
from pix2pix_lightning.inference.translator import Translator
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.memory import is_out_of_memory

Image = npt.NDArray[np.uint8]
ErrorHandler = Callable[[Path, Exception], None]


def translate_files(
    translator: Translator,
    outputs: Mapping[Path, Sequence[Path]],
    *,
    samples: int | None = None,
    on_error: ErrorHandler | None = None,
    overwrite: bool = True,
) -> Iterator[Path]:
    """Translate files into files.

    Args:
        translator: Translator of the model.
        outputs: Files to write for each input, in the order of work: the translation; or with ``samples`` one for
            each sample and, where there is one file more, their spread (``Spread``).
        samples: Number of translations of each input, each with noise of its own.
        on_error: Called with an input that is not an image, does not fit the model, or needs more memory than there
            is, and with the error; the other inputs go on. By default the error is raised.
        overwrite: Replace outputs that exist by the time they are written, such as those of another process.

    Yields:
        Each file that was written.

    Raises:
        UserError: An input cannot be translated.
        FileExistsError: An output exists, and ``overwrite`` is off.
        OSError: An output cannot be written. Earlier outputs are still finished.
    """

    def read(path: Path) -> tuple[Path, Image | Exception]:
        try:
            return path, translator.read(path)
        except Exception as error:
            if not _is_of_image(error):
                raise
            return path, error

    def write(result: tuple[Path, Image]) -> Path:
        path, image = result
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, image, overwrite=overwrite)
        return path

    def translate() -> Iterator[tuple[Path, Image]]:
        for path, image in map_ahead(read, outputs):
            try:
                if isinstance(image, Exception):
                    raise image
                results = _translate_image(translator, image, len(outputs[path]), samples)
                yield from zip(outputs[path], results, strict=True)
            except Exception as error:
                if not _is_of_image(error):
                    raise
                named = _add_path(error, path)
                if on_error is None:
                    raise named from None
                on_error(path, named)

    yield from map_ahead(write, translate())


def check_sampling(translator: Translator, samples: int | None) -> None:
    """Check that samples, if any are asked for, can differ.

    Raises:
        UserError: Dropout is off, or the generator has none.
    """
    if samples is None:
        return
    if translator.dropout == "off":
        raise UserError(f"samples={samples} without noise are all equal: set mode=paper")
    layers = translator.generator.modules()
    if not any(isinstance(layer, nn.Dropout | nn.Dropout2d) and layer.p > 0 for layer in layers):
        raise UserError(f"samples={samples} are all equal, since this generator has no dropout: leave samples out")


def check_lossless(path: Path, side: Side) -> None:
    """Check that a file's format keeps the colours or numbers of classes, which JPEG changes.

    Args:
        path: The file to write.
        side: What the pixels of the output mean.

    Raises:
        UserError: They would be changed.
    """
    if path.suffix.lower() in (".jpg", ".jpeg") and side.is_exact:
        raise UserError(f"output={path}: JPEG would change the classes' colours or numbers: give a .png file")


def _translate_image(translator: Translator, image: Image, num_outputs: int, samples: int | None) -> Iterator[Image]:
    if samples is None:
        yield translator.translate_arrays([image])[0]
        return
    spread = Spread(translator.pair_spec.target)
    for translator.sample in range(samples):
        translation = translator.translate_arrays([image])[0]
        spread.add(translation)
        yield translation
    if num_outputs > samples:
        yield spread.to_image()


def _is_of_image(error: Exception) -> bool:
    """Return whether an error concerns one image, so that others can be translated."""
    return isinstance(error, ValueError | OSError) or is_out_of_memory(error)


def _add_path(error: Exception, path: Path) -> Exception:
    """Return the error with the file's path in its message, or in a note where it is of memory."""
    if is_out_of_memory(error):
        error.add_note(f"the image is {path}")
        return error
    if isinstance(error, OSError) or str(path) in str(error):
        return error
    return UserError(f"{path}: {error}").with_traceback(error.__traceback__)
