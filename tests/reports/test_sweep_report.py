"""The report on a sweep, from run folders whose figures are known."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from pix2pix_lightning.report import main
from pix2pix_lightning.reports.sweep import read_sweep

TRAIN = "python -m pix2pix_lightning.train"


def make_run(folder, words, metrics, *, seed=0, finished=True, pairs=("000_a", "001_b"), curve=(), grey=100):
    folder.mkdir(parents=True)
    command = f"{TRAIN} {words} seed={seed}"
    (folder / "config.yaml").write_text(f"seed: {seed}\ncommand: {json.dumps(command)}\n")
    if finished:
        summary = {"metrics": {**{f"val/{name}": value for name, value in metrics.items()}, "train/loss_g": 1.0}}
        (folder / "summary.json").write_text(json.dumps(summary))
    lines = ["epoch,step,val/l1", *(f"{epoch},{step},{value}" for epoch, (step, value) in enumerate(curve))]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    for pair in pairs:
        home = folder / "gallery/images" / pair
        home.mkdir(parents=True)
        for name, level in (("input", 10), ("target", 200), ("epoch_0000", 1), ("epoch_0011", grey)):
            Image.fromarray(np.full((4, 4, 3), level, np.uint8)).save(home / f"{name}.png")
    return folder


@pytest.fixture
def sweep(tmp_path):
    root = tmp_path / "runs/facades/sweep_loss"
    figures = {"l1": [0.10, 0.12, 0.11], "gan": [0.30, 0.20, 0.40], "cgan": [0.25, 0.25, 0.25]}
    for number, (loss, values) in enumerate(figures.items()):
        for seed, value in enumerate(values):
            make_run(
                root / f"loss-{loss}__seed-{seed}",
                f"loss={loss} experiment=facades",
                {"l1": value, "ssim": 1 - value},
                seed=seed,
                curve=[(10, value + 1), (20, value)],
                grey=50 * (number + 1) + seed,
            )
    (root / "multirun.yaml").write_text(
        "hydra:\n  sweeper:\n    params: {loss: 'l1,gan,cgan'}\n  overrides:\n    task: ['seed=0,1,2']\n"
    )
    return root


def cells(text):
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_means_and_intervals_are_those_of_scipy(sweep):
    read = read_sweep([sweep])
    assert [variant.label for variant in read.variants] == ["l1", "gan", "cgan"]  # the sweep's order
    for variant, values in zip(read.variants, ([0.10, 0.12, 0.11], [0.30, 0.20, 0.40]), strict=False):
        figure = variant.figure("l1")
        low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert figure.mean == pytest.approx(np.mean(values))
        assert (figure.low, figure.high) == pytest.approx((low, high), rel=1e-9)
        assert dict(variant.curve("val/l1")) == pytest.approx({10: np.mean(values) + 1, 20: np.mean(values)})


def test_the_table_marks_the_best_of_each_column(sweep, capsys):
    assert main([f"runs={sweep}"]) == 0
    table = cells((sweep / "report/report.md").read_text())[:5]
    assert table[0] == ["loss", "L1", "SSIM"]
    assert [row[0] for row in table[2:]] == ["l1", "gan", "cgan"]
    bold = [[cell.startswith("**") for cell in row[1:]] for row in table[2:]]
    assert bold == [[True, True], [False, False], [False, False]]
    assert table[2][1] == "**0.1100 (0.0852 to 0.1348)**"  # 0.11 -+ 4.303 x 0.01 / sqrt 3
    assert "**0.1100" in capsys.readouterr().out


def test_pictures_of_the_last_epoch_stand_in_rows_of_pairs(sweep):
    assert main([f"runs={sweep}"]) == 0
    markdown = (sweep / "report/report.md").read_text()
    grid = [row for row in cells(markdown) if "images/" in row[0] or row[0] == "input"]
    assert grid[0] == ["input", "l1", "gan", "cgan", "target"]
    levels = []
    for cell in grid[1]:
        path = sweep / "report" / re.search(r"\((.*)\)", cell)[1]
        levels.append(int(np.asarray(Image.open(path))[0, 0, 0]))
    assert levels == [10, 50, 100, 150, 200]
    page = (sweep / "report/index.html").read_text()
    for row in grid[1:]:
        for cell in row:
            assert f'src="{re.search(r"[(](.*)[)]", cell)[1]}"' in page


def test_curves_are_drawn_into_files_that_stand_alone(sweep):
    assert main([f"runs={sweep}"]) == 0
    markdown = (sweep / "report/report.md").read_text()
    (file,) = re.findall(r"\((curves/.*\.svg)\)", markdown)
    svg = ElementTree.parse(sweep / "report" / file).getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert {text.text for text in svg.iter(f"{name}text")} >= {"L1", "l1", "gan", "cgan", "batches seen"}
    lines = [[float(p.split(",")[1]) for p in line.get("points").split()] for line in svg.iter(f"{name}polyline")]
    # downwards is larger: all fall by 1, and l1 ends lowest, then cgan, then gan
    assert [len(line) for line in lines] == [2, 2, 2]
    falls = [end - start for start, end in lines]
    assert falls == pytest.approx([falls[0]] * 3, abs=0.2)
    ends = [end for _, end in lines]
    assert ends[0] > ends[2] > ends[1]


def test_each_jobs_command_is_there(sweep):
    assert main([f"runs={sweep}"]) == 0
    for text in ((sweep / "report/report.md").read_text(), (sweep / "report/index.html").read_text()):
        for loss in ("l1", "gan", "cgan"):
            for seed in range(3):
                assert f"{TRAIN} loss={loss} experiment=facades seed={seed}" in text


def test_an_unfinished_job_is_named_and_left_out(sweep, capsys):
    make_run(sweep / "loss-l1__seed-3", "loss=l1 experiment=facades", {}, seed=3, finished=False)
    assert main([f"runs={sweep}"]) == 0
    assert "loss-l1__seed-3" in capsys.readouterr().err
    assert "0.1100 (0.0852" in (sweep / "report/report.md").read_text()


def test_settings_are_escaped(tmp_path):
    for value in ("<strong><script>alert(1)</script>", "plain|bar"):
        make_run(tmp_path / "s" / f"{len(value)}", f"'data.root={value}'", {"l1": 0.1})
    assert main([f"runs={tmp_path}/s"]) == 0
    assert "<script>alert" not in (tmp_path / "s/report/index.html").read_text()
    assert "plain\\|bar" in (tmp_path / "s/report/report.md").read_text()


def test_figures_of_evaluate(sweep, capsys):
    assert main([f"runs={sweep}", "split=test"]) == 1
    assert "split=test" in capsys.readouterr().err
    for run in sweep.glob("loss-*"):
        folder = run / "evaluation/test_deterministic"
        folder.mkdir(parents=True)
        figure = {"mean": 0.5 + 0.1 * ("gan" in run.name), "low": 0.4, "high": 0.6}
        (folder / "metrics.json").write_text(json.dumps({"metrics": {"gradient": figure, "ms_ssim": figure}}))
    assert main([f"runs={sweep}", "split=test"]) == 0
    table = cells((sweep / "report/report.md").read_text())[:5]
    assert table[0][1:] == ["gradient, share of the targets'", "MS-SSIM"]
    assert [row[1].startswith("**") for row in table[2:]] == [False, True, True]  # the nearest to 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["runs=nowhere"], "nowhere"),
        (["runs=empty"], "holds no run"),
        (["runs=begun"], "none of its 1 runs"),
        ([], "runs"),
    ],
)
def test_mistakes(tmp_path, capsys, words, says):
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "begun/job", "loss=l1", {}, finished=False)
    assert main(words) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert says in line


def test_nothing_is_overwritten_unless_asked_for(sweep, capsys):
    assert main([f"runs={sweep}"]) == 0
    (sweep / "report/index.html").write_text("mine")
    assert main([f"runs={sweep}"]) == 1
    assert "overwrite=true" in capsys.readouterr().err
    assert (sweep / "report/index.html").read_text() == "mine"
    assert main([f"runs={sweep}", "overwrite=true"]) == 0
    assert (sweep / "report/index.html").read_text() != "mine"
