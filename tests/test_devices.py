"""predict and evaluate with devices=2, as a user starts them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import make_strips
from pix2pix_lightning.utils.processes import count_available_cores
from test_evaluate import make_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(count_available_cores() < 2, reason="two processes need two cores"),
]
THREADS = {"OMP_NUM_THREADS": "1"}  # of one process and of two


def start(command, *words):
    words = [sys.executable, "-m", f"pix2pix_lightning.{command}", *map(str, words)]
    return subprocess.Popen(
        words, env={**os.environ, **THREADS}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def call(command, *words):
    process = start(command, *words)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def read_pixels(folder):
    return {path.relative_to(folder): np.asarray(Image.open(path)).astype(int) for path in folder.rglob("*.png")}


def list_files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_two_devices_give_the_files_of_one_and_stop_together(tmp_path):
    root, run = make_strips(tmp_path / "pairs", train=2, val=7), tmp_path / "run"
    make_run(run, f"data.root={root}")
    checkpoint = f"checkpoint={run}"

    # the figures of one process to the last digit
    words = checkpoint, "metrics=[l1,psnr,ssim,perceptual,kid,fid]", "mode=paper", "samples=2"
    one = call("evaluate", *words, f"output={tmp_path / 'one'}")
    two = call("evaluate", *words, f"output={tmp_path / 'two'}", "devices=2")
    assert (one[0], two[0]) == (0, 0), two[2]
    assert one[1] == two[1].replace(str(tmp_path / "two"), str(tmp_path / "one"))
    assert two[2] == one[2]
    assert list_files(tmp_path / "one") == list_files(tmp_path / "two")
    for path in list_files(tmp_path / "one"):
        if path.endswith((".png", ".csv")):
            assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path
    found = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert found[0]["metrics"] == found[1]["metrics"]
    assert found[1]["num_images"] == 7

    # every file once, up to rounding
    photos = tmp_path / "photos"
    shutil.copytree(tmp_path / "one" / "images", photos)
    one = call("predict", checkpoint, f"input={photos}", f"output={tmp_path / 'out_one'}")
    two = call("predict", checkpoint, f"input={photos}", f"output={tmp_path / 'out_two'}", "devices=2")
    assert (one[0], two[0]) == (0, 0), two[2]
    assert (two[1].count("\n"), two[2]) == (one[1].count("\n"), one[2])
    assert "21 images in" in two[1]
    expected, pixels = (read_pixels(tmp_path / name) for name in ("out_one", "out_two"))
    assert pixels.keys() == expected.keys()
    assert all(np.abs(pixels[path] - expected[path]).max() <= 1 for path in expected)

    # what is there is an error of one line, and nothing is written
    Path(next((tmp_path / "out_two").rglob("*.png"))).unlink()
    before = list_files(tmp_path / "out_two")
    status, out, err = call("predict", checkpoint, f"input={photos}", f"output={tmp_path / 'out_two'}", "devices=2")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("error: ")
    assert "exists" in err
    assert list_files(tmp_path / "out_two") == before

    # a file that cannot be read is told once, and the others are translated
    next(photos.rglob("input.png")).write_bytes(b"no picture")
    status, out, err = call("predict", checkpoint, f"input={photos}", f"output={tmp_path / 'failed'}", "devices=2")
    assert status == 1
    assert err.count("could not be translated") == 1
    assert "1 of 21" in err
    assert len(list((tmp_path / "failed").rglob("*.png"))) == 20

    # an error of all processes, and of all metrics, is told once
    shutil.rmtree(tmp_path / "two")
    pairs = [path for path in root.rglob("*.png") if "val" in path.parts]
    sorted(pairs)[1].write_bytes(b"no picture")
    status, out, err = call("evaluate", checkpoint, f"output={tmp_path / 'two'}", "devices=2")
    assert (status, out, err.count("error: ")) == (1, "", 1)
    assert not [path for path in tmp_path.iterdir() if "two" in path.name and path.name != "out_two"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stop_leaves_nothing_half_written(number, tmp_path):
    root, run, photos, out = make_strips(tmp_path / "pairs"), tmp_path / "run", tmp_path / "photos", tmp_path / "out"
    make_run(run, f"data.root={root}")
    photos.mkdir()
    for index in range(400):
        pixels = np.random.default_rng(index).integers(0, 256, (256, 256, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{index}.png")
    process = start("predict", f"checkpoint={run}", f"input={photos}", f"output={out}", "devices=2")
    while process.poll() is None and len(list(out.glob("*.png"))) < 20:
        time.sleep(0.05)
    os.kill(process.pid, number)
    text = process.communicate(timeout=120)
    while number == signal.SIGKILL and any(map(is_writing, out.glob("*"))):
        time.sleep(0.1)  # the system tells the others that their first process has ended
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert text[0] == ""
        assert text[1].splitlines()[-1] == "stopped"
        assert "Traceback" not in text[1]
    assert 20 <= len(list(out.iterdir())) < 400
    for path in out.iterdir():
        Image.open(path).load()  # no file is a part


def is_writing(path):
    return path.name.endswith(".part")
