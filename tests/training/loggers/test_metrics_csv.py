import csv
import errno
import math

import pytest

from pix2pix_lightning.training.loggers import MetricsCSV, metrics_csv


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_of_a_step_are_one_row_and_new_columns_are_added(tmp_path):
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
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_resumed_run_replaces_rows_after_its_checkpoint(tmp_path):
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


def test_a_resumed_run_adds_to_the_row_in_which_it_was_interrupted(tmp_path):
    first = MetricsCSV(tmp_path / "metrics.csv")
    for step in range(2):
        first.log_metrics({"loss": float(step)}, step)
    first.finalize("failed")
    second = MetricsCSV(tmp_path / "metrics.csv")
    second.log_metrics({"val/l1": 0.5}, 1)  # the last batch was trained, its validation comes now
    second.finalize("success")
    rows = read(tmp_path / "metrics.csv")
    assert [(row["step"], row["loss"], row["val/l1"]) for row in rows] == [("0", "0.0", ""), ("1", "1.0", "0.5")]


def test_a_row_that_is_in_the_file_stays_when_rows_are_saved(tmp_path):
    path = tmp_path / "metrics.csv"
    logger = MetricsCSV(path)
    logger.log_metrics({"loss": 0.5}, 0)
    logger.log_metrics({"loss": 1.5}, 1)
    logger.write_growing()  # before a checkpoint
    for again in (logger, MetricsCSV(path)):  # the process, and one that resumes from the checkpoint
        again.log_metrics({"val/l1": 0.25}, 1)
        again.save()
        assert read(path)[1]["loss"] == "1.5"


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 7, 8, 9])
def test_incomplete_last_row_of_a_killed_process_is_dropped(tmp_path, cut):
    """The line ends in its step, before a number, or inside a number, which would be another number."""
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
def test_damaged_rows_are_dropped(tmp_path, damage):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"epoch,step,loss\r\n0,0,0.5\r\n" + damage + b"\r\n0,2,2.5\r\n")
    logger = MetricsCSV(path)
    logger.log_metrics({"epoch": 0, "loss": 3.5}, 3)
    logger.finalize("success")
    assert [(row["step"], row["loss"]) for row in read(path)] == [("0", "0.5"), ("2", "2.5"), ("3", "3.5")]


def test_only_the_last_row_is_written_again(tmp_path):
    """A long run must not rewrite its file with each epoch, nor keep its rows in memory."""
    path, logger = tmp_path / "metrics.csv", MetricsCSV(tmp_path / "metrics.csv")
    written = []
    for epoch in range(30):
        for step in range(10 * epoch, 10 * epoch + 10):
            logger.log_metrics({"epoch": epoch, "loss": step + 0.5}, step)
            logger.save()
            assert step == 0 or len(read(path)) == step
        logger.log_metrics({"val/l1": 1234567890.125}, step)
        logger.after_save_checkpoint(None)
        assert (read(path)[-1]["step"], read(path)[-1]["val/l1"]) == (f"{step}", "1234567890.125")
        logger.log_metrics({"val/l1": 9.0, "lr": 2e-4}, step)  # shorter than before
        logger.save()
        written.append(path.stat().st_ino)
    assert len(set(written[2:])) == 1
    assert len(logger._rows) == 1
    logger.finalize("success")
    rows = read(path)
    assert [row["loss"] for row in rows] == [f"{step}.5" for step in range(300)]
    assert [row["step"] for row in rows if row["val/l1"] == "9.0"] == [f"{10 * epoch + 9}" for epoch in range(30)]
    assert {row["lr"] for row in rows} == {"", "0.0002"}


def test_full_disk_leaves_the_rows_of_the_file(tmp_path, monkeypatch):
    path, logger = tmp_path / "metrics.csv", MetricsCSV(tmp_path / "metrics.csv")
    for step in range(3):
        logger.log_metrics({"epoch": 0, "loss": float(step)}, step)
    logger.after_save_checkpoint(None)
    before = path.read_bytes()
    logger.log_metrics({"loss": 2.125}, 2)
    logger.log_metrics({"epoch": 0, "loss": 3.0}, 3)
    write_all = metrics_csv._write_all

    def full(file, lines):
        monkeypatch.setattr(metrics_csv, "_write_all", write_all)
        file.write(lines[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(metrics_csv, "_write_all", full)
    with pytest.raises(OSError, match="No space left"):
        logger.save()
    assert path.read_bytes() == before
    logger.finalize("failed")  # the disk has space again
    assert [row["loss"] for row in read(path)] == ["0.0", "1.0", "2.125", "3.0"]


def test_rows_after_an_earlier_checkpoint_are_replaced(tmp_path):
    """A row is written before its checkpoint: a process that is killed in between resumes from an earlier one."""
    path, first = tmp_path / "metrics.csv", MetricsCSV(tmp_path / "metrics.csv")
    for epoch in range(3):
        first.log_metrics({"epoch": epoch, "val/l1": 0.1 * epoch}, 10 * epoch + 9)
        first.after_save_checkpoint(None)
    assert [row["step"] for row in read(path)] == ["9", "19", "29"]
    second = MetricsCSV(path)  # from epoch 1 on
    second.log_metrics({"epoch": 1, "val/l1": 0.75}, 19)
    second.after_save_checkpoint(None)
    assert [(row["step"], row["val/l1"]) for row in read(path)] == [("9", "0.0"), ("19", "0.75")]
