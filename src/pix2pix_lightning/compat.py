"""Every use of a private interface of Lightning, Hydra and torch, each with its reason and a check.

When a new version of one of these libraries breaks something, this is the file to look at: each function says which
private name it uses, why no public one serves, and raises a clear error when the name is gone
(`tests/test_compat.py` calls each of them).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def isolate_hydra() -> Iterator[None]:
    """Let a block compose a configuration, although the process may be inside a Hydra job already.

    Hydra keeps one global instance and refuses to be initialized twice (`GlobalHydra`, hydra-core 1.3). The public
    `hydra.initialize_config_dir` clears that instance for good, so a job that composes another configuration would
    lose its own. The instance is put back at the end.
    """
    from hydra.core.global_hydra import GlobalHydra

    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = before


def parse_overrides(words: Sequence[str]) -> list[Any]:
    """Parse words of a command line by Hydra's grammar.

    Hydra documents the grammar but exports no parser (`hydra.core.override_parser`, hydra-core 1.3). Without it every
    use would split words by hand and fail on quotes and brackets.

    Args:
        words: Overrides such as ``data.size=128`` or ``loss=l1,l2``.

    Returns:
        Hydra's `Override` objects, in the same order.

    Raises:
        hydra.errors.HydraException: A word does not follow the grammar.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return list(OverridesParser.create().parse_overrides(list(words)))


def cpu_has_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16, so that it is faster than float32.

    torch reports the vector units by private functions alone (`torch.cpu._is_...`, torch 2.6 to 2.13);
    `torch.backends.cpu.get_cpu_capability` does not tell AMX and AVX512-BF16 apart.
    """
    import torch

    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
