"""Words that are no key=value are answered by what to write, and the options of Hydra pass."""

import pytest

from pix2pix_lightning import __main__ as program
from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.cli.overrides import check_group_names
from pix2pix_lightning.cli.words import check_words, iterate_overrides
from pix2pix_lightning.utils.errors import UserError


@pytest.mark.parametrize(
    ("name", "words", "advice"),
    [
        ("predict", "--checkpoint run input=a.png output=o", "checkpoint=run"),
        ("predict", "--checkpoint=run", "checkpoint=run"),
        ("predict", "+=", "key=value"),
        ("predict", "-c run", "checkpoint=run"),
        ("predict", "-i in.png", "input=in.png"),
        ("export", "-o model.onnx", "output=model.onnx"),
        ("predict", "checkpoint=run in.png out", "input=in.png"),
        ("report", "runs/sweep", "runs=runs/sweep"),
        ("train", "--batch-size 4", "data.batch_size=4"),
        ("train", "--data_root=pairs", "data.root=pairs"),
        ("train", "--epochs 3", "trainer.max_epochs=3"),
        ("train", "--nonsense", "--help"),
        ("train", "experiment facades", "experiment=facades"),
        ("train", "facades", "experiment=facades"),
        ("train", "data.size =3", "data.size=3"),
        ("train", "data.size= 3", "data.size=3"),
        ("train", "data.size==3", "data.size=3"),
        ("train", "data.size:3", "data.size=3"),
        ("train", "data.size: 3", "data.size=3"),
        ("train", "data.size = 3", "data.size=3"),
        ("train", "--experiment facades", "experiment=facades"),
        ("train", "--val-split test", "data.val_split=test"),
        ("train", "help", "--help"),
        ("train", "--h", "--help"),
        ("train", "generator --help", "--help generator"),
        ("train", "--help generater", "--help generator"),
        ("predict", "run/ photo.png out/", "checkpoint=run/ input=photo.png output=out/"),
        ("predict", "input=photo.png run/ out/", "checkpoint=run/ output=out/"),
        ("demo", "runs/a", "checkpoint=runs/a"),
        ("train", "=3", "key=value"),
        ("train", "data.root=", "data.root="),
        ("train", "--help=1", "--help"),
        ("train", "--config-dir", "--config-dir"),
        ("train", "--cfg everything", "job"),
        ("train", "data.a={kind", "data.a={kind"),
    ],
)
def test_what_to_write(capsys, name, words, advice):
    assert run_command(name, lambda cfg: pytest.fail("it ran"), words.split()) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert advice in line.partition(": ")[2]
    assert "hydra." not in line


def test_spaces_in_a_word(capsys):
    assert run_command("train", print, [""]) == 2
    assert "empty" in capsys.readouterr().err
    assert run_command("train", print, ["data.size = 3"]) == 2
    assert "data.size=3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--help all seed=1",
        "seed=1 --help=generator",
        "-h seed=1",
        "--version",
        "--hydra-help",
        "--cfg job --resolve --package data seed=1",
        "-c=all -p data",
        "--info",
        "-i plugins seed=1",
        "--info seed=1",
        "-m seed=1,2",
        "--config-dir folder seed=1",
        "--config-dir=folder -cn train",
        "--shell-completion install=bash",
        "~data.cache +a.b=1 ++c=2 name= objective=a=b",
    ],
)
def test_options_of_hydra_and_its_grammar_pass(words):
    check_words(words.split(), "train")
    overrides = [word for word in words.split() if not word.startswith("-") and ("=" in word or word.startswith("~"))]
    assert list(iterate_overrides(words.split())) == overrides


@pytest.mark.parametrize(
    ("word", "advice"), [("trian", "train"), ("Predict.py", "predict"), ("checkpoint=x", "train"), ("--gpu", "train")]
)
def test_a_first_word_that_is_no_command(capsys, word, advice):
    assert program.main([word]) == 2
    line = capsys.readouterr().err
    assert word in line
    assert advice in line


@pytest.mark.parametrize("word", ["data=1", "data=null", "+data=1", "data={a:1}", "~data=1"])
def test_a_group_is_chosen_by_a_name(word):
    with pytest.raises(UserError, match="data="):
        check_group_names([word])
    check_group_names(["data=folder", "loss=l1,l1_cgan", "logger=[tensorboard,wandb]", "~logger", "~data=folder"])
