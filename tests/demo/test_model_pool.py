"""Models are loaded when they are chosen, and a limited number stays in memory."""

import re

import pytest
from tiny_models import PALETTE, SPECS

from pix2pix_lightning import Translator
from pix2pix_lightning.demo.model_pool import ModelPool


def load(path, mode):
    return Translator(path, mode=mode, device="cpu")


def test_models_are_loaded_on_first_use_and_the_least_recently_used_is_dropped(checkpoints):
    log = []

    def open_logged(path, mode):
        log.append((path.rpartition("/")[2], mode))
        return load(path, mode)

    models = ModelPool([str(path) for path in checkpoints.values()], open_logged, max_open=2)
    assert models.names == ["edges.ckpt", "labels.ckpt", "numbers.ckpt"]
    assert log == []
    first = models.get_translator("edges.ckpt")
    models.get_translator("labels.ckpt")
    assert models.get_translator("edges.ckpt") is first
    models.get_translator("edges.ckpt", "paper")  # in place of labels, the least recently used
    assert models.get_translator("edges.ckpt") is first
    models.get_translator("labels.ckpt")
    once = [("edges.ckpt", "deterministic"), ("labels.ckpt", "deterministic"), ("edges.ckpt", "paper")]
    assert log == [*once, ("labels.ckpt", "deterministic")]


def test_a_source_stays_known_when_its_model_is_dropped(checkpoints):
    log = []

    def open_logged(path, mode):
        log.append(mode)
        return load(path, mode)

    models = ModelPool([str(checkpoints["labels"])], open_logged, max_open=1)
    for _ in range(2):
        spec, brushes = models.get_source("labels.ckpt")
        assert (spec, list(brushes.colours)) == (SPECS["labels"], list(PALETTE))
        models.get_translator("labels.ckpt", "paper")
    assert log == ["deterministic", "paper"]


def test_names_are_the_shortest_unique_ends_of_the_paths(checkpoints, tmp_path):
    paths = []
    for name in ("one", "two"):
        (tmp_path / name / "run" / "checkpoints").mkdir(parents=True)
        paths.append(str(tmp_path / name / "run"))
        (tmp_path / name / "run" / "checkpoints" / "best.ckpt").write_bytes(checkpoints["edges"].read_bytes())
    assert ModelPool(paths, load).names == ["one/run", "two/run"]
    assert ModelPool([*paths, paths[0]], load).names == ["one/run", "two/run"]
    with pytest.raises(ValueError, match="names a model twice"):
        ModelPool(["one/run", paths[0]], load)


def test_unknown_models_and_bad_arguments_are_refused(checkpoints, tmp_path):
    models = ModelPool([str(checkpoints["edges"])], load)
    for name, mode in ((str(checkpoints["labels"]), "paper"), ("edges.ckpt", "loud")):
        with pytest.raises(ValueError, match=re.escape(name)):
            models.get_translator(name, mode)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        ModelPool([str(tmp_path / "none")], load)
    with pytest.raises(ValueError, match="names no model"):
        ModelPool([], load)
    with pytest.raises(ValueError, match="kept=0"):
        ModelPool([str(checkpoints["edges"])], load, max_open=0)
