"""The command evaluate with several samples: its figures against the pictures that predict writes."""

import csv
import json
import re
from itertools import combinations

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from helpers import write_strips
from pix2pix_lightning import evaluate, predict
from pix2pix_lightning.data.files.image_files import read_image
from pix2pix_lightning.networks.features import load_features
from small_networks import UNET, save, trained

COUNT = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pairs of noise, a model of random weights with dropout, and one without."""
    folder = tmp_path_factory.mktemp("diversity")
    write_strips(folder / "pairs", lambda rng, number: rng.integers(0, 256, (32, 64, 3), np.uint8) // (number + 1))
    for name, dropout in (("model", 0.5), ("still", 0.0)):
        save(trained({**UNET, "dropout": dropout}, pair_spec={"size": 32}), folder / name / "best.ckpt")
    return folder


def call(folder, output, *words, model="model"):
    paths = [f"checkpoint={folder}/{model}/best.ckpt", f"output={output}"]
    data = ["data=folder", f"data.root={folder}/pairs", "data.size=32", "data.num_workers=0", "device=cpu"]
    return evaluate.main([*paths, *data, *words])


def read_results(output):
    return json.loads((output / "metrics.json").read_text())


def compute_distance(one, other):
    """The perceptual distance: 2 - 2 cos for features of length 1, as a mean over positions and layers."""
    layers = [
        load_features("lite0").compute_layers(torch.from_numpy(image / 127.5 - 1).permute(2, 0, 1)[None].float())
        for image in (one, other)
    ]
    return np.mean([2 - 2 * cosine_similarity(*both, dim=1).mean().item() for both in zip(*layers, strict=True)])


def test_diversity_is_that_of_the_samples_that_predict_writes(folder, tmp_path, capsys):
    words = ["mode=paper", "seed=3", "metrics=[l1]"]
    assert call(folder, tmp_path / "one", *words) == 0
    assert call(folder, tmp_path / "many", *words, f"samples={COUNT}", "features=lite0") == 0
    printed = capsys.readouterr().out
    one, many = read_results(tmp_path / "one"), read_results(tmp_path / "many")
    assert [one["samples"], many["samples"], many["features"]] == [1, COUNT, "lite0"]
    rows = list(csv.DictReader((tmp_path / "many" / "metrics.csv").read_text().splitlines()))
    distances = {"diversity": [], "diversity_l1": []}
    for row in rows:
        source = tmp_path / "many" / "images" / row["name"]
        paths = [
            f"checkpoint={folder}/model/best.ckpt",
            f"input={source}/input.png",
            f"output={tmp_path}/{source.name}",
        ]
        assert predict.main([*paths, "mode=paper", "seed=3", f"samples={COUNT}"]) == 0
        images = [read_image(tmp_path / source.name / f"input.sample_{number}.png") for number in range(COUNT)]
        assert (images[0] == read_image(source / "output.png")).all()
        pairs = list(combinations(images, 2))
        distances["diversity"].append(np.mean([compute_distance(*both) for both in pairs]))
        distances["diversity_l1"].append(np.mean([np.abs(a / 255 - b / 255).mean() for a, b in pairs]))
    page = (tmp_path / "many" / "index.html").read_text()
    for name, expected in distances.items():
        assert min(expected) > 0
        assert [float(row[name]) for row in rows] == pytest.approx(expected, rel=1e-3)
        figure = many["metrics"][name]
        assert figure["mean"] == pytest.approx(np.mean(expected), rel=1e-3)
        assert figure["low"] < figure["mean"] < figure["high"]
        assert f"{name:12} {figure['mean']:9.4f}   {figure['low']:.4f} to {figure['high']:.4f}" in printed
        assert page.count(f'data-metric="{name}"') == 3
    assert "those of the first output" in page
    assert re.search(r">samples</t[dh]>\s*<td>3</td>", page)
    # what is measured of one output is that of the first
    assert many["metrics"]["l1"] == one["metrics"]["l1"]
    for path in (tmp_path / "one" / "images").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "many" / path.relative_to(tmp_path / "one")).read_bytes()


def test_a_generator_without_noise_has_no_diversity(folder, tmp_path, caplog):
    words = ["mode=paper", "samples=2", "metrics=[]"]
    assert call(folder, tmp_path / "noisy", *words) == 0
    assert not caplog.messages
    assert call(folder, tmp_path / "out", *words, model="still") == 0
    assert ["all equal" in line for line in caplog.messages] == [True]
    metrics = read_results(tmp_path / "out")["metrics"]
    assert metrics == {name: {"mean": 0, "low": 0, "high": 0} for name in ("diversity", "diversity_l1")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["samples=2"], "samples=2 without noise are all equal: set mode=paper"),
        (["samples=2", "mode=paper", "dropout=off"], "without dropout=off"),
        (["samples=0"], "samples=0: a whole number of at least 1"),
        (["metrics=[l1,diversity]"], "set mode=paper samples=10"),
        (["mode=paper", "samples=2", "metrics={diversity: l1}"], "diversity is the name of another score"),
        (["features=lite0", "mode=paper", "samples=1", "metrics=[l1]"], "features=lite0 is used by"),
    ],
)
def test_what_cannot_be_measured_is_refused(folder, tmp_path, capsys, words, message):
    assert call(folder, tmp_path / "out", *words) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
