"""The command evaluate with a segmenter: its figures against the pictures that it wrote."""

import csv
import json
import re

import numpy as np
import pytest

from class_scores import score_classes
from helpers import write_strips
from pix2pix_lightning import Translator, evaluate
from pix2pix_lightning.data.files.image_files import read_image
from small_networks import PALETTE, UNET, save, trained

COLOURS = np.array(PALETTE, np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pairs of label maps and noise, a model and a segmenter of random weights."""
    folder = tmp_path_factory.mktemp("semantic")

    def draw_strip(rng, number):
        a = COLOURS[np.kron(rng.integers(0, 3, (4, 4)), np.ones((4, 4), int))]
        return np.concatenate([a, rng.integers(0, 256, a.shape, np.uint8)], 1)[..., ::-1]

    write_strips(folder / "pairs", draw_strip)
    save(trained(UNET, pair_spec={"size": 16}), folder / "model" / "best.ckpt")
    target = {"kind": "label", "palette": PALETTE}
    save(trained(UNET, pair_spec={"size": 8, "target": target}), folder / "segmenter" / "best.ckpt")
    return folder


def call(folder, output, *words):
    model = [f"checkpoint={folder}/model/best.ckpt", f"output={output}"]
    data = ["data=folder", f"data.root={folder}/pairs", "data.size=16", "data.num_workers=0", "device=cpu"]
    return evaluate.main([*model, *data, *words])


def test_the_semantic_score_is_that_of_the_pictures(folder, tmp_path, capsys):
    segmenter = folder / "segmenter" / "best.ckpt"
    output = tmp_path / "out"
    assert call(folder, output, "metrics=[l1,semantic]", f"segmenter={segmenter}") == 0
    results = json.loads((output / "metrics.json").read_text())
    assert results["segmenter"] == str(segmenter)
    rows = list(csv.DictReader((output / "metrics.csv").read_text().splitlines()))
    translator = Translator(segmenter, resize="training")

    def number(path):
        return (np.abs(read_image(path)[:, :, None].astype(int) - COLOURS).sum(3)).argmin(2)

    folders = [output / "images" / row["name"] for row in rows]
    wanted = np.stack([number(each / "input.png") for each in folders])
    printed = capsys.readouterr().out
    page = (output / "index.html").read_text()
    for suffix, name in (("", "output"), ("_real", "target")):
        maps = np.stack([translator(each / f"{name}.png") for each in folders])
        found = np.stack([(np.abs(image[:, :, None].astype(int) - COLOURS).sum(3)).argmin(2) for image in maps])
        assert len(np.unique(found)) > 1
        for metric, value in score_classes(found, wanted).items():
            key = f"semantic_{metric}{suffix}"
            figure = results["metrics"][key]
            assert figure["mean"] == pytest.approx(value, rel=1e-9)
            assert figure["low"] <= figure["mean"] <= figure["high"]
            values = [score_classes(f, w)[metric] for f, w in zip(found, wanted, strict=True)]
            assert [float(row[key]) for row in rows] == pytest.approx(values, rel=1e-9)
            assert re.search(rf"^{key} +{value:.4f} +{figure['low']:.4f} to ", printed, re.MULTILINE)
            assert results["metric_info"][key]["label"] in page
    assert "Semantic IoU of the targets" in page
    assert str(segmenter) in page


def test_a_score_alone_needs_no_other_metric_and_a_segmenter_has_to_be_used(folder, tmp_path, capsys):
    assert call(folder, tmp_path / "out", "metrics=semantic", f"segmenter={folder}/segmenter/best.ckpt") == 0
    results = json.loads((tmp_path / "out" / "metrics.json").read_text())["metrics"]
    assert len(results) == 6
    for words, message in (
        (["metrics=[semantic]"], "segmenter=<run folder>"),
        (["metrics=[l1]", f"segmenter={folder}/segmenter/best.ckpt"], "metrics=[semantic] alone"),
        (["metrics=[semantic]", f"segmenter={folder}/model/best.ckpt"], "no label maps"),
        (["metrics=[semantic]", "data.direction=b_to_a", f"segmenter={folder}/segmenter/best.ckpt"], "direction"),
    ):
        capsys.readouterr()
        assert call(folder, tmp_path / "other", *words) == 1
        error = capsys.readouterr().err
        assert message in error
        assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "other").exists()
