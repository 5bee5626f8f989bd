"""The notebook of the examples, run in a kernel of its own."""

import base64
from pathlib import Path

import cv2
import nbformat
import numpy as np
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples/quickstart.ipynb"


def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    tiny = ["data.size=32", "module.generator.base_channels=4", "discriminator=patch_16", "data.num_workers=0"]
    tiny += ["trainer.max_epochs=2", "trainer.limit_train_batches=1", "data.num_val=4"]
    parameters.source = f"settings = {tiny}"
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [
        cv2.imdecode(np.frombuffer(base64.b64decode(output.data["image/png"]), np.uint8), cv2.IMREAD_COLOR)
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert [picture.shape for picture in pictures] == [(32, 32 * num, 3) for num in (4, 3, 2, 3)]
    assert not any(cell.get("outputs") for cell in nbformat.read(NOTEBOOK, as_version=4).cells)  # none are committed
