"""Tests that TensorBoard's and wandb's files have the content of metrics.csv and config.yaml."""

import csv
import io
import json
import struct
import time

import numpy as np
import pytest
import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from helpers import TINY, make_strips
from pix2pix_lightning import compose
from pix2pix_lightning.train import train
from pix2pix_lightning.training.loggers import TensorBoard, Wandb, log_images

BOTH = ["logger=[tensorboard,wandb]", "logger.wandb.offline=true", "logger.wandb.project=mine", "module.accumulate=2"]
WANDB_COLUMNS = {"_step", "_timestamp", "_runtime", "trainer/global_step"}
BLOCK, HEADER = 32768, 7


def read_events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()


def read_records(path):
    """Read a .wandb file, which wandb's process closes some time after ``finish`` has returned."""
    for _ in range(100):
        found = list(parse_records(path))
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} has no end")


def parse_records(path):
    """Parse a LevelDB log of protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, whole = path.read_bytes(), 7, b""
    assert data[:4] in (b":W&B", b"")
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        whole += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (1, 4):  # full, last
            yield Record.FromString(whole)
            whole = b""


def find_wandb_files(run_dir):
    return sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))


def read_history(run_dir):
    """Yield folder and row of all parts of a run, with nested keys joined by a dot."""
    for path in find_wandb_files(run_dir):
        for record in read_records(path):
            if record.WhichOneof("record_type") == "history":
                row = {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
                yield path.parent, row


def read_wandb_scalars(run_dir):
    found = {}
    for _, row in read_history(run_dir):
        for name in row.keys() - WANDB_COLUMNS:
            if not name.startswith("gallery/"):
                found.setdefault(name, {})[row["trainer/global_step"]] = row[name]
    return found


def read_csv_scalars(run_dir):
    found = {}
    with (run_dir / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if name != "step" and value != "":
                    found.setdefault(name, {})[int(row["step"])] = float(value)
    return found


def read_wandb_runs(run_dir):
    return [r.run for p in find_wandb_files(run_dir) for r in read_records(p) if r.WhichOneof("record_type") == "run"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, isolated_wandb):
    """Train two epochs, move the folder, and train a third one."""
    root = tmp_path_factory.mktemp("logged")
    words = [*TINY, *BOTH, f"data.root={make_strips(root / 'pairs')}"]
    train(compose("train", [*words, f"run_dir={root}/before", "name=mine"]))
    (root / "before").rename(root / "after")
    train(compose("train", [f"resume={root}/after", "trainer.max_epochs=3"]))
    return root / "after"


def test_steps_count_batches(run_dir):
    scalars = read_csv_scalars(run_dir)
    assert list(scalars["train/loss_g"]) == list(range(9))  # accumulated or not, resumed or not
    assert list(scalars["val/l1"]) == [2, 5, 8]
    assert scalars["epoch"] == {step: step // 3 for step in range(9)}


def test_summary_has_metrics_without_the_progress(run_dir):
    metrics = json.loads((run_dir / "summary.json").read_text())["metrics"]
    assert {"val/l1", "best/l1"} <= metrics.keys()
    assert not {"step", "epoch"} & metrics.keys()


def test_tensorboard_has_the_scalars_of_the_csv_file(run_dir):
    read, expected = read_events(run_dir / "tensorboard"), read_csv_scalars(run_dir)
    assert set(read.Tags()["scalars"]) == set(expected)
    for name, values in expected.items():
        assert {event.step: event.value for event in read.Scalars(name)} == pytest.approx(values, rel=1e-6)


def test_wandb_has_the_scalars_of_the_csv_file(run_dir):
    read, expected = read_wandb_scalars(run_dir), read_csv_scalars(run_dir)
    assert set(read) == set(expected)
    for name, values in expected.items():
        assert read[name] == pytest.approx(values, rel=1e-6)


def test_resumed_run_continues_its_wandb_run(run_dir):
    first, second = read_wandb_runs(run_dir)
    assert first.run_id == second.run_id == (run_dir / "wandb/run_id.txt").read_text().strip()
    assert first.project == second.project == "mine"
    assert (first.display_name, second.display_name) == ("mine/before", "mine/after")


def test_new_run_has_a_new_id_even_with_the_same_name(tmp_path, isolated_wandb):
    for folder in ("one", "two"):
        logger = Wandb(tmp_path / folder, name="same", offline=True)
        logger.log_metrics({"loss": 1.0}, 0)
        logger.finalize("success")
    one, two = (read_wandb_runs(tmp_path / folder)[0] for folder in ("one", "two"))
    assert one.display_name == two.display_name == "same"
    assert one.run_id != two.run_id


def test_both_have_the_resolved_configuration(run_dir):
    expected = OmegaConf.to_container(OmegaConf.load(run_dir / "config.yaml"), resolve=True)
    assert expected["trainer"]["max_epochs"] == 3
    (text,) = read_events(run_dir / "tensorboard").Tensors("config/text_summary")[-1].tensor_proto.string_val
    assert yaml.safe_load(text.decode().strip("`").removeprefix("yaml\n")) == expected
    last = {}
    for record in read_records(find_wandb_files(run_dir)[-1]):
        if record.WhichOneof("record_type") == "config":
            last.update({item.key: json.loads(item.value_json) for item in record.config.update})
    assert {name: last[name] for name in expected} == expected


def test_both_have_the_gallery_of_each_epoch(run_dir):
    read = read_events(run_dir / "tensorboard")
    names = [name for name in read.Tags()["images"] if name.startswith("gallery/")]
    assert len(names) == 3
    for name in names:
        pictures = [np.asarray(Image.open(io.BytesIO(e.encoded_image_string))) for e in read.Images(name)]
        paths = [
            folder / "files" / row[f"{name}.path"] for folder, row in read_history(run_dir) if f"{name}.path" in row
        ]
        assert len(pictures) == len(paths) == 3
        for picture, path in zip(pictures, paths, strict=True):
            assert picture.dtype == np.uint8
            np.testing.assert_array_equal(picture, np.asarray(Image.open(path)))
        assert (pictures[0] != pictures[1]).any()


def test_images_are_logged_unchanged(tmp_path, isolated_wandb):
    rng = np.random.default_rng(0)
    given = {
        "colour": rng.integers(0, 256, (5, 7, 3), np.uint8),
        "dark": rng.integers(0, 2, (5, 7, 3), np.uint8),  # not to be taken for fractions of one
        "gray": rng.integers(0, 256, (5, 7, 1), np.uint8),
        "row": rng.integers(0, 256, (1, 7, 3), np.uint8),
    }
    board, wandb = TensorBoard(tmp_path / "board"), Wandb(tmp_path / "run", offline=True)
    wandb.log_metrics({"loss": 1.0}, 9)
    log_images([board, wandb], given, 9)
    log_images([board, wandb], given, 9)  # a second batch of the same validation
    for logger in (board, wandb):
        logger.finalize("success")
    read = read_events(tmp_path / "board")
    rows = [(folder, row) for folder, row in read_history(tmp_path / "run") if "dark.path" in row]
    assert [row["trainer/global_step"] for _, row in rows] == [9, 9]
    for name, picture in given.items():
        first, second = read.Images(name)
        assert first.step == second.step == 9
        tensorboards = np.asarray(Image.open(io.BytesIO(first.encoded_image_string)))
        np.testing.assert_array_equal(tensorboards, np.broadcast_to(picture, tensorboards.shape))
        wandbs = np.asarray(Image.open(rows[0][0] / "files" / rows[0][1][f"{name}.path"]))
        np.testing.assert_array_equal(wandbs.reshape(picture.shape), picture)


def test_resumed_run_drops_later_tensorboard_events(tmp_path):
    first = TensorBoard(tmp_path)
    for step in range(5):
        first.log_metrics({"loss": float(step)}, step)
    first.finalize("failed")
    second = TensorBoard(tmp_path)
    second.save()
    for step in (3, 4, 5):
        second.log_metrics({"loss": 10.0 * step}, step)
    second.finalize("success")
    read = [(event.step, event.value) for event in read_events(tmp_path).Scalars("loss")]
    assert read == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 30.0), (4, 40.0), (5, 50.0)]


@pytest.mark.parametrize(
    ("choice", "others"),
    [
        ("csv", []),
        ("tensorboard", ["tensorboard"]),
        ("wandb", ["wandb"]),
        ("[tensorboard,wandb]", ["tensorboard", "wandb"]),
        ("[csv,wandb]", ["wandb"]),
    ],
)
def test_csv_logger_is_always_there(choice, others):
    assert list(compose("train", [f"logger={choice}"]).logger) == ["csv", *others]


def test_configuration_keys_reach_wandb(tmp_path, isolated_wandb):
    words = ["name=mine", f"run_dir={tmp_path}/run", "logger.wandb.tags=[a,b]", "logger.wandb.notes=why"]
    node = compose("train", ["logger=wandb", "logger.wandb.offline=true", *words]).logger.wandb

    logger = instantiate(node)
    logger.log_metrics({"loss": 1.0}, 0)
    logger.finalize("success")
    (run,) = read_wandb_runs(tmp_path / "run")
    assert (list(run.tags), run.notes, run.run_group, run.display_name) == (["a", "b"], "why", "mine", "mine/run")
