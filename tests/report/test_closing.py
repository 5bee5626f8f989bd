"""What the terminal shows at the end of a training, from the rows of metrics.csv."""

import pytest

from pix2pix_lightning.report import format_final_metrics

ROWS = ["step,epoch,val/l1,train/loss_g", "4,0,0.5,", "6,1,,9", "8,1,0.25,"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (ROWS, [["in", "validation", "epoch", "1", "epoch", "2"], ["L1", "0.5000", "0.2500"]]),
        (ROWS[:3], [["in", "validation", "epoch", "1"], ["L1", "0.5000"]]),  # the only validation is shown once
        (["step,epoch,train/loss_g", "4,0,9"], []),
    ],
)
def test_the_first_and_the_last_validation_are_shown(tmp_path, rows, expected):
    (tmp_path / "metrics.csv").write_text("\n".join(rows) + "\n")
    lines = format_final_metrics(tmp_path).splitlines()
    assert lines[0].endswith(str(tmp_path))
    assert [line.split() for line in lines[1:]] == expected
