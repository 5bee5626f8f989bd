import math

from pix2pix_lightning.utils.csv_file import parse_metrics, quote_cell, read_metrics, unquote_cell


def test_only_complete_rows_are_read(tmp_path):
    path = tmp_path / "metrics.csv"
    assert read_metrics(path) == []
    lines = [
        "epoch,step,val/l1,train/loss",
        "0,9,0.5,",
        "1,4,nan,2",
        "\x00\u00ff,text,,",
        ",,3,4",
        "2,29,1,1,1",
        "2,39,0.1",
    ]
    path.write_text("\n".join(lines))
    first, second = read_metrics(path)
    assert (first["step"], first["train/loss"]) == (4, 2.0)  # by rising step
    assert math.isnan(first["val/l1"])
    assert second == {"epoch": 0, "step": 9, "val/l1": 0.5}
    assert [type(value) for value in second.values()] == [int, int, float]


def test_an_empty_file_has_no_rows():
    assert parse_metrics(b"") == parse_metrics(b"epoch,step\n") == []


def test_texts_that_a_spreadsheet_would_compute_are_quoted_and_restored():
    for text in ("=1+1", "+1", "-0.5", "@a", "\t=1", "\r=1", "'=1", "''a", "'"):
        assert quote_cell(text) == f"'{text}"
        assert unquote_cell(quote_cell(text)) == text
    for text in ("", "a=1", "val/l1", "1-1", " =1"):
        assert quote_cell(text) == unquote_cell(text) == text
    assert unquote_cell("'a") == "'a"  # of an earlier version
    assert parse_metrics(b"step,'-l1\n3,-0.5\n") == [{"step": 3, "-l1": -0.5}]
