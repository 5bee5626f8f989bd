"""Which signals stop a training, with which status, and how a Slurm job goes back to its queue."""

import os
import signal
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from pix2pix_lightning import compose
from pix2pix_lightning.train import train
from pix2pix_lightning.training.callbacks.stop_on_signal import StopOnSignal
from pix2pix_lightning.training.ddp import PerNetworkDDPStrategy
from pix2pix_lightning.training.run_dir import RunDir
from pix2pix_lightning.training.signals import StopSignals, handle_stop_signals, requeue_slurm_job
from pix2pix_lightning.utils.errors import RESUMABLE_STATUS, Interrupted

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers():
    """The handlers of a process in the foreground; those of the tests are put back."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOPS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_ends_the_set_up_at_once_and_is_kept_during_the_training(number):
    status = 130 if number == signal.SIGINT else 75
    with handle_stop_signals(), pytest.raises(Interrupted) as stop:
        os.kill(os.getpid(), number)
    assert stop.value.status == status
    with handle_stop_signals() as signals:
        signals.is_training = True
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)  # launchers send theirs several times
        assert signals.received == number
    assert signals.build_exception("go on").status == status
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_ignored_signals_stay_ignored_whatever_lightning_sets():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    with handle_stop_signals() as signals:
        signal.signal(signal.SIGHUP, lambda *args: None)
        signal.signal(signal.SIGTERM, lambda *args: None)
        signals.install()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == signals._handle
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_handlers_that_are_not_of_python_stay(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    changed = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: changed.append(number))
    with handle_stop_signals():
        pass
    assert changed == []


def test_the_second_ctrl_c_ends_the_process(monkeypatch):
    signals, sent = StopSignals(), []
    signals.is_training = True
    signals._handle(signal.SIGTERM, None)
    signals._handle(signal.SIGINT, None)
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((number, signal.getsignal(number))))
    signals._handle(signal.SIGINT, None)
    assert sent == [(signal.SIGINT, signal.SIG_DFL)]


@pytest.mark.parametrize(
    ("environment", "received", "asked"),
    [
        ({"SLURM_JOB_ID": "42"}, signal.SIGUSR1, "requeue 42"),
        (
            {"SLURM_JOB_ID": "42", "SLURM_ARRAY_JOB_ID": "40", "SLURM_ARRAY_TASK_ID": "2"},
            signal.SIGUSR1,
            "requeue 40_2",
        ),
        ({"SLURM_JOB_ID": "42", "SLURM_PROCID": "1"}, signal.SIGUSR1, None),
        ({"SLURM_JOB_ID": "42"}, signal.SIGTERM, None),  # scancel
        ({}, signal.SIGUSR1, None),
    ],
)
def test_the_warning_of_slurm_requeues_its_job(tmp_path, monkeypatch, environment, received, asked):
    write_scontrol(tmp_path, monkeypatch)
    assert requeue_slurm_job(received, environment) == (asked is not None)
    assert (Path("asked").read_text().strip() if asked else Path("asked").exists()) == (asked or False)


def test_a_queue_that_refuses_costs_a_warning(tmp_path, monkeypatch, caplog):
    for status in (1, None):  # it says no, there is none
        write_scontrol(tmp_path, monkeypatch, status)
        assert not requeue_slurm_job(signal.SIGUSR1, {"SLURM_JOB_ID": "42"})
    assert len([record for record in caplog.records if "42" in record.getMessage()]) == 2


def write_scontrol(folder, monkeypatch, status=0):
    script = folder / "bin/scontrol"
    script.parent.mkdir(exist_ok=True)
    script.unlink(missing_ok=True)
    if status is not None:
        script.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\necho no >&2\nexit {status}\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))


@pytest.mark.parametrize(("is_training", "status"), [(False, RESUMABLE_STATUS), (True, 0)])
def test_a_process_for_which_others_wait_fails_when_it_is_stopped(monkeypatch, tmp_path, is_training, status):
    def stop(run, cfg, signals, runs):
        signals.is_training = is_training
        raise Interrupted("", RESUMABLE_STATUS)

    run = RunDir(tmp_path, None, is_first=False)
    monkeypatch.setattr("pix2pix_lightning.training.run_dir.resolve_run_dir", lambda cfg: run)
    monkeypatch.setattr("pix2pix_lightning.train._train_in", stop)
    with pytest.raises(SystemExit) as caught:
        train(compose("train", ["data=folder"]))
    assert caught.value.code == status


def test_processes_agree_for_as_long_as_the_strategy_waits(monkeypatch):
    made = []
    monkeypatch.setattr("torch.distributed.new_group", lambda **options: made.append(options))
    trainer = SimpleNamespace(world_size=2, strategy=PerNetworkDDPStrategy(timeout_minutes=3))
    with handle_stop_signals() as signals:
        StopOnSignal(signals).on_train_start(trainer, None)
    assert made == [{"backend": "gloo", "timeout": timedelta(minutes=3)}]
