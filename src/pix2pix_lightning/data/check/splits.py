"""Look at a data set before it is trained on: headers of all files, and the pixels of some or all."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from pix2pix_lightning.data.check.colours import find_mixed_colours
from pix2pix_lightning.data.check.content import PairContent, SideContent, examine_pair, summarize_content
from pix2pix_lightning.data.check.findings import Findings
from pix2pix_lightning.data.check.headers import (
    CheckedSplit,
    find_bad_headers,
    find_copies,
    find_lossy_numbers,
    find_odd_strips,
    find_turned,
)
from pix2pix_lightning.data.check.many_files import map_parallel
from pix2pix_lightning.data.check.sizes import find_misfits
from pix2pix_lightning.data.files.image_header import ImageHeader
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.pairs import PairFiles, Pairs
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.lock import wait_for_lock
from pix2pix_lightning.utils.text import format_names

_log = logging.getLogger(__name__)
MODES = ("quick", "full", "off")
ON_ERROR = ("raise", "skip")
_MAX_VALUES = 2**26  # of pairs that are decoded at the same time: large ones take much memory
_NUM_EXAMINED = 8  # pairs of a split whose pixels a quick check looks at
_LEAST_REMEMBERED = 500  # pairs
_RESULTS, _LOCK = "check_full.json", ".check_full.lock"
_FORMAT = 5
_NOT_WORD = re.compile(r"[^\w-]+")


def check_splits(
    splits: Mapping[str, tuple[Pairs, int]],
    spec: PairSpec,
    *,
    mode: str,
    layout: str,
    root: Path,
    folder: Path | None,
    uncropped: Collection[str] = (),
) -> Findings:
    """Find pairs that cannot be trained on, and what looks wrong.

    Args:
        splits: Pairs of each split by its name, and how many of them are used: the first ones. Pairs that come from
            elsewhere than files are passed over.
        spec: What the pixels of both sides mean.
        mode: ``quick`` reads the headers of all files and decodes a few pairs; ``full`` decodes all pairs.
        layout: ``data.layout``; with ``strip`` files may have any aspect ratio.
        root: Folder of the data set.
        folder: Folder for what is remembered between runs; None remembers nothing.
        uncropped: Splits whose pairs are taken whole where training has crops.

    Returns:
        The findings, which are not reported yet.
    """
    files = {name: (pairs, count) for name, (pairs, count) in splits.items() if isinstance(pairs, PairFiles)}
    findings = Findings({name: count for name, (_, count) in files.items()})
    checked = []
    for name, (pairs, count) in files.items():
        memory = None if folder is None else folder / f"headers_{_NOT_WORD.sub('_', name)}.npz"
        split = CheckedSplit(name, pairs, count, root, memory)
        checked.append(split)
        found = find_bad_headers(split, is_strip_sure=layout == "strip")
        known = {pair.index for pair in found}
        misfits = find_misfits(split, spec, is_cropped=name not in uncropped)
        findings.bad += [*found, *(pair for pair in misfits if pair.index not in known)]
        findings.warnings += [*find_turned(split), *find_odd_strips(split), *find_lossy_numbers(split)]
    findings.warnings += find_mixed_colours(checked)
    findings.warnings += _describe_copies(checked, is_full=mode == "full")
    kept = findings.list_kept()
    if mode == "full":
        chosen = kept
    else:
        chosen = {name: [numbers[place] for place in _spread(len(numbers))] for name, numbers in kept.items()}
    contents = _examine_all(checked, chosen, spec, folder if mode == "full" else None)
    for split in checked:
        for index, content in zip(chosen[split.name], contents[split.name], strict=True):
            if content.error is not None:
                findings.bad.append(split.build_bad(index, content.error))
    usable = [content for found in contents.values() for content in found if content.error is None]
    findings.warnings += summarize_content(usable, spec)
    findings.bad.sort(key=lambda pair: (list(splits).index(pair.split), pair.index))
    return findings


def _spread(count: int) -> list[int]:
    """Return a few numbers below ``count``, evenly spread."""
    return sorted(set(np.linspace(0, count - 1, min(_NUM_EXAMINED, count)).astype(int).tolist()))


def _describe_copies(checked: list[CheckedSplit], *, is_full: bool) -> list[str]:
    """Warn of pairs that are in two splits, and, if all files are read anyway, of copies within a split."""
    warnings = []
    for number, split in enumerate(checked):
        for other in checked[:number]:
            copies = find_copies(split, other)
            if copies:
                names = [f"{split.get_paths(one)[0]} = {other.get_paths(two)[0]}" for one, two in copies]
                warnings.append(
                    f"{len(copies)} of {split.count} pairs of {split.name} are copies of pairs of {other.name}: "
                    f"its metrics are too good: remove them from one of the two: {format_names(names)}"
                )
        copies = find_copies(split, split) if is_full else []
        if copies:
            names = [f"{split.get_paths(one)[0]} = {split.get_paths(two)[0]}" for one, two in copies]
            warnings.append(f"{len(copies)} pairs of {split.name} are copies of others: {format_names(names)}")
    return warnings


def _examine_all(
    checked: list[CheckedSplit], chosen: Mapping[str, list[int]], spec: PairSpec, folder: Path | None
) -> dict[str, list[PairContent]]:
    """Examine the chosen pairs of each split, or read what an earlier run has found in the same files."""
    if folder is None or sum(map(len, chosen.values())) < _LEAST_REMEMBERED:
        return {split.name: _examine(split, chosen[split.name], spec) for split in checked}
    digest = _compute_digest(checked, chosen, spec)
    with _lock(folder):  # of several processes, one decodes
        contents = _load(folder / _RESULTS, digest, {name: len(indices) for name, indices in chosen.items()})
        if contents is None:
            contents = {split.name: _examine(split, chosen[split.name], spec) for split in checked}
            with suppress(OSError), atomic_write(folder / _RESULTS) as scratch:
                scratch.write_text(json.dumps({"digest": digest, "contents": contents}), encoding="utf-8")
    return contents


def _examine(split: CheckedSplit, indices: list[int], spec: PairSpec) -> list[PairContent]:
    pairs = split.pairs
    headers = [entry for entry in split.cache.entries if isinstance(entry, ImageHeader)]
    largest = max((header.width * header.height * header.channels for header in headers), default=1)
    return map_parallel(
        lambda index: examine_pair(pairs, index, pairs.get_name(index), split.get_both(index), spec),
        indices,
        title=f"pairs of {split.name}",
        at_most=max(1, min(32, _MAX_VALUES // (len(split.sides) * largest))),
    )


def _load(path: Path, digest: str, counts: Mapping[str, int]) -> dict[str, list[PairContent]] | None:
    """Read what was found in so many pairs of each split; None where the file is missing, damaged or of other pairs."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved["digest"] != digest:
            return None
        contents = {name: [_parse_content(*row) for row in rows] for name, rows in saved["contents"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return contents if {name: len(found) for name, found in contents.items()} == counts else None


def _parse_content(name: str, error: str | None, a: list[Any] | None, b: list[Any] | None) -> PairContent:
    if not isinstance(name, str) or not isinstance(error, str | None):
        raise TypeError("texts are expected")
    return PairContent(name, error, *(None if side is None else _parse_side(*side) for side in (a, b)))


def _parse_side(
    is_constant: bool, levels: int, unknown: list[Any], is_ignored: bool, limits: list[Any], clipped: list[Any]
) -> SideContent:
    if not all(isinstance(value, bool) for value in (is_constant, is_ignored)) or not isinstance(levels, int):
        raise TypeError("truth values and levels are expected")
    colours = [[int(value) for value in colour] for colour in unknown]
    bounds = [(float(low), float(high)) for low, high in limits]
    return SideContent(is_constant, levels, colours, is_ignored, bounds, [float(share) for share in clipped])


def _compute_digest(checked: list[CheckedSplit], chosen: Mapping[str, list[int]], spec: PairSpec) -> str:
    digest = hashlib.sha256(json.dumps([_FORMAT, spec.to_dict(), chosen]).encode())
    for split in checked:
        digest.update("\0".join(split.cache.names).encode(errors="surrogateescape"))
        digest.update(split.cache.sizes.tobytes() + split.cache.times.tobytes())
    return digest.hexdigest()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        with suppress(OSError):  # a folder that cannot be written to
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(wait_for_lock(folder / _LOCK, lambda: _log.info("another process checks the data")))
        yield
