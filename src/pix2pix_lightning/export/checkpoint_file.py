"""Write the generator of a module and its settings as a checkpoint, which every command reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pix2pix_lightning.checkpoints.files import PROJECT_KEY, read_checkpoint, write_checkpoint
from pix2pix_lightning.checkpoints.restore import restore_module
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.onnx_file import TOLERANCE_HALF
from pix2pix_lightning.export.output_check import TOLERANCE, check_outputs, choose_sizes
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.checks import check_absent
from pix2pix_lightning.utils.errors import UserError


def write_generator_checkpoint(
    module: Pix2PixModule,
    path: Path,
    *,
    half: bool = False,
    made_by: Mapping[str, Any],
    data: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> float:
    """Write a checkpoint of the generator, without discriminator and optimizers, and compare it with the module.

    Args:
        module: The module; its generator must be described, not an object.
        path: The file; its folder is created.
        half: Whether the weights are stored in half precision. They are used in float32.
        made_by: Origin of the model, plain data.
        data: Description of the data that it was trained on, plain data; None leaves it out.
        overwrite: Whether an existing file is replaced.

    Returns:
        The greatest difference of outputs in [-1, 1].

    Raises:
        UserError: The generator is an object, or outputs of the file differ from those of the module.
        FileExistsError: The file exists and ``overwrite`` is false.
        OSError: The file cannot be written.
    """
    check_absent(path, overwrite=overwrite)
    if "generator" in module.live_parts:
        raise UserError("the generator is an object of a training script: describe it, as {_target_: package.Class}")
    alone = Pix2PixModule(module.parts["generator"], None, pair_spec=module.pair_spec)
    alone.generator.load_state_dict(module.generator.state_dict())
    alone.batches_seen = module.batches_seen
    state = {key: _to_half(value) if half else value for key, value in alone.state_dict().items()}
    saved: dict[str, Any] = {"state_dict": state, "hyper_parameters": dict(alone.hparams)}
    alone.on_save_checkpoint(saved)
    saved[PROJECT_KEY] |= {"made_by": dict(made_by), "data": dict(data) if data else None}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch:
        write_checkpoint(saved, scratch)
        written = restore_module(Pix2PixModule, read_checkpoint(scratch), origin=path, live={})
        sizes = choose_sizes(graph := Graph(module), graph.min_side)
        tolerance = TOLERANCE_HALF if half else TOLERANCE
        with Graph(written).use_eval_module() as network:
            return check_outputs(graph, network, sizes, tolerance)


def _to_half(value: torch.Tensor) -> torch.Tensor:
    return value.half() if value.is_floating_point() else value
