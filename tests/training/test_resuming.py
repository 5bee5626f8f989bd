"""Whether a finished run has anything left to do."""

import json

import pytest
from omegaconf import OmegaConf

from pix2pix_lightning.training.resuming import read_finished_metrics


@pytest.mark.parametrize(
    ("before", "asked", "is_finished"),
    [(2, 2, True), (3, 2, True), (2, 3, False), (None, None, True), (None, 2, True), (2, None, False), (2, -1, False)],
)
def test_more_epochs_or_an_open_number_of_them_continue(tmp_path, before, asked, is_finished):
    saved, cfg = ({"trainer": {"max_epochs": epochs, "precision": "32-true"}, "data": {}} for epochs in (before, asked))
    OmegaConf.save(OmegaConf.create(saved), tmp_path / "config.yaml")
    (tmp_path / "summary.json").write_text(json.dumps({"metrics": {"val/l1": 0.5}}))
    expected = {"val/l1": 0.5} if is_finished else None
    assert read_finished_metrics(OmegaConf.create(cfg), tmp_path) == expected
