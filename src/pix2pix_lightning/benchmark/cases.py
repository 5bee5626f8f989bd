"""What is measured: each case is this project's way beside the plain one, in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.utils.data import DataLoader, default_collate

from pix2pix_lightning.benchmark.bare_step import BareStep
from pix2pix_lightning.benchmark.memory import memory_by_part
from pix2pix_lightning.benchmark.plain_files import PillowPairs, plain_translate, plain_translate_array
from pix2pix_lightning.benchmark.plain_loop import PlainLoop, count_flop
from pix2pix_lightning.benchmark.plain_networks import plain_networks
from pix2pix_lightning.benchmark.training import run_training
from pix2pix_lightning.benchmark.turns import Contender, ended, take_turns
from pix2pix_lightning.data import PairedDataModule
from pix2pix_lightning.data.image_files import write_image
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.onnx_file import write_onnx
from pix2pix_lightning.export.torch_program import write_program
from pix2pix_lightning.inference import Translator
from pix2pix_lightning.inference.translate_files import translate_files
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.training.build import Training, build_training

_FILES = 24  # of a prediction's folder


@dataclass(frozen=True)
class Setting:
    """What all cases share.

    Attributes:
        cfg: Of a training, with files for data and nothing left to ``auto``, and the benchmark's own keys.
        device: Where networks run.
        folder: For what is written.
    """

    cfg: DictConfig
    device: torch.device
    folder: Path

    def with_keys(self, **keys: Any) -> DictConfig:
        """The configuration with other values, ``data__batch_size=4``."""
        cfg = self.cfg.copy()
        for key, value in keys.items():
            OmegaConf.update(cfg, key.replace("__", "."), value, force_add=True)
        return cfg

    def contender(self, images: int, *, ours: bool, device: torch.device | None = None) -> Contender:
        """One that works as this project does, or as the reference does."""
        keeps_memory = bool(self.cfg.speed.keep_memory) and (ours or self.cfg.allocator == "same")
        return Contender(images, device or self.device, keeps_memory, self.cfg.turn)

    def pillow_pairs(self, data: PairedDataModule) -> PillowPairs:
        """The reference's data set over the same files."""
        spec = data.pair_spec
        files: Any = cast(Any, data.open_split("train")).files
        return PillowPairs(files, size=spec.size, load_size=spec.load_size, direction=spec.direction)

    def plain_loop(self, described: Mapping[str, Any]) -> PlainLoop:
        """The reference's step with networks like those of a module's hyperparameters."""
        return PlainLoop(*plain_networks(described["generator"], described["discriminator"]), self.device)


def measure_step(setting: Setting, batch_size: int) -> dict[str, Any]:
    """The step on a batch in memory.

    Returns:
        ``ours`` and ``reference`` (``Contender.figures``), ``flop`` of a step, and ``memory``: ``memory_by_part`` of
        both.
    """
    cfg = setting.with_keys(data__batch_size=batch_size)
    data, described = _pairs_and_networks(cfg)
    steps: dict[str, BareStep | PlainLoop] = {}
    batches: dict[str, Any] = {}

    def ours() -> Callable[[], object]:
        steps["ours"] = step = _bare_step(cfg, setting.device)
        batches["ours"] = step.batch(_batch(data.train_dataloader().dataset, batch_size))
        return lambda: step(*batches["ours"])

    def reference() -> Callable[[], object]:
        steps["reference"] = step = setting.plain_loop(described)
        pair = _batch(setting.pillow_pairs(data), batch_size)
        batches["reference"] = [side.to(setting.device) for side in pair]
        return lambda: step(*batches["reference"])

    contenders = {name: setting.contender(batch_size, ours=name == "ours") for name in ("reference", "ours")}
    contenders["reference"].make(reference)
    contenders["ours"].make(ours)
    take_turns(list(contenders.values()), setting.cfg.rounds)
    figures = {name: contender.figures() for name, contender in contenders.items()}
    eager = {"reference": steps["reference"], "ours": cast(BareStep, steps["ours"]).as_it_is()}
    memory = {name: memory_by_part(step, *batches[name]) for name, step in eager.items()}
    return {**figures, "memory": memory, "flop": _flop(described, data, batch_size)}


def measure_training(setting: Setting, batch_size: int) -> dict[str, Any]:
    """The whole of training beside the plain loop with a loader of its own, and beside the bare step.

    Returns:
        ``ours``, ``reference`` and ``bare_step`` (``Contender.figures``), ``flop`` of a step, and ``overhead``: by
        which part a batch takes longer than the bare step.
    """
    run = setting.folder / f"run_{batch_size}"
    run.mkdir(exist_ok=True)
    cfg = setting.with_keys(data__batch_size=batch_size, run_dir=str(run))
    data, described = _pairs_and_networks(cfg)

    def bare_step() -> Callable[[], object]:
        step = _bare_step(cfg, setting.device)
        batch = step.batch(_batch(data.train_dataloader().dataset, batch_size))
        return lambda: step(*batch)

    def reference() -> Callable[[], object]:
        loop = setting.plain_loop(described)
        batches = _without_end(_plain_loader(setting.pillow_pairs(data), batch_size, data.num_workers))
        return lambda: loop(*(side.to(setting.device) for side in next(batches)))

    contenders = {name: setting.contender(batch_size, ours=name != "reference") for name in ("reference", "bare_step")}
    training = setting.contender(batch_size, ours=True)
    with ended([*contenders.values(), training]):
        contenders["reference"].make(reference)
        contenders["bare_step"].make(bare_step)
        run_training(cfg, training, list(contenders.values()), setting.cfg.rounds)
    figures = {name: contender.figures() for name, contender in {**contenders, "ours": training}.items()}
    speed = {name: figure["images_per_second"] for name, figure in figures.items()}
    flop = _flop(described, data, batch_size)
    return {**figures, "overhead": speed["bare_step"] / speed["ours"] - 1, "flop": flop}


def measure_data(setting: Setting, batch_size: int, *, cache: bool) -> dict[str, Any]:
    """From files to float batches in this process, with and without the cache of decoded pairs."""
    cpu = torch.device("cpu")
    folder = str(setting.folder / "cache") if cache else None
    data = instantiate(
        setting.with_keys(data__batch_size=batch_size, data__num_workers=0, data__cache=folder).data, _convert_="all"
    )
    data.setup("fit")
    spec = data.pair_spec

    def ours() -> Callable[[], object]:
        batches = _without_end(data.train_dataloader())

        def work() -> None:
            batch = next(batches)
            for side in ("source", "target"):
                spec.encode(batch[side], side)

        return work

    def reference() -> Callable[[], object]:
        batches = _without_end(_plain_loader(setting.pillow_pairs(data), batch_size, 0))
        return lambda: next(batches)

    contenders = {
        name: setting.contender(batch_size, ours=name == "ours", device=cpu) for name in ("reference", "ours")
    }
    contenders["reference"].make(reference)
    contenders["ours"].make(ours)
    take_turns(list(contenders.values()), setting.cfg.rounds)
    return {name: contender.figures() for name, contender in contenders.items()}


def measure_prediction(setting: Setting, precision: str) -> dict[str, Any]:
    """A folder of images through the generator, and back to files, in a precision of ``predict``.

    Returns:
        ``ours`` and ``reference`` (``Contender.figures``), and ``precision``.
    """
    cfg = setting.cfg
    parts = build_training(cfg.copy())
    data, module = cast(PairedDataModule, parts.data), cast(Pix2PixModule, parts.module)
    sources, outputs = (setting.folder / name for name in ("sources", "outputs"))
    sources.mkdir(exist_ok=True)
    outputs.mkdir(exist_ok=True)
    pairs = data.open_split("train")
    for number in range(_FILES):
        a, b, _ = pairs[number % len(pairs)]
        write_image(sources / f"{number}.jpg", a if data.pair_spec.direction == "a_to_b" else b, overwrite=True)
    files = sorted(sources.iterdir())

    checkpoint = _saved(parts, setting.folder / "prediction.ckpt")

    def ours() -> Callable[[], object]:
        translator = Translator(checkpoint, device=setting.device.type, precision=precision)
        return lambda: list(translate_files(translator, {path: [outputs / f"{path.stem}.png"] for path in files}))

    def reference() -> Callable[[], object]:
        generator = _plain_generator(module, setting.device)
        turn = _without_end(files)
        return lambda: plain_translate(
            generator, next(turn), outputs / "plain.png", size=data.pair_spec.size, device=setting.device
        )

    # prediction leaves the allocator alone, so ours is as the reference
    contenders = {"reference": setting.contender(1, ours=False), "ours": setting.contender(_FILES, ours=False)}
    contenders["reference"].make(reference)
    contenders["ours"].make(ours)
    take_turns(list(contenders.values()), cfg.rounds)
    return {"precision": precision, **{name: contender.figures() for name, contender in contenders.items()}}


def measure_runtime(setting: Setting, runtime: str) -> dict[str, Any]:
    """An image in memory through the generator, in a runtime, beside plain eager PyTorch.

    Args:
        setting: What all cases share.
        runtime: ``32`` or ``bf16``, the checkpoint in that precision; ``onnx`` or ``torch``, what ``export`` writes.

    Returns:
        ``ours`` and ``reference`` (``Contender.figures``).
    """
    cfg = setting.cfg
    parts = build_training(cfg.copy())
    module = cast(Pix2PixModule, parts.module)
    image = np.random.default_rng(0).integers(0, 256, (cfg.size, cfg.size, 3), np.uint8)

    def ours() -> Callable[[], object]:
        path, precision = setting.folder / "runtime.ckpt", "32"
        graph = Graph(module)
        if runtime == "onnx":
            write_onnx(graph, path := path.with_suffix(".onnx"), made_by={}, overwrite=True)
        elif runtime == "torch":
            write_program(graph, path := path.with_suffix(".pt2"), size=cfg.size, made_by={}, overwrite=True)
        else:
            _saved(parts, path)
            precision = runtime
        trust = (runtime == "torch") or ()
        translator = Translator(path, device=setting.device.type, precision=precision, trust=trust)
        return lambda: translator.translate_arrays([image])

    def reference() -> Callable[[], object]:
        generator = _plain_generator(module, setting.device)
        return lambda: plain_translate_array(generator, image, setting.device)

    contenders = {name: setting.contender(1, ours=False) for name in ("reference", "ours")}
    contenders["reference"].make(reference)
    contenders["ours"].make(ours)
    take_turns(list(contenders.values()), cfg.rounds)
    return {name: contender.figures() for name, contender in contenders.items()}


def _saved(parts: Training, checkpoint: Path) -> Path:
    parts.trainer.strategy.connect(parts.module)
    parts.trainer.save_checkpoint(checkpoint, weights_only=True)
    parts.trainer.strategy.checkpoint_io.teardown()  # it may be written behind our back
    return checkpoint


def _plain_generator(module: Pix2PixModule, device: torch.device) -> nn.Module:
    """Without dropout, each image by its own statistics."""
    generator = plain_networks(module.hparams["generator"], None)[0].to(device)
    for layer in generator.modules():
        layer.train(not isinstance(layer, nn.Dropout))
    return generator


def _pairs_and_networks(cfg: DictConfig) -> tuple[PairedDataModule, Mapping[str, Any]]:
    """The data of a training, and its module's hyperparameters; the module itself takes no memory then."""
    parts = build_training(cfg)
    return cast(PairedDataModule, parts.data), dict(parts.module.hparams)


def _bare_step(cfg: DictConfig, device: torch.device) -> BareStep:
    parts = build_training(cfg)
    return BareStep(cast(Pix2PixModule, parts.module), parts.trainer, device)


def _flop(described: Mapping[str, Any], data: PairedDataModule, batch_size: int) -> int:
    networks = described["generator"], described["discriminator"]
    return count_flop(*networks, batch_size=batch_size, size=data.pair_spec.size)


def _plain_loader(pairs: PillowPairs, batch_size: int, num_workers: int) -> DataLoader[Any]:
    return DataLoader(
        pairs,
        batch_size,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _batch(dataset: Any, batch_size: int) -> Any:
    return default_collate([dataset[number % len(dataset)] for number in range(batch_size)])


def _without_end(items: Any) -> Iterator[Any]:
    while True:
        yield from items
