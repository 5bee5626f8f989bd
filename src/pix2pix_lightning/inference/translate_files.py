"""Translate files into files, which are read and written in threads next to the network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy.typing as npt

from pix2pix_lightning.data.files.image_files import TIFF_SUFFIXES, check_writable, get_suffix, write_image
from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.inference.prefetch import map_ahead
from pix2pix_lightning.inference.source_files import Source, format_source, has_volumes, list_files
from pix2pix_lightning.inference.spread import Spread
from pix2pix_lightning.inference.translator import Translator
from pix2pix_lightning.inference.volumes import translate_volume, write_translation
from pix2pix_lightning.networks import find_noise
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.memory import is_out_of_memory

if TYPE_CHECKING:
    from pix2pix_lightning.data.files.formats.geotiff import Georeference

Image = npt.NDArray[Any]
ErrorHandler = Callable[[Source, Exception], None]
_log = logging.getLogger(__name__)


class _Read(NamedTuple):
    """An input that was read, or why it was not; a volume (None) is read slice by slice."""

    source: Source
    image: Image | Exception | None
    georeference: Georeference | None = None


def translate_files(
    translator: Translator,
    outputs: Mapping[Source, Sequence[Path]],
    *,
    samples: int | None = None,
    on_error: ErrorHandler | None = None,
    overwrite: bool = True,
) -> Iterator[Path]:
    """Translate files into files, in the target's own type and range.

    A TIFF gets the target's scale, offset and value of pixels without a value, and where its input says so, the place
    of its pixels on the ground.
    A volume becomes a volume, in the same place. Of several files the first one that says so tells the place.

    Args:
        translator: Translator of the model.
        outputs: Files to write for each input, in the order of work: the translation; or with ``samples`` one for
            each sample and, where there is one file more, their spread (``Spread``). An input is a file, or a tuple of
            files whose channels are put together.
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
    has_warned = False
    target = translator.pair_spec.target

    def read(source: Source) -> _Read:
        try:
            if has_volumes(source):
                return _Read(source, None)
            return _Read(source, *translator.reader.read_georeferenced(source))
        except Exception as error:
            if not _is_of_image(error):
                raise
            return _Read(source, error)

    def write(result: tuple[Path, Image, Georeference | Path | None]) -> Path:
        nonlocal has_warned
        path, image, georeference = result
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(georeference, Path):
            write_translation(path, image, target, like=georeference, overwrite=overwrite)
            return path
        if get_suffix(path.name) in TIFF_SUFFIXES:
            write_image(
                path,
                image,
                georeference=georeference,
                nodata=target.nodata,
                scale=target.scale,
                offset=target.offset,
                overwrite=overwrite,
            )
            return path
        if (georeference is not None or target.needs_tags) and not has_warned:
            has_warned = True
            lost = "where its pixels lie on the ground, as its input does" if georeference is not None else ""
            meaning = "which value stands for none, or its scale and offset" if target.needs_tags else ""
            _log.warning("%s does not say %s: a .tif would", path, " and ".join(filter(None, (lost, meaning))))
        write_image(path, image, overwrite=overwrite)
        return path

    def translate() -> Iterator[tuple[Path, Image, Georeference | Path | None]]:
        for source, image, georeference in map_ahead(read, outputs):
            try:
                if isinstance(image, Exception):
                    raise image
                if image is None:
                    if samples is not None:
                        raise UserError(f"samples={samples} of a volume are not written: leave samples out")
                    yield outputs[source][0], translate_volume(translator, source), list_files(source)[0]
                    continue
                results = _translate_image(translator, image, len(outputs[source]), samples)
                for output, result in zip(outputs[source], results, strict=True):
                    yield output, result, georeference
            except Exception as error:
                if not _is_of_image(error):
                    raise
                named = _add_paths(error, source)
                if on_error is None:
                    raise named from None
                on_error(source, named)

    yield from map_ahead(write, translate())


def check_sampling(translator: Translator, samples: int | None) -> None:
    """Check that samples, if any are asked for, can differ.

    Raises:
        UserError: Noise is off, or the generator has none.
    """
    if samples is None:
        return
    check_noise(translator, samples)
    if not find_noise(translator.generator):
        raise UserError(f"samples={samples} are all equal, since this generator has no noise: leave samples out")


def check_noise(translator: Translator, samples: int) -> None:
    """Check that a translator has its noise on.

    Args:
        translator: The translator.
        samples: Number of outputs of each image, for the message.

    Raises:
        UserError: Dropout is off.
    """
    if translator.dropout == "off":
        raise UserError(f"samples={samples} without noise are all equal: set mode=paper, without dropout=off")


def check_format(path: Path, side: Side) -> None:
    """Check that a file's format holds outputs, and keeps the colours or numbers of classes, which JPEG changes.

    Args:
        path: The file to write.
        side: What the pixels of the output mean.

    Raises:
        UserError: It does not.
    """
    check_writable(path, side.dtype, side.file_channels)
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


def _add_paths(error: Exception, source: Source) -> Exception:
    """Return the error with the input's files in its message, or in a note where it is of memory."""
    if is_out_of_memory(error):
        error.add_note(f"the image is {format_source(source)}")
        return error
    if isinstance(error, OSError) or any(str(path) in str(error) for path in list_files(source)):
        return error
    return UserError(f"{format_source(source)}: {error}").with_traceback(error.__traceback__)
