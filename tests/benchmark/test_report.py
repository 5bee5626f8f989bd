import copy
import json

import pytest

from pix2pix_lightning.benchmark.report import (
    HEADER,
    format_comparison,
    format_machine,
    format_row,
    format_summary,
    read_report,
)


def side(speed, peak):
    return {"images_per_second": speed, "spread": 0.05, "peak_memory": peak, "seconds": [1 / speed], "share": 0.25}


PARTS = {"weights": 1_000_000, "gradients": 2_000_000, "optimizer": 3_000_000, "activations": 4_000_000}
REPORT = {
    "machine": {"cpu": "A processor", "cores": 2, "flags": ["avx2"], "memory_gb": 8.0},
    "versions": {"torch": "2.13.0"},
    "settings": {"speed": {"precision": "bf16-mixed", "channels_last": True}, "rounds": 5},
    "matrix_rate": {"float32": 0.3e12, "bfloat16": 1.2e12},
    "rows": [
        {
            "what": "step",
            "batch_size": 4,
            "ours": side(8.0, 3_000_000_000),
            "reference": side(2.0, None),
            "ratio": 4.0,
            "flop": 347_760_000_000,
            "memory": {"ours": {**PARTS, "narrowed_weights": 5_000_000}},
        },
        {
            "what": "training",
            "batch_size": 4,
            "ours": side(7.9, 1),
            "reference": side(2.0, 1),
            "ratio": 3.95,
            "overhead": 0.013,
        },
    ],
    "communication": {"per_network": {"g": 217_655_820, "d": 11_074_820}, "find_unused": 457_461_280},
}


def test_row_is_aligned_with_the_header():
    line = format_row(REPORT["rows"][0])
    assert line.split() == ["step", "4", "8.00", "5%", "2.00", "5%", "4.00", "25%", "25%", "3000", "-"]
    assert len(line) == len(HEADER)
    assert line.index("4.00") + 4 == HEADER.index("ratio") + 5


def test_machine_and_summary():
    assert format_machine(REPORT)[:3] == [
        "A processor, 2 cores (avx2), 8.0 GB",
        "speed: precision=bf16-mixed channels_last=true",
        "matrix products: float32 0.30, bfloat16 1.20 TFLOP/s",
    ]
    lines = format_summary(REPORT)
    assert "batch 4: a step is 347.8 GFLOP" in lines
    assert "batch 4: a batch of training takes +1.3% more than the bare step" in lines
    assert ["4,", "ours", "1", "2", "3", "4", "5"] in [line.split() for line in lines]
    assert lines[-1] == "gradients between processes, MB a step: g 217.7, d 11.1; with find_unused_parameters 457.5"


def test_comparison_of_two_reports():
    other = copy.deepcopy(REPORT)
    other["settings"]["speed"]["precision"] = "32-true"
    other["rows"][0]["ours"]["images_per_second"] = 4.0
    other["rows"][0]["ratio"] = 2.0
    del other["rows"][1]
    lines = format_comparison(REPORT, other)
    assert lines[0] == "settings.speed.precision: bf16-mixed -> 32-true"
    assert lines[1] == ""  # nothing else differs
    words = [line.split() for line in lines]
    assert ["step", "4", "images/s", "8.00", "4.00", "0.50"] in words
    assert ["step", "4", "reference,", "images/s", "2.00", "2.00", "1.00"] in words
    assert ["step", "4", "by", "the", "reference", "4.00", "2.00", "0.50"] in words
    assert ["training", "4", "images/s", "7.90", "-", "-"] in words


def test_other_files_are_an_error(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(ValueError, match=r"a\.json"):
        read_report(path)
    for text in ("no json", "[]", '{"rows": []}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"a\.json"):
            read_report(path)
    path.write_text(json.dumps(REPORT))
    assert read_report(path) == REPORT
