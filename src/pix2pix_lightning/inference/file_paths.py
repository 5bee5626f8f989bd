"""Find the images of a path, a folder or a pattern, and plan the paths of their outputs."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pix2pix_lightning.data.files.image_files import (
    IMAGE_SUFFIXES,
    TIFF_SUFFIXES,
    WRITTEN_SUFFIXES,
    choose_suffix,
    get_suffix,
)
from pix2pix_lightning.data.files.image_header import read_header
from pix2pix_lightning.data.files.listing import (
    OTHER_IMAGES,
    VIDEO_SUFFIXES,
    is_system_folder,
    list_images_below,
    log_passed_over,
)
from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.inference.source_files import Source, format_source, has_volumes, list_files
from pix2pix_lightning.utils.checks import check_absent, check_counts, is_same_place
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

_OTHER_SUFFIXES = frozenset({".eps", ".ico", ".pdf", ".psd", ".svg", ".txt", ".zip"})
"""Further endings of files that are not written, but which nobody means as the name of a folder."""
_EXPECTED = "an image, a folder of images, a pattern, a manifest or a video"
_log = logging.getLogger(__name__)


def find_images(source: str, *, excluded: Path) -> dict[Source, Path]:
    """Find the image files of a source, sorted by path. A line in the log names videos, which are left out.

    Args:
        source: A file; a folder, which is searched recursively as `list_images_below` does; or a pattern with ``*``,
            ``?`` or ``**``.
        excluded: Folder of the outputs, which is skipped where it lies in the searched one.

    Returns:
        Each file, and its path relative to the folder or to the part of the pattern without wildcards.

    Raises:
        UserError: ``source`` does not exist, or has no image in it.
        OSError: A folder cannot be read.
    """
    root = Path(source)
    if root.is_file():
        return {root: Path(root.name)}
    if root.is_dir():
        listing = list_images_below(root, excluded=excluded)
        log_passed_over(root, listing)
        found = [root / name for name in listing.files]
        videos = [str(root / name) for name in listing.videos]
    elif glob.has_magic(source):
        root = strip_wildcards(root)
        names = glob.glob(source, recursive=True)  # noqa: PTH207 (Path's finds hidden files)
        found = [path for path in map(Path, names) if _is_image(path)]
        videos = sorted(filter(is_video, names))
        passed_over = {parent: _is_passed_over(parent, root, excluded) for parent in {path.parent for path in found}}
        found = [path for path in found if not passed_over[path.parent]]
    else:
        raise UserError(f"input={source} does not exist: give {_EXPECTED}")
    hint = f"give each video of its own: input={videos[0]}" if videos else ""
    if not found:
        raise UserError(f"input={source} has no image in it: {hint or f'give {_EXPECTED}'}")
    if videos:
        _log.warning("%s: videos are left out (%s): %s", source, format_names(videos), hint)
    return {path: path.relative_to(root) for path in sorted(found)}


def is_video(source: str) -> bool:
    """Return whether an input is one video file."""
    return Path(source).suffix.lower() in VIDEO_SUFFIXES and Path(source).is_file()


def plan_video(source: Path, output: Path, *, overwrite: bool = False) -> Path:
    """Plan the file that a video is translated into.

    Args:
        source: The video.
        output: A file that ends with ``.mp4``, or a folder, where the file has the video's name.
        overwrite: Accept an output that exists.

    Returns:
        The file.

    Raises:
        UserError: ``output`` is a file of another kind, or the input.
        FileExistsError: The output exists, and ``overwrite`` is off.
    """
    suffix = get_suffix(output.name)
    is_folder = output.is_dir()
    if not is_folder and suffix != ".mp4":
        if output.exists() or suffix in IMAGE_SUFFIXES | OTHER_IMAGES | VIDEO_SUFFIXES | _OTHER_SUFFIXES:
            raise UserError(f"output={output}: videos are written as MP4: give a file that ends with .mp4, or a folder")
        is_folder = True
    target = output / f"{source.stem}.mp4" if is_folder else output
    check_inputs_stay({source: [target]})
    check_absent(target, overwrite=overwrite)
    return target


def list_suffixes(samples: int | None, *, spread: bool, suffix: str = ".png") -> tuple[str, ...]:
    """List the suffixes of the output files of one image.

    Args:
        samples: Number of translations of each image; None for one, which has the image's name.
        spread: Whether a picture of the samples' spread is written too.
        suffix: Suffix of a translation.

    Returns:
        ``.png``; or ``.sample_<number>.png`` for each sample and, with ``spread``, ``.spread.png`` at the end.

    Raises:
        UserError: ``samples`` is not a number from 1, or ``spread`` is set for fewer than two samples.
    """
    if samples is None:
        if spread:
            raise UserError("spread=true without samples: set samples=8 and mode=paper")
        return (suffix,)
    check_counts(samples=samples)
    if spread and samples == 1:
        raise UserError("spread=true needs several samples: set samples=8, for example")
    return (*(f".sample_{number}{suffix}" for number in range(samples)), *([".spread.png"] if spread else []))


def choose_suffixes(inputs: Collection[Source], target: Side) -> dict[Source, str]:
    """Choose the formats of the translations of files.

    Args:
        inputs: The files, or tuples of files whose channels are put together.
        target: What the pixels of the outputs mean.

    Returns:
        For a volume of slices its own suffix. For each other file ``.png`` where that holds the outputs; ``.tif`` for
        other types and channels, for a value of pixels without one, a scale or an offset, and for inputs that say where
        their pixels lie on the ground.
    """
    plain, placed = (
        choose_suffix(target.dtype, target.file_channels, needs_tags=placed or target.needs_tags)
        for placed in (False, True)
    )

    def choose(source: Source) -> str:
        files = list_files(source)
        if has_volumes(source):
            return get_suffix(files[0].name)
        return placed if plain != placed and any(map(_has_georeference, files)) else plain

    return {source: choose(source) for source in inputs}


def check_apart(source: str, output: Path, *, is_file: bool = False, overwrite: bool = False) -> None:
    """Check that outputs do not come between the inputs, where the next command would take them for inputs.

    Args:
        source: A file, a folder or a pattern, as `find_images` takes it.
        output: Folder of the outputs, or the one file.
        is_file: Whether it is a file. A folder below the one that is searched is left out, a file there would not be.
        overwrite: Accept that.

    Raises:
        UserError: ``output`` is or lies in the folder that is searched, and ``overwrite`` is off.
    """
    root = Path(source)
    if root.is_file() or overwrite:
        return
    folder = root if root.is_dir() else strip_wildcards(root)
    if output.resolve().is_relative_to(root.resolve()) if is_file else is_same_place(folder, output):
        raise UserError(
            f"output={output} is {'in ' if is_file else ''}the folder of input={source}: choose another output, or set "
            "overwrite=true to write the outputs between the inputs"
        )


def check_inputs_stay(outputs: Mapping[Source, Sequence[Path]]) -> None:
    """Check that no output replaces an input.

    Args:
        outputs: The outputs of each input.

    Raises:
        UserError: One does.
    """
    inputs = (path for source in outputs for path in list_files(source))
    known = {(status.st_dev, status.st_ino): path for path in inputs if path.exists() and (status := path.stat())}
    for target in (target for targets in outputs.values() for target in targets):
        if target.exists() and (path := known.get((target.stat().st_dev, target.stat().st_ino))) is not None:
            raise UserError(f"the output {target} would replace the input {path}: choose another output")


def is_output_file(output: Path, inputs: Collection[Source], samples: int | None, *, spread: bool) -> bool:
    """Return whether ``output`` names one file to write: it has the suffix of an image and is no existing folder.

    Args:
        output: A file or a folder.
        inputs: The files, or tuples of files, that are translated.
        samples: Number of translations of each, or None.
        spread: Whether a picture of their spread is written too.

    Raises:
        UserError: It names a file, and there are several images to write; it is a file of another kind; or it has the
            suffix of a format that is not written.
    """
    suffix = get_suffix(output.name)
    if output.is_dir():
        return False
    if suffix in WRITTEN_SUFFIXES:
        if volume := next(filter(has_volumes, inputs), None):
            raise UserError(
                f"output={output}: the volume {format_source(volume)} becomes a volume of its name: give a folder"
            )
        folder = f"give a folder, output={output.with_suffix('')}"
        if len(inputs) > 1:
            raise UserError(f"output={output} is one file, but {len(inputs)} images are translated: {folder}")
        if samples not in (None, 1) or spread:
            raise UserError(f"output={output} is one file, but samples={samples} writes several: {folder}")
        return True
    if output.exists():
        raise UserError(f"output={output} is a file: give a folder, or a file that ends with .png")
    if suffix in IMAGE_SUFFIXES | OTHER_IMAGES | VIDEO_SUFFIXES | _OTHER_SUFFIXES:
        raise UserError(f"output={output}: {suffix} is not written: give a file that ends with .png, or a folder")
    return False


def plan_outputs(
    inputs: Mapping[Source, Path],
    output: Path,
    suffixes: Mapping[Source, tuple[str, ...]],
    *,
    overwrite: bool = False,
) -> dict[Source, list[Path]]:
    """Plan the output files of each input: the inputs' folder structure, repeated below ``output``.

    Args:
        inputs: Input files with their relative paths, as ``find_images`` and ``find_listed`` return them.
        output: Folder of the outputs.
        suffixes: Suffixes of each input's outputs, as ``list_suffixes`` returns them; they replace the input's own.
        overwrite: Accept outputs that exist.

    Returns:
        For each input the paths of its outputs, in the order of ``suffixes``.

    Raises:
        UserError: Two inputs have the same output.
        FileExistsError: An output exists, and ``overwrite`` is off.
    """
    outputs = {
        source: [output / relative.with_name(f"{_strip_suffix(relative.name)}{suffix}") for suffix in suffixes[source]]
        for source, relative in inputs.items()
    }
    owners: dict[str, Source] = {}
    for source, targets in outputs.items():
        for target in targets:
            other = owners.setdefault(str(target).lower(), source)  # some file systems ignore case
            if other != source:
                both = f"{format_source(other)} and {format_source(source)}"
                fix = "rename one of them" if isinstance(source, Path) else "give their rows other names, column name"
                raise UserError(f"{both} would both give {target}: {fix}")
    for target in (target for targets in outputs.values() for target in targets):
        check_absent(target, overwrite=overwrite)
    return outputs


def _strip_suffix(name: str) -> str:
    return name[: len(name) - len(get_suffix(name))]


def _has_georeference(path: Path) -> bool:
    if get_suffix(path.name) not in TIFF_SUFFIXES:
        return False
    try:
        directory = read_header(path).directory
    except (UserError, OSError):  # which reading the file reports
        return False
    return directory is not None and directory.georeference is not None


def strip_wildcards(pattern: Path) -> Path:
    """Return the part of a pattern before its first wildcard, and a path without wildcards as it is."""
    fixed = Path()
    for part in pattern.parts:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed


def _is_image(path: Path) -> bool:
    """Return whether a path names an image that is a file, or a link to nothing, which reading it reports."""
    if get_suffix(path.name) not in IMAGE_SUFFIXES or path.name.startswith("."):
        return False
    return path.is_file() or (path.is_symlink() and not path.exists())


def _is_passed_over(folder: Path, root: Path, excluded: Path) -> bool:
    """Return whether the path from ``root`` to a folder leads through one that is left out, or in a circle."""
    below = folder.relative_to(root)
    if any(map(is_system_folder, below.parts)):
        return True
    places = [os.path.realpath(root / part) for part in (below, *below.parents)]
    return len(set(places)) < len(places) or os.path.realpath(excluded) in places[:-1]
