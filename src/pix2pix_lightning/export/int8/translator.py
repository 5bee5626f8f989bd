"""Translate with a quantized generator that is built from a checkpoint and not kept."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.checkpoints.choice import resolve_weights
from pix2pix_lightning.checkpoints.files import find_checkpoint, infer_checkpoint_kind
from pix2pix_lightning.evaluation import find_run
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.int8.calibration import read_images
from pix2pix_lightning.export.int8.onnx_file import MIN_PSNR, write_int8
from pix2pix_lightning.inference import Translator
from pix2pix_lightning.inference.from_config import build_translator, read_pair_spec
from pix2pix_lightning.inference.loading import open_module
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import parse_trust
from pix2pix_lightning.utils.text import print_escaped


def build_int8_translator(cfg: DictConfig, **overrides: Any) -> Translator:
    """Quantize the generator of a checkpoint, print what that loses, and build a translator of it.

    Args:
        cfg: Configuration of ``predict``; its ``calibrate`` is a folder of images, by default the run's training pairs.
        **overrides: Further keywords of ``Translator``.

    Returns:
        The translator, which computes on the CPU, in ``cfg.engine``.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        UserError: The device is a GPU, the checkpoint is a graph already, there is noise, or there are no images for
            calibration.
    """
    _check_options(cfg)
    report = overrides.get("report", print_escaped)
    checkpoint = find_checkpoint(Path(str(cfg.checkpoint)))
    if infer_checkpoint_kind(checkpoint) == "exported":
        raise UserError(
            f"precision=int8 with checkpoint={checkpoint}, an exported graph, whose precision is fixed: leave "
            "precision out, or give the checkpoint that it was exported from"
        )
    weights, trust = resolve_weights(checkpoint, str(cfg.weights)), parse_trust(cfg.trust)
    module = open_module(checkpoint, weights=weights, trust=trust, pair=read_pair_spec(cfg), report=report)
    folder = None if cfg.calibrate is None else Path(str(cfg.calibrate))
    run = find_run(checkpoint)
    images = read_images(module.pair_spec, checkpoint=checkpoint, run=run, folder=folder, trust=trust)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{checkpoint.stem}.onnx"
        graph = Graph(module, cfg.norm or "image")
        report(str(write_int8(graph, path, images, made_by={}, min_psnr=MIN_PSNR, engine=cfg.engine)))
        of_path = cast(DictConfig, OmegaConf.merge(cfg, {"checkpoint": str(path)}))
        of_file = {"weights": "auto", "norm": None, "pair": None, "trust": (), "device": "cpu", "precision": "32"}
        translator = build_translator(of_path, **{**overrides, **of_file})
    translator.checkpoint, translator.weights = checkpoint, weights
    return translator


def _check_options(cfg: DictConfig) -> None:
    """Check that nothing is asked for that integers on a CPU do not do."""
    has_gpu = cfg.device == "auto" and torch.cuda.is_available()
    if has_gpu or cfg.device not in ("auto", "cpu"):
        raise UserError(
            f"precision=int8 with device={cfg.device}: it is for CPUs, and precision=bf16 for GPUs: set device=cpu, or "
            "another precision"
        )
    for key, value in (("mode", cfg.mode), ("dropout", cfg.dropout)):
        if value not in (None, "deterministic", "off", False):
            raise UserError(
                f"precision=int8 with {key}={value}: a quantized graph has no noise: leave {key} out, or precision"
            )
