"""Pairs that are resized on the device, against the same pairs resized as they are loaded."""

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from pix2pix_lightning import PairedDataModule
from pix2pix_lightning.data import resize
from pix2pix_lightning.data.device_resize import UnresizedImages
from pix2pix_lightning.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

EQUAL, UNEQUAL = [(30, 37)] * 5, [(30, 37), (21, 40), (30, 37), (18, 18), (64, 20)]


class Drawn:
    """Pairs of noise, in memory: A and B in one strip if they are of one kind, and holes where a side has nodata."""

    def __init__(self, sizes, a, b):
        self.sizes, self.options = sizes, (a, b)

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        (height, width), generator = self.sizes[index], np.random.default_rng(index)
        if self.options[0] == self.options[1]:
            strip = self.draw(generator, height, 2 * width, **self.options[0])
            return strip[:, :width], strip[:, width:], str(index)
        a, b = (self.draw(generator, height + 3 * n, width, **side) for n, side in enumerate(self.options))
        b.flags.writeable = False
        return a[::-1], b, str(index)

    def draw(self, generator, height, width, kind="rgb", dtype="uint8", num_channels=1, **others):
        shape = (height, width, {"rgb": 3, "raw": num_channels}.get(kind, 1))
        image = generator.integers(0, others.get("num_classes", 256), shape).astype(np.uint8)
        if dtype != "uint8":
            image = (image * np.float32(113.37) - (0 if dtype == "uint16" else 9000)).astype(dtype)
        if index_has_holes := generator.integers(2):
            for none in {others.get("nodata"), np.nan if dtype.startswith("float") else None} - {None}:
                image[5:11, 3 : 9 + index_has_holes, 0] = none
        return image


class Masked(Drawn):
    def read_mask(self, index):
        return None if index == 2 else np.random.default_rng(index).random(self.sizes[index]) < 0.7


class Memory(PairedDataModule):
    """A data module of such pairs."""

    def __init__(self, sizes=EQUAL, *, pairs=Drawn, a=None, b=None, **options):
        self.pairs = pairs(sizes, a or {}, b or {})
        super().__init__(".", a=a, b=b, **{"size": 24, "batch_size": 3, "num_workers": 0, "seed": 7, **options})
        self.setup("fit")

    def find_strips(self):
        return None

    def open_split(self, split):
        return self.pairs


def read_batches(data, num_epochs=2):
    """The training batches of some epochs, and the validation's, as they are on a CPU."""
    loader, batches = data.train_dataloader(), []
    for epoch in range(num_epochs):
        loader.sampler.set_epoch(epoch)
        batches += list(loader)
    batches += list(data.val_dataloader())
    return [{key: value if key == "name" else value.to("cpu") for key, value in batch.items()} for batch in batches]


def assert_equal(one, other):
    assert [batch.keys() for batch in one] == [batch.keys() for batch in other]
    for expected, batch in zip(one, other, strict=True):
        assert batch["name"] == expected["name"]
        for key in expected.keys() - {"name"}:
            np.testing.assert_array_equal(batch[key].numpy(), expected[key].numpy(), strict=True)
            assert key == "mask" or batch[key].is_contiguous(memory_format=torch.channels_last)


RAW = {"kind": "raw", "dtype": "int16", "num_channels": 5, "nodata": -9000}
BANDS = {"kind": "raw", "dtype": "uint16", "num_channels": 2}
FLOATS = {"kind": "raw", "dtype": "float32", "num_channels": 2, "nodata": 5, "value_range": [0, 1]}
HALVES = {"kind": "raw", "dtype": "float16", "num_channels": 1, "value_range": [0, 1]}
CLASSES = {"kind": "label", "num_classes": 7}
SNAPPED = {"kind": "rgb", "palette": [[0, 0, 0], [250, 9, 9]], "snap_palette": True, "interpolation": "bicubic"}


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        (EQUAL, {}),
        (EQUAL, {"num_workers": 1, "b": CLASSES}),
        (UNEQUAL, {"direction": "b_to_a", "a": CLASSES, "b": {"interpolation": "bilinear"}}),
        (UNEQUAL, {"size": [16, 40], "batch_size": 1}),
        (EQUAL, {"size": [20, 28], "crop": [10, 28], "a": RAW, "b": BANDS, "batch_size": 5}),
        (UNEQUAL, {"a": FLOATS, "b": HALVES, "jitter": False}),
        (UNEQUAL, {"a": {"kind": "grayscale"}, "b": SNAPPED, "mirror": False}),
        (UNEQUAL, {"pairs": Masked, "resize": "scale_width", "crop": 12, "val_whole": True}),
        (UNEQUAL, {"resize": "scale_width", "batch_size": 1}),
        ([(24, 24)] * 3, {"jitter": False, "mirror": False}),  # nothing to resize or to crop
    ],
)
def test_batches_are_those_of_the_cpu(sizes, options):
    expected = read_batches(Memory(sizes, **options))
    data = Memory(sizes, resize_on="device", **options)
    assert_equal(expected, read_batches(data))
    images = next(iter(data.train_dataloader()))["target" if data.pair_spec.target.kind != "label" else "source"]
    assert isinstance(images, UnresizedImages)
    assert len(images) == data.batch_size


@pytest.mark.parametrize("options", [{}, {"a": {"interpolation": "bilinear"}, "b": {"kind": "grayscale"}}])
def test_floats_of_other_devices_differ_by_a_level_here_and_there(options, monkeypatch):
    sizes = [(90, 70), (90, 70), (11, 9)]
    expected = read_batches(Memory(sizes, **options))
    monkeypatch.setattr(resize, "_ROUNDING_DEVICES", ())
    values = read_batches(Memory(sizes, resize_on="device", **options))
    for side in ("source", "target"):
        differences = torch.cat(
            [(a[side].int() - b[side].int()).flatten() for a, b in zip(expected, values, strict=True)]
        )
        assert 1 <= differences.abs().max() <= 2
        assert (differences != 0).float().mean() < 0.03


@pytest.mark.parametrize("sides", [{}, {"a": RAW, "b": FLOATS}, {"a": BANDS, "b": HALVES}])
def test_no_pixel_is_waited_for(sides):
    batch = next(iter(Memory(UNEQUAL, resize_on="device", **sides).train_dataloader()))
    for side in ("source", "target"):
        moved = batch[side].to("meta")  # a device without values: to ask for one is an error
        assert (moved.shape, moved.dtype) == (batch[side].to("cpu").shape, batch[side].to("cpu").dtype)


def test_a_loader_pins_what_it_moves(monkeypatch):
    images = next(iter(Memory(UNEQUAL, resize_on="device").train_dataloader()))["source"]
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor.clone())
    np.testing.assert_array_equal(images.pin_memory().to("cpu"), images.to("cpu"))
    assert sum(map(len, pinned)) == len(images)


class Recorder(LightningModule):
    automatic_optimization = False

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_after_batch_transfer(self, batch, dataloader_idx):
        self.seen.append(batch)
        return batch

    def training_step(self, batch):
        pass

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        pass


@pytest.mark.filterwarnings("ignore:.*(configure_optimizers|on_after_batch_transfer|many workers|number of training)")
def test_a_trainer_gives_a_module_the_batches_of_the_cpu():
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    seen = []
    for where in ("cpu", "device"):
        module = Recorder()
        trainer = Trainer(max_epochs=2, enable_model_summary=False, precision="bf16-mixed", **settings)
        trainer.fit(module, Memory(UNEQUAL, pairs=Masked, b=RAW, resize_on=where))
        seen.append(module.seen)
    assert len(seen[0]) == 2 * (2 + 2) + 2
    assert_equal(*seen)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"resize_on": "gpu"}, "gpu"),
        ({"cache": True}, r"data\.cache"),
        ({"augmentation": [{"_target_": "albumentations.Rotate"}]}, r"data\.augmentation"),
        ({"source_maker": {"_target_": "pix2pix_lightning.data.DrawHole"}}, r"data\.source_maker"),
        ({"resize": "none", "crop": 8}, r"data\.resize=none"),
        ({"a": CLASSES, "b": {"interpolation": "nearest"}}, "interpolation=nearest"),
    ],
)
def test_what_needs_resized_images_is_refused(options, key):
    with pytest.raises(UserError, match=f"{key}.*resize_on|resize_on.*{key}"):
        Memory(**{"resize_on": "device", **options})
