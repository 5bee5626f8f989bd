"""Every command and example of the README is run, small; those of the other papers are composed.

To teach it: a placeholder is a row of PLACEHOLDERS, a file that an example reads is made in ``workshop``, a door is a
row of SMALL, with a function that makes its configuration small where it is not. What is not known here fails.
"""

import importlib
import math
import re
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

import cv2
import lightning.pytorch
import numpy as np
import pytest
from omegaconf import open_dict

import pix2pix_lightning.models.pix2pix
from helpers import make_strips
from pix2pix_lightning import compose
from pix2pix_lightning.cli.conf import conf_dir
from pix2pix_lightning.train import train

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OTHERS = [ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]

# What stands for something of the reader's, and what it is in ``workshop``; a new folder is called new.
PLACEHOLDERS = {
    "data.root=<folder with train/ and val/>": "data.root=pairs",
    "data.root=<folder>": "data.root=pairs",
    "runs/facades/<date_time>": "trained",
    "<run folder>": "trained",
    "runs/facades/sweep_loss": "sweep",
    "<sweep folder>": "sweep",
    "<train_opt.txt>": "train_opt.txt",
    "<image or folder>": "photos",
    "output=<folder>": "output=new",
}


def small_training(cfg):
    """The same training on a few small pairs: narrow networks, an epoch of a batch, one more where it goes on."""
    with open_dict(cfg):
        cfg.data.update(size=32, num_workers=0, batch_size=1)
        for name in {"num_train", "num_val"} & cfg.data.keys():
            cfg.data[name] = 2
        small_networks(cfg.module)
        cfg.trainer.update(accelerator="cpu", devices=1, strategy="auto", max_epochs=2 if cfg.resume else 1)
        cfg.trainer.update(log_every_n_steps=1, limit_train_batches=1, limit_val_batches=1, enable_progress_bar=False)
        cfg.callbacks.progress = None
        if "overfit" in cfg.callbacks:  # as little as this fits nothing
            cfg.callbacks.overfit.below = 0.99
            cfg.trainer.check_val_every_n_epoch = 1
    return cfg


def small_networks(module):
    sizes = {"base_channels": 4, "num_downs": 5, "num_blocks": 1, "num_layers": 1}
    for network in (module.generator, module.discriminator):
        if network is not None:
            network.update({key: value for key, value in sizes.items() if key in network})


def small_benchmark(cfg):
    """A round of narrow networks at batch 1; the plain loop's U-Net has its full depth."""
    small_networks(cfg.module)
    cfg.update(batch_sizes=[1], rounds=1, turn=0, device="cpu", what=["step", "training", "prediction", "data"])
    return cfg


def as_it_is(cfg):
    """Doors whose work is as small as what they are given."""
    return cfg


def any_port(cfg):
    """A page on a port that is free."""
    cfg.port = 0
    return cfg


SMALL = {
    "train": small_training,
    "benchmark": small_benchmark,
    "demo": any_port,
    "evaluate": as_it_is,
    "export": as_it_is,
    "predict": as_it_is,
    "prepare": as_it_is,
    "report": as_it_is,
}
FULL_JOBS = 2  # of a sweep; the others are composed


# ---- reading the papers ------------------------------------------------------------------------------------------


def blocks(text, *languages):
    return [
        block for language, block in re.findall(r"^```(\S*)\n(.*?)^```", text, re.M | re.S) if language in languages
    ]


def spans(text):
    """Commands inside a sentence."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    found = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return [span for span in found if re.match(r"(python -m pix2pix_lightning\.|make |pip install )\S", span)]


def filled_in(text):
    for placeholder in sorted(PLACEHOLDERS, key=len, reverse=True):
        text = text.replace(placeholder, PLACEHOLDERS[placeholder])
    left = re.search(r"<[A-Za-z][^<>\n]*>", text)
    assert left is None, f"{left[0]} is no row of PLACEHOLDERS, in: {text}"
    return text


def commands(text):
    """The words of every command, as bash itself reads the blocks: loops, variables, quotes, comments."""
    return [
        words
        for script in [*blocks(text, "", "sh", "bash", "console"), *spans(text)]
        for words in words_of(filled_in(script).replace(".venv/bin/python", "python"))
    ]


def words_of(script):
    stubs = "".join(
        f'{name}() {{ printf \'%s\\0\' {name} "$@" >> "$LOG"; printf \'\\n\' >> "$LOG"; }}\n'
        for name in ("python", "make", "pip")
    )
    with tempfile.TemporaryDirectory() as folder:
        log, empty = Path(folder, "log"), Path(folder, "empty")
        log.touch()
        empty.mkdir()
        environment = {"LOG": str(log), "PATH": str(empty), "PIX2PIX_DATA_DIR": "data"}
        bash = [shutil.which("bash"), "-euc", stubs + script]
        process = subprocess.run(bash, cwd=empty, env=environment, capture_output=True, text=True, check=False)
        assert process.returncode == 0, f"not known how to run: {script}\n{process.stderr}"
        return [line.split("\0")[:-1] for line in log.read_text().split("\n")[:-1]]


# ---- what they read ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Pairs under every name of the catalog, photos, a run of one epoch, a sweep of two such."""
    folder = tmp_path_factory.mktemp("workshop")
    make_strips(folder / "pairs", train=2, val=2)
    shutil.copytree(folder / "pairs/val", folder / "pairs/test")
    (folder / "data").mkdir()
    for path in (conf_dir() / "data").glob("*.yaml"):
        (folder / "data" / path.stem).symlink_to("../pairs")
    (folder / "photos").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    for name in ("photos/a.png", "photos/b.png", "labels.png"):
        cv2.imwrite(str(folder / name), image)
    (folder / "train_opt.txt").write_text("model: pix2pix\ndataroot: pairs\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cfg = small_training(compose("train", ["data=folder", "data.root=pairs", "run_dir=trained"]))
        train(cfg)
    for job in ("loss-l1", "loss-l1_cgan"):
        shutil.copytree(folder / "trained", folder / "sweep" / job)
    return folder


@pytest.fixture
def _here(workshop, tmp_path, monkeypatch):
    """A copy of the workshop, so that nothing that one command makes is in the way of another."""
    shutil.copytree(workshop, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.setenv("WANDB_MODE", "offline")


# ---- running them ------------------------------------------------------------------------------------------------


def run(words, patch, capfd):
    program, *arguments = words
    if program == "make":
        return check_target(arguments)
    if program == "pip":
        return check_extras(arguments)
    assert arguments[0] == "-m", f"not known how to run: {words}"
    name = arguments[1].removeprefix("pix2pix_lightning.")
    assert name in SMALL, f"no row of SMALL for the door of: {words}"
    door = importlib.import_module(f"pix2pix_lightning.{name}")
    work, jobs = getattr(door, name), []

    def small_work(cfg, **more):
        jobs.append(cfg)
        return work(SMALL[name](cfg), **more) if len(jobs) <= FULL_JOBS else None

    if name == "demo":  # it would wait for Ctrl-C
        patch.setenv("GRADIO_TEMP_DIR", str(Path("gradio").resolve()))
        for function in ("page.build", "serving.serve"):
            patch.setattr(f"pix2pix_lightning.demo.{function}", lambda *args, **options: None)
    patch.setattr(door, name, small_work)
    before = files()
    assert door.main(arguments[2:]) == 0, capfd.readouterr().err
    made = files() - before
    if name == "train":
        check_number(arguments, len(jobs))
        assert len([path for path, _ in made if path.name == "summary.json"]) == min(len(jobs), FULL_JOBS)
    elif name == "predict":
        assert len([path for path, _ in made if path.suffix == ".png"]) == len(list(Path("photos").iterdir()))
    else:
        assert made or capfd.readouterr().out
    return None


def check_number(arguments, num_jobs):
    swept = [word for word in arguments if "," in word and "[" not in word]
    expected = math.prod(len(word.split(",")) for word in swept)
    if any(word.startswith("sweep=") for word in arguments):  # and what its file sweeps
        assert num_jobs > expected
        assert num_jobs % expected == 0
    else:
        assert num_jobs == expected


def files():
    return {(path, path.stat().st_mtime_ns) for path in Path().rglob("*") if path.is_file()}


def check_target(arguments):
    process = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


def check_extras(arguments):
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in arguments:
        for extras in re.findall(r"\[([\w,-]+)\]", word):
            assert set(extras.split(",")) <= known.keys(), word


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("words", commands(README), ids=" ".join)
def test_a_command_of_the_readme(words, monkeypatch, capfd):
    monkeypatch.setenv("PIX2PIX_DATA_DIR", "data")
    run(words, monkeypatch, capfd)


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("code", blocks(README, "python", "py"))
def test_an_example_of_the_readme(code, monkeypatch):
    class SmallTrainer(lightning.pytorch.Trainer):
        def __init__(self, **settings):
            small = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1, "accelerator": "cpu"}
            quiet = dict.fromkeys(
                ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
            )
            super().__init__(**{**settings, **small, **quiet})

    monkeypatch.setattr(lightning.pytorch, "Trainer", SmallTrainer)
    for network in (pix2pix_lightning.models.pix2pix.UNET_256, pix2pix_lightning.models.pix2pix.PATCH_70):
        monkeypatch.setitem(network, "base_channels", 4)
    monkeypatch.setattr("pix2pix_lightning.train.train", lambda cfg: train(small_training(cfg)))
    exec(compile(filled_in(code), "README.md", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.name)
def test_the_commands_of_other_papers_compose(path, monkeypatch, capfd):
    (Path("train_opt.txt")).write_text("model: pix2pix\ndataroot: pairs\n")
    for program, *arguments in commands(path.read_text()):
        if program == "make":
            check_target(arguments)
        elif program == "pip":
            check_extras(arguments)
        elif arguments[0] == "-m" and arguments[1].startswith("pix2pix_lightning."):
            door = importlib.import_module(arguments[1])
            monkeypatch.setattr(door, arguments[1].rpartition(".")[2], lambda cfg, **more: None)
            assert door.main(arguments[2:]) == 0, capfd.readouterr().err
        else:  # a script, or the tests
            assert arguments[0].endswith(".py") or arguments[:2] == ["-m", "pytest"], arguments
            assert all((ROOT / word).exists() for word in arguments if word.startswith(("examples/", "tests"))), (
                arguments
            )


def test_it_sees_what_is_there():
    """Each way of writing a command is read, and what is not known fails."""
    text = """
```
for loss in l1 l1_cgan; do
  .venv/bin/python -m pix2pix_lightning.train loss=$loss \\
    name='a b'  # twice
done
make setup | make lint > log
```
Say `python -m pix2pix_lightning.predict
checkpoint=<run folder>`, or `make bench`, not `python` or `make`.
```text
rm -rf /
```
"""
    train_words = [
        ["python", "-m", "pix2pix_lightning.train", f"loss={loss}", "name=a b"] for loss in ("l1", "l1_cgan")
    ]
    assert sorted(commands(text)) == sorted(
        [
            *train_words,
            ["make", "setup"],
            ["make", "lint"],
            ["python", "-m", "pix2pix_lightning.predict", "checkpoint=trained"],
            ["make", "bench"],
        ]
    )
    for unknown in ("rm -rf x", "make setup && curl x", "python x=<something new>"):
        with pytest.raises(AssertionError, match=r"not known|no row"):
            commands(f"```sh\n{unknown}\n```\n")
    with pytest.raises(AssertionError, match="no row of SMALL"):
        run(["python", "-m", "pix2pix_lightning.gallop"], None, None)
    with pytest.raises(AssertionError, match="No rule"):
        check_target(["gallop"])
    with pytest.raises(AssertionError, match="gallop"):
        check_extras(["install", "pix2pix-lightning[test,gallop]"])
