import csv
import math

import pytest

from pix2pix_lightning.loggers import MetricsCSV


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_of_a_step_are_one_and_new_columns_find_their_place(tmp_path):
    path = tmp_path / "metrics.csv"
    logger = MetricsCSV(path)
    for step in range(4):
        logger.log_metrics({"loss": step / 10, "epoch": 0}, step)
        logger.save()
    assert [row["step"] for row in read(path)] == ["0", "1", "2"]  # the last may still grow
    logger.log_metrics({"val/l1": 0.5, "epoch": 0}, 3)
    logger.finalize("success")
    rows = read(path)
    assert [row["loss"] for row in rows] == ["0.0", "0.1", "0.2", "0.3"]
    assert [row["val/l1"] for row in rows] == ["", "", "", "0.5"]
    assert not path.with_suffix(".csv.part").exists()


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(tmp_path):
    path = tmp_path / "metrics.csv"
    first = MetricsCSV(path)
    for step in range(5):
        first.log_metrics({"loss": float(step)}, step)
    first.finalize("failed")
    second = MetricsCSV(path)
    assert len(read(path)) == 5  # nothing is lost before there is something new
    second.log_metrics({"loss": 30.0}, 3)
    second.log_metrics({"loss": 40.0}, 4)
    second.finalize("success")
    assert [(row["step"], row["loss"]) for row in read(path)] == [
        ("0", "0.0"), ("1", "1.0"), ("2", "2.0"), ("3", "30.0"), ("4", "40.0")
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 7, 8, 9])
def test_what_a_killed_process_left_of_its_last_row_is_left_out(tmp_path, cut):
    """Wherever the line ends: in its step, before a number, and inside one, which would read as another."""
    path = tmp_path / "metrics.csv"
    first = MetricsCSV(path)
    for step in range(3):
        first.log_metrics({"epoch": 0, "loss": step + 0.125, "norm": math.nan}, step)
    first.finalize("failed")
    whole = path.read_bytes()
    start = whole.rstrip().rfind(b"\n") + 1
    path.write_bytes(whole[: start + cut])
    assert whole[start:].startswith(b"0,2,2.125,")
    second = MetricsCSV(path)
    second.log_metrics({"epoch": 0, "loss": 30.0, "norm": 1.0}, 3)
    second.finalize("success")
    assert [tuple(row.values()) for row in read(path)] == [
        ("0", "0", "0.125", "nan"), ("0", "1", "1.125", "nan"), ("0", "3", "30.0", "1.0")
    ]  # fmt: skip


@pytest.mark.parametrize("damage", [b"0,x,1.0", b"0", b",,1.0", b"0,1,1.0,7", b"\xff\x00", b"0,1,a"])
def test_rows_that_are_none_are_left_out(tmp_path, damage):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"epoch,step,loss\r\n0,0,0.5\r\n" + damage + b"\r\n0,2,2.5\r\n")
    logger = MetricsCSV(path)
    logger.log_metrics({"epoch": 0, "loss": 3.5}, 3)
    logger.finalize("success")
    assert [(row["step"], row["loss"]) for row in read(path)] == [("0", "0.5"), ("2", "2.5"), ("3", "3.5")]
