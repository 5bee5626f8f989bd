"""Fixtures of the demo's tests."""

import pytest
from tiny_models import SPECS, save


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Checkpoints by name: edges to photo, labels with a palette to photo, class numbers to class numbers."""
    folder = tmp_path_factory.mktemp("models")
    return {name: save(folder / f"{name}.ckpt", spec) for name, spec in SPECS.items()}
