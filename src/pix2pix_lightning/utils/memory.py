"""Recognize errors of memory that ran out and of loader processes that ended, by type and message."""

from __future__ import annotations

import errno
import re

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|failed to allocate|insufficient memory|bad_?alloc"
    r"|unable to allocate|not enough memory|(CUBLAS|CUDNN|CUSOLVER|CUFFT|CUSPARSE)_\w*ALLOC_FAILED",
    re.IGNORECASE,
)
"""Of torch for the CPU and GPUs, cuBLAS and cuDNN, OpenCV, NumPy, the C++ library and onnxruntime."""
_LOADER_ENDED = re.compile(
    r"DataLoader worker \(pid.*\) (exited unexpectedly|is killed by signal)|received \d+ items of ancdata"
    r"|shared memory|</?torch_\d+",
    re.IGNORECASE,
)
"""Of torch for a loader process that ended, or that finds no room in ``/dev/shm``, where it puts the batches."""
_LIBRARIES = ("cv2", "onnxruntime", "torch")
"""Packages that have errors of their own for memory that ran out."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory of the machine or of a GPU ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError):
        return True
    # ValueError and its kind are of people and parsers, which write of memory too
    is_of_a_library = isinstance(error, RuntimeError) or type(error).__module__.partition(".")[0] in _LIBRARIES
    return is_of_a_library and not is_loader_ended(error) and _OUT_OF_MEMORY.search(str(error)) is not None


def is_loader_ended(error: BaseException) -> bool:
    """Return whether an error says that a process that loads data has ended, or cannot hand over its batches."""
    return isinstance(error, RuntimeError) and _LOADER_ENDED.search(str(error)) is not None
