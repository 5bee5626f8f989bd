"""Tests that a failing logger gives one warning, while training and metrics.csv continue."""

import logging
import os
import signal
import sys
import time

import numpy as np
import pytest
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from helpers import TINY, make_strips
from pix2pix_lightning import compose
from pix2pix_lightning.train import main
from pix2pix_lightning.training.build import build_training
from pix2pix_lightning.training.loggers import FaultTolerantLogger, MetricsCSV, Wandb, log_images

CALLS = {
    "experiment": lambda logger: logger.experiment,
    "log_hyperparams": lambda logger: logger.log_hyperparams({"seed": 0}),
    "log_graph": lambda logger: logger.log_graph(None),
    "log_metrics": lambda logger: logger.log_metrics({"loss": 0.5}, 3),
    "add_image": lambda logger: log_images([logger], {"a": np.zeros((4, 4, 3), np.uint8)}, 3),
    "save": lambda logger: logger.save(),
    "after_save_checkpoint": lambda logger: logger.after_save_checkpoint(None),
    "finalize": lambda logger: logger.finalize("success"),
}


class Recorder(TensorBoardLogger):
    """Record the calls, and fail at one of them."""

    def __init__(self, fails_at=None):
        super().__init__(".")
        self.fails_at = fails_at
        self.calls = []

    def _called(self, name):
        self.calls.append(name)
        if name == self.fails_at:
            raise OSError("no space left\non the device")

    @property
    def experiment(self):
        self._called("experiment")
        return self

    def log_hyperparams(self, *args):
        self._called("log_hyperparams")

    def log_graph(self, *args):
        self._called("log_graph")

    def log_metrics(self, metrics, step):
        assert (metrics, step) == ({"loss": 0.5}, 3)
        self._called("log_metrics")

    def add_image(self, *args, **kwargs):
        self._called("add_image")

    def save(self):
        self._called("save")

    def after_save_checkpoint(self, *args):
        self._called("after_save_checkpoint")

    def finalize(self, status):
        self._called("finalize")


def warnings_in(caplog):
    return [r.getMessage() for r in caplog.records if r.name.startswith("pix2pix") and r.levelno >= logging.WARNING]


def test_every_call_is_passed_on(caplog):
    recorder = Recorder()
    logger = FaultTolerantLogger(recorder, "board")
    for call in CALLS.values():
        call(logger)
    assert set(recorder.calls) == set(CALLS)
    assert (logger.save_dir, logger.version) == (recorder.save_dir, recorder.version)
    assert not warnings_in(caplog)


@pytest.mark.parametrize("name", CALLS)
def test_failed_logger_is_finalized_and_gets_no_more_calls(caplog, name):
    recorder = Recorder(name)
    logger = FaultTolerantLogger(recorder, "board")
    CALLS[name](logger)
    assert recorder.calls[-1] == "finalize"
    before = list(recorder.calls)
    for call in [*CALLS.values(), CALLS[name]]:
        call(logger)
    assert recorder.calls == before
    (line,) = warnings_in(caplog)
    assert "logger board" in line
    assert "no space left on the device" in line
    assert "resume=" in line


def test_only_the_first_process_warns(caplog, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = FaultTolerantLogger(Recorder("save"), "board")
    logger.save()
    assert not warnings_in(caplog)


BROKEN = """
from lightning.pytorch.loggers.logger import DummyLogger


class Broken(DummyLogger):
    def log_metrics(self, metrics, step):
        if step == 1:
            raise RuntimeError("the server is gone")
"""


def test_training_continues_without_failed_loggers(tmp_path, fresh_wandb, capfd, monkeypatch):
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.syspath_prepend(tmp_path)
    words = [
        "logger=[tensorboard,wandb]",  # wandb has no login
        "logger.tensorboard.folder=file",
        "+logger.own._target_=broken.Broken",
        "run_dir=run",
    ]
    assert main([*TINY, f"data.root={make_strips(tmp_path / 'pairs')}", *words]) == 0
    err = capfd.readouterr().err
    assert "Traceback" not in err
    left_out = [line for line in err.splitlines() if "is left out" in line]
    for name, cause in (("tensorboard", "file"), ("wandb", "wandb login"), ("own", "the server is gone")):
        (line,) = [line for line in left_out if f"logger {name} " in line]
        assert cause in line
        assert line in (tmp_path / "run/train.log").read_text()
    assert len(left_out) == 3
    steps = [line.split(",")[1] for line in (tmp_path / "run/metrics.csv").read_text().splitlines()[1:]]
    assert steps == ["0", "1", "2", "3", "4", "5"]
    assert (tmp_path / "run/summary.json").is_file()


def test_warning_of_a_missing_package_has_the_install_command(tmp_path, caplog, monkeypatch):
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning.fabric.loggers.tensorboard.{name}", False)
    root = make_strips(tmp_path / "pairs")
    training = build_training(compose("train", [*TINY, f"data.root={root}", "logger=tensorboard", "run_dir=run"]))
    assert [type(logger) for logger in training.trainer.loggers] == [MetricsCSV]
    assert training.trainer.progress_bar_callback is None  # nor Lightning's own in place of callbacks.progress=null
    (line,) = warnings_in(caplog)
    assert 'pip install "pix2pix-lightning[tensorboard]"' in line


@pytest.mark.parametrize(
    "word", ["+logger.wandb.projekt=mine", "logger.wandb._target_=pix2pix_lightning.training.loggers.Wand"]
)
def test_misspelled_setting_is_a_user_error(tmp_path, capfd, word):
    root = make_strips(tmp_path / "pairs")
    assert main([*TINY, f"data.root={root}", "logger=wandb", "run_dir=run", word]) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "projekt" in line or "Wand'" in line
    assert not (tmp_path / "run").exists()


class Terminal:
    """An interactive terminal that fails when it is read."""

    def isatty(self):
        return True

    def write(self, text):
        return len(text)

    def flush(self):
        pass

    def readline(self, *args):
        raise AssertionError("wandb asked for a key")

    fileno = read = readline


def test_wandb_does_not_ask_for_a_key(tmp_path, fresh_wandb, monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, Terminal())
    with pytest.raises(ConnectionError, match=r"`wandb login`.*logger\.wandb\.offline=true"):
        Wandb(tmp_path / "run").log_metrics({"loss": 1.0}, 0)


def test_wandb_without_network_is_left_out(tmp_path, fresh_wandb, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    inner = Wandb(tmp_path / "run", settings={"init_timeout": 1.0})
    logger = FaultTolerantLogger(inner, "wandb")
    logger.log_metrics({"loss": 1.0}, 0)
    logger.finalize("success")
    (line,) = warnings_in(caplog)
    assert "127.0.0.1:9" in line
    assert "logger.wandb.offline=true" in line
    assert not (tmp_path / "run/wandb/run_id.txt").exists()  # no run was started


def test_next_wandb_run_starts_after_a_killed_wandb_process(tmp_path, fresh_wandb, wandb_processes, caplog):
    first = FaultTolerantLogger(Wandb(tmp_path / "first", offline=True), "wandb")
    first.log_metrics({"loss": 1.0}, 0)
    (pid,) = wandb_processes()
    os.kill(pid, signal.SIGKILL)
    for step in range(1, 1000):
        first.log_metrics({"loss": 1.0}, step)
        if warnings_in(caplog):
            break
        time.sleep(0.01)
    first.log_metrics({"loss": 1.0}, step + 1)
    first.finalize("success")
    second = Wandb(tmp_path / "second", offline=True)
    second.log_metrics({"loss": 1.0}, 0)
    second.finalize("success")
    assert (tmp_path / "second/wandb/run_id.txt").is_file()
    (line,) = warnings_in(caplog)
    assert "logger wandb" in line


def test_resumed_run_continues_its_online_wandb_run(tmp_path, fresh_wandb, monkeypatch):
    import wandb

    asked = []

    class Run:
        url = "https://wandb.ai/mine"

        def define_metric(self, *args, **kwargs):
            pass

        log = define_metric

        def finish(self, exit_code):
            asked[-1]["exit_code"] = exit_code

    monkeypatch.setattr(wandb, "init", lambda **kwargs: asked.append(kwargs) or Run())
    (tmp_path / "run/wandb").mkdir(parents=True)
    for status in ("failed", "success"):
        logger = Wandb(tmp_path / "run", group="facades")
        logger.log_metrics({"loss": 1.0}, 0)
        logger.finalize(status)
    first, second = asked
    assert first["id"] == second["id"]
    assert (second["resume"], second["mode"], second["name"]) == ("allow", None, "facades/run")
    assert (first["exit_code"], second["exit_code"]) == (1, 0)


def test_logger_without_experiment_works(caplog):
    class Plain(Logger):
        name = version = "plain"

        def log_metrics(self, metrics, step=None):
            self.seen = metrics

        def log_hyperparams(self, *args, **kwargs):
            pass

    plain = Plain()
    logger = FaultTolerantLogger(plain, "plain")
    assert logger.experiment is None
    logger.log_metrics({"loss": 1.0}, 0)
    assert plain.seen == {"loss": 1.0}
    assert not warnings_in(caplog)
