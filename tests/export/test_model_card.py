"""The model card of a run, read by other parsers."""

import csv
import json
import shutil
from html import escape
from pathlib import Path

import cv2
import numpy as np
import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from omegaconf import OmegaConf

from helpers import TINY
from pix2pix_lightning import Pix2PixModule, compose, evaluate, train
from pix2pix_lightning.export.model_card import build_model_card

SMALL = ["data=procedural", "data.num_train=4", "data.num_val=3", *(word for word in TINY if word != "data=folder")]
SMALL_G = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 3, "base_channels": 4}


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of two epochs on procedural data, evaluated on its validation pairs."""
    folder = tmp_path_factory.mktemp("card") / "run"
    train.train(compose("train", [*SMALL, f"run_dir={folder}"]))
    evaluate.evaluate(compose("evaluate", [f"checkpoint={folder}/checkpoints/last.ckpt", "split=val"]))
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


def load_module(run, checkpoint="last"):
    return Pix2PixModule.load_from_checkpoint(run / f"checkpoints/{checkpoint}.ckpt")


def change_file(run, name, /, **values):
    """Set keys of a run's file."""
    path = run / name
    before = OmegaConf.load(path)
    for key, value in values.items():
        OmegaConf.update(before, key.replace("__", "."), value)
    text = OmegaConf.to_yaml(before) if path.suffix == ".yaml" else json.dumps(OmegaConf.to_container(before))
    path.write_text(text)


def read_body(card):
    return card.text.partition("\n---\n")[2]


def render_html(card):
    return MarkdownIt("commonmark").enable("table").render(read_body(card))


def read_tables(card):
    """Map the first cell of each row to the others, over all tables."""
    rows = [line.strip("| ").split(" | ") for line in card.text.splitlines() if line.startswith("| ")]
    return {row[0].strip("`"): [cell.strip("`") for cell in row[1:]] for row in rows}


def test_front_matter(run):
    data = ModelCard(build_model_card(run, load_module(run), license="cc-by-nc-4.0").text).data.to_dict()
    assert data == {
        "license": "cc-by-nc-4.0",
        "library_name": "pix2pix-lightning",
        "pipeline_tag": "image-to-image",
        "tags": ["pix2pix", "pix2pix-lightning", "image-to-image", "gan"],
    }
    unlicensed = build_model_card(run, load_module(run))
    assert "license" not in ModelCard(unlicensed.text).data.to_dict()
    assert "licence" in read_body(unlicensed).lower()


def test_training(run):
    card = build_model_card(run, load_module(run), name="me/streets")
    tables = read_tables(card)
    module = load_module(run)
    assert f"{sum(p.numel() for p in module.generator.parameters()):,} parameters" in tables["generator"][0]
    assert tables["weights of the losses"] == ["adversarial=1 feature_matching=0 l1=100"]
    assert tables["optimizer of the generator"] == ["Adam` `lr=0.0002 betas=[0.5, 0.999]"]
    summary = json.loads((run / "summary.json").read_text())
    expected = {"size": "32", "direction": "b_to_a", "batch_size": "2", "max_epochs": "2", "seed": "0"}
    expected |= {"torch version": summary["versions"]["torch"], "precision": summary["precision"]}
    assert {key: tables[key] for key in expected} == {key: [value] for key, value in expected.items()}
    assert "# pix2pix on procedural: colour images to colour images\n" in card.text
    assert "python -m pix2pix_lightning.train data=procedural data.num_train=4" in card.text
    assert 'from_pretrained("me/streets")' in card.text
    assert "hf download me/streets --local-dir model" in card.text


def test_metrics_are_those_of_the_evaluation(run):
    metrics = json.loads((run / "evaluation/val_deterministic/metrics.json").read_text())["metrics"]
    card = build_model_card(run, load_module(run))
    tables = read_tables(card)
    for metric, values in metrics.items():
        assert tables[metric] == [f"{values[key]:.4f}" for key in ("mean", "low", "high")]
    assert "`3` pairs, split `val`, mode `deterministic`, norm `image`, dropout `off`" in card.text


def test_metrics_of_other_weights_are_left_out(run):
    module = load_module(run)
    module.batches_seen = 2  # of the first epoch
    card = build_model_card(run, module)
    assert "95 %" not in card.text
    assert "In validation, after epoch 1:" in card.text
    with (run / "metrics.csv").open() as file:
        first = next(row for row in csv.DictReader(file) if row["val/l1"])
    assert read_tables(card)["l1"] == [f"{float(first['val/l1']):.4f}"]
    assert "95 %" not in build_model_card(run, load_module(run), weights="ema").text
    change_file(run, "evaluation/val_deterministic/metrics.json", weights="ema")
    assert "95 %" in build_model_card(run, load_module(run), weights="ema").text


def test_pictures_are_those_of_the_weights(run):
    for epoch, module in ((1, load_module(run)), (0, load_module(run))):
        module.batches_seen = 2 * (epoch + 1)
        card = build_model_card(run, module)
        assert list(card.pictures) == ["pictures/0.png", "pictures/1.png", "pictures/2.png"]
        folder = sorted((run / "gallery/images").iterdir())[1]
        files = [folder / name for name in ("input.png", f"epoch_000{epoch}.png", "target.png")]
        expected = np.concatenate([cv2.imread(str(file))[..., ::-1] for file in files], axis=1)
        np.testing.assert_array_equal(card.pictures["pictures/1.png"], expected)
        assert render_html(card).count('<img src="pictures/') == 3


def test_pictures_are_saved_with_the_model(run):
    module = load_module(run)
    card = build_model_card(run, module)
    module.save_pretrained("model", card=card)
    assert Path("model/README.md").read_text() == card.text
    for place, picture in card.pictures.items():
        np.testing.assert_array_equal(cv2.imread(f"model/{place}")[..., ::-1], picture)


def test_pictures_of_other_data_on_request(run):
    change_file(run, "config.yaml", data___target_="pix2pix_lightning.data.PairedDataModule", data__root="x")
    assert not build_model_card(run, load_module(run)).pictures
    assert "pictures/" not in build_model_card(run, load_module(run)).text
    assert len(build_model_card(run, load_module(run), pictures=True).pictures) == 3


def test_no_pictures_on_request(run):
    assert not build_model_card(run, load_module(run), pictures=False).pictures


def test_no_private_names(run):
    words = (
        "python -m pix2pix_lightning.train data=folder data.root=annas_clients data.cache=/home/anna/cache seed=3 "
        "--config-dir /home/anna/conf logger=wandb logger.wandb.entity=annas_team name=anna_secret "
        "trainer.default_root_dir=~anna/x 'callbacks.mine.where=C:\\anna' init_from=anna.ckpt "
        "callbacks=[default,ema] generator=unet_128"
    )
    change_file(
        run,
        "config.yaml",
        command=words,
        name="anna_secret",
        about="anna",
        init_from="/home/anna/j.pth",
        data___target_="pix2pix_lightning.data.PairedDataModule",
        data__root="/home/anna/clients",
        data__archive="https://anna.example/clients.tar.gz",
    )
    change_file(run, "evaluation/val_deterministic/metrics.json", checkpoint="/home/anna/run/last.ckpt")
    module = load_module(run)
    module.hparams["generator"] = {**module.hparams["generator"], "weights": "/home/anna/vgg.pth", "more": ["~anna"]}
    text = build_model_card(run, module, pictures=True).text
    assert "anna" not in text
    assert str(run) not in text
    assert "train data=folder 'data.root=<path>' 'data.cache=<path>' seed=3 " in text
    assert "'callbacks=[default,ema]' generator=unet_128\n" in text
    assert "weights=<path> more=['<path>']" in text
    assert "Pairs of the user's own." in text
    assert read_tables(build_model_card(run, module))["first weights"] == ["of another model: `init_from="]


def test_known_data_and_their_archive(run):
    facades = compose("train", ["experiment=facades"]).data
    change_file(
        run, "config.yaml", data___target_=facades._target_, data__archive=facades.archive.url, data__root="/x/y"
    )
    text = build_model_card(run, load_module(run)).text
    assert f"Pairs from <{facades.archive.url}> (`data=facades`)." in text
    assert "# pix2pix on facades: " in text
    change_file(run, "config.yaml", data__archive=OmegaConf.to_container(facades.archive))  # older runs have it alone
    assert build_model_card(run, load_module(run)).text == text


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a | b | c",
    "`` ` ``` code",
    "one\n\n# owned\n\n---\nlicense: mit\n---\n",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png)",
    "\x1b[31m\u202etxt\u0000",
    "```\n<b>out</b>\n```",
    "",
    "\ud800",
]


@pytest.fixture(scope="module")
def clean(trained):
    """The page of the run as it was trained."""
    return render_html(build_model_card(trained, load_module(trained)))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_texts_of_the_run_are_escaped(run, text, clean):
    if "\ud800" not in text:  # YAML does not take it
        change_file(
            run, "config.yaml", data__max_pairs=text, command=f"python -m pix2pix_lightning.train 'data={text}'"
        )
    summary = json.loads((run / "summary.json").read_text())
    summary |= {"device": text, "epochs": text, "versions": {text: text}}
    (run / "summary.json").write_text(json.dumps(summary))
    metrics = json.loads((run / "evaluation/val_deterministic/metrics.json").read_text())
    metrics |= {"split": text, "mode": text, "num_images": text}
    metrics["metrics"][text] = {"mean": text, "low": 0.0, "high": None}
    (run / "evaluation/val_deterministic/metrics.json").write_text(json.dumps(metrics))
    module = load_module(run)
    module.hparams["generator"] = {**module.hparams["generator"], "norm": text}
    module.hparams["reconstruction"] = {text: {"_target_": text, "x": text}}
    card = build_model_card(run, module)
    shown = render_html(card)
    for tag in ("<script", "<b>", "<h1", "<h2", "<img", "<a ", "<hr", "<table", "<pre"):
        assert shown.count(tag) == clean.count(tag), tag
    visible = " ".join("".join(c if c.isprintable() else " " for c in text.replace("\ud800", "?")).split()) or "-"
    inside = escape(visible, quote=False).replace('"', "&quot;")
    assert f"<tr>\n<td><code>device</code></td>\n<td><code>{inside}</code></td>\n</tr>" in shown
    assert f"<code>{inside}</code> pairs, split <code>{inside}</code>" in shown
    assert "license" not in ModelCard(card.text).data.to_dict()
    assert not set("\x1b\u202e\x00") & set(card.text)
    card.text.encode()


@pytest.mark.parametrize("license", ["MIT\n---", "mit: [", "", "GPL 3", "../x"])
def test_invalid_license(run, license):
    with pytest.raises(ValueError, match="license=") as caught:
        build_model_card(run, load_module(run), license=license)
    assert "\n" not in str(caught.value)


def test_invalid_name(run):
    with pytest.raises(ValueError, match="user/name"):
        build_model_card(run, load_module(run), name='x")\nimport os')


def test_without_a_run():
    card = build_model_card(
        None, Pix2PixModule(SMALL_G, None, pair_spec={"source": {"kind": "label", "num_classes": 5}})
    )
    assert "# pix2pix: label maps of 5 classes to colour images\n" in card.text
    assert read_tables(card)["discriminator"] == ["none: plain regression"]
    assert "adversarial" not in read_tables(card)["weights of the losses"][0]
    assert not card.pictures


def test_run_that_has_only_begun(tmp_path):
    (tmp_path / "begun").mkdir()
    assert "## Use" in build_model_card(tmp_path / "begun", Pix2PixModule(SMALL_G, None)).text


@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "evaluation/val_deterministic/metrics.json"])
def test_damaged_files_are_named(run, name):
    (run / name).write_text("{")
    with pytest.raises(ValueError, match="is damaged") as caught:
        build_model_card(run, load_module(run))
    assert str(run / name) in str(caught.value)
    assert "\n" not in str(caught.value)
