import csv
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import TINY, make_strips
from pix2pix_lightning import Translator, compose
from pix2pix_lightning.data.files.image_files import read_image, write_image
from pix2pix_lightning.train import train
from small_networks import UNET, save, trained

SCRIPT = Path(__file__).parents[1] / "examples/compare_with_baselines.py"


def make_labelled(root):
    """Strips of a label map in three colours and its negative."""
    rng = np.random.default_rng(0)
    colours = np.array([[0, 0, 168], [248, 88, 0], [0, 248, 248]], np.uint8)
    for split, count in (("train", 6), ("val", 3)):
        (root / split).mkdir(parents=True)
        for number in range(count):
            labels = np.kron(rng.integers(0, 3, (4, 4)), np.ones((8, 8), int))
            a = colours[labels]
            write_image(root / split / f"{number}.png", np.concatenate([a, 255 - a], 1))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A folder with pairs whose answer is known, and a run that has seen them once."""
    folder = tmp_path_factory.mktemp("labelled")
    make_labelled(folder / "pairs")
    train(compose("train", list_words(folder)))
    return folder


def list_words(folder):
    return [*TINY, f"data.root={folder}/pairs", f"run_dir={folder}/run", "trainer.max_epochs=1", "loss=l1"]


def test_baselines_on_pairs_whose_answer_is_known(labelled, capsys, monkeypatch):
    monkeypatch.chdir(labelled)
    monkeypatch.setattr(sys, "argv", ["compare", "pairs", "run"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    table = {row.split("|")[1].strip(): row for row in capsys.readouterr().out.splitlines() if row.startswith("|")}
    l1 = {name: float(table[name].split("|")[2]) for name in ("untrained network", "mean training photo", "run")}
    script = runpy.run_path(str(SCRIPT))
    cfg = compose("train", list_words(labelled))
    (_, train_b), (_, val_b) = (script["read_pairs"](cfg, labelled / "pairs", split) for split in ("train", "val"))
    expected = np.abs(np.rint(train_b.mean(0)) - val_b).mean() / 255
    assert l1["mean training photo"] == pytest.approx(expected, abs=1e-4)
    assert l1["run"] < l1["untrained network"]
    assert float(table["each label colour's mean"].split("|")[2]) == 0  # a colour's negative follows from it


def test_the_palette_is_read_off_noisy_label_maps():
    script = runpy.run_path(str(SCRIPT))
    rng = np.random.default_rng(0)
    colours = np.array([[0, 0, 170], [255, 85, 0], [0, 255, 255]])
    labels = colours[rng.integers(0, 3, (2, 40, 40))]
    noisy = np.clip(labels + rng.integers(-6, 7, labels.shape), 0, 255).astype(np.uint8)
    found = np.array(script["find_palette"](noisy))
    assert len(found) == 3
    assert all(np.abs(found - colour).max(1).min() <= 12 for colour in colours)


def test_the_contact_sheet_shows_the_last_epoch(tmp_path, monkeypatch):
    for number in range(5):
        folder = tmp_path / f"run/gallery/images/{number:03d}_x"
        folder.mkdir(parents=True)
        for name, level in (("input", 0), ("epoch_0002", 50), ("epoch_0010", 100 + number), ("target", 200)):
            write_image(folder / f"{name}.png", np.full((8, 8, 3), level, np.uint8))
    script = SCRIPT.with_name("contact_sheet.py")
    monkeypatch.setattr(sys, "argv", ["sheet", "run", "sheet.png", "--pairs", "5"])
    runpy.run_path(str(script), run_name="__main__")
    sheet = read_image(tmp_path / "sheet.png")[..., 0]
    shown = [[int(sheet[12 * row + 4, 12 * column + 4 + 8 * (column // 3)]) for column in range(6)] for row in range(2)]
    assert shown == [[0, 100, 200, 0, 101, 200], [0, 102, 200, 0, 103, 200]]
    assert len(sheet) == 24
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(script), run_name="__main__")


def test_tiles_are_compared_with_the_whole(labelled, tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    write_image(tmp_path / "large.png", rng.integers(0, 256, (250, 300, 3), np.uint8))
    words = [str(labelled / "run"), "large.png", "--tile", "224", "--overlaps", "32", "128"]
    monkeypatch.setattr(sys, "argv", ["compare", *words])
    capsys.readouterr()
    runpy.run_path(str(SCRIPT.with_name("compare_tiles.py")), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    found = [float(line.partition("differs by ")[2].partition("%")[0]) for line in lines]
    assert len(found) == 3
    assert found[1] == 0  # as much as the network sees
    assert "steps at seams" in lines[0]


@pytest.mark.filterwarnings("ignore")  # those of LightningCLI and jsonargparse
def test_lightning_cli_trains_tests_and_predicts(capsys, monkeypatch):
    root = make_strips(Path("pairs"), train=2, val=2, side=16)
    shutil.copytree(root / "val", root / "test")
    small = {"data.size": 16, "data.num_workers": 0, "data.b.kind": "grayscale", "trainer.accelerator": "cpu"}
    small |= {"trainer.max_epochs": 1, "trainer.enable_progress_bar": "false", "trainer.logger": "false"}
    small |= {"trainer.enable_model_summary": "false", "model.generator.num_downs": 3}
    small |= {"model.generator.base_channels": 2, "model.discriminator.num_layers": 1}
    words = ["--config", str(SCRIPT.with_name("lightning_cli.yaml")), *(f"--{key}={small[key]}" for key in small)]
    checkpoint = Path("runs/lightning_cli/checkpoints/last.ckpt")
    for name in ("fit", "test", "predict"):
        more = [] if name == "fit" else [f"--ckpt_path={checkpoint}"]
        monkeypatch.setattr(sys, "argv", ["lightning_cli", name, *words, *more])
        runpy.run_path(str(SCRIPT.with_name("lightning_cli.py")), run_name="__main__")
    assert "test/l1" in capsys.readouterr().out
    translator = Translator(checkpoint)
    assert translator.pair_spec.source.kind == "grayscale"  # B is the source: linked from the data to the module
    for path in (root / "test").iterdir():
        predicted = read_image(Path("runs/lightning_cli/predictions") / path.name).astype(int)
        assert np.abs(predicted - translator(read_image(path)[:, 16:])).max() <= 1


LITTLE = Path(__file__).parents[1] / "examples/measure_little_data.py"


def test_pairs_with_shifted_targets_and_differences_to_the_baseline(tmp_path, capsys):
    script = runpy.run_path(str(LITTLE))
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for number in range(1, 4):
            write_image(tmp_path / split / f"{number}.png", rng.integers(0, 256, (128, 256, 3), np.uint8))
    script["make_pairs"](tmp_path, tmp_path / "few", 2, 3)
    assert sorted(path.name for path in (tmp_path / "few/train").iterdir()) == ["1.png", "2.png"]
    moved = set()
    for name in ("train/1.png", "train/2.png", "val/3.png"):
        before, after = (read_image(folder / name) for folder in (tmp_path, tmp_path / "few"))
        np.testing.assert_array_equal(after[:, 128:], before[:, 128:])
        moved |= {
            (y, x)
            for y in range(-3, 4)
            for x in range(-3, 4)
            if (after[4:-4, 4:124] == before[4 + y : 124 + y, 4 + x : 124 + x]).all()
        }
    assert len(moved) == 3
    assert (0, 0) in moved  # validation pairs stay
    scores = {
        (60, 0, method, seed): {name: np.full(5, 0.1 * (method == "strong") + 0.2 * seed) for name in script["METRICS"]}
        for method in ("baseline", "strong")
        for seed in (0, 1)
    }
    script["print_differences"](scores)
    assert capsys.readouterr().out.count("**+0.1000** (+0.1000 to +0.1000)") == 4


def test_altered_photos_are_judged(tmp_path, capsys, monkeypatch):
    root = tmp_path / "pairs"
    make_labelled(root)
    for path in (root / "val").iterdir():  # labels are B here
        write_image(path, np.roll(read_image(path), 32, 1), overwrite=True)
    shutil.copytree(root / "val", root / "train", dirs_exist_ok=True)
    spec = {"size": 16, "target": {"kind": "label", "palette": [[0, 0, 168], [248, 88, 0], [0, 248, 248]]}}
    segmenter = save(trained(UNET, pair_spec=spec), tmp_path / "segmenter.ckpt")
    monkeypatch.setattr(sys, "argv", ["judge", str(segmenter), str(root)])
    runpy.run_path(str(SCRIPT.with_name("judge_altered_photos.py")), run_name="__main__")
    rows = [row.split("|")[1:] for row in capsys.readouterr().out.splitlines()]
    assert len(rows) == 9
    accuracy = {row[0].strip(): row[1].split()[0] for row in rows[2:]}
    translator, shares = Translator(segmenter, resize="training"), []
    for path in sorted((root / "val").iterdir()):
        photo, labels = np.split(read_image(path)[::2, ::2], 2, 1)  # blocks of 8 pixels become blocks of 4
        shares.append((translator(photo) == labels).all(2).mean())
    assert float(accuracy["photos"]) == pytest.approx(np.mean(shares), abs=0.01)
    assert len(set(accuracy.values())) > 3


def test_the_checkpoints_of_a_run_are_compared(labelled, capsys, monkeypatch):
    monkeypatch.chdir(labelled)
    script = Path(__file__).parents[1] / "examples/compare_checkpoints.py"
    argv = ["compare", "run", "--metrics", "l1", "--words", "data.num_workers=0"]
    monkeypatch.setattr(sys, "argv", argv)
    runpy.run_path(str(script), run_name="__main__")
    rows = [row.split("|")[1:-1] for row in capsys.readouterr().out.splitlines() if row.startswith("| run |")][1:]
    names = [row[1].strip() for row in rows]
    assert names == ["best, trained (default)", "last, trained"]
    strips = [read_image(path).astype(float) for path in sorted(Path("pairs/val").glob("*.png"))]
    for name, row in zip(("best", "last"), rows, strict=True):
        translate = Translator(f"run/checkpoints/{name}.ckpt")
        errors = [np.abs(translate(strip[:, :32].astype(np.uint8)) - strip[:, 32:]).mean() / 255 for strip in strips]
        assert float(row[3].split()[0]) == pytest.approx(np.mean(errors), abs=1e-4)
        assert int(row[2]) == 3
    written = Path("run/evaluation/compared/val_last_trained_data.num_workers=0/metrics.json")
    before = written.stat().st_mtime_ns
    runpy.run_path(str(script), run_name="__main__")
    assert written.stat().st_mtime_ns == before  # is not measured again
    measure = runpy.run_path(str(SCRIPT.with_name("measure_outputs.py")))["main"]
    assert measure([str(written.parent)]) == 0
    output = next(written.parent.glob("images/*/output.png"))
    write_image(output, 255 - read_image(output), overwrite=True)
    assert measure([str(written.parent)]) == 1


@pytest.mark.slow
def test_recipes_are_compared_for_equal_processor_time(tmp_path):
    script = SCRIPT.with_name("ablate_recipe.py")
    make_strips(tmp_path / "facades", train=4, val=3, side=128)
    environment = {**os.environ, "PIX2PIX_DATA_DIR": str(tmp_path)}
    words = ["--tasks", "facades", "--rows", "recipe=paper", "module.discriminator_steps=3", "--seeds", "0"]

    def run(action, *rest):
        command = [sys.executable, str(script), action, str(tmp_path / "out"), *words, *rest]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    run("measure")
    ratios = json.loads((tmp_path / "out/steps.json").read_text())["facades"]
    assert ratios["recipe=paper"] == 1
    assert ratios["module.discriminator_steps=3"] > 1.1
    first = run("train", "--jobs", "2")
    rows = list(csv.DictReader((tmp_path / "out/results.csv").read_text().splitlines()))
    epochs = {row["row"]: int(row["epochs"]) for row in rows}
    assert epochs == {
        "recipe-paper": 15,
        "module.discriminator_steps-3": round(15 / ratios["module.discriminator_steps=3"]),
    }
    assert {(row["weights"], row["features"]) for row in rows} == {
        ("trained", "lite1"),
        ("ema", "lite1"),
        ("ema", "lite2"),
    }
    run_dir = tmp_path / "out/facades/recipe-paper/seed_0"
    written = json.loads((run_dir / "ema_lite1/metrics.json").read_text())["metrics"]["kid"]["mean"]
    (row,) = [r for r in rows if (r["row"], r["weights"], r["features"]) == ("recipe-paper", "ema", "lite1")]
    assert float(row["kid"]) == written
    assert f"| {1000 * written:.0f} |" in first
    before = (run_dir / "checkpoints/last.ckpt").stat().st_mtime_ns
    run("train")  # what is done is kept
    assert (run_dir / "checkpoints/last.ckpt").stat().st_mtime_ns == before
    shutil.rmtree(tmp_path / "out/facades/recipe-paper")
    compared = [line.split(" | ") for line in run("compare").splitlines()[2:]]
    assert [cells[3] for cells in compared] == ["lite1", "lite2"]
    l1, l1_other = (
        float(r["l1"]) for r in sorted(rows, key=lambda r: "paper" not in r["row"]) if r["weights"] == "trained"
    )
    assert compared[0][5:7] == [f"{l1:.4f}, {l1_other:.4f}", f"{l1_other / l1:.3f}"]
