import json
import math
import re
import shlex
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from pix2pix_lightning import compose
from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.report import write_comparison
from pix2pix_lightning.report.__main__ import main, report
from pix2pix_lightning.report.sweep import read_sweep

TRAIN = "python -m pix2pix_lightning.train"


def make_run(folder, words, metrics, *, seed=0, finished=True, curve=(), level=100, info=None):
    folder.mkdir(parents=True)
    command = f"{TRAIN} {words} seed={seed}"
    (folder / "config.yaml").write_text(f"seed: {seed}\ncommand: {json.dumps(command)}\n")
    if finished:
        summary = {"metrics": {**{f"val/{name}": value for name, value in metrics.items()}, "train/loss_g": 1.0}}
        summary |= {} if info is None else {"metric_info": info}
        (folder / "summary.json").write_text(json.dumps(summary))
    lines = ["epoch,step,val/l1", *(f"{epoch},{step},{value}" for epoch, (step, value) in enumerate(curve))]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    for pair in ("000_a", "001_b"):
        home = folder / "gallery/images" / pair
        home.mkdir(parents=True)
        for name, value in (("input", 10), ("target", 200), ("epoch_0000", 1), ("epoch_0011", level)):
            Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(home / f"{name}.png")
    return folder


def make_sweep(root):
    figures = {"l1": [0.10, 0.12, 0.11], "gan": [0.30, 0.20, 0.40], "cgan": [0.25, 0.25, 0.25]}
    for number, (loss, values) in enumerate(figures.items()):
        for seed, value in enumerate(values):
            make_run(
                root / f"loss-{loss}__seed-{seed}",
                f"loss={loss} experiment=facades",
                {"l1": value, "ssim": 1 - value},
                seed=seed,
                curve=[(10, value + 1), (20, value)],
                level=50 * (number + 1) + seed,
            )
    (root / "multirun.yaml").write_text(
        "hydra:\n  sweeper:\n    params: {loss: 'l1,gan,cgan'}\n  overrides:\n    task: ['seed=0,1,2']\n"
    )
    return root


@pytest.fixture
def sweep(tmp_path):
    return make_sweep(tmp_path / "runs/facades/sweep_loss")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The report on the sweep, for tests that only read it."""
    root = make_sweep(tmp_path_factory.mktemp("runs"))
    return write_comparison(read_sweep([root]), root / "report").parent


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


def test_pictures_of_the_last_epoch_stand_in_rows_of_pairs(written):
    markdown = (written / "report.md").read_text()
    grid = [row for row in cells(markdown) if "images/" in row[0] or row[0] == "input"]
    assert grid[0] == ["input", "l1", "gan", "cgan", "target"]
    levels = []
    for cell in grid[1]:
        path = written / re.search(r"\((.*)\)", cell)[1]
        levels.append(int(np.asarray(Image.open(path))[0, 0, 0]))
    assert levels == [10, 50, 100, 150, 200]
    page = (written / "index.html").read_text()
    for row in grid[1:]:
        for cell in row:
            assert f'src="{re.search(r"[(](.*)[)]", cell)[1]}"' in page


def test_curves_are_drawn_into_files_that_stand_alone(written):
    markdown = (written / "report.md").read_text()
    (file,) = re.findall(r"\((curves/.*\.svg)\)", markdown)
    svg = ElementTree.parse(written / file).getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert {text.text for text in svg.iter(f"{name}text")} >= {"L1", "l1", "gan", "cgan", "batches seen"}
    lines = [[float(p.split(",")[1]) for p in line.get("points").split()] for line in svg.iter(f"{name}polyline")]
    # downwards is larger: all fall by 1, and l1 ends lowest, then cgan, then gan
    assert [len(line) for line in lines] == [2, 2, 2]
    falls = [end - start for start, end in lines]
    assert falls == pytest.approx([falls[0]] * 3, abs=0.2)
    ends = [end for _, end in lines]
    assert ends[0] > ends[2] > ends[1]


def test_each_jobs_command_is_there(written):
    for text in ((written / "report.md").read_text(), (written / "index.html").read_text()):
        for loss in ("l1", "gan", "cgan"):
            for seed in range(3):
                assert f"{TRAIN} loss={loss} experiment=facades seed={seed}" in text


def test_an_unfinished_job_is_named_and_left_out(sweep, capsys):
    make_run(sweep / "loss-l1__seed-3", "loss=l1 experiment=facades", {}, seed=3, finished=False)
    assert main([f"runs={sweep}"]) == 0
    assert "loss-l1__seed-3" in capsys.readouterr().err
    assert "0.1100 (0.0852" in (sweep / "report/report.md").read_text()


def test_the_best_of_an_unknown_metric_is_what_the_runs_say(tmp_path):
    ways = {"fid": "lower", "kid": "higher", "bias": "unknown"}
    info = {f"val/{name}": {"label": name.upper(), "unit": "px", "direction": way} for name, way in ways.items()}
    for number in range(3):
        metrics = dict.fromkeys([*ways, "unknown"], number) | {"ssim": number}
        make_run(tmp_path / f"s/{number}", f"loss={number}", metrics, info=info)
    write_comparison(read_sweep([tmp_path / "s"]), tmp_path / "out")
    header, _, *rows = cells((tmp_path / "out/report.md").read_text())[:5]
    marked = {title: [row[at].startswith("**") for row in rows] for at, title in enumerate(header)}
    assert marked == {
        "loss": [False] * 3,
        "FID (px)": [True, False, False],
        "KID (px)": [False, False, True],
        "BIAS (px)": [False] * 3,
        "unknown": [False] * 3,
        "SSIM": [False, False, True],  # known to the package
    }
    page = (tmp_path / "out/index.html").read_text()
    assert re.findall("<strong>(.*?)</strong>", page) == ["0.0000", "2.0000", "2.0000"]


def test_settings_are_escaped(tmp_path):
    for value in ("<strong><script>alert(1)</script>", "plain|bar"):
        make_run(tmp_path / "s" / f"{len(value)}", f"'data.root={value}'", {"l1": 0.1})
    assert main([f"runs={tmp_path}/s"]) == 0
    assert "<script>alert" not in (tmp_path / "s/report/index.html").read_text()
    assert "plain\\|bar" in (tmp_path / "s/report/report.md").read_text()


def save_checkpoint(run, name="best.ckpt", batches_seen=10, state=(), **more):
    (run / "checkpoints").mkdir(exist_ok=True)
    own = {"module": "", "live": [], "batches_seen": batches_seen}
    saved = {"hyper_parameters": {}, "state_dict": dict(state), "pix2pix_lightning": own, **more}
    torch.save(saved, run / "checkpoints" / name)


def make_evaluation(run, mean=0.5, *, name="best.ckpt", **facts):
    """Write what ``evaluate`` writes; facts that are None are left out, as in older files."""
    save_checkpoint(run, name)
    folder = run / "evaluation/test_deterministic"
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"mean": mean, "low": mean and 0.4, "high": mean and 0.6}
    defaults = {"weights": "trained", "norm": "image", "dropout": "off", "data": {"root": "pairs", "batch_size": 1}}
    written = {"checkpoint": str(run / "checkpoints" / name), "batches_seen": 10, **defaults, **facts}
    written |= {"metrics": {"gradient": figures, "ms_ssim": figures}}
    present = {key: value for key, value in written.items() if value is not None}
    (folder / "metrics.json").write_text(json.dumps(present))


@pytest.fixture
def pair(tmp_path):
    """Two evaluated runs, the first and the second."""
    runs = [make_run(tmp_path / f"s/{loss}", f"loss={loss}", {"l1": 0.1}) for loss in ("cgan", "l1")]
    for run in runs:
        make_evaluation(run)
    return runs


def read_error(folders, split=None):
    """Return the line that the command would print."""
    with pytest.raises((ValueError, OSError)) as caught:
        read_sweep(folders, split=split)
    line = format_error(caught.value, "report")
    assert line is not None
    assert "\n" not in line
    return line


def proposed(line):
    """Return the words of the command that an error ends with."""
    return shlex.split(line.partition("python -m pix2pix_lightning.evaluate ")[2])


def test_figures_of_evaluate(sweep, capsys):
    assert main([f"runs={sweep}", "split=test"]) == 1
    assert "split=test" in capsys.readouterr().err
    for run in sweep.glob("loss-*"):
        make_evaluation(run, 0.5 + 0.1 * ("gan" in run.name))
    assert main([f"runs={sweep}", "split=test"]) == 0
    markdown = (sweep / "report/report.md").read_text()
    table = cells(markdown)[:5]
    assert table[0][1:] == ["Gradient", "MS-SSIM"]
    assert [row[1].startswith("**") for row in table[2:]] == [False, True, True]  # the nearest to 1
    for text in (markdown, (sweep / "report/index.html").read_text()):
        assert "best.ckpt on the test split" in text
        assert "Outputs after the last epoch, seed 0; the figures are of best.ckpt." in text
        assert "Remarks" not in text


def test_the_best_of_an_evaluation_is_what_its_file_says(pair, tmp_path):
    for run, mean in zip(pair, (0.5, 0.6), strict=True):
        make_evaluation(run, mean, metric_info={"ms_ssim": {"label": "Own", "direction": "lower", "decimals": 1}})
    write_comparison(read_sweep(pair, split="test"), tmp_path / "out")
    header, _, *rows = cells((tmp_path / "out/report.md").read_text())[:4]
    assert header[1:] == ["Gradient", "Own"]
    assert [row[-1] for row in rows] == ["**0.5 (0.4 to 0.6)**", "0.6 (0.4 to 0.6)"]


def test_an_evaluation_of_an_earlier_checkpoint_is_rejected(pair):
    save_checkpoint(pair[1], batches_seen=20)
    line = read_error(pair, "test")
    assert f"{pair[1]}: its evaluation on test is of best.ckpt after 10 batches" in line
    assert "now after 20" in line
    assert proposed(line) == [f"checkpoint={pair[1]}", "split=test", "overwrite=true"]


def test_an_evaluation_of_another_run_is_rejected(pair):
    make_evaluation(pair[1], checkpoint=str(pair[0] / "checkpoints/best.ckpt"))
    assert f"{pair[1]}: its evaluation on test is of another run's {pair[0]}/checkpoints" in read_error(pair, "test")


def test_evaluations_of_a_moved_sweep_are_accepted(pair):
    make_evaluation(pair[1], checkpoint="/elsewhere/l1/checkpoints/best.ckpt")
    assert read_sweep(pair, split="test").remarks == []


@pytest.mark.parametrize(
    ("facts", "says", "fix"),
    [
        ({"weights": "ema"}, "has weights=ema, and that of", []),
        ({"norm": "running"}, "has norm=running", []),
        ({"dropout": "on"}, "has dropout=on", []),
        ({"name": "last.ckpt"}, "has checkpoint=last.ckpt", []),
        ({"data": {"root": "others"}}, "has data.root=others", ["data.root=pairs"]),
    ],
)
def test_evaluations_that_were_made_differently_are_rejected(pair, facts, says, fix):
    make_evaluation(pair[1], **facts)
    line = read_error(pair, "test")
    assert f"{pair[1]}: its evaluation on test {says}" in line
    assert f"{pair[0]} has" in line
    assert proposed(line) == [f"checkpoint={pair[1]}", "split=test", *fix, "overwrite=true"]
    turned = proposed(read_error(pair[::-1], "test"))
    others = [f"{key}={value}" for key, value in facts.items() if key in ("weights", "norm", "dropout")]
    assert turned[2 : 2 + len(others)] == others
    assert turned[0] == f"checkpoint={pair[0]}" + ("/checkpoints/last.ckpt" if "name" in facts else "")


def test_each_run_may_be_evaluated_by_its_own_default(pair, tmp_path):
    gan, plain = pair
    for name in ("best.ckpt", "last.ckpt"):
        save_checkpoint(plain, name)
    state = {"discriminator.weight": torch.zeros(1)}
    make_evaluation(gan, name="last.ckpt")
    line = read_error(pair, "test")  # the best one of both is the default yet
    assert "has checkpoint=best.ckpt, and that of" in line
    save_checkpoint(gan, "last.ckpt", state=state)
    write_comparison(read_sweep(pair, split="test"), tmp_path / "out")
    markdown = (tmp_path / "out/report.md").read_text()
    assert "best.ckpt or last.ckpt (the default of each run) on the test split" in markdown
    make_evaluation(plain, name="last.ckpt")  # the same for both again
    save_checkpoint(gan, "last.ckpt", state=state)
    write_comparison(read_sweep(pair, split="test"), tmp_path / "out")
    assert "last.ckpt on the test split" in (tmp_path / "out/report.md").read_text()


def test_weights_may_be_those_that_each_run_has(pair, tmp_path):
    make_evaluation(pair[0])
    make_evaluation(pair[1], weights="ema")
    assert "weights=" in read_error(pair, "test")  # both have trained weights alone
    save_checkpoint(pair[1], ema_generator={})
    write_comparison(read_sweep(pair, split="test"), tmp_path / "out")
    assert "weights=auto on the test split" in (tmp_path / "out/report.md").read_text()


def test_the_proposed_command_names_what_is_no_default(pair):
    make_evaluation(pair[0])
    make_evaluation(pair[1], weights="ema", norm="running")
    for run in pair:
        save_checkpoint(run, ema_generator={})
    line = read_error(pair, "test")
    assert proposed(line) == [f"checkpoint={pair[1]}", "split=test", "weights=trained", "overwrite=true"]
    turned = proposed(read_error(pair[::-1], "test"))
    assert turned == [f"checkpoint={pair[0]}", "split=test", "norm=running", "overwrite=true"]  # EMA is the default


def test_data_that_the_sweep_itself_varies_may_differ(pair):
    for run, jitter in zip(pair, ("true", "false"), strict=True):
        with (run / "config.yaml").open("a") as file:
            file.write(f"data: {{root: pairs, jitter: {jitter}, num_workers: 2}}\n")
        loading = {"num_workers": len(run.name), "cache": jitter, "pin_memory": jitter == "true"}  # has no effect
        make_evaluation(run, data={"root": "pairs", "jitter": jitter == "true", **loading})
    assert len(read_sweep(pair, split="test").variants) == 2
    make_evaluation(pair[1], data={"root": "pairs", "jitter": None})
    assert "has data.jitter=null" in read_error(pair, "test")


def test_evaluations_without_a_known_checkpoint_get_a_remark(pair, capsys):
    make_evaluation(pair[0], batches_seen=None, checkpoint=None)
    (pair[1] / "checkpoints/best.ckpt").unlink()
    assert main([f"runs={pair[0].parent}", "split=test"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert f"{pair[0]}: its evaluation on test does not name the batches" in lines[0]
    assert f"{pair[1]}: its evaluation on test is of best.ckpt, which no longer exists" in lines[1]
    folder = pair[0].parent / "report"
    for text in ((folder / "report.md").read_text(), (folder / "index.html").read_text()):
        assert "does not name the batches" in text
        assert "best.ckpt on the test split" in text


def test_a_figure_that_is_not_defined_is_never_best(pair, tmp_path):
    make_evaluation(pair[0], None)
    compared = read_sweep(pair, split="test")
    write_comparison(compared, tmp_path / "out")
    first, second = cells((tmp_path / "out/report.md").read_text())[2:4]
    assert first[1:] == ["not defined"] * 2
    assert second[1] == "**0.5000 (0.4000 to 0.6000)**"
    again = make_run(tmp_path / "s/again", "loss=cgan", {"l1": 0.1}, seed=1)
    make_evaluation(again)
    figure = read_sweep([*pair, again], split="test").variants[0].figure("gradient")
    assert math.isnan(figure.mean)


def test_a_run_without_validation_is_left_out(tmp_path):
    make_run(tmp_path / "s/one", "loss=l1", {"l1": 0.1})
    none = make_run(tmp_path / "s/none", "loss=gan", {})
    compared = read_sweep([tmp_path / "s"])
    assert [len(variant.jobs) for variant in compared.variants] == [1]
    assert compared.remarks == [f"left out, since it was never validated: {none}"]
    assert "was ever validated" in read_error([none])
    make_run(tmp_path / "s/other", "loss=gan", {"accuracy": 0.1})
    assert "no metric that all of its 2" in read_error([tmp_path / "s"])


def test_variants_with_other_keys_are_told_apart(tmp_path):
    for number, words in enumerate(["data.jitter=false", "data.mirror=false", "~callbacks.gallery", "seed=0"]):
        run = make_run(
            tmp_path / f"s/{number}", words, {"l1": 0.1}, curve=[(1, number), (2, number)], level=50 * number
        )
        (run / "gallery/images/000_a/epoch_0100.png").write_bytes((run / "gallery/images/001_b/input.png").read_bytes())
    compared = read_sweep([tmp_path / "s"])
    labels = ["no change", "~callbacks.gallery=left out", "data.mirror=false", "data.jitter=false"]
    assert sorted(variant.label for variant in compared.variants) == sorted(labels)
    write_comparison(compared, tmp_path / "out")
    markdown = (tmp_path / "out/report.md").read_text()
    grid = [row for row in cells(markdown) if "images/" in row[0] or row[0] == "input"]
    assert [len(row) for row in grid] == [6, 6, 6]
    levels = {}
    for column, cell in zip(grid[0], grid[2], strict=True):
        file = tmp_path / "out" / re.search(r"\((.*)\)", cell)[1]
        levels[column.replace("\\", "")] = int(np.asarray(Image.open(file))[0, 0, 0])
    values = dict(zip(["data.jitter=false", "data.mirror=false", labels[1], labels[0]], range(4), strict=True))
    assert levels == {"input": 10, "target": 200, **{label: 50 * value for label, value in values.items()}}
    svg = (tmp_path / "out/curves/l1_1.svg").read_text()
    assert svg.count("<polyline") == 4
    assert all(f">{label}<" in svg for label in labels)


def test_labels_leave_out_keys_that_all_variants_have(tmp_path):
    for number, words in enumerate(["data.size=64 loss=l1", "loss=l1 data.size=32", "data.jitter=false"]):
        make_run(tmp_path / f"s/{number}", words, {"l1": 0.1})
    runs = sorted((tmp_path / "s").glob("*"))
    assert [variant.label for variant in read_sweep(runs[:2]).variants] == ["32", "64"]
    labels = [variant.label for variant in read_sweep(runs[1:]).variants]
    assert labels == ["data.jitter=false", "loss=l1, data.size=32"]


def test_commands_are_compared_by_their_settings_alone(tmp_path):
    words = [
        "--config-dir mine loss=l1 data.size=64",
        "data.size=64 '--config-dir=my conf' +loss=l1",
        "-cd a=b loss=gan",
    ]
    for number, each in enumerate(words):
        make_run(tmp_path / f"s/{number}", f"{each} data.size=64", {"l1": 0.1}, seed=number)
    compared = read_sweep([tmp_path / "s"])
    assert compared.keys == ["loss"]
    assert [(v.label, len(v.jobs)) for v in compared.variants] == [("gan", 1), ("l1", 2)]


def test_a_pair_without_outputs_is_skipped(sweep, tmp_path):
    for file in (sweep / "loss-gan__seed-0/gallery/images/001_b").glob("epoch_*.png"):
        file.unlink()
    write_comparison(read_sweep([sweep]), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/images").iterdir()] == ["000_a"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cgan/summary.json", '{"metrics": {"val/l1"'),
        ("cgan/summary.json", "{}"),
        ("cgan/summary.json", '{"metrics": {"val/l1": [1]}}'),
        ("cgan/summary.json", '{"metrics": {"val/l1": 1}, "metric_info": {"val/l1": {"label": 1}}}'),
        ("cgan/summary.json", '{"metrics": {"val/l1": 1}, "metric_info": {"val/l1": "L1"}}'),
        ("cgan/config.yaml", "seed: [1"),
        ("cgan/config.yaml", "- seed"),
        ("cgan/config.yaml", "command: python"),
        ("cgan/config.yaml", "seed: 0\ncommand: a 'b"),
        ("cgan/config.yaml", "seed: \x00"),
        ("cgan/config.yaml", ""),
        ("multirun.yaml", "hydra: {"),
        ("multirun.yaml", "hydra: {sweeper: {_target_: BasicSweeper}, overrides: {task: [loss]}}"),
        ("cgan/evaluation/test_deterministic/metrics.json", "[]"),
        ("cgan/evaluation/test_deterministic/metrics.json", '{"metrics": 1}'),
        ("cgan/evaluation/test_deterministic/metrics.json", '{"metrics": {"l1": {"mean": 1}}}'),
    ],
)
def test_a_damaged_file_is_named(pair, file, text):
    path = pair[0].parent / file
    path.write_text(text)
    line = read_error([pair[0].parent], "test" if "evaluation" in file else None)
    assert line.startswith(f"{path} is damaged")


def test_jobs_that_left_nothing_behind_are_counted(sweep, capsys):
    assert read_sweep([sweep]).remarks == []
    text = (sweep / "multirun.yaml").read_text()
    text = text.replace("params:", "_target_: hydra._internal.core_plugins.basic_sweeper.BasicSweeper\n    params:")
    (sweep / "multirun.yaml").write_text(text)
    assert read_sweep([sweep]).remarks == []
    (sweep / "multirun.yaml").write_text(text.replace("seed=0,1,2", "seed=range(0,5)"))
    assert main([f"runs={sweep}"]) == 0
    assert "9 of 15 jobs" in capsys.readouterr().err
    for name in ("report.md", "index.html"):
        assert "9 of 15 jobs" in (sweep / "report" / name).read_text()
    (sweep / "multirun.yaml").write_text(text.replace("Basic", "Optuna").replace("0,1,2", "0,1,2,3"))
    assert read_sweep([sweep]).remarks == []


def test_markdown_shows_text_as_it_is_and_figures_with_sensible_digits(tmp_path):
    values = ["a|b", "two\nlines", "*x* <b> `y` [z](w)", "back\\|slash", "l1_cgan _u_"]
    for number, value in enumerate(values):
        metrics = {"l2": 0.041 + number, "psnr": 9.871 + number, "mse": 0.000412 * (number + 1)}
        make_run(tmp_path / f"s/{number}", f"{shlex.quote(f'about={value}')}", metrics)
    write_comparison(read_sweep([tmp_path / "s"]), tmp_path / "out")
    lines = [line for line in (tmp_path / "out/report.md").read_text().splitlines() if line.startswith("|")][2:7]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]] for line in lines]
    assert {len(row) for row in rows} == {4}
    shown = {re.sub(r"\\(.)", r"\1", row[0]): row[1:] for row in rows}
    assert set(shown) == {" ".join(value.split()) for value in values}
    assert shown["a|b"] == ["**0.0410**", "9.87", "0.000412"]
    assert any("l1_cgan \\_u\\_" in line for line in lines)
    assert any(r"\*x\* \<b\> \`y\` \[z\](w)" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["runs=nowhere"], "nowhere"),
        (["runs=empty"], "holds no run"),
        (["runs=begun"], "none of its 1 runs"),
        ([], "runs"),
    ],
)
def test_user_errors(tmp_path, capsys, words, says):
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


def test_overwriting_replaces_a_report_and_nothing_else(sweep):
    def write(output):
        report(compose("report", [f"runs={sweep}", f"output={output}", "overwrite=true"]))

    output = sweep.parent / "out"
    write(output)
    (output / "images/stale").mkdir()
    write(output)
    assert not (output / "images/stale").exists()
    for name, says in (("photos", "report.md"), (sweep.name, "contains the runs"), ("", "contains the runs")):
        folder = sweep.parent / name
        folder.mkdir(exist_ok=True)
        (folder / "report.md" if folder.name != "photos" else folder / "a.png").write_text("mine")
        before = sorted(folder.iterdir())
        with pytest.raises(ValueError, match=says):
            write(folder)
        assert sorted(folder.iterdir()) == before


def test_a_report_that_cannot_be_written_leaves_the_earlier_one(sweep):
    cfg = compose("report", [f"runs={sweep}", "overwrite=true"])
    report(cfg)
    before = (sweep / "report/index.html").read_text()
    (sweep / "loss-l1__seed-0/gallery/images/001_b/epoch_0099.png").mkdir()  # a picture that cannot be copied
    with pytest.raises(OSError, match="epoch_0099"):
        report(cfg)
    assert (sweep / "report/index.html").read_text() == before
    cfg.output = str(sweep / "another")
    with pytest.raises(OSError, match="epoch_0099"):
        report(cfg)
    assert {path.name for path in sweep.iterdir() if "-" not in path.name} == {"multirun.yaml", "report"}


def test_nothing_that_the_files_name_is_resolved(tmp_path, monkeypatch, capsys):
    """Environment variables that a run from elsewhere names stay names, in the page and in what is printed."""
    monkeypatch.setenv("SECRET", "hunter2")
    root = tmp_path / "sweep"
    for loss in ("l1", "gan"):
        make_run(root / loss, f"loss={loss} name=${{oc.env:SECRET}}", {"l1": 0.1})
    (root / "multirun.yaml").write_text(
        "hydra:\n  sweeper: {params: {loss: '${oc.env:SECRET},gan'}}\n  overrides: {task: ['name=${oc.env:SECRET}']}\n"
    )
    assert main([f"runs={root}"]) == 0
    page = (root / "report/index.html").read_text() + "".join(capsys.readouterr())
    assert "oc.env:SECRET" in page
    assert "hunter2" not in page


def test_a_sweep_of_any_number_of_values_is_not_listed(pair):
    (pair[0].parent / "multirun.yaml").write_text("hydra: {overrides: {task: ['seed=range(0,1000000000000)']}}")
    assert "seed" in read_error([pair[0].parent], None)
