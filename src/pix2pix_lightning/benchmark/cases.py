"""The cases that are measured: each runs this package and plain code in turn."""

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

from pix2pix_lightning.benchmark.bare_step import BareStep, build_bare_step
from pix2pix_lightning.benchmark.memory import measure_memory_by_part
from pix2pix_lightning.benchmark.plain_files import PillowPairs, translate_array, translate_file
from pix2pix_lightning.benchmark.plain_loop import PlainLoop, count_flop
from pix2pix_lightning.benchmark.plain_networks import build_plain_networks
from pix2pix_lightning.benchmark.training import run_training
from pix2pix_lightning.benchmark.turns import Contender, release_workers, take_turns
from pix2pix_lightning.data import PairedDataModule
from pix2pix_lightning.data.dataset import collate
from pix2pix_lightning.data.files.image_files import write_image
from pix2pix_lightning.data.sizes import get_sides
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.int8.calibration import Images
from pix2pix_lightning.export.int8.onnx_file import write_int8
from pix2pix_lightning.export.onnx_file import write_onnx
from pix2pix_lightning.export.torch_program import write_program
from pix2pix_lightning.inference import Translator
from pix2pix_lightning.inference.translate_files import translate_files
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.training.build import Training, build_training

_FILES = 24  # images of the folder that is predicted
_INT8_ENGINES = {"int8": "onnxruntime", "openvino": "openvino"}


@dataclass(frozen=True)
class Setting:
    """What all cases share.

    Attributes:
        cfg: Configuration of a training, with data in files and no ``auto``, and the benchmark's keys.
        device: Device of the networks.
        folder: Temporary folder for files.
    """

    cfg: DictConfig
    device: torch.device
    folder: Path

    def override(self, **keys: Any) -> DictConfig:
        """Return a copy of the configuration with other values, written as ``data__batch_size=4``."""
        cfg = self.cfg.copy()
        for key, value in keys.items():
            OmegaConf.update(cfg, key.replace("__", "."), value, force_add=True)
        return cfg

    def build_contender(self, images: int, *, ours: bool, device: torch.device | None = None) -> Contender:
        """Build a contender.

        Args:
            images: Images in one unit of its work.
            ours: Whether it runs this package, not the reference.
            device: Device of its work, by default that of the setting.

        Returns:
            A contender with the allocator that its side uses.
        """
        keeps_memory = bool(self.cfg.speed.keep_memory) and (ours or self.cfg.allocator == "same")
        return Contender(images, device or self.device, keeps_memory, self.cfg.turn)

    def build_pillow_pairs(self, data: PairedDataModule) -> PillowPairs:
        """Build the reference's data set from the same files."""
        spec = data.pair_spec
        files: Any = cast(Any, data.open_split("train")).files
        return PillowPairs(files, size=spec.height, load_size=get_sides(spec.load_size)[0], direction=spec.direction)

    def build_plain_loop(self, hparams: Mapping[str, Any]) -> PlainLoop:
        """Build the reference's step, with networks like those in a module's hyperparameters."""
        return PlainLoop(*build_plain_networks(hparams["generator"], hparams["discriminator"]), self.device)


def measure_step(setting: Setting, batch_size: int) -> dict[str, Any]:
    """Measure the training step on a batch in memory.

    Args:
        setting: What all cases share.
        batch_size: Pairs in a batch.

    Returns:
        ``ours`` and ``reference`` (`Contender.compute_figures`), ``flop`` of a step, and ``memory`` of both
        (`measure_memory_by_part`).
    """
    cfg = setting.override(data__batch_size=batch_size)
    data, hparams = _build_data_and_hparams(cfg)
    steps: dict[str, BareStep | PlainLoop] = {}
    batches: dict[str, Any] = {}

    def ours() -> Callable[[], object]:
        steps["ours"] = step = build_bare_step(cfg, setting.device)[0]
        batches["ours"] = step.prepare_batch(_collate_first(data.train_dataloader().dataset, batch_size))
        return lambda: step(*batches["ours"])

    def reference() -> Callable[[], object]:
        steps["reference"] = step = setting.build_plain_loop(hparams)
        pair = _collate_first(setting.build_pillow_pairs(data), batch_size)
        batches["reference"] = [side.to(setting.device) for side in pair]
        return lambda: step(*batches["reference"])

    contenders = {name: setting.build_contender(batch_size, ours=name == "ours") for name in ("reference", "ours")}
    contenders["reference"].build(reference)
    contenders["ours"].build(ours)
    take_turns(list(contenders.values()), setting.cfg.rounds)
    figures = {name: contender.compute_figures() for name, contender in contenders.items()}
    eager = {"reference": steps["reference"], "ours": cast(BareStep, steps["ours"]).use_eager_step()}
    memory = {name: measure_memory_by_part(step, *batches[name]) for name, step in eager.items()}
    return {**figures, "memory": memory, "flop": _count_step_flop(hparams, data, batch_size)}


def measure_training(setting: Setting, batch_size: int) -> dict[str, Any]:
    """Measure a whole training next to the plain loop with its own loader and next to the bare step.

    Args:
        setting: What all cases share.
        batch_size: Pairs in a batch.

    Returns:
        ``ours``, ``reference`` and ``bare_step`` (`Contender.compute_figures`), ``flop`` of a step, and
        ``overhead``: the additional time of a batch as a fraction of the bare step's.
    """
    run = setting.folder / f"run_{batch_size}"
    run.mkdir(exist_ok=True)
    cfg = setting.override(data__batch_size=batch_size, run_dir=str(run))
    data, hparams = _build_data_and_hparams(cfg)

    def bare_step() -> Callable[[], object]:
        step = build_bare_step(cfg, setting.device)[0]
        batch = step.prepare_batch(_collate_first(data.train_dataloader().dataset, batch_size))
        return lambda: step(*batch)

    def reference() -> Callable[[], object]:
        loop = setting.build_plain_loop(hparams)
        batches = _cycle(_build_plain_loader(setting.build_pillow_pairs(data), batch_size, data.num_workers))
        return lambda: loop(*(side.to(setting.device) for side in next(batches)))

    contenders = {
        name: setting.build_contender(batch_size, ours=name != "reference") for name in ("reference", "bare_step")
    }
    training = setting.build_contender(batch_size, ours=True)
    with release_workers([*contenders.values(), training]):
        contenders["reference"].build(reference)
        contenders["bare_step"].build(bare_step)
        run_training(cfg, training, list(contenders.values()), setting.cfg.rounds)
    figures = {name: contender.compute_figures() for name, contender in {**contenders, "ours": training}.items()}
    speed = {name: figure["images_per_second"] for name, figure in figures.items()}
    flop = _count_step_flop(hparams, data, batch_size)
    return {**figures, "overhead": speed["bare_step"] / speed["ours"] - 1, "flop": flop}


def measure_data(setting: Setting, batch_size: int, *, cache: bool) -> dict[str, Any]:
    """Measure loading from files to float batches in this process, on the CPU.

    Args:
        setting: What all cases share.
        batch_size: Pairs in a batch.
        cache: Whether to read from the cache of decoded pairs.

    Returns:
        ``ours`` and ``reference`` (`Contender.compute_figures`).
    """
    cpu = torch.device("cpu")
    keys: dict[str, Any] = {"data__cache": str(setting.folder / "cache") if cache else None}
    if cache and setting.cfg.data.get("resize_on") == "device":  # a cache holds resized pairs
        keys["data__resize_on"] = "cpu"
    cfg = setting.override(data__batch_size=batch_size, data__num_workers=0, **keys)
    data = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    spec = data.pair_spec

    def ours() -> Callable[[], object]:
        batches = _cycle(data.train_dataloader())

        def work() -> None:
            batch = next(batches)
            for side in ("source", "target"):
                spec.encode(batch[side].to(cpu), side)

        return work

    def reference() -> Callable[[], object]:
        batches = _cycle(_build_plain_loader(setting.build_pillow_pairs(data), batch_size, 0))
        return lambda: next(batches)

    contenders = {
        name: setting.build_contender(batch_size, ours=name == "ours", device=cpu) for name in ("reference", "ours")
    }
    contenders["reference"].build(reference)
    contenders["ours"].build(ours)
    take_turns(list(contenders.values()), setting.cfg.rounds)
    return {name: contender.compute_figures() for name, contender in contenders.items()}


def measure_prediction(setting: Setting, precision: str) -> dict[str, Any]:
    """Measure the prediction of a folder of images, from files to files.

    Args:
        setting: What all cases share.
        precision: ``32`` or ``bf16``, as for ``predict``.

    Returns:
        ``ours`` and ``reference`` (`Contender.compute_figures`), and ``precision``.
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

    checkpoint = _save_weights(parts, setting.folder / "prediction.ckpt")

    def ours() -> Callable[[], object]:
        translator = Translator(checkpoint, device=setting.device.type, precision=precision)
        return lambda: list(translate_files(translator, {path: [outputs / f"{path.stem}.png"] for path in files}))

    def reference() -> Callable[[], object]:
        generator = _build_plain_generator(module, setting.device)
        turn = _cycle(files)
        return lambda: translate_file(
            generator, next(turn), outputs / "plain.png", size=data.pair_spec.height, device=setting.device
        )

    # prediction does not change the allocator, so both sides use the same one
    contenders = {
        "reference": setting.build_contender(1, ours=False),
        "ours": setting.build_contender(_FILES, ours=False),
    }
    contenders["reference"].build(reference)
    contenders["ours"].build(ours)
    take_turns(list(contenders.values()), cfg.rounds)
    return {"precision": precision, **{name: contender.compute_figures() for name, contender in contenders.items()}}


def measure_runtime(setting: Setting, runtime: str) -> dict[str, Any]:
    """Measure the translation of an image in memory by a runtime, next to plain eager PyTorch.

    Args:
        setting: What all cases share.
        runtime: ``32`` or ``bf16``: the checkpoint in that precision. ``onnx`` or ``torch``: a file of ``export``;
            ``int8`` or ``openvino``: one of ``precision=int8`` in onnxruntime or in OpenVINO.

    Returns:
        ``ours`` and ``reference`` (`Contender.compute_figures`).
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
        elif runtime in _INT8_ENGINES:
            # calibrated on noise, as random weights do with any images: the time depends on neither
            noise = [torch.rand(1, graph.spec.source.channels, cfg.size, cfg.size) * 2 - 1]
            options: dict[str, Any] = {
                "engine": _INT8_ENGINES[runtime],
                "min_psnr": 0.0,
                "made_by": {},
                "overwrite": True,
            }
            write_int8(graph, path := path.with_suffix(".onnx"), Images(noise, noise, "noise"), **options)
        elif runtime == "torch":
            write_program(graph, path := path.with_suffix(".pt2"), size=cfg.size, made_by={}, overwrite=True)
        else:
            _save_weights(parts, path)
            precision = runtime
        trust = (runtime == "torch") or ()
        translator = Translator(path, device=setting.device.type, precision=precision, trust=trust)
        return lambda: translator.translate_arrays([image])

    def reference() -> Callable[[], object]:
        generator = _build_plain_generator(module, setting.device)
        return lambda: translate_array(generator, image, setting.device)

    contenders = {name: setting.build_contender(1, ours=False) for name in ("reference", "ours")}
    contenders["reference"].build(reference)
    contenders["ours"].build(ours)
    take_turns(list(contenders.values()), cfg.rounds)
    return {name: contender.compute_figures() for name, contender in contenders.items()}


def _save_weights(parts: Training, checkpoint: Path) -> Path:
    parts.trainer.strategy.connect(parts.module)
    parts.trainer.save_checkpoint(checkpoint, weights_only=True)
    parts.trainer.strategy.checkpoint_io.teardown()  # waits for the thread that writes it
    return checkpoint


def _build_plain_generator(module: Pix2PixModule, device: torch.device) -> nn.Module:
    """Build the plain generator without dropout; its norms use the statistics of the image."""
    generator = build_plain_networks(module.hparams["generator"], None)[0].to(device)
    for layer in generator.modules():
        layer.train(not isinstance(layer, nn.Dropout))
    return generator


def _build_data_and_hparams(cfg: DictConfig) -> tuple[PairedDataModule, Mapping[str, Any]]:
    """Build the data of a training; return it and the module's hyperparameters, without the module to save memory."""
    parts = build_training(cfg)
    return cast(PairedDataModule, parts.data), dict(parts.module.hparams)


def _count_step_flop(hparams: Mapping[str, Any], data: PairedDataModule, batch_size: int) -> int:
    networks = hparams["generator"], hparams["discriminator"]
    return count_flop(*networks, batch_size=batch_size, size=data.pair_spec.height)


def _build_plain_loader(pairs: PillowPairs, batch_size: int, num_workers: int) -> DataLoader[Any]:
    return DataLoader(
        pairs,
        batch_size,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _collate_first(dataset: Any, batch_size: int) -> Any:
    samples = [dataset[number % len(dataset)] for number in range(batch_size)]
    return default_collate(samples) if isinstance(dataset, PillowPairs) else collate(samples)


def _cycle(items: Any) -> Iterator[Any]:
    while True:
        yield from items
