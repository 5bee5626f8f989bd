"""By which metric of the validation ``best.ckpt`` is chosen: ``saving.monitor``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.metrics.registry import derive_name, metric_info
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, is_description, locate

AUTO = "auto"
_VAL = "val/"
_JUDGE, _JUDGED = "judge", ("perceptual", "kid")
"""The callback that judges outputs every few epochs, and the metrics that it logs where it does not name them."""
_OWN_MODULE = "pix2pix_lightning.Pix2PixModule"
_MODES = {"lower": "min", "higher": "max"}


def resolve_monitor(cfg: DictConfig) -> None:
    """Fill in what ``saving.monitor=auto`` stands for, and whether a lower or a higher value is better, in place.

    ``auto`` is ``val/perceptual`` where the run has the callback ``judge``, else ``val/accuracy`` where that is among
    the metrics, else ``val/l1``. ``callbacks.best`` takes the metric over, unless it names one itself.

    Args:
        cfg: Configuration of a training.

    Raises:
        UserError: The metric is not logged, has no better direction, or contradicts ``callbacks.best``.
    """
    saving, best = cfg.get("saving"), OmegaConf.select(cfg, "callbacks.best")
    given = saving.get("monitor") if OmegaConf.is_dict(saving) else None
    if best is None and given not in (None, AUTO) and cfg.get("resume") is None:
        raise UserError(f"saving.monitor={given} has no effect with callbacks.best=null: leave one of them out")
    if not OmegaConf.is_dict(best) or not isinstance(monitor := best.get("monitor"), str):
        return
    key = "callbacks.best.monitor" if given in (None, AUTO) and monitor != AUTO else "saving.monitor"
    if given not in (None, AUTO, monitor):
        raise UserError(f"saving.monitor={given} with callbacks.best.monitor={monitor}: leave the second one out")
    metrics = _list_metrics(cfg)
    if monitor == AUTO:
        chosen = next((name for name in ("perceptual", "accuracy") if name in metrics), "l1")
        monitor = f"{_VAL}{chosen}"
    is_own = OmegaConf.select(cfg, f"module.{TARGET}") == _OWN_MODULE  # another may log what it likes
    if is_own and monitor.startswith(_VAL) and monitor.removeprefix(_VAL) not in metrics:
        raise UserError(
            f"{key}={monitor} is no metric of the validation, which has {', '.join(_VAL + name for name in metrics)}: "
            f"set {key}= to one of them, or add it to module.metrics"
        )
    if is_own and monitor in metrics:
        raise UserError(f"{key}={monitor} is logged as {_VAL}{monitor}: set {key}={_VAL}{monitor}")
    if "mode" in best:
        best.mode = _choose_mode(key, monitor, metrics.get(monitor.removeprefix(_VAL)), best.mode)
    best.monitor = monitor
    if OmegaConf.is_dict(saving):
        saving.monitor = monitor


def _list_metrics(cfg: DictConfig) -> dict[str, Any]:
    """Return the names under which a training logs metrics, without ``val/``, with the metric or its description."""
    spec = OmegaConf.select(cfg, "module.metrics")
    spec = OmegaConf.to_container(spec, resolve=True) if OmegaConf.is_config(spec) else spec
    metrics: dict[str, Any] = {}
    if isinstance(spec, Mapping) and not is_description(spec):
        metrics |= {str(name): each for name, each in spec.items() if each is not None}
    else:
        each_spec = [spec] if isinstance(spec, str | Mapping) else spec or []
        metrics |= {each if isinstance(each, str) else derive_name(each): each for each in each_spec}
    if OmegaConf.is_dict(judge := OmegaConf.select(cfg, f"callbacks.{_JUDGE}")):
        judged = judge.get("metrics") or _JUDGED
        metrics |= {str(name): str(name) for name in ([judged] if isinstance(judged, str) else judged)}
    return metrics


def _choose_mode(key: str, monitor: str, spec: Any, given: Any) -> str:
    """Return ``min`` or ``max``, as the metric has it; what is given counts where that is unknown."""
    if is_description(spec):
        is_higher = getattr(locate(spec[TARGET]), "higher_is_better", None)
        direction = {"True": "higher", "False": "lower"}.get(str(is_higher), "unknown")
    else:
        direction = metric_info(spec if isinstance(spec, str) else monitor.removeprefix(_VAL)).direction
    if direction == "target":
        raise UserError(f"{key}={monitor}: neither a lower nor a higher value of it is better: choose another metric")
    mode = _MODES.get(direction)
    if mode is None and given == AUTO:
        raise UserError(
            f"{key}={monitor}: it is unknown whether a lower or a higher value is better: set callbacks.best.mode=min "
            "or max"
        )
    if mode is not None and given in _MODES.values() and given != mode:
        raise UserError(f"callbacks.best.mode={given}, but of {monitor} a {direction} value is better: leave it out")
    return mode if mode is not None and given == AUTO else str(given)
