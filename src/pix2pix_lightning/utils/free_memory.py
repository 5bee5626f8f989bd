"""How much memory is free, and how much this process has."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from pix2pix_lightning.utils.errors import UserError

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_UNKNOWN = 4 * 2**30  # free memory where the system does not tell it
_GROUP = Path("/sys/fs/cgroup")  # of a container, on Linux


def parse_bytes(name: str, value: object) -> int:
    """Parse an amount of memory.

    Args:
        name: Name of the key, for the error.
        value: A number with a unit: ``3GB``, ``512 MB``, ``1.5GiB``.

    Returns:
        Bytes.

    Raises:
        UserError: It is anything else, or nothing.

    Example:
        >>> parse_bytes("memory", "1.5GB")
        1500000000
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]i?B)", str(value), re.IGNORECASE)
    if found is None or not float(found[1]):
        raise UserError(f"{name}={value!r}: an amount such as 3GB or 512MB is expected")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def format_bytes(count: float, space: str = " ") -> str:
    """Format an amount of memory, rounded up, as `parse_bytes` takes it.

    Args:
        count: Bytes.
        space: What lies between number and unit.

    Returns:
        The amount in MB or GB.

    Example:
        >>> format_bytes(2_345_600_000)
        '2.4 GB'
    """
    if count < 10**9:
        return f"{math.ceil(count / 10**6)}{space}MB"
    return f"{math.ceil(count / 10**8) / 10:.1f}{space}GB"


def get_free_memory() -> int:
    """Return how many bytes of memory this process may still take without the system becoming slow.

    On Linux that includes what the system can free at once, and respects the limit of a container.
    """
    amounts = [_read_kilobytes(Path("/proc/meminfo"), "MemAvailable")]
    try:
        limit, used = ((_GROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        amounts.append(int(limit) - int(used))
    except (OSError, ValueError):  # no container, or no limit, which is called max
        pass
    if amounts[0] is None:
        try:
            amounts[0] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        except (AttributeError, ValueError, OSError):
            amounts[0] = _UNKNOWN
    return max(0, min(amount for amount in amounts if amount is not None))


def get_used_memory() -> int:
    """Return how many bytes of memory this process has now; 0 where the system does not tell it."""
    return _read_kilobytes(Path("/proc/self/status"), "VmRSS") or 0


def _read_kilobytes(path: Path, key: str) -> int | None:
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB$", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) * 1024
