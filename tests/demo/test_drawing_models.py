"""Models that are opened when they are chosen."""

import pytest
from drawn_models import PALETTE, SPECS

from pix2pix_lightning import Translator
from pix2pix_lightning.demo.models import Models


def opened(path, mode):
    return Translator(path, mode=mode, device="cpu")


def test_models_are_opened_when_first_asked_for_and_a_number_is_kept(checkpoints):
    log = []

    def open_noted(path, mode):
        log.append((path.rpartition("/")[2], mode))
        return opened(path, mode)

    models = Models([str(path) for path in checkpoints.values()], open_noted, kept=2)
    assert models.names == ["edges.ckpt", "labels.ckpt", "numbers.ckpt"]
    assert log == []
    first = models.translator("edges.ckpt")
    models.translator("labels.ckpt")
    assert models.translator("edges.ckpt") is first
    models.translator("edges.ckpt", "paper")  # in place of labels, which was used longest ago
    assert models.translator("edges.ckpt") is first
    models.translator("labels.ckpt")
    once = [("edges.ckpt", "deterministic"), ("labels.ckpt", "deterministic"), ("edges.ckpt", "paper")]
    assert log == [*once, ("labels.ckpt", "deterministic")]


def test_what_a_source_is_stays_known(checkpoints):
    log = []

    def open_noted(path, mode):
        log.append(mode)
        return opened(path, mode)

    models = Models([str(checkpoints["labels"])], open_noted, kept=1)
    for _ in range(2):
        spec, brushes = models.source("labels.ckpt")
        assert (spec, list(brushes.colours)) == (SPECS["labels"], list(PALETTE))
        models.translator("labels.ckpt", "paper")
    assert log == ["deterministic", "paper"]


def test_names_are_as_short_as_they_differ(checkpoints, tmp_path):
    paths = []
    for name in ("one", "two"):
        (tmp_path / name / "run" / "checkpoints").mkdir(parents=True)
        paths.append(str(tmp_path / name / "run"))
        (tmp_path / name / "run" / "checkpoints" / "best.ckpt").write_bytes(checkpoints["edges"].read_bytes())
    assert Models(paths, opened).names == ["one/run", "two/run"]
    assert Models([*paths, paths[0]], opened).names == ["one/run", "two/run"]
    with pytest.raises(ValueError, match="names a model twice"):
        Models(["one/run", paths[0]], opened)


def test_what_is_not_offered_is_refused(checkpoints, tmp_path):
    models = Models([str(checkpoints["edges"])], opened)
    for name, mode in ((str(checkpoints["labels"]), "paper"), ("edges.ckpt", "loud")):
        with pytest.raises(ValueError, match=f"{name} in mode {mode} is not offered here: .* edges.ckpt"):
            models.translator(name, mode)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Models([str(tmp_path / "none")], opened)
    with pytest.raises(ValueError, match="names no model"):
        Models([], opened)
    with pytest.raises(ValueError, match="kept=0"):
        Models([str(checkpoints["edges"])], opened, kept=0)
