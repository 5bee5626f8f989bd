"""Every kind of command and every example of the README is run, small; all other commands of the docs are composed.

To extend it: a placeholder is a row of PLACEHOLDERS, a file that an example reads is written in ``workshop``, a command
is a row of SMALL, with a function that makes its configuration small where it is not. What is not known here fails.
"""

import importlib
import importlib.util
import math
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from types import SimpleNamespace

import cv2
import lightning.pytorch
import numpy as np
import pytest
from omegaconf import open_dict

import pix2pix_lightning.models.pix2pix
from helpers import make_strips
from pix2pix_lightning import compose
from pix2pix_lightning.cli.conf import find_conf_dir, is_group
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
    "<folder of strips>": "pairs",
    "output=<folder>": "output=new",
    "answers=<folder>": "answers=photos",
}


def small_training(cfg):
    """The same training on a few small pairs: narrow networks, an epoch of a batch, one more where it is resumed."""
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


def keep(cfg):
    """Commands whose work is as small as what they are given."""
    return cfg


def use_one_process(cfg):
    """No processes, which take seconds to start."""
    cfg.workers = 1
    return cfg


def take_any_number(cfg):
    """The pairs of the workshop are there already, fewer than those of the archive."""
    cfg.data.archive.pairs = None
    return cfg


def export_weights(cfg):
    """The weights alone: a conversion to ONNX takes as long for narrow networks, and has tests of its own."""
    cfg.update(format="safetensors", output="model.safetensors")
    return cfg


def use_any_port(cfg):
    """A page on a port that is free."""
    cfg.port = 0
    return cfg


SMALL = {
    "train": small_training,
    "benchmark": small_benchmark,
    "demo": use_any_port,
    "download": take_any_number,
    "evaluate": keep,
    "export": export_weights,
    "predict": keep,
    "prepare": use_one_process,
    "report": keep,
}
MAX_JOBS = 2  # of a sweep, of which the first is run; the second ends it


def find_kind(words):
    """What a command does; a second command of a kind differs in its settings alone, and is only composed."""
    marks = ("debug=", "resume=", "sweep=", "split=", "-m", "data=", "experiment=quickstart", "checkpoint=builtin:")
    return words[2], tuple(word for word in words[3:] if word.startswith(marks))


def find_composition(words):
    """What is composed: commands with equal groups and keys differ in the keys' values alone."""
    return tuple(sorted(word if is_group(word.partition("=")[0]) else word.partition("=")[0] for word in words))


# ---- reading the documents ------------------------------------------------------------------------------------------


def blocks(text, *languages):
    return [
        block for language, block in re.findall(r"^```(\S*)\n(.*?)^```", text, re.M | re.S) if language in languages
    ]


def spans(text):
    """Commands inside a sentence."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    found = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return [span for span in found if re.match(r"(python -m pix2pix_lightning\.|make |pip install )\S", span)]


def fill_in(text):
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
        for words in split_words(fill_in(script).replace(".venv/bin/python", "python"))
    ]


def split_words(script):
    stubs = "".join(  # a line in one write, since the commands of a pipe run at the same time
        f'{name}() {{ local line; printf -v line \'%s\\037\' {name} "$@"; printf \'%s\\n\' "$line" >> "$LOG"; }}\n'
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
        return [line.split("\037")[:-1] for line in log.read_text().split("\n")[:-1]]


# ---- what they read ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Pairs under every name of the catalog, photos, a run of one epoch, a sweep of two such runs."""
    folder = tmp_path_factory.mktemp("workshop")
    make_strips(folder / "pairs", train=2, val=2)
    shutil.copytree(folder / "pairs/val", folder / "pairs/test")
    (folder / "data").mkdir()
    for path in (find_conf_dir() / "data").glob("*.yaml"):
        (folder / "data" / path.stem).symlink_to("../pairs")
    (folder / "photos").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    for name in ("photos/a.png", "photos/b.png"):
        cv2.imwrite(str(folder / name), image)
    (folder / "examples").mkdir()
    for name in ("labels.png", "examples/labels.png"):
        shutil.copy(ROOT / "examples/labels.png", folder / name)
    (folder / "train_opt.txt").write_text("model: pix2pix\ndataroot: pairs\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cfg = small_training(compose("train", ["data=folder", "data.root=pairs", "run_dir=trained"]))
        train(cfg)
    for job in ("loss-l1", "loss-l1_cgan"):
        shutil.copytree(folder / "trained", folder / "sweep" / job)
    return folder


@pytest.fixture
def _in_workshop(workshop, tmp_path, monkeypatch):
    """A copy of the workshop, so that nothing that one command writes is in the way of another."""
    shutil.copytree(workshop, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.setenv("WANDB_MODE", "offline")


# ---- running them ------------------------------------------------------------------------------------------------


def import_command(name):
    assert name in SMALL, f"no row of SMALL for the command {name}"
    module = f"pix2pix_lightning.{name}"
    is_package = importlib.util.find_spec(module).submodule_search_locations is not None
    return importlib.import_module(f"{module}.__main__" if is_package else module)


def run(words, patch, capfd):
    """Run a command, small."""
    name, arguments = check_python(words)
    command, jobs = import_command(name), []
    work = getattr(command, name)

    def small_work(cfg, **more):
        jobs.append(cfg)
        if len(jobs) == MAX_JOBS:
            raise KeyboardInterrupt
        return work(SMALL[name](cfg), **more)

    if name == "demo":  # it would wait for Ctrl-C
        patch.setenv("GRADIO_TEMP_DIR", str(Path("gradio").resolve()))
        for module, function in (("page", "build_page"), ("server", "serve")):  # which import gradio, for seconds
            stub = SimpleNamespace(**{function: lambda *args, **options: None})
            patch.setitem(sys.modules, f"pix2pix_lightning.demo.{module}", stub)
        patch.setitem(sys.modules, "gradio", SimpleNamespace())
    patch.setattr(command, name, small_work)
    before = find_files()
    status = command.main(arguments)
    assert status == (130 if len(jobs) == MAX_JOBS else 0), capfd.readouterr().err
    written = find_files() - before
    if name == "evaluate":  # the gallery gets a link to the evaluation
        written = {(path, when) for path, when in written if path.parts[-2:] != ("gallery", "index.html")}
    assert not [path for path, _ in written if not path.is_relative_to(find_output(name, arguments))]
    if name == "train":
        check_number(arguments, len(jobs))
        assert len([path for path, _ in written if path.name == "summary.json"]) == 1
    elif name == "predict":
        inputs = 1 if "input=examples/labels.png" in arguments else len(list(Path("photos").iterdir()))
        assert len([path for path, _ in written if path.suffix == ".png"]) == inputs
    else:
        assert written or capfd.readouterr().out


def find_output(name, arguments):
    """The folder in which a command may write; what it leaves elsewhere would be a surprise."""
    given = dict(word.split("=", 1) for word in arguments if "=" in word)
    if name == "train":
        return given.get("run_dir", given["resume"] if given.get("resume", "auto") != "auto" else "runs")
    if name == "export":
        return "model.safetensors"  # of the row of SMALL
    kept = {"evaluate": "trained/evaluation", "report": given.get("runs"), "demo": "gradio"}
    return given.get("output", kept.get(name, "nothing"))


def check_composes(words, patch, capfd):
    """Compose a command, of a sweep the first job with the first of the values in the command."""
    name, arguments = check_python(words)
    if "-m" in arguments or any(word.startswith("sweep=") for word in arguments):
        command = import_command(name)

        def stop(cfg, **more):
            raise KeyboardInterrupt

        patch.setattr(command, name, stop)
        # each further job is composed three times before the first one starts
        arguments = [word if "[" in word else word.partition(",")[0] for word in arguments]
        assert command.main(arguments) == 130, capfd.readouterr().err
    else:
        assert import_command(name)
        compose(name, arguments)


def check_python(words):
    assert words[:2] == ["python", "-m"], f"not known how to run: {words}"
    return words[2].removeprefix("pix2pix_lightning."), words[3:]


def check_number(arguments, num_jobs):
    swept = [word for word in arguments if "," in word and "[" not in word]
    expected = math.prod(len(word.split(",")) for word in swept)
    if any(word.startswith("sweep=") for word in arguments):  # and what its file sweeps
        expected = MAX_JOBS
    assert num_jobs == min(expected, MAX_JOBS)


def find_files():
    return {(path, path.stat().st_mtime_ns) for path in Path().rglob("*") if path.is_file()}


def check_target(arguments):
    process = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


def check_extras(arguments):
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in arguments:
        for extras in re.findall(r"\[([\w,-]+)\]", word):
            assert set(extras.split(",")) <= known.keys(), word


COMMANDS = {" ".join(words): words for words in commands(README)}
FIRST_OF_KIND = {find_kind(words): name for name, words in reversed(COMMANDS.items()) if words[0] == "python"}


@pytest.mark.usefixtures("_in_workshop")
@pytest.mark.parametrize("name", FIRST_OF_KIND.values())
def test_a_command_of_the_readme_runs(name, monkeypatch, capfd):
    monkeypatch.setenv("PIX2PIX_DATA_DIR", "data")
    run(COMMANDS[name], monkeypatch, capfd)


@pytest.mark.usefixtures("_in_workshop")
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
    exec(compile(fill_in(code), "README.md", "exec"), {"__name__": "__main__"})


def test_all_commands_compose(monkeypatch, capfd):
    Path("train_opt.txt").write_text("model: pix2pix\ndataroot: pairs\n")
    others = {" ".join(words): words for path in OTHERS for words in commands(path.read_text())}
    left = [words for name, words in (COMMANDS | others).items() if name not in FIRST_OF_KIND.values()]
    check_target([word for words in left if words[0] == "make" for word in words[1:]])
    for words in {find_composition(words): words for words in left if words[0] != "make"}.values():
        if words[0] == "pip":
            check_extras(words[1:])
        elif words[1] == "-m" and words[2].startswith("pix2pix_lightning."):
            check_composes(words, monkeypatch, capfd)
        else:  # a script, or the tests
            assert words[1].endswith(".py") or words[1:3] == ["-m", "pytest"], words
            assert all((ROOT / word).exists() for word in words if word.startswith(("examples/", "tests"))), words


def test_each_way_of_writing_a_command_is_read_and_unknown_ones_fail():
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
