"""Build objects from plain descriptions, ``{"_target_": "package.Class", "argument": value}``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pix2pix_lightning.utils.errors import UserError

TARGET = "_target_"
TRUSTED = ("pix2pix_lightning", "torch.nn", "torch.optim")
_MAX_DEPTH, _MAX_VALUES = 32, 10_000
_MAX_NUMBER = 2**16  # in a description of torch.nn; classes of this package have limits of their own


def build(description: Mapping[str, Any], *args: Any) -> Any:
    """Build an object, and the objects described in it, from a description.

    Args:
        description: The class as ``_target_``, and its keyword arguments.
        *args: Positional arguments before them.

    Returns:
        The object.

    Raises:
        UserError: A class cannot be found, does not take its arguments, or the description is of absurd size.
    """
    check_size(description)
    return _build(description, *args)


def _build(description: Mapping[str, Any], *args: Any) -> Any:
    target = description[TARGET]
    cls = locate(target)
    kwargs = {key: _build_nested(value) for key, value in description.items() if key != TARGET}
    try:
        inspect.signature(cls).bind(*args, **kwargs)
    except TypeError as error:
        raise UserError(f"{target}: {error}; it takes {', '.join(_list_parameters(cls))}") from None
    return cls(*args, **kwargs)


def check_size(descriptions: Any, *, origin: str = "the description") -> None:
    """Refuse descriptions of absurd size before anything is built: too deep, too many, or with layers too wide.

    Args:
        descriptions: Plain data, nested to any depth; it may contain itself.
        origin: Where the descriptions come from, for the message.

    Raises:
        UserError: They are nested deeper than 32, have more than 10,000 values, or a number above 65,536 in a
            description of ``torch.nn``.
    """
    waiting = [(descriptions, 0, False)]  # no recursion, which would end in an error of Python's own
    seen = 0
    while waiting:
        value, depth, is_layer = waiting.pop()
        if depth > _MAX_DEPTH:
            raise UserError(f"{origin} has descriptions nested deeper than {_MAX_DEPTH} levels, which none needs")
        if isinstance(value, Mapping):
            is_layer = _is_inside(str(value.get(TARGET, "")), ("torch.nn",))
            value = value.values()
        elif not isinstance(value, list | tuple | set | frozenset):
            if is_layer and isinstance(value, int) and abs(value) > _MAX_NUMBER:
                raise UserError(f"{origin} has the number {value} for a layer of torch: at most {_MAX_NUMBER} is built")
            continue
        seen += len(value)
        if seen > _MAX_VALUES:
            raise UserError(f"{origin} has descriptions of more than {_MAX_VALUES} values, which none needs")
        waiting += [(item, depth + 1, is_layer) for item in value]


def check_trusted(
    descriptions: Any,
    trust: Sequence[str] = (),
    *,
    kinds: tuple[type, ...] | None = None,
    packages: Sequence[str] = TRUSTED,
    origin: str = "the checkpoint",
) -> None:
    """Refuse descriptions, nested ones too, that would call anything but a class of a trusted package.

    A target is accepted when it is a class of an importable module, is a subclass of one of ``kinds``, and both the
    module that is named and the one that defines the class lie in a trusted package. A prefix alone is no boundary:
    names such as ``torch.optim.optimizer.torch.load`` resolve too. Nothing else is imported or called.

    Args:
        descriptions: Plain data, nested to any depth.
        trust: Packages that are trusted besides ``packages``.
        kinds: Accepted base classes. Default ``nn.Module``, ``Optimizer`` and ``LRScheduler``.
        packages: Packages that are trusted. Default this one, ``torch.nn`` and ``torch.optim``.
        origin: Where the descriptions come from, for the message.

    Raises:
        UserError: A target is not accepted, or the descriptions are of absurd size.
    """
    import torch

    check_size(descriptions, origin=origin)

    kinds = kinds or (torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    packages = (*packages, *([trust] if isinstance(trust, str) else trust))
    for target in _find_targets(descriptions):
        module = target.rpartition(".")[0] if isinstance(target, str) else ""
        if not _is_inside(module, packages):
            raise UserError(
                f"{origin} names {target!r}, which lies outside {', '.join(packages)}: if you know and trust "
                f"it, set trust=[{module.partition('.')[0] or '<package>'}]"
            )
        cls = locate(target)
        if not (isinstance(cls, type) and issubclass(cls, kinds) and _is_inside(cls.__module__, packages)):
            raise UserError(
                f"{origin} names {target!r}, which is no class of {', '.join(packages)} that is expected here"
            )


def list_untrusted_packages(descriptions: Any, packages: Sequence[str] = TRUSTED) -> list[str]:
    """List the packages that descriptions, nested ones too, name besides trusted ones. Nothing is imported.

    Args:
        descriptions: Plain data, nested to any depth.
        packages: Packages that are trusted.

    Returns:
        Names of top-level packages, each once. A target that names no package is left to `check_trusted`.
    """
    names = [target.rpartition(".")[0] for target in _find_targets(descriptions) if isinstance(target, str)]
    foreign = [name.partition(".")[0] for name in names if not _is_inside(name, packages)]
    return list(dict.fromkeys(name for name in foreign if name.isidentifier()))


def parse_trust(trust: Any) -> tuple[str, ...]:
    """Parse the value of ``trust`` into names of packages: one name, a list of names, or None.

    Args:
        trust: The value, as the configuration has it.

    Returns:
        The names; an empty tuple for None.

    Raises:
        UserError: It is of another type.
    """
    is_list = isinstance(trust, Sequence) and not isinstance(trust, str | bytes)
    names = [trust] if isinstance(trust, str) else list(trust) if is_list else trust or []
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UserError(f"trust={trust}: a list of packages is expected, trust=[my_project]")
    return tuple(names)


def is_description(value: Any) -> bool:
    """Return whether a value is a mapping with a ``_target_``."""
    return isinstance(value, Mapping) and TARGET in value


def locate(target: str) -> Any:
    """Return the class of a name: an importable module and a name in it, never an attribute of an attribute.

    Raises:
        UserError: There is none.
    """
    module_name, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # TypeError: a relative name
        raise UserError(
            f"_target_={target!r} cannot be found ({error}): <importable module>.<Class> is expected"
        ) from None


def get_argument(description: Mapping[str, Any], key: str) -> Any:
    """Return what a description sets, or the default of its class; None for a further keyword of one that takes any.

    Args:
        description: The class as ``_target_``, and its keyword arguments.
        key: Name of an argument.

    Raises:
        UserError: The class cannot be found, or has no such argument.
    """
    if key in description:
        return description[key]
    parameters = inspect.signature(locate(description[TARGET])).parameters
    if key not in parameters and any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return None
    if key not in parameters:
        raise UserError(f"{description[TARGET]} has no {key}")
    parameter = parameters[key]
    return list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default


def _build_nested(value: Any) -> Any:
    if is_description(value):
        return _build(value)
    if isinstance(value, Mapping):
        return {key: _build_nested(item) for key, item in value.items()}
    return [_build_nested(item) for item in value] if isinstance(value, list | tuple) else value


def _find_targets(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        if TARGET in value:
            yield value[TARGET]
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for item in value:
        yield from _find_targets(item)


def _is_inside(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _list_parameters(cls: Any) -> list[str]:
    return [name for name in inspect.signature(cls).parameters if name not in ("self", "args", "kwargs")]
