"""Let the C library keep the memory that the process frees."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h
_memory_is_kept = False


def keep_memory(on: bool = True) -> bool:
    """Let the process keep the memory that it frees, instead of asking the system for it in every step.

    The C library gives large blocks back at once. The next request gets zeroed pages, with a page fault for every
    4 KiB, which is a third of a training step on a CPU. The setting is the whole process's, and exists in glibc alone.
    What is kept gets huge pages, if the system has them: the processor finds 2 MiB at a time.

    Args:
        on: False restores what glibc does by itself in a process with large blocks, and gives free memory back.

    Returns:
        Whether that can be set here.
    """
    global _memory_is_kept
    if platform.libc_ver()[0] != "glibc":
        return False
    if not on and not _memory_is_kept:
        return True
    _memory_is_kept = on
    libc = ctypes.CDLL(None)
    if on:
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
        _use_huge_pages(libc)
    else:
        libc.mallopt(_M_MMAP_MAX, 65536)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 64 << 20)
        libc.malloc_trim(0)
    return True


@contextmanager
def use_kept_memory() -> Iterator[None]:
    """Keep the memory that is freed until the context ends, by `keep_memory`."""
    was_kept = _memory_is_kept
    keep_memory()
    try:
        yield
    finally:
        keep_memory(was_kept)


def _use_huge_pages(libc: ctypes.CDLL) -> None:
    """Let the heap grow by as many addresses as the machine has memory, and ask for huge pages there.

    Addresses take no memory until they are used. Where they are limited, nothing is done.
    """
    import resource  # which Windows lacks

    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return
    libc.malloc.restype = ctypes.c_void_p
    size = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE // 2
    block = libc.malloc(ctypes.c_size_t(size))
    if block:
        start = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
        length = ctypes.c_size_t((block + size - start) // mmap.PAGESIZE * mmap.PAGESIZE)
        libc.madvise(ctypes.c_void_p(start), length, mmap.MADV_HUGEPAGE)
        libc.free(ctypes.c_void_p(block))
