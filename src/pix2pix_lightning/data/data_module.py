"""PairedDataModule: batches of the pairs in a folder."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from pix2pix_lightning.data.archives.data_set import download_data_set
from pix2pix_lightning.data.augmentation import build_augmentation, build_centre_crop, check_entries
from pix2pix_lightning.data.cache import check_cache
from pix2pix_lightning.data.check.splits import MODES, ON_ERROR, check_splits
from pix2pix_lightning.data.dataset import EpochSampler, OnError, PairDataset
from pix2pix_lightning.data.device_resize import RESIZE_ON, check_resize_on
from pix2pix_lightning.data.loaders import build_loader
from pix2pix_lightning.data.option_checks import check_geometry, check_options
from pix2pix_lightning.data.pair_folder import PairFolder
from pix2pix_lightning.data.pair_spec import PairSpec, build_geometry
from pix2pix_lightning.data.pairs import FilePairs, Pairs, StripPairs
from pix2pix_lightning.data.position import PositionCallback
from pix2pix_lightning.data.recognition import complete_open_sides
from pix2pix_lightning.data.sizes import Size
from pix2pix_lightning.data.slicing import Slicing
from pix2pix_lightning.data.source_makers import SourceMaker, build_source_maker
from pix2pix_lightning.data.split_dataset import build_dataset
from pix2pix_lightning.data.workers import parse_num_workers
from pix2pix_lightning.utils.checks import check_switch
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import is_first_process

_log = logging.getLogger(__name__)


class PairedDataModule(LightningDataModule):
    """Load training, validation and test pairs from a folder (layouts: ``open_pairs``).

    Batches are ``{"source", "target", "name"}``, images (B, C, H, W) in their side's type, and ``mask`` where
    pairs have masks; ``pair_spec`` describes what they mean. All randomness is a function of ``seed``, epoch and index.

    Args:
        root: Folder of the splits, or a file that holds or lists the pairs: a manifest, a zip file, an LMDB, Parquet.
        direction: ``a_to_b`` or ``b_to_a``.
        size: Size to which images are resized: the side of a square, or ``[height, width]``, in pixels.
        crop: Size of the part of them that the networks see in training, in the same form. By default all of it.
        resize: As in ``PairSpec``. With ``none``, parts of TIFF files and arrays are read without the rest.
        resize_on: ``cpu``: where pairs are loaded; ``device``: where batches are moved to, which a trainer does. Until
            then ``source`` and ``target`` are ``UnresizedImages``, whose ``to(device)`` gives the ordinary tensor.
        val_whole: Validate and test on whole images where training sees crops, one in a batch, not on their centre.
        jitter: Crop at random places; without ``crop``, stretched images are enlarged by 286/256 before (paper, 6.2).
        mirror: Mirror training pairs left to right with probability 1/2 (paper, section 6.2).
        augmentation: Transforms of training pairs after resizing, crop and mirror, in this order: of albumentations or
            of your own package, as ``{"_target_": "albumentations.Rotate", "limit": 10}``. With ``"sides": "source"``
            the target is unchanged. Each keeps ``size`` and type; label sides are resampled by nearest neighbour.
        batch_size: Pairs in a batch of each process.
        num_workers: Number of loader processes, which changes no result; ``auto`` chooses it by the machine.
        seed: Seed of the order and of the augmentation, 0 to 2**32 - 1.
        a: Keyword arguments of ``build_side`` for A. A ``kind`` that is missing or ``auto`` is found out from the
            training files (``recognition.complete_sides``); it is rgb for pairs that come from elsewhere.
        b: Those for B.
        val_split: Name of the split that validation pairs come from.
        max_pairs: Take only the first so many pairs of each split; None takes all.
        cache: Store the pairs, decoded and resized by ``resize``, in memory maps: in this folder, or, with True, in
            ``.pix2pix_cache`` below ``root``; when a split is first opened, and again when one of its files changed.
        pin_memory: Copy batches to page-locked memory, which a GPU reads faster; None, ``auto``: if there is a GPU.
        prefetch_factor: Batches that each loader process has ready; None is torch's default, 2.
        decode: ``reduced`` decodes large JPEG files to a half or less of their size before they are stretched.
        check: How the files are checked before a training: ``quick`` reads all headers, which it remembers in the
            folder of ``cache``, or below ``root``, and decodes a few pairs; ``full`` decodes all pairs; ``off``.
        layout: As in ``choose_layout``; with ``strip`` files hold A and B side by side, of any width; ``auto`` finds
            out how pairs lie, and takes files as strips only if they are twice as wide as high.
        names: Names of the folders of A and B, or what the names of their files end or begin with.
        columns: Columns of A and B, and perhaps of the mask, of a Hugging Face data set.
        on_error: ``raise``: a pair that cannot be used is an error; ``skip``: it is left out, in training replaced.
        val_fraction: Share of the pairs that are validated on; None: 0.1 where ``root`` has no ``train``.
        test_fraction: Share of the pairs that are kept for testing.
        split_seed: Seed of these two.
        source_maker: Makes the sources out of the targets, such as ``DrawHole``, or its description.
        volumes: How NIfTI volumes are divided into slices: ``axis`` and ``neighbours`` of ``Slicing``.
        archive: What is known of the data set's archive, arguments of ``Archive`` by name, or its address alone.
        download: Whether ``prepare_data`` downloads the archive where ``root`` is missing or empty.

    Raises:
        UserError: An argument is out of range, or arguments of a side contradict each other.

    Example:
        >>> data = PairedDataModule("pairs", direction="b_to_a", b={"kind": "grayscale"})
        >>> data.pair_spec.source.kind
        'grayscale'
    """

    def __init__(
        self,
        root: str | Path,
        *,
        direction: str = "a_to_b",
        size: Size | Sequence[int] = 256,
        crop: Size | Sequence[int] | None = None,
        resize: Literal["stretch", "scale_width", "none"] = "stretch",
        resize_on: Literal["cpu", "device"] = "cpu",
        val_whole: bool = False,
        jitter: bool = True,
        mirror: bool = True,
        augmentation: Sequence[Any] | None = None,
        batch_size: int = 1,
        num_workers: int | Literal["auto"] = 2,
        seed: int = 0,
        a: Mapping[str, Any] | None = None,
        b: Mapping[str, Any] | None = None,
        val_split: str = "val",
        max_pairs: int | None = None,
        cache: bool | str | Path | None = None,
        pin_memory: bool | Literal["auto"] | None = None,
        prefetch_factor: int | None = None,
        decode: Literal["exact", "reduced"] = "exact",
        check: Literal["quick", "full", "off", False] = "quick",
        layout: Literal["auto", "strip", "folders", "names", "manifest", "huggingface", "lmdb", "zip"] = "auto",
        names: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        val_fraction: float | None = None,
        test_fraction: float = 0.0,
        split_seed: int = 0,
        archive: Mapping[str, Any] | str | None = None,
        download: bool = False,
        source_maker: SourceMaker | Mapping[str, Any] | None = None,
        volumes: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        num_workers = parse_num_workers(num_workers, "cuda" if torch.cuda.is_available() else "cpu")
        check = "off" if check is False else check  # YAML 1.1 reads off as false
        check_options(
            counts={"batch_size": batch_size},
            optional_counts={"max_pairs": max_pairs, "prefetch_factor": prefetch_factor},
            choices={"check": (check, MODES), "on_error": (on_error, ON_ERROR), "resize_on": (resize_on, RESIZE_ON)},
            switches={"download": download, "jitter": jitter, "mirror": mirror, "val_whole": val_whole},
            folders={"root": root, "val_split": val_split},
            seed=seed,
        )
        check_switch("data.pin_memory", pin_memory, None, "auto")
        geometry = build_geometry(size=size, crop=crop, resize=resize, jitter=jitter)
        check_geometry(geometry, batch_size=batch_size, val_whole=val_whole, decode=decode)
        self.root = Path(root)
        self.jitter = jitter
        self.mirror = mirror
        self.val_whole = val_whole
        self.resize_on = resize_on
        self.source_maker = build_source_maker(source_maker)
        self.augmentation = check_entries(augmentation, makes_sources=self.source_maker is not None)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.val_split = str(val_split)  # YAML reads 5 as a number
        self.max_pairs = max_pairs
        self.cache = check_cache(cache)
        self.pin_memory = None if pin_memory == "auto" else pin_memory
        self.prefetch_factor = prefetch_factor
        self.decode = decode
        self.check = check
        self.layout = layout
        self.on_error = on_error
        self.download = download
        cache_folder = self.resolve_cache_folder() if self.cache else None
        options: dict[str, Any] = {"names": names, "columns": columns, "cache_folder": cache_folder}
        slicing = Slicing.from_config(volumes, direction)
        options |= {"split_seed": split_seed, "archive": archive, "may_miss": on_error == "skip", "slicing": slicing}
        self.folder = PairFolder(self.root, layout, self.val_split, val_fraction, test_fraction, **options)
        has_files = type(self).open_split is PairedDataModule.open_split
        self.completed_sides = complete_open_sides(a, b, self.folder.open if has_files else None)
        source, target = (self.completed_sides[key] for key in ("ba" if direction == "b_to_a" else "ab"))
        sides = {"source": source, "target": target, "direction": direction}
        self.pair_spec = PairSpec.from_dict({**sides, **geometry, **slicing.to_spec(), "strips": self.find_strips()})
        check_resize_on(resize_on, self.pair_spec, cache=cache, augmentation=augmentation, source_maker=source_maker)
        self._datasets: dict[str, PairDataset] = {}
        self._position = PositionCallback()
        self._missing: dict[str, UserError] = {}  # why a split could not be opened

    def find_strips(self) -> bool | tuple[int, int] | None:
        """Find out whether files hold A and B side by side (``PairSpec.strips``); override it with ``open_split``."""
        return self.folder.find_strips()

    def open_split(self, split: str) -> Pairs:
        """Open the pairs of a split; override this for pairs that do not come from a folder.

        For a cache, the pairs need a method ``compute_fingerprints()`` as ``StripPairs`` has it.

        Args:
            split: Name of the split: ``train``, ``test`` or ``val_split``.

        Returns:
            The pairs, which are read from their files when they are used.

        Raises:
            UserError: The folder, the split or its images are missing.
        """
        return self.folder.open(split)

    def resolve_cache_folder(self) -> Path:
        """Return the folder of this data set's caches."""
        if self.cache in (True, False, None):
            return (self.root.parent if self.root.is_file() else self.root) / ".pix2pix_cache"
        root = self.root.resolve()
        return Path(str(self.cache)) / f"{root.name}_{zlib.crc32(str(root).encode()):08x}"

    def prepare_data(self) -> None:
        """Download the data set where ``download`` is set and its folder is missing; a trainer calls this first."""
        if self.download:
            download_data_set(self.root, self.folder.archive)
            self.pair_spec = replace(self.pair_spec, strips=self.find_strips())

    def setup(self, stage: str | None = None) -> None:
        """Open the splits of a stage, and check their files before a training.

        Args:
            stage: ``fit`` (training and validation), ``validate``, ``test``, or ``predict``: the test split or, where
                it cannot be opened, the validation split, with a warning. None opens all splits that are there, for
                loaders without a trainer.

        Raises:
            UserError: A split is missing (for None: every split), a pair cannot be used, or a cache does not fit on
                the disk.
        """
        splits = {"fit": ("train", "val"), "validate": ("val",), None: ("train", "val", "test")}.get(stage, ("test",))
        self._open_datasets(splits, is_training=stage in ("fit", None), may_miss=stage in ("predict", None))
        if stage == "predict" and "test" not in self._datasets:
            reason = self._missing["test"]
            _log.warning("predicting the pairs of %s, since there is no test split: %s", self.val_split, reason)
            self._open_datasets(["val"])
        if not self._datasets:
            raise self._missing["train"]
        if stage == "fit" and self.trainer is not None:
            self._position = self._position.renew(self.trainer)

    def state_dict(self) -> dict[str, int]:
        """Return the position in the order of training batches, for the checkpoint."""
        return self._position.to_dict(self.batch_size, 1 if self.trainer is None else self.trainer.world_size)

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Continue from the position of a checkpoint when training is resumed, also with batches of another size."""
        self._position.restore(state_dict)

    def train_dataloader(self) -> DataLoader[Any]:
        """Build the loader of shuffled, augmented training pairs."""
        sampler = self._build_sampler("train")
        if self.trainer is not None:
            # set here, since the loader's iterator is made before the trainer sets the sampler's epoch
            sampler.skip = self._position.skip_seen(self.trainer, len(sampler), self.batch_size)
            sampler.set_epoch(self._position.epoch)
        return self._build_loader("train", sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return a loader of each validation pair once, in the files' order.

        Raises:
            UserError: There are fewer validation pairs than processes.
        """
        sampler = self._build_sampler("val")
        if sampler.num_pairs < sampler.world_size:
            raise UserError(
                f"{sampler.num_pairs} validation pairs for {sampler.world_size} processes: each needs one: use fewer "
                "devices, or set data.val_split= to a split with more pairs"
            )
        return self._build_loader("val", sampler)

    def test_dataloader(self) -> DataLoader[Any]:
        """Build the loader of each test pair once, in the files' order."""
        return self._build_loader("test", self._build_sampler("test"))

    def predict_dataloader(self) -> DataLoader[Any]:
        """Build the loader of each test pair, or validation pair where there is no test split, in the files' order."""
        split = "test" if "test" in self._datasets else "val"
        return self._build_loader(split, self._build_sampler(split))

    def _open_datasets(self, splits: Sequence[str], *, is_training: bool = False, may_miss: bool = False) -> None:
        """Open the splits that are not open yet; ``may_miss`` keeps why one cannot be opened for who asks for it."""
        opened = {}
        for split in splits:
            if split not in self._datasets:
                try:
                    opened[split] = self._open_used(split)
                except UserError as error:
                    if not may_miss:
                        raise
                    self._missing[split] = error
        kept = self._check(opened) if is_training or self.on_error == "skip" else {}
        for split, (pairs, count) in opened.items():
            self._datasets[split] = self._build_dataset(split, pairs, kept.get(split, range(count)))

    def _open_used(self, split: str) -> tuple[Pairs, int]:
        """Return the pairs of a split, and how many of them are used: the first ones."""
        pairs = self.open_split(self._get_folder_name(split))
        if isinstance(pairs, StripPairs | FilePairs):
            pairs.sides = self.pair_spec.a, self.pair_spec.b
        return pairs, len(pairs) if self.max_pairs is None else min(self.max_pairs, len(pairs))

    def _get_folder_name(self, split: str) -> str:
        return self.val_split if split == "val" else split

    def _check(self, opened: Mapping[str, tuple[Pairs, int]]) -> dict[str, Sequence[int]]:
        """Check pairs that come from files, and return the numbers of those that are used, by split."""
        is_first = is_first_process() if self.trainer is None else self.trainer.is_global_zero
        # where pairs are left out, each process has to know which
        if self.check == "off" or not (is_first or self.on_error == "skip"):
            return {}
        folder = self.resolve_cache_folder()
        mode = "full" if self.cache and self.on_error == "skip" else self.check  # a cache is built of all pairs
        uncropped = ("val", "test") if self.val_whole else ()
        settings: dict[str, Any] = {"mode": mode, "layout": self.layout, "root": self.root, "folder": folder}
        findings = check_splits(opened, self.pair_spec, **settings, uncropped=uncropped)
        findings.report(skip=self.on_error == "skip", folder=folder, is_first=is_first)
        return {**findings.list_kept()}

    def _build_dataset(self, split: str, pairs: Pairs, used: Sequence[int]) -> PairDataset:
        spec, is_training = self.pair_spec, split == "train"
        augmentation = build_centre_crop(spec, is_whole=self.val_whole)
        if is_training:
            augmentation = build_augmentation(self.augmentation, spec, mirror=self.mirror, jitter=self.jitter)
        cache_folder = self.resolve_cache_folder() if self.cache else None
        settings: dict[str, Any] = {"split": self._get_folder_name(split), "cache_folder": cache_folder}
        settings |= {"max_pairs": self.max_pairs, "source_maker": self.source_maker, "is_training": is_training}
        on_error: OnError = "raise" if self.on_error == "raise" else "replace" if is_training else "drop"
        settings |= {"augmentation": augmentation, "seed": self.seed, "on_error": on_error}
        settings |= {"decode": self.decode, "resize_on": self.resize_on}
        return build_dataset(pairs, used, spec, **settings)

    def _build_sampler(self, split: str) -> EpochSampler:
        rank, world_size = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        if split not in self._datasets:
            unopened = UserError(f"the {split} pairs are not open: call setup() before their loader, or use a Trainer")
            raise self._missing.get(split, unopened)
        num_pairs = len(self._datasets[split])
        return EpochSampler(num_pairs, seed=self.seed, shuffle=split == "train", rank=rank, world_size=world_size)

    def _build_loader(self, split: str, sampler: EpochSampler) -> DataLoader[Any]:
        is_whole = split != "train" and self.val_whole  # images of several sizes make no batch
        return build_loader(
            self._datasets[split],
            sampler,
            batch_size=1 if is_whole else self.batch_size,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available() if self.pin_memory is None else self.pin_memory,
            prefetch_factor=self.prefetch_factor,
            seed=self.seed,
        )
