"""The notebooks of the examples, run in kernels of their own."""

import base64
import zipfile
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
TINY = ["data.size=32", "module.generator.base_channels=4", "discriminator=patch_16", "data.num_workers=0"]


def run_notebook(path, parameters, folder):
    """Run a notebook with other parameters, and return the pictures that it shows."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # none are committed
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    cell.source = parameters
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(folder)}}).execute()
    return [
        cv2.imdecode(np.frombuffer(base64.b64decode(output.data["image/png"]), np.uint8), cv2.IMREAD_COLOR)
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]


@pytest.mark.slow
def test_the_quickstart_runs_from_top_to_bottom(tmp_path):
    tiny = [*TINY, "trainer.max_epochs=2", "trainer.limit_train_batches=1", "data.num_val=4"]
    pictures = run_notebook(EXAMPLES / "quickstart.ipynb", f"settings = {tiny}", tmp_path)
    assert [picture.shape for picture in pictures] == [(32, 32 * num, 3) for num in (4, 3, 2, 3)]


@pytest.mark.slow
def test_own_pairs_come_from_a_zip_file(tmp_path):
    rng = np.random.default_rng(0)
    strips = [rng.integers(0, 256, (32, 64, 3), np.uint8) for _ in range(8)]
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for number, strip in enumerate(strips):
            archive.writestr(f"some folder/{number}.png", cv2.imencode(".png", strip)[1].tobytes())
    tiny = [*TINY, "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    parameters = f'archive, photos, direction, settings = "mine.zip", None, "b_to_a", {tiny}'
    pair, translated = run_notebook(EXAMPLES / "own_pairs.ipynb", parameters, tmp_path)
    halves = [cv2.resize(strip[:, 32:], (256, 256), interpolation=cv2.INTER_CUBIC) for strip in strips]
    differences = [np.abs(pair[:, :256].astype(int) - half).mean() for half in halves]
    assert min(differences) < 5 < sorted(differences)[1]  # B of one of the pairs is the input
    assert np.array_equal(pair[:, :256], translated[:, :256])
    assert (tmp_path / "run.zip").stat().st_size > 0
