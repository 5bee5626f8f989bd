"""Shared by the tests of the page."""

import pytest
from drawn_models import SPECS, save


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """By name: edges to a photo, labels with a palette to a photo, class numbers to class numbers."""
    folder = tmp_path_factory.mktemp("models")
    return {name: save(folder / f"{name}.ckpt", spec) for name, spec in SPECS.items()}
