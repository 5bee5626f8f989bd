import csv

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
