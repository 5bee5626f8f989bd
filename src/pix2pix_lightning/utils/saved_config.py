"""Read the ``config.yaml`` of a run. The run may be from elsewhere: its files are data, of limited size."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pix2pix_lightning.utils.saved_files import build_damaged_error, read_text

if TYPE_CHECKING:
    from omegaconf import DictConfig

_MAX_BYTES = 2**20
_MAX_DEPTH = 40
_MAX_VALUES = 100_000  # with those of aliases, each of which may repeat many
_REFERENCE = re.compile(r"(\\?)\$\{(?:([A-Za-z_][\w.]*)\})?")


def load_saved_config(path: Path) -> DictConfig:
    """Load the ``config.yaml`` of a run.

    A value may refer to another by its key, ``${run_dir}/checkpoints``. Nothing else is resolved: no environment
    variable, no other resolver of OmegaConf, and no chain of references.

    Args:
        path: The file.

    Returns:
        The configuration, with the values that ``OmegaConf.load`` gives.

    Raises:
        UserError: The file is damaged, too large, or refers to more than keys.
        OSError: It cannot be read.
    """
    cfg = _load(path)
    _check_references(cfg, path)
    return cfg


def read_saved_values(path: Path) -> dict[str, Any]:
    """Read a YAML file of a run as plain data: references stay as the file has them.

    Args:
        path: The file, such as a ``config.yaml`` or Hydra's ``multirun.yaml``.

    Returns:
        The values by key.

    Raises:
        UserError: The file is damaged or too large.
        OSError: It cannot be read.
    """
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(_load(path), resolve=False)
    return cast(dict[str, Any], plain)


def read_saved_settings(path: Path) -> dict[str, Any]:
    """Read the ``config.yaml`` of a run, to be shown, in a twentieth of the time that `read_saved_values` takes.

    Args:
        path: The file.

    Returns:
        The values by key; numbers such as ``1e-4`` may be texts, since YAML 1.1 has another grammar for them.

    Raises:
        UserError: The file is damaged or too large.
        OSError: It cannot be read.
    """  # noqa: DOC501  build_damaged_error returns a UserError
    import yaml  # type: ignore[import-untyped]

    text = read_text(path, _MAX_BYTES)
    try:
        _check_size(text)
        content = yaml.load(text, Loader=_find_loader())
    except (yaml.YAMLError, ValueError, TypeError, LookupError) as error:
        raise build_damaged_error(path, str(error)) from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise build_damaged_error(path, "it does not hold keys")
    return content


def _load(path: Path) -> DictConfig:
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    text = read_text(path, _MAX_BYTES)
    try:
        content = pickle.loads(_parse(text))
    except (YAMLError, OmegaConfBaseException, ValueError, TypeError, LookupError, AttributeError, OSError) as error:
        raise build_damaged_error(path, str(error)) from None
    if not isinstance(content, DictConfig) or not all(isinstance(key, str) for key in content):
        raise build_damaged_error(path, "it does not hold keys")
    if not content:
        raise build_damaged_error(path, "it is empty")
    return content


@lru_cache(maxsize=4)
def _parse(text: str) -> bytes:
    """Return the content as OmegaConf reads it, pickled: who resumes a run reads its file several times."""
    from omegaconf import OmegaConf

    _check_size(text)
    return pickle.dumps(OmegaConf.load(StringIO(text)))


def _find_loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # where libyaml is


def _check_size(text: str) -> None:
    """Check depth and number of the values of a YAML text, counting what aliases repeat, before it is built."""
    import yaml

    anchors: dict[str, tuple[int, int] | None] = {}  # number of values and depth; None while a node is open
    stack: list[tuple[str | None, list[int]]] = [(None, [0, 0])]
    for event in yaml.parse(text, Loader=_find_loader()):
        name = getattr(event, "anchor", None)
        count, depth = 1, 0
        if isinstance(event, yaml.CollectionStartEvent):
            stack.append((name, [1, 0]))
            if name is not None:
                anchors[name] = None
            if len(stack) > _MAX_DEPTH:
                raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            name, (count, depth) = stack.pop()
            depth += 1
        elif isinstance(event, yaml.AliasEvent):
            known = anchors.get(name) if name is not None else None
            if known is None:
                raise ValueError(f"the alias {name} contains itself, or names nothing")
            count, depth = known
            name = None
        elif not isinstance(event, yaml.ScalarEvent):
            continue
        if name is not None:
            anchors[name] = (count, depth)
        totals = stack[-1][1]
        totals[:] = totals[0] + count, max(totals[1], depth)
        if totals[0] > _MAX_VALUES:
            raise ValueError(f"it holds more than {_MAX_VALUES} values")
        if len(stack) - 1 + depth > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")


def _check_references(cfg: DictConfig, path: Path) -> None:
    """Check that values refer to single values by their keys, and that what is put in has a limited length."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(cfg, resolve=False)
    length = 0
    for key, text in _list_texts(plain):
        for backslash, name in _REFERENCE.findall(text):
            if backslash or not name:  # an escaped one would be resolved when the run's configuration is saved again
                raise build_damaged_error(path, f"{key}={text} refers to more than a key, which is not resolved")
            value = _select(plain, name)
            if isinstance(value, Mapping | list) or value is _NOTHING or "${" in str(value):
                raise build_damaged_error(path, f"{key}={text} refers to {name}, which is no single value in it")
            length += len(str(value))
    if length > _MAX_BYTES:
        raise build_damaged_error(path, f"its references make more than {_MAX_BYTES} bytes")


_NOTHING = object()


def _select(node: Any, name: str) -> Any:
    for part in name.split("."):
        node = node.get(part, _NOTHING) if isinstance(node, Mapping) else _NOTHING
    return node


def _list_texts(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield key and text of each text that may be a reference."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        if isinstance(value, str) and "${" in value:
            yield f"{prefix}{key}", value
        else:
            yield from _list_texts(value, f"{prefix}{key}.")
