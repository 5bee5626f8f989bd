"""Folders of runs with damaged or changed files: `report` and resuming refuse them with a line, or read them."""

import csv
import json
import math
import shutil
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import yaml
from damage import apply_steps, steps
from hypothesis import strategies as st
from nested import changed
from omegaconf import OmegaConf
from refusals import read_or_refuse

from pix2pix_lightning import compose
from pix2pix_lightning.cli import resume
from pix2pix_lightning.cli.conf import compose_files
from pix2pix_lightning.report.__main__ import report
from pix2pix_lightning.training.resume_checks import configs_match
from pix2pix_lightning.training.resuming import find_resumed_checkpoint, read_finished_metrics
from pix2pix_lightning.utils.csv_file import parse_metrics
from small_networks import NETWORKS, save, trained
from tiny_training import configure

pytestmark = pytest.mark.fuzz

GENERATOR = {"_target_": f"{NETWORKS}.UNetGenerator", "num_downs": 2, "base_channels": 2}
CONFIG, SUMMARY, EVALUATION = "config.yaml", "summary.json", "evaluation/val_deterministic/metrics.json"
METRICS, MULTIRUN = "metrics.csv", "../multirun.yaml"
INFO = {"l1": {"title": "L1", "unit": "", "direction": "lower", "best": 0.0, "decimals": 4, "kind": "image"}}


def describe_run(seed):
    """The files of a small run: text by name."""
    command = f"python -m pix2pix_lightning.train loss=l1 seed={seed}"
    data = {"root": "pairs", "size": 16, "jitter": False}
    config = {"seed": seed, "command": command, "run_dir": "run", "data": {"_target_": "Data", **data}}
    summary = {"metrics": {"val/l1": 0.25, "val/ssim": 0.5, "train/loss_g": 1.0}, "metric_info": INFO, "epochs": 2}
    figures = {name: {"mean": 0.5, "low": 0.25, "high": None} for name in ("l1", "ssim")}
    evaluation = {"metrics": figures, "split": "val", "checkpoint": "run/checkpoints/best.ckpt", "data": data}
    hydra = {"sweeper": {"_target_": "hydra._internal.BasicSweeper", "params": {"seed": "0,1"}}}
    return {
        CONFIG: config,
        SUMMARY: summary,
        EVALUATION: {**evaluation, "metric_info": INFO, "batches_seen": 10, "norm": "image"},
        METRICS: "epoch,step,val/l1,train/loss_g\n0,5,0.5,\n0,5,,1.0\n1,10,0.25,2.0\n",
        MULTIRUN: {"hydra": {**hydra, "overrides": {"task": ["loss=l1,gan"]}}},
    }


def format_content(name, content):
    if isinstance(content, str):
        return content.encode()
    return (yaml.safe_dump(content) if name.endswith(".yaml") else json.dumps(content)).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A sweep of two sound runs, and what the files of the second hold."""
    root = tmp_path_factory.mktemp("template")
    for seed in (0, 1):
        files = describe_run(seed)
        for name, content in files.items():
            path = root / f"run_{seed}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(format_content(name, content))
    save(trained(GENERATOR), root / "run_1/checkpoints/last.ckpt")
    return root, files


@st.composite
def any_content(draw, files, names):
    """The name of a file and its bytes: damaged, or other data in the same format."""
    name = draw(st.sampled_from(names))
    if draw(st.booleans()) and not isinstance(files[name], str):
        return name, format_content(name, draw(changed(files[name])))
    return name, apply_steps(format_content(name, files[name]), draw(steps()))


def place(template, name, content):
    """A copy of the sweep in the current folder, with one file replaced."""
    shutil.rmtree("sweep", ignore_errors=True)
    shutil.copytree(template, "sweep")
    Path("sweep/run_1", name).resolve().write_bytes(content)
    return Path("sweep")


def test_reports(search, template):
    root, files = template
    plain = compose("report", ["runs=sweep", "output=page", "overwrite=true"])
    measured = compose("report", ["runs=sweep", "output=page", "overwrite=true", "split=val"])
    place(root, METRICS, files[METRICS].encode())
    report(plain)

    def attempt(drawn):
        name, content = drawn
        place(root, name, content)
        for cfg in (plain, measured):
            if read_or_refuse(report, cfg) is not None:
                assert Path("page/index.html").read_text("utf-8").startswith("<!doctype html>")

    search(any_content(files, [CONFIG, SUMMARY, METRICS, MULTIRUN, EVALUATION]), attempt)


def test_resuming(search, template, monkeypatch):
    root, files = template
    cfg = configure("run_dir=sweep/run_1")
    files = {**files, CONFIG: OmegaConf.to_container(cfg, resolve=True)}
    compose_once = cache(lambda name, words: compose_files(name, words))
    monkeypatch.setattr(resume, "compose_files", lambda name, words=(): deepcopy(compose_once(name, tuple(words))))

    def attempt(drawn):
        name, content = drawn
        run = place(root, name, content) / "run_1"
        read_or_refuse(resume.load_resumed_config, [f"resume={run}"])
        read_or_refuse(configs_match, run / CONFIG, cfg)
        read_or_refuse(read_finished_metrics, cfg, run)
        for resumed in (str(run), "auto"):
            read_or_refuse(find_resumed_checkpoint, OmegaConf.merge(cfg, {"resume": resumed}))

    search(any_content(files, [CONFIG, CONFIG, SUMMARY]), attempt)


NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-10, 10**6)
CELLS = st.none() | NUMBER
NAMES = st.lists(st.sampled_from(["val/l1", "train/loss_g", "a,b", 'q"q', "lr"]), unique=True)


def test_metrics_tables(search):
    """What is written as CSV is what is read; of a table that is cut short, whole lines."""

    def attempt(drawn):
        names, table, share = drawn
        columns = ["epoch", "step", *names]
        with Path("metrics.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            rows = [[0, step, *(cells[: len(names)])] for step, cells in enumerate(table)]
            writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
        content = Path("metrics.csv").read_bytes()
        cut = content[: math.ceil(share * len(content))]
        whole = max(cut.count(b"\n") - 1, 0)
        expected = [
            {name: cell for name, cell in zip(columns, row, strict=False) if cell is not None} for row in rows[:whole]
        ]
        assert parse_metrics(cut) == expected

    rows = st.lists(st.lists(CELLS, min_size=5, max_size=5), max_size=6)
    search(st.tuples(NAMES, rows, st.floats(0, 1) | st.just(1.0)), attempt)
