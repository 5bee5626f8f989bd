"""Shared by the tests of exports."""

import pytest

from pix2pix_lightning.export import onnx_file, torch_program


@pytest.fixture(scope="module", autouse=True)
def small_checks():
    """Compare small images after each export; the usual sizes are tested with the function that chooses them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for module in (onnx_file, torch_program):
            monkeypatch.setattr(module, "choose_sizes", lambda graph, least: [(16, 16), (32, 16)])
        yield
