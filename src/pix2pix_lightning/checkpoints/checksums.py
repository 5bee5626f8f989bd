"""Verify the checksums of files of weights.

`torch.save` writes a ZIP archive with the CRC32 of each tensor, which `torch.load` does not compare. Formats without a
checksum, safetensors and ONNX, get one of the whole file in their metadata.
"""

from __future__ import annotations

import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import UntypedStorage

from pix2pix_lightning.utils.errors import UserError

CHECKSUM_KEY = "checksum"
"""Key in the metadata of a file."""
NO_CHECKSUM = "pix2pix_lightning:crc32:00000000"
"""Value of the key before `embed_checksum` fills it in."""
_MARK = NO_CHECKSUM[:-8].encode()
_METADATA_BYTES = 2**22  # at the beginning or the end of a file
_MAX_THREADS = 4
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of the name and of an extra field
_UTF8_NAME = 0x800


class DamagedFileError(UserError):
    """A file whose contents do not match its checksum."""


def verify_archive(path: Path) -> None:
    """Compare all of an archive with its checksums.

    Args:
        path: A file that torch wrote.

    Raises:
        DamagedFileError: A checksum differs.
        zipfile.BadZipFile: It is no archive as torch writes it.
        OSError: The file cannot be read.
    """
    _read_records(path, verify=lambda record: True)


class Archive:
    """The checksums of a file of `torch.save`. Everything but its tensors is compared at once.

    Args:
        path: The file.

    Raises:
        DamagedFileError: A checksum differs.
        zipfile.BadZipFile: It is no archive as `torch.save` writes it.
        OSError: The file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        records = _read_records(path, verify=lambda record: not record.is_tensor)
        self._tensors = {(record.size, record.crc) for record in records if record.is_tensor}
        self._has_checksums = _have_checksums(records)

    @contextmanager
    def verify(self, data: Any) -> Iterator[None]:
        """Compare tensors that were read from the file with its checksums, in threads while the block uses them.

        What is compared is the memory of the tensors, so that all is found that went wrong until then. Sparse tensors
        are not compared.

        Args:
            data: Tensors on the CPU, nested in dicts, lists and tuples.

        Raises:
            DamagedFileError: A checksum differs. It takes the place of an error in the block.
        """
        memory = _collect_memory(data) if self._has_checksums else {}
        with _run_in_threads([partial(self._check, name, storage) for name, storage in memory.values()]):
            yield

    def _check(self, name: str, storage: UntypedStorage) -> None:
        content = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
        if (storage.nbytes(), zlib.crc32(content.data)) not in self._tensors:
            raise _build_error(self._path, name)


class _Record(NamedTuple):
    """A file in an archive."""

    name: str
    start: int
    size: int
    crc: int

    @property
    def is_tensor(self) -> bool:
        return "/data/" in self.name


@contextmanager
def verify_embedded(path: Path) -> Iterator[None]:
    """Compare a file with the checksum in its metadata, if it has one, in a thread, while the block reads it.

    A file that does not exist is left to the block.

    Args:
        path: A file whose metadata are within its first or last four MiB.

    Raises:
        DamagedFileError: The checksum differs. It takes the place of an error in the block.
        OSError: The file cannot be read.
    """
    if not path.is_file() or not path.stat().st_size:
        yield
        return
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        _run_in_threads([lambda: check_embedded(content, path)]),
    ):
        yield


def check_embedded(content: bytes | mmap.mmap, path: Path) -> None:
    """Compare the bytes of a file with the checksum in its metadata, if it has one.

    Args:
        content: The whole file.
        path: Its path, for the message.

    Raises:
        DamagedFileError: The checksum differs.
    """
    place = _find_checksum(content)
    if place is None:
        return
    with memoryview(content) as view:
        if bytes(view[place : place + 8]) != _compute_checksum(view, place):
            raise DamagedFileError(
                f"{path} is damaged, or another program has changed it, since its checksum differs: copy or download "
                "it again"
            )


def embed_checksum(content: bytearray) -> None:
    """Replace `NO_CHECKSUM` in a file's metadata by the checksum of the file, in place.

    Args:
        content: The whole file.
    """
    place = _find_checksum(content)
    assert place is not None
    with memoryview(content) as view:
        view[place : place + 8] = _compute_checksum(view, place)


def _find_checksum(content: bytes | bytearray | mmap.mmap) -> int | None:
    """Find the first digit of the checksum."""
    place = content.find(_MARK, 0, _METADATA_BYTES)
    if place < 0:
        place = content.find(_MARK, max(0, len(content) - _METADATA_BYTES))
    return place + len(_MARK) if place >= 0 else None


def _compute_checksum(view: memoryview, place: int) -> bytes:
    """Compute eight digits for a file in which they are zeros."""
    crc = zlib.crc32(b"0" * 8, zlib.crc32(view[:place]))
    return f"{zlib.crc32(view[place + 8 :], crc):08x}".encode()


def _list_records(path: Path, content: mmap.mmap) -> list[_Record]:
    """List what an archive holds, and check that all of it is where the directory says and is not compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (NotImplementedError, ArithmeticError, EOFError, LookupError, ValueError, struct.error) as error:
        raise zipfile.BadZipFile(str(error)) from None
    if sum(info.file_size for info in infos) > len(content):
        raise zipfile.BadZipFile("it claims more than its own size")  # as files made to fill the memory do
    records = []
    for info in infos:
        header = content[info.header_offset : info.header_offset + _LOCAL_HEADER.size]
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
            raise zipfile.BadZipFile(f"{info.filename} is not where its directory says")
        _, name_size, extra_size = _LOCAL_HEADER.unpack(header)
        begin = info.header_offset + _LOCAL_HEADER.size
        name = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8_NAME else "cp437")
        start = begin + name_size + extra_size
        if content[begin : begin + name_size] != name or start + info.file_size > len(content):
            raise zipfile.BadZipFile(f"{info.filename} is not where its directory says")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise zipfile.BadZipFile(f"{info.filename} is compressed")
        records.append(_Record(info.filename, start, info.file_size, info.CRC))
    if len({record.name for record in records}) < len(records):
        raise zipfile.BadZipFile("it has two records of one name")
    return records


def _read_records(path: Path, *, verify: Callable[[_Record], bool]) -> list[_Record]:
    """List what an archive holds, after the records that ``verify`` selects were compared."""
    if not path.stat().st_size:
        raise zipfile.BadZipFile("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        records = _list_records(path, content)
        for record in filter(verify, records) if _have_checksums(records) else ():
            with memoryview(content) as view, view[record.start : record.start + record.size] as part:
                crc = zlib.crc32(part)
            if crc != record.crc:
                raise _build_error(path, record.name.partition("/")[2])
    return records


def _have_checksums(records: list[_Record]) -> bool:
    return any(record.crc for record in records)  # torch.serialization.set_crc32_options(False) writes zeros


def _build_error(path: Path, name: str) -> DamagedFileError:
    return DamagedFileError(
        f"{path} is damaged, the checksum of its {name} differs: copy or download it again (of a run, resume=auto "
        "takes an older sound checkpoint)"
    )


def _collect_memory(data: Any) -> dict[int, tuple[str, UntypedStorage]]:
    """Collect the storages of nested tensors with the name of a tensor, by their address."""
    found: dict[int, tuple[str, UntypedStorage]] = {}
    seen = set()
    waiting = [("", data)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, torch.Tensor):
            if value.layout == torch.strided and value.device.type == "cpu" and value.untyped_storage().nbytes():
                found[value.untyped_storage().data_ptr()] = (name, value.untyped_storage())
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(f"{name}.{key}" if name else str(key), item) for key, item in items]
    return found


@contextmanager
def _run_in_threads(jobs: list[Callable[[], None]]) -> Iterator[None]:
    """Run jobs in threads while the block runs; the first error of a job takes the place of an error of the block."""
    if not jobs:
        yield
        return
    pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1, len(jobs)), thread_name_prefix="checksums")
    futures: list[Future[None]] = [pool.submit(job) for job in jobs]
    try:
        yield
    finally:
        pool.shutdown()
        for error in filter(None, (future.exception() for future in futures)):
            raise error from None
