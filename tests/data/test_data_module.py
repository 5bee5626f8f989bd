"""Batches: direction, jitter, order, resuming; the number of workers changes nothing."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from pix2pix_lightning.data import (
    EpochSampler,
    PairAugmentation,
    PairDataset,
    PairedDataModule,
    ProceduralDataModule,
    StripPairs,
)
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

SIZE, LOAD_SIZE = 32, 36  # 32 x 286/256 is 35.75
NUM_TRAIN, NUM_VAL = 7, 5


def noise(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Strips of noise, at the size that training images are resized to."""
    folder = tmp_path_factory.mktemp("pairs")
    for split, count in (("train", NUM_TRAIN), ("val", NUM_VAL), ("test", 2)):
        for index in range(count):
            save(folder / split / f"{split}_{index}.png", noise(compute_seed(split, index), LOAD_SIZE, 2 * LOAD_SIZE))
    return folder


def compute_seed(split, index):
    return {"train": 0, "val": 100, "test": 200}[split] + index


def build_halves(split, name):
    strip = noise(compute_seed(split, int(name.rpartition("_")[2])), LOAD_SIZE, 2 * LOAD_SIZE)
    return strip[:, :LOAD_SIZE], strip[:, LOAD_SIZE:]


def build_data(root, **options):
    data = PairedDataModule(root, **{"size": SIZE, "batch_size": 3, "num_workers": 0, "seed": 1, **options})
    data.setup("fit")
    return data


def read_epochs(data, num=2):
    """Read the training batches of some epochs."""
    loader = data.train_dataloader()
    result = []
    for epoch in range(num):
        loader.sampler.set_epoch(epoch)
        result.append(list(loader))
    return result


def assert_equal(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a["name"] == b["name"]
        assert torch.equal(a["source"], b["source"])
        assert torch.equal(a["target"], b["target"])


def to_numpy(image):
    return image.permute(1, 2, 0).numpy()


def resize_with_pillow(image, size):
    """Rows before columns: what older versions of Pillow do by themselves, and what 13 does for some shapes only."""
    rows = Image.fromarray(image).resize((size, image.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(rows.resize((size, size), Image.Resampling.BICUBIC)).astype(int)


@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
def test_direction(root, direction):
    data = build_data(root, direction=direction, jitter=False, mirror=False, size=LOAD_SIZE, batch_size=2)
    for split, loader in (("train", data.train_dataloader()), ("val", data.val_dataloader())):
        for batch in loader:
            for source, target, name in zip(batch["source"], batch["target"], batch["name"], strict=True):
                a, b = build_halves(split, name)
                np.testing.assert_array_equal(to_numpy(source), a if direction == "a_to_b" else b)
                np.testing.assert_array_equal(to_numpy(target), b if direction == "a_to_b" else a)
    assert data.pair_spec.direction == direction


def test_a_and_b_describe_the_files_in_both_directions(root):
    options = {"a": {"kind": "grayscale"}, "b": {"kind": "label", "palette": [[0, 0, 0], [255, 255, 255]]}}
    for direction, kinds in (("a_to_b", ("grayscale", "label")), ("b_to_a", ("label", "grayscale"))):
        spec = PairedDataModule(root, direction=direction, **options).pair_spec
        assert (spec.source.kind, spec.target.kind) == kinds


def test_batches_are_bytes_in_the_contracts_shape(root):
    batches = read_epochs(build_data(root), 1)[0]
    assert [len(batch["name"]) for batch in batches] == [3, 3, 1]
    for batch in batches:
        assert set(batch) == {"source", "target", "name"}
        assert isinstance(batch["name"], list)
        for side in ("source", "target"):
            assert batch[side].dtype == torch.uint8
            assert batch[side].shape == (len(batch["name"]), 3, SIZE, SIZE)


def test_validation_and_test_pairs_come_once_and_are_only_resized(root):
    data = build_data(root)
    data.setup("test")
    for split, count, loader in (("val", NUM_VAL, data.val_dataloader()), ("test", 2, data.test_dataloader())):
        batches = list(loader)
        names = [name for batch in batches for name in batch["name"]]
        assert names == [f"{split}_{index}" for index in range(count)]
        assert_equal(batches, list(loader))
        for batch in batches:
            for source, target, name in zip(batch["source"], batch["target"], batch["name"], strict=True):
                for side, half in zip((source, target), build_halves(split, name), strict=True):
                    assert np.abs(to_numpy(side) - resize_with_pillow(half, SIZE)).max() <= 2


# --- jitter


def test_load_sizes_have_the_ratio_of_the_paper():
    assert PairedDataModule("pairs").pair_spec.load_size == 286
    assert PairedDataModule("pairs", size=512).pair_spec.load_size == 572
    assert PairedDataModule("pairs", jitter=False).pair_spec.load_size == 256


class CoordinatePairs:
    """Red is the column and green the row, blue tells A from B."""

    def __init__(self, num, side):
        y, x = np.mgrid[:side, :side]
        self.image = np.dstack([x, y, np.zeros_like(x)]).astype(np.uint8)
        self.num = num

    def __len__(self):
        return self.num

    def __getitem__(self, index):
        return self.image, self.image + np.array([0, 0, 9], np.uint8), str(index)


def find_window(image):
    """Find left, top and mirror of a crop of a coordinate image; check that it is one."""
    columns, rows = image[..., 0].astype(int), image[..., 1].astype(int)
    left, top, mirrored = columns.min(), rows.min(), columns[0, 0] > columns[0, -1]
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    np.testing.assert_array_equal(columns, left + (x[:, ::-1] if mirrored else x))
    np.testing.assert_array_equal(rows, top + y)
    return int(left), int(top), bool(mirrored)


def build_coordinates(size, load_size, *, num=10, seed=0, mirror=True):
    spec = PairSpec(size=size, load_size=load_size)
    pairs = CoordinatePairs(num, load_size)
    return PairDataset(pairs, spec, augmentation=PairAugmentation(size, mirror=mirror), seed=seed)


def test_jitter_is_one_window_and_one_mirror_for_both_sides():
    dataset = build_coordinates(SIZE, LOAD_SIZE)
    seen = set()
    for key in [(epoch, index) for epoch in range(5) for index in range(10)]:
        sample = dataset[key]
        source, target = to_numpy(sample["source"]), to_numpy(sample["target"])
        assert source.shape == (SIZE, SIZE, 3)
        np.testing.assert_array_equal(target, source + np.array([0, 0, 9]))
        seen.add(find_window(source))
    assert len(seen) > 30  # of 5 x 5 x 2


def test_training_images_are_windows_of_the_resized_image(tmp_path):
    strip = noise(5, 50, 80)
    save(tmp_path / "train" / "x.png", strip)
    save(tmp_path / "val" / "x.png", strip)
    resized = [resize_with_pillow(half, LOAD_SIZE) for half in (strip[:, :40], strip[:, 40:])]
    data = build_data(tmp_path, layout="strip")
    for (batch,) in read_epochs(data, 4):
        fits = []
        for image, whole in zip((batch["source"][0], batch["target"][0]), resized, strict=True):
            fits.append(
                {
                    (left, top, step)
                    for left in range(LOAD_SIZE - SIZE + 1)
                    for top in range(LOAD_SIZE - SIZE + 1)
                    for step in (1, -1)
                    if np.abs(whole[top : top + SIZE, left : left + SIZE][:, ::step] - to_numpy(image)).max() <= 2
                }
            )
        assert len(fits[0]) == 1
        assert fits[0] == fits[1]


# --- randomness


def test_the_number_of_workers_and_a_cache_change_nothing(root, tmp_path):
    rotate = {"_target_": "albumentations.Rotate", "p": 0.5}
    jitter = {"_target_": "albumentations.ColorJitter", "p": 1, "sides": "source"}
    options = {"augmentation": [rotate, jitter]}
    expected = read_epochs(build_data(root, **options), 2)
    data = build_data(root, num_workers=2, cache=tmp_path / "cache", **options)
    assert data.train_dataloader().persistent_workers
    for one, other in zip(expected, read_epochs(data, 2), strict=True):
        assert_equal(one, other)


def test_only_training_pairs_are_augmented(root):
    invert = {"_target_": "albumentations.InvertImg", "p": 1, "sides": "source"}
    options = {"jitter": False, "mirror": False}
    plain, inverted = build_data(root, **options), build_data(root, augmentation=[invert], **options)
    for one, other in zip(read_epochs(plain, 1)[0], read_epochs(inverted, 1)[0], strict=True):
        assert torch.equal(other["source"], 255 - one["source"])
        assert torch.equal(other["target"], one["target"])
    assert_equal(list(plain.val_dataloader()), list(inverted.val_dataloader()))


def test_epochs_differ_seeds_differ_and_a_seed_repeats(root):
    first, second = read_epochs(build_data(root))
    again = read_epochs(build_data(root))
    assert_equal(first, again[0])
    assert_equal(second, again[1])

    def samples(batches):
        return {name: image for batch in batches for name, image in zip(batch["name"], batch["source"], strict=True)}

    other = read_epochs(build_data(root, seed=2), 1)[0]
    for batches in (second, other):
        assert [batch["name"] for batch in batches] != [batch["name"] for batch in first]
        one, two = samples(first), samples(batches)
        assert one.keys() == two.keys()
        differing = sum(not torch.equal(one[name], two[name]) for name in one)
        assert differing >= NUM_TRAIN - 1


def test_augmentation_does_not_depend_on_the_order_and_the_batch_size(root):
    dataset = build_coordinates(SIZE, LOAD_SIZE, num=6)
    forwards = [dataset[3, index]["source"] for index in range(6)]
    backwards = [dataset[3, index]["source"] for index in reversed(range(6))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    one, three = read_epochs(build_data(root, batch_size=1), 1)[0], read_epochs(build_data(root), 1)[0]
    assert torch.equal(torch.cat([b["source"] for b in one]), torch.cat([b["source"] for b in three]))


def test_the_global_generators_are_not_used(root):
    data = build_data(root)
    read_epochs(data, 1)  # late imports are done
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    before = random.getstate(), np.random.get_state()[1].copy(), np.random.get_state()[2], torch.get_rng_state()
    first = read_epochs(data)
    list(data.val_dataloader())
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert np.random.get_state()[2] == before[2]
    assert torch.equal(torch.get_rng_state(), before[3])
    # no result depends on them
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    for one, other in zip(first, read_epochs(data), strict=True):
        assert_equal(one, other)


without_optimizer = pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")


class Recorder(LightningModule):
    """Record the training batches; with a folder, save a checkpoint in each hook that can write one."""

    automatic_optimization = False

    def __init__(self, folder=None):
        super().__init__()
        self.seen = []
        self.num_validated = 0
        self.folder = folder

    def training_step(self, batch):
        self.save("training_step")
        self.seen.append(batch)

    def on_train_batch_end(self, *args):
        self.save("on_train_batch_end")

    def on_validation_end(self):
        self.num_validated += 1
        self.save("on_validation_end")

    def on_train_epoch_end(self):
        self.save("on_train_epoch_end")

    def save(self, hook):
        if self.folder is not None:
            self.trainer.save_checkpoint(self.folder / f"{len(self.seen)}_{hook}.ckpt", weights_only=False)

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return None


def build_trainer(max_epochs):
    return Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=1,
    )


@pytest.fixture(scope="module")
def recorded(root, tmp_path_factory):
    """Checkpoints of a training of three epochs, three batches each."""
    folder = tmp_path_factory.mktemp("recorded")
    recorder = Recorder(folder)
    build_trainer(3).fit(recorder, build_data(root))
    return folder, recorder.seen


@without_optimizer
def test_the_trainer_sees_each_epoch_in_its_own_order(root, recorded):
    assert_equal(recorded[1], [batch for batches in read_epochs(build_data(root), 3) for batch in batches])


@without_optimizer
@pytest.mark.parametrize(
    ("num_seen", "hook", "num_workers"),
    [
        (4, "on_train_batch_end", 1),
        (3, "on_train_batch_end", 0),
        (2, "training_step", 1),
        (3, "on_validation_end", 0),
        (6, "on_train_epoch_end", 0),
    ],
)
def test_a_resumed_run_continues_with_the_next_batch(root, recorded, num_seen, hook, num_workers):
    folder, batches = recorded
    resumed = Recorder()
    checkpoint = folder / f"{num_seen}_{hook}.ckpt"
    build_trainer(3).fit(resumed, build_data(root, num_workers=num_workers), ckpt_path=checkpoint, weights_only=True)
    assert_equal(resumed.seen, batches[num_seen:])


@without_optimizer
def test_a_run_is_resumed_within_an_epoch_with_smaller_batches(root, recorded, tmp_path):
    folder, batches = recorded
    names = [name for batch in batches for name in batch["name"]]
    num_seen = sum(len(batch["name"]) for batch in batches[:4])
    smaller = Recorder(tmp_path)
    checkpoint = folder / "4_on_train_batch_end.ckpt"
    build_trainer(3).fit(smaller, build_data(root, batch_size=1), ckpt_path=checkpoint, weights_only=True)
    assert [name for batch in smaller.seen for name in batch["name"]] == names[num_seen:]
    again = Recorder()
    checkpoint = tmp_path / "1_on_train_batch_end.ckpt"
    build_trainer(3).fit(again, build_data(root, batch_size=1), ckpt_path=checkpoint, weights_only=True)
    assert [name for batch in again.seen for name in batch["name"]] == names[num_seen + 1 :]
    assert smaller.num_validated == again.num_validated == 2


@without_optimizer
@pytest.mark.parametrize(
    ("checkpoint", "batch_size", "accumulate", "first"),
    [
        ("5_on_train_batch_end", 4, 1, 7 + 4),  # the two pairs of a batch that would be cut are seen again
        ("4_training_step", 4, 1, 7),
        ("5_on_train_batch_end", 3, 2, 7 + 6),
        ("4_on_train_batch_end", 3, 2, 7),  # a window begins with its first batch
        ("6_on_validation_end", 2, 1, 14),
    ],
)
def test_an_epoch_that_goes_on_with_other_batches_ends_with_its_last_pair(
    root, recorded, checkpoint, batch_size, accumulate, first
):
    folder, batches = recorded
    names = [name for batch in batches for name in batch["name"]]
    resumed = Recorder()
    resumed.accumulate = accumulate
    data = build_data(root, batch_size=batch_size)
    build_trainer(3).fit(resumed, data, ckpt_path=folder / f"{checkpoint}.ckpt", weights_only=True)
    assert [name for batch in resumed.seen for name in batch["name"]] == names[first:]
    assert resumed.num_validated == (1 if first == 14 else 2)


@without_optimizer
def test_an_epoch_that_is_cut_short_is_followed_by_the_next(root):
    class CutShort(Recorder):
        def on_train_batch_start(self, batch, batch_idx):
            return -1 if len(self.seen) == 2 and self.trainer.current_epoch == 0 else None

    data, recorder = build_data(root), Recorder()
    build_trainer(1).fit(CutShort(), data)
    assert data.state_dict() == {"epoch": 1, "num_batches": 0, "batch_size": 3, "num_processes": 1}
    build_trainer(1).fit(recorder, data)  # a new training begins at the beginning
    assert_equal(recorder.seen, read_epochs(build_data(root), 1)[0])


# --- the order


def draw_order(num, epoch=0, **options):
    sampler = EpochSampler(num, **{"seed": 0, "shuffle": True, **options})
    sampler.set_epoch(epoch)
    keys = list(sampler)
    assert len(sampler) == len(keys)
    assert all(key[0] == epoch for key in keys)
    return [index for _, index in keys]


def test_every_epoch_is_another_permutation():
    orders = [draw_order(20, epoch) for epoch in range(4)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert draw_order(20, 2) == orders[2]
    assert draw_order(20, 0, seed=1) != orders[0]
    assert draw_order(20, 5, shuffle=False) == list(range(20))


@pytest.mark.parametrize(("num", "world_size"), [(6, 2), (5, 2), (7, 3), (2, 5)])
def test_ranks_train_on_equally_many_and_together_on_all(num, world_size):
    parts = [draw_order(num, 1, rank=rank, world_size=world_size) for rank in range(world_size)]
    length = -(-num // world_size)
    assert [len(part) for part in parts] == [length] * world_size
    counts = np.bincount([index for part in parts for index in part], minlength=num)
    assert counts.min() >= 1
    assert counts.sum() == length * world_size
    assert counts.max() - counts.min() <= 1
    # together they see what one process sees, in its order
    together = [part[place] for place in range(length) for part in parts]
    assert together[:num] == draw_order(num, 1)


def test_ranks_are_disjoint_and_validate_each_pair_once():
    train = [set(draw_order(6, rank=rank, world_size=2)) for rank in range(2)]
    assert not train[0] & train[1]
    val = [draw_order(5, shuffle=False, rank=rank, world_size=2) for rank in range(2)]
    assert sorted(val[0] + val[1]) == [0, 1, 2, 3, 4]


def test_skip_leaves_out_the_first_indices_once():
    whole = draw_order(9, 4)
    sampler = EpochSampler(9, seed=0, shuffle=True)
    sampler.set_epoch(4)
    sampler.skip = 6
    assert len(sampler) == 9
    assert [index for _, index in sampler] == whole[6:]
    assert [index for _, index in sampler] == whole


# --- kinds of sides


def test_grayscale_and_label_sides_are_one_channel_of_bytes(tmp_path):
    palette = [[0, 0, 170], [0, 85, 255], [255, 255, 0], [170, 0, 0]]
    classes = np.kron(np.random.default_rng(0).integers(0, 4, (4, 4)), np.ones((9, 9), int))
    strip = np.hstack([noise(1, 36, 36), np.array(palette, np.uint8)[classes]])
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        Image.fromarray(strip).save(tmp_path / split / "x.jpg", quality=80)
    decoded = np.asarray(Image.open(tmp_path / "val" / "x.jpg")).astype(int)
    nearest = ((decoded[:, 36:, None] - np.array(palette)) ** 2).sum(-1).argmin(-1)
    luminance = decoded[:, :36] @ np.array([0.299, 0.587, 0.114])

    data = build_data(tmp_path, a={"kind": "grayscale"}, b={"kind": "label", "palette": palette}, size=36)
    (batch,) = list(data.val_dataloader())
    for side in ("source", "target"):
        assert batch[side].dtype == torch.uint8
        assert batch[side].shape == (1, 1, 36, 36)
    # Pillow's and OpenCV's decoders may differ by a level or two
    assert np.abs(batch["source"][0, 0].numpy() - luminance).max() <= 3
    assert (batch["target"][0, 0].numpy() == nearest).mean() > 0.98
    assert (nearest == classes).mean() > 0.8

    (train,) = read_epochs(data, 1)[0]
    assert train["source"].shape == train["target"].shape == (1, 1, 36, 36)
    assert set(np.unique(train["target"])) <= {0, 1, 2, 3}


@pytest.mark.parametrize("resized", [24, 60])
def test_class_numbers_and_palettes_never_get_new_values(tmp_path, resized):
    palette = ((10, 20, 30), (200, 100, 0), (0, 250, 250))
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 3, (36, 36)).astype(np.uint8) * 2
    rough = np.clip(np.array(palette)[numbers // 2] + rng.integers(-9, 10, (36, 36, 3)), 0, 255).astype(np.uint8)
    save(tmp_path / "val/A" / "x.png", numbers)
    save(tmp_path / "val/B" / "x.png", rough)
    data = PairedDataModule(
        tmp_path,
        size=resized,
        num_workers=0,
        a={"kind": "label", "num_classes": 5},
        b={"snap_palette": True, "palette": palette},
    )
    data.setup("validate")
    (batch,) = list(data.val_dataloader())
    index = ((np.arange(resized) + 0.5) * 36 / resized).astype(int)
    expected = numbers[index][:, index]
    np.testing.assert_array_equal(batch["source"][0, 0].numpy(), expected)
    np.testing.assert_array_equal(to_numpy(batch["target"][0]), np.array(palette)[expected // 2])


def test_a_palette_is_snapped_to_before_a_smooth_resizing():
    palette = ((0, 0, 0), (200, 200, 200))
    image = np.zeros((16, 16, 3), np.uint8) + 20
    image[:, 8:] = 180

    class One:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return image, image, "x"

    side = build_side(palette=palette, snap_palette=True, interpolation="bicubic")
    sample = PairDataset(One(), PairSpec(source=side, size=23), augmentation=None, seed=0)[0, 0]
    clean = np.where(image > 100, 200, 0).astype(np.uint8)
    assert np.abs(to_numpy(sample["source"]) - resize_with_pillow(clean, 23)).max() <= 2
    assert np.abs(to_numpy(sample["target"]) - resize_with_pillow(image, 23)).max() <= 2


def test_two_folders_with_sides_of_unequal_size(tmp_path):
    a, b = noise(0, 40, 30), noise(1, 80, 60)
    for split in ("train", "val"):
        save(tmp_path / split / "A" / "x.png", a)
        save(tmp_path / split / "B" / "x.png", b)
    data = build_data(tmp_path)
    (batch,) = list(data.val_dataloader())
    (train,) = read_epochs(data, 1)[0]
    assert batch["source"].shape == batch["target"].shape == train["source"].shape == train["target"].shape
    assert np.abs(to_numpy(batch["target"][0]) - resize_with_pillow(b, SIZE)).max() <= 2
    assert np.abs(to_numpy(batch["source"][0]) - resize_with_pillow(a, SIZE)).max() <= 2


# --- user errors


def test_a_missing_root_names_the_folder_and_the_archive(tmp_path):
    missing = tmp_path / "nowhere"
    with pytest.raises(ValueError, match=rf"data\.root={missing} .*data\.root=<folder>"):
        PairedDataModule(missing).setup("fit")
    with pytest.raises(ValueError, match=rf"data\.root={missing} .*http://x/y\.tar\.gz"):
        PairedDataModule(missing, archive="http://x/y.tar.gz").setup("fit")


def test_an_empty_root_and_an_empty_split_name_the_archive_too(tmp_path):
    data = PairedDataModule(tmp_path, archive="http://x/y.tar.gz")
    with pytest.raises(ValueError, match=r"/train .*http://x/y\.tar\.gz"):
        data.setup("fit")
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"/train: .*http://x/y\.tar\.gz"):
        data.setup("fit")
    save(tmp_path / "train" / "x.png", noise(0, 8, 16))
    with pytest.raises(ValueError, match=r"/val "):
        data.setup("fit")


def test_another_split_can_be_validated_on(root):
    data = build_data(root, val_split="test")
    assert [name for batch in data.val_dataloader() for name in batch["name"]] == ["test_0", "test_1"]


def test_the_name_of_the_validation_split_may_be_a_number(tmp_path):
    for split in ("train", "5"):
        (tmp_path / split).mkdir()
        save(tmp_path / split / f"{split}.png", noise(0, 8, 16))
    data = build_data(tmp_path, val_split=5)
    assert [name for batch in data.val_dataloader() for name in batch["name"]] == ["5"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, r"data\.size=0"),
        ({"batch_size": 0}, r"data\.batch_size=0"),
        ({"batch_size": None}, r"data\.batch_size=None"),
        ({"num_workers": -1}, r"data\.num_workers=-1"),
        ({"num_workers": "two"}, r"data\.num_workers=two"),
        ({"max_pairs": "abc"}, r"data\.max_pairs=abc"),
        ({"max_pairs": 1.5}, r"data\.max_pairs=1\.5"),
        ({"max_pairs": True}, r"data\.max_pairs=True"),
        ({"prefetch_factor": 0}, r"data\.prefetch_factor=0"),
        ({"val_split": None}, r"data\.val_split=null"),
        ({"root": None}, r"data\.root=null"),
        ({"seed": -1}, r"seed=-1"),
        ({"seed": "abc"}, r"seed=abc"),
        ({"direction": "AtoB"}, r"direction='AtoB'.*a_to_b, b_to_a"),
        ({"a": {"kind": "gray"}}, r"kind='gray'"),
        ({"b": {"colour": "grey"}}, r"'colour'.*side"),
        *((({key: "no"}), rf"data\.{key}=no: true") for key in ("mirror", "jitter", "pin_memory", "cache")),
        *(({"cache": value}, rf"data\.cache={value}: .*folder") for value in ("", "OFF", 5)),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        PairedDataModule(**{"root": "pairs", **options})


@pytest.mark.parametrize("value", [0, "abc", 1.5])
@pytest.mark.parametrize("name", ["num_train", "num_val", "num_looks"])
def test_counts_of_drawn_pairs_are_positive_integers(name, value):
    with pytest.raises(ValueError, match=rf"data\.{name}={value}"):
        ProceduralDataModule(**{name: value})


def test_a_count_may_be_a_numpy_integer(root):
    data = build_data(root, max_pairs=np.int64(1))
    assert len([name for batch in data.val_dataloader() for name in batch["name"]]) == 1


def write_damaged(folder, how):
    whole = folder / "whole"
    save(whole.with_suffix(".jpg"), noise(0, 32, 64))
    save(whole.with_suffix(".png"), noise(0, 32, 64))
    jpeg, png = whole.with_suffix(".jpg").read_bytes(), whole.with_suffix(".png").read_bytes()
    split = folder / "val"
    split.mkdir()
    if how == "odd width":
        save(split / "x.png", noise(0, 8, 15))
    elif how == "16 bits":
        Image.fromarray(np.zeros((8, 16), np.uint16)).save(split / "x.png")
    else:
        contents = {"cut JPEG": jpeg[: len(jpeg) // 2], "cut PNG": png[: len(png) // 2], "empty": b"", "text": b"hello"}
        (split / ("x.jpg" if how == "cut JPEG" else "x.png")).write_bytes(contents[how])


EXPECTED = {
    "cut JPEG": r"x\.jpg .*JPEG",
    "cut PNG": r"x\.png ",
    "empty": r"x\.png ",
    "text": r"x\.png ",
    "16 bits": r"x\.png.*uint16",
    "odd width": r"x\.png is 15 .*/A",
}


@pytest.mark.parametrize("how", EXPECTED)
def test_a_damaged_file_is_one_line(tmp_path, how):
    write_damaged(tmp_path, how)
    data = PairedDataModule(tmp_path, size=8, num_workers=0)
    data.setup("validate")
    with pytest.raises(ValueError, match=EXPECTED[how]) as raised:
        list(data.val_dataloader())
    assert "\n" not in str(raised.value)


def test_a_damaged_file_in_a_worker_is_an_error_that_ends_with_the_line(tmp_path):
    how = "cut JPEG"
    write_damaged(tmp_path, how)
    data = PairedDataModule(tmp_path, size=8, num_workers=1)
    data.setup("validate")
    iterator = iter(data.val_dataloader())
    with pytest.raises(ValueError, match=EXPECTED[how]) as raised:
        next(iterator)
    iterator._shutdown_workers()  # the garbage collector would wait for 5 s
    last = str(raised.value).rstrip().splitlines()[-1]
    assert f"UserError: {Path(tmp_path) / 'val'}" in last


def test_a_class_number_that_is_too_large_names_the_pair(tmp_path):
    save(tmp_path / "val" / "street.png", np.full((8, 16, 3), 7, np.uint8))
    data = PairedDataModule(tmp_path, size=8, num_workers=0, b={"kind": "label", "num_classes": 7})
    data.setup("validate")
    with pytest.raises(ValueError, match=r"pair street, data\.b: .* 7 "):
        list(data.val_dataloader())


def test_strips_of_unequal_size_share_a_batch(tmp_path):
    for index, (height, width) in enumerate([(20, 60), (41, 16)]):
        save(tmp_path / "val" / f"{index}.png", noise(index, height, width))
    pairs = StripPairs(sorted((tmp_path / "val").iterdir()))
    assert [pairs[index][0].shape for index in range(2)] == [(20, 30, 3), (41, 8, 3)]
    data = PairedDataModule(tmp_path, size=24, num_workers=0, batch_size=2)
    data.setup("validate")
    (batch,) = list(data.val_dataloader())
    assert batch["source"].shape == (2, 3, 24, 24)


def test_sides_take_their_numbers_and_background_from_files(tmp_path):
    numbers = (np.arange(256).reshape(16, 16) % 3).astype(np.uint8)
    for side in "AB":
        (tmp_path / "val" / side).mkdir(parents=True)
    drawing = np.zeros((16, 16, 4), np.uint8)
    drawing[4:9, 3:12, 3] = 255
    Image.fromarray(drawing).save(tmp_path / "val/A/x.png")
    indexed = Image.fromarray(numbers, "P")
    indexed.putpalette([9, 8, 7, 200, 10, 3, 0, 250, 77])
    indexed.save(tmp_path / "val/B/x.png")
    sides = {"a": {"background": [7, 80, 255]}, "b": {"kind": "label", "num_classes": 3}}
    data = PairedDataModule(tmp_path, direction="b_to_a", size=16, num_workers=0, **sides)
    data.setup("validate")
    (batch,) = data.val_dataloader()
    np.testing.assert_array_equal(batch["source"][0, 0], numbers)
    expected = np.where(drawing[..., 3:] == 255, 0, np.array([7, 80, 255], np.uint8))
    np.testing.assert_array_equal(batch["target"][0].permute(1, 2, 0), expected)


# --- files that become unreadable while a training runs


def damage(root, *names):
    for name in names:
        (root / name.partition("_")[0] / f"{name}.png").write_text("text")


@pytest.fixture
def damaged(tmp_path):
    """A function that builds data of twelve training and three validation pairs, and damages some of them then."""

    def build(*names, **options):
        for split, count in (("train", 12), ("val", 3)):
            for index in range(count):
                save(tmp_path / split / f"{split}_{index}.png", noise(compute_seed(split, index), SIZE, 2 * SIZE))
        data = build_data(tmp_path, **{"batch_size": 2, "on_error": "skip", **options})
        damage(tmp_path, *names)
        return data

    return build


def test_another_pair_takes_the_place_of_an_unreadable_one(damaged, caplog):
    epochs = read_epochs(damaged("train_3", "train_7"), 3)
    sound = read_epochs(damaged(), 3)
    replacements = []
    for batches, expected in zip(epochs, sound, strict=True):
        assert len(batches) == len(expected) == 6
        for batch, other in zip(batches, expected, strict=True):
            for index, name in enumerate(other["name"]):
                if name in ("train_3", "train_7"):
                    assert batch["name"][index] not in ("train_3", "train_7")
                    replacements.append(batch["name"][index])
                else:
                    assert batch["name"][index] == name
                    assert torch.equal(batch["source"][index], other["source"][index])
    assert len(set(replacements)) > 2  # each epoch draws anew
    assert sum("train_3.png" in line for line in caplog.messages) == 1
    assert sum("train_7.png" in line for line in caplog.messages) == 1

    data = damaged("train_3", "train_7", num_workers=2)
    for batches, other in zip(epochs, read_epochs(data, 3), strict=True):
        assert_equal(batches, other)
    assert data.train_dataloader().dataset.num_unreadable == 2


def test_a_validation_leaves_out_what_is_unreadable(damaged, caplog):
    data = damaged("val_1")
    batches = list(data.val_dataloader())
    assert [batch["name"] for batch in batches] == [["val_0"], ["val_2"]]
    assert "val_1.png" in caplog.text
    data = damaged("val_0", "val_1")
    assert [batch["name"] for batch in data.val_dataloader()] == [["val_2"]]  # of the first batch nothing is left


@without_optimizer
def test_a_trainer_goes_on_without_unreadable_pairs(damaged):
    class Validated(Recorder):
        def validation_step(self, batch):
            names.append(batch["name"])

    names = []
    recorder = Validated()
    build_trainer(1).fit(recorder, damaged("train_0", "val_0", "val_1"))
    assert len(recorder.seen) == 6
    assert names == [["val_2"]]


def test_a_data_set_that_has_disappeared_is_an_error(damaged):
    data = damaged(*(f"train_{index}" for index in range(12)))
    with pytest.raises(ValueError, match=r"in a row .*data\.root"):
        read_epochs(data, 1)


def test_by_default_the_error_advises_to_skip(damaged):
    data = damaged("train_3", on_error="raise")
    with pytest.raises(ValueError, match=r"train_3\.png.*data\.on_error=skip"):
        read_epochs(data, 1)


@pytest.mark.parametrize("key", ["check", "layout", "on_error"])
def test_drawn_pairs_have_no_files_to_check(key):
    with pytest.raises(ValueError, match=rf"data\.{key}="):
        ProceduralDataModule(**{key: "auto"})


def test_setup_without_a_stage_opens_what_is_there(root, tmp_path):
    data = PairedDataModule(root, size=SIZE, batch_size=3, num_workers=0)
    with pytest.raises(UserError, match=r"setup\(\)"):
        data.val_dataloader()
    data.setup()
    fitted = build_data(root, seed=0)
    for name in ("train_dataloader", "val_dataloader"):
        (first, *_), (expected, *_) = getattr(data, name)(), getattr(fitted, name)()
        assert first["name"] == expected["name"]
        assert torch.equal(first["source"], expected["source"])
    save(tmp_path / "only/train/0.png", noise(0, SIZE, 2 * SIZE))
    data = PairedDataModule(tmp_path / "only", size=SIZE, num_workers=0)
    data.setup()
    assert len(data.train_dataloader()) == 1
    for loader in (data.val_dataloader, data.predict_dataloader):
        with pytest.raises(UserError, match="only/val"):
            loader()
    with pytest.raises(UserError, match="missing is no folder"):
        PairedDataModule(tmp_path / "missing").setup()
