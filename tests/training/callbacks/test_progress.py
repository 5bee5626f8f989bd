"""What a training shows: in a terminal one live line below the lines that stay, elsewhere the lines alone."""

import io
import logging
import re
import sys
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, Timer

from pix2pix_lightning.train import train
from pix2pix_lightning.training.callbacks import Overfit, TrainingBar
from pix2pix_lightning.training.callbacks import pace as pace_module
from pix2pix_lightning.training.callbacks.pace import Pace, format_epoch
from pix2pix_lightning.training.callbacks.progress import LateScalars, format_line
from pix2pix_lightning.utils.errors import Interrupted
from pix2pix_lightning.utils.terminal import LiveLine, find_terminal
from terminals import open_terminal
from tiny_training import NO_GALLERY, SMALLEST, configure, use_probe

BAR = [
    "callbacks.progress._target_=pix2pix_lightning.training.callbacks.TrainingBar",
    "callbacks.progress.refresh_seconds=0",
]
assert "callbacks.progress=null" in SMALLEST


class Talker(Callback):
    """Writes in several ways in the second epoch, stops where it is asked to, and keeps the screen of each epoch."""

    def __init__(self, terminal, stop=None):
        self.terminal, self.stop, self.screens = terminal, stop, []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if module.batches_seen == self.stop:
            raise Interrupted("by the test", 130)
        if trainer.current_epoch == 1 and batch_idx == 0:
            print("printed " + 30 * "word ")
            logging.getLogger("pix2pix_lightning").warning("logged %s", "in the epoch")
            print("to standard error", file=sys.stderr)

    def on_validation_batch_end(self, trainer, *args):
        while f"epoch {trainer.current_epoch + 1}/" not in self.terminal.read_lines()[-1]:
            pass  # it arrives in another thread
        self.screens.append(self.terminal.read_lines())


def is_bar(line):
    return re.match(r"epoch \d", line) is not None and "val/" not in line


def test_every_line_stays_and_one_bar_is_below_them(small_pairs):
    words = [*BAR, f"data.root={small_pairs}", NO_GALLERY]
    with open_terminal(100) as terminal:
        before = sys.stderr
        probe = Talker(terminal)
        train(configure(*words, "run_dir=run", "trainer.max_epochs=3", use_probe(probe)))
        with pytest.raises(Interrupted):  # the next job of a sweep, say
            train(configure(*words, "run_dir=next", use_probe(Talker(terminal, stop=3))))
        assert sys.stderr is before
    lines = terminal.read_lines()
    for screen in probe.screens:
        assert [is_bar(line) for line in screen] == [False] * (len(screen) - 1) + [True]
    assert not any(map(is_bar, lines))
    assert "printed " + 30 * "word " in "".join(line.ljust(100) for line in lines)
    assert "logged in the epoch" in lines
    assert "to standard error" in lines
    epochs = [line for line in lines if "val/l1" in line]
    assert [line.split()[1] for line in epochs] == ["1/3", "2/3", "3/3", "1/2"]
    assert all(re.search(r"val/ssim -?\d\.\d{4}  \d+\.\d images/s$", line) for line in epochs)
    assert re.fullmatch(r"about \d+ s left", lines[lines.index(epochs[0]) + 1])
    drawn = terminal.raw.decode()
    assert re.search(r" 2/2 loss_g [\d.]+ loss_d [\d.]+ [\d.]+ images/s \d+ s left", drawn)
    assert "validating 1/1" in drawn


def test_a_pipe_gets_plain_lines(small_pairs, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    limits = ["trainer.limit_train_batches=1", "callbacks.gallery.num_images=1"]
    train(configure(*BAR, *limits, f"data.root={small_pairs}", "run_dir=run"))
    err = capfd.readouterr().err
    assert all(character.isprintable() or character == "\n" for character in err)
    assert [line.split()[1] for line in err.splitlines() if "val/l1" in line] == ["1/2", "2/2"]
    assert "pictures: run/gallery/index.html" in err.splitlines()
    assert not any(map(is_bar, err.splitlines()))


def test_where_a_bar_can_be_drawn(monkeypatch):
    with open_terminal(50) as terminal:
        assert find_terminal() is not None
        monkeypatch.setenv("TERM", "dumb")
        assert find_terminal() is None
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr("multiprocessing.parent_process", lambda: "a sweep")
        assert find_terminal() is None
    assert terminal.raw == b""


def test_a_terminal_that_is_gone_ends_the_line_alone(monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    handler = logging.StreamHandler(stream)
    logging.getLogger("pix2pix_lightning").addHandler(handler)
    try:
        line = LiveLine(find_terminal())
        assert handler.stream is sys.stderr is not stream
        line.draw("before")
        stream.write = lambda text: (_ for _ in ()).throw(OSError(5, "Input/output error"))
        line.draw("after")
        line.draw("again")
        assert handler.stream is sys.stderr is stream
    finally:
        logging.getLogger("pix2pix_lightning").removeHandler(handler)
    assert "before" in stream.getvalue()


PARTS = {
    "epoch": "epoch 12/200",
    "bar": 8 * " ",
    "count": "34/400",
    "losses": "loss_g 23.1 loss_d 0.61",
    "speed": "12.3 images/s",
    "left": "3 h 20 min left",
}
ORDER = ("count", "speed", "bar", "losses", "left")


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (120, "epoch 12/200 {} 34/400 loss_g 23.1 loss_d 0.61 12.3 images/s 3 h 20 min left"),
        (77, "epoch 12/200 {} loss_g 23.1 loss_d 0.61 12.3 images/s 3 h 20 min left"),
        (70, "epoch 12/200 {} loss_g 23.1 loss_d 0.61 3 h 20 min left"),
        (52, "epoch 12/200 loss_g 23.1 loss_d 0.61 3 h 20 min left"),
        (30, "epoch 12/200 3 h 20 min left"),
        (15, "epoch 12/200"),
    ],
)
def test_a_narrow_terminal_gets_what_matters_most(width, expected):
    line = format_line(PARTS, ORDER, width, 0.25).plain
    bar = "".join(c for c in line if c in "━─")
    assert line == expected.format(bar)
    assert len(line) <= width
    assert not bar or len(bar) == min(40, width - len(expected.format("")))
    assert bar.count("━") == round(len(bar) / 4)
    assert format_line(PARTS, ORDER, width, 0.25, is_ascii=True).plain.isascii()


# ---- the pace ------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    times = SimpleNamespace(now=0.0)
    monkeypatch.setattr(pace_module.time, "perf_counter", lambda: times.now)
    return times


def fake_trainer(**settings):
    defaults = {"max_epochs": -1, "max_steps": -1, "check_val_every_n_epoch": 1, "num_training_batches": 10}
    defaults |= {"current_epoch": 0, "global_step": 0, "world_size": 2, "callbacks": []}
    return SimpleNamespace(**defaults | settings)


def run_epochs(pace, trainer, clock, count, *, first_batch=0):
    """Batches of 1 s and 2 steps of the optimizers, then 5 s of validation."""
    pace.start_training(trainer)
    for epoch in range(count):
        if epoch or not first_batch:
            pace.start_epoch(trainer)
        for index in range(0 if epoch else first_batch, 10):
            clock.now += 1
            trainer.global_step += 2
            pace.end_batch(trainer, {"source": [0, 0, 0]}, index)
        clock.now += 5
        trainer.current_epoch += 1
    pace.start_epoch(trainer)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"max_epochs": 5}, "45 s left"),  # 3 more epochs
        ({"max_epochs": 500}, "2 h 4 min left"),
        ({"max_steps": 70}, "22 s left"),  # 40 of 70 steps are done, 20 are an epoch of 15 s
        ({"max_epochs": 3, "max_steps": 70}, "15 s left"),
        ({}, ""),  # without an end
        ({"max_epochs": 5, "num_training_batches": float("inf")}, "45 s left"),
        ({"max_epochs": 5, "callbacks": [EarlyStopping("val/l1")]}, "at most 45 s left"),
        ({"max_epochs": 5, "callbacks": [Overfit()]}, "at most 45 s left"),
    ],
)
def test_when_a_training_ends(clock, settings, expected):
    trainer, pace = fake_trainer(**settings), Pace()
    run_epochs(pace, trainer, clock, 2)
    assert pace.format_time_left(trainer) == expected
    about = expected if expected.startswith("at most") or not expected else f"about {expected}"
    assert pace.format_time_left(trainer, about="about ") == about


def test_a_limit_of_time_ends_a_training(clock):
    timer = Timer(duration={"seconds": 20})
    trainer, pace = fake_trainer(max_epochs=50, callbacks=[timer]), Pace()
    run_epochs(pace, trainer, clock, 1)
    assert pace.format_time_left(trainer) == "20 s left"
    trainer.max_epochs = 2
    assert pace.format_time_left(trainer) == "15 s left"


def test_a_resumed_training(clock):
    trainer, pace = fake_trainer(max_epochs=5, current_epoch=1, global_step=28), Pace()
    pace.start_training(trainer)
    for index in (4, 5, 6):
        clock.now += 1
        trainer.global_step += 2
        pace.end_batch(trainer, {"source": [0, 0, 0]}, index)
    assert pace.images_per_second == 3 * 2  # of two processes
    assert pace.format_time_left(trainer) == "33 s left"  # 3 batches and 3 epochs, of which no validation is known yet
    trainer = fake_trainer(max_epochs=5, current_epoch=1, global_step=28)
    run_epochs(pace, trainer, clock, 2, first_batch=4)
    assert pace.num_epochs == 1  # only the second was a whole one
    assert pace.format_time_left(trainer) == "30 s left"


@pytest.mark.parametrize(
    ("settings", "text"),
    [({"max_epochs": 5}, "epoch 3/5"), ({}, "epoch 3"), ({"max_epochs": 5, "max_steps": 9}, "epoch 3")],
)
def test_epochs_are_counted_from_one(settings, text):
    assert format_epoch(fake_trainer(current_epoch=2, **settings)) == text


def test_losses_are_read_once_they_have_arrived(monkeypatch):
    losses = LateScalars()
    assert losses.read() == {}
    losses.request({"loss_g": torch.tensor(1.5), "l1": torch.tensor(0.0)})
    losses.request({"loss_g": torch.tensor(7.0)})  # one copy at a time
    assert losses.read() == {"loss_g": 1.5}
    arrival = SimpleNamespace(query=lambda: False)
    losses.request({"loss_g": torch.tensor(2.5), "loss_d": torch.tensor(0.5)})
    losses._arrival = arrival
    assert losses.read() == {"loss_g": 1.5}
    arrival.query = lambda: True
    assert losses.read() == {"loss_g": 2.5, "loss_d": 0.5}
    losses.request(None)
    assert losses.read() == {"loss_g": 2.5, "loss_d": 0.5}


@pytest.mark.parametrize("seconds", [-1, "soon", True])
def test_what_is_no_interval_is_refused(seconds):
    with pytest.raises(ValueError, match=f"refresh_seconds={seconds}"):
        TrainingBar(seconds)
