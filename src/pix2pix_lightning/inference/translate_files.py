"""Translate files into files, which are read and written in threads next to the network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.image_files import TIFF_SUFFIXES, check_writable, get_suffix, write_image
from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.inference.grouping import choose_batch_size, compute_input_size, group_items
from pix2pix_lightning.inference.prefetch import MAX_PENDING, map_ahead
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
    size: tuple[int, int] | None = None
    batch_size: int = 1


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
    Images that the network sees in one size are translated several at once, as far as they are near in the order.

    Args:
        translator: Translator of the model.
        outputs: Files to write for each input, about in the order of work: the translation; or with ``samples`` one for
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

    most_pending = MAX_PENDING

    def read(source: Source) -> _Read:
        nonlocal most_pending
        try:
            if has_volumes(source):
                return _Read(source, None)
            image, georeference = translator.reader.read_georeferenced(source)
        except Exception as error:
            if not _is_of_image(error):
                raise
            return _Read(source, error)
        size = compute_input_size(translator, image)
        batch_size = choose_batch_size(translator, size)
        most_pending = max(MAX_PENDING, 2 * batch_size)  # the next batch is read, and the last one written
        return _Read(source, image, georeference, size, batch_size)

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
        reads = map_ahead(read, outputs, lambda: most_pending)
        for batch in group_items((each, each.size, each.batch_size) for each in reads):
            try:
                results = [*_translate_batch(translator, batch, outputs, samples)] if len(batch) > 1 else None
            except Exception as error:
                if not _is_of_image(error):
                    raise
                results = None  # alone, each tells what is wrong with it
            if results is not None:
                yield from results
                continue
            for each in batch:
                try:
                    yield from _translate_batch(translator, [each], outputs, samples)
                except Exception as error:
                    if not _is_of_image(error):
                        raise
                    named = _add_paths(error, each.source)
                    if on_error is None:
                        raise named from None
                    on_error(each.source, named)

    yield from map_ahead(write, translate(), lambda: most_pending)


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


def _translate_batch(
    translator: Translator, batch: Sequence[_Read], outputs: Mapping[Source, Sequence[Path]], samples: int | None
) -> Iterator[tuple[Path, Image, Georeference | Path | None]]:
    """Translate inputs that were read, several of them images of a size, and yield what is written for each."""
    source, image = batch[0].source, batch[0].image
    if isinstance(image, Exception):
        raise image
    if image is None:
        if samples is not None:
            raise UserError(f"samples={samples} of a volume are not written: leave samples out")
        yield outputs[source][0], translate_volume(translator, source), list_files(source)[0]
        return
    images = [each.image for each in batch if isinstance(each.image, np.ndarray)]
    spreads = [Spread(translator.pair_spec.target) for _ in batch]
    first = translator.sample
    for number in range(samples or 1):
        translator.sample = first if samples is None else number
        for each, spread, result in zip(batch, spreads, translator.translate_arrays(images), strict=True):
            if len(outputs[each.source]) > (samples or 1):
                spread.add(result)
            yield outputs[each.source][number], result, each.georeference
    for each, spread in zip(batch, spreads, strict=True):
        if len(outputs[each.source]) > (samples or 1):
            yield outputs[each.source][-1], spread.to_image(), each.georeference


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
