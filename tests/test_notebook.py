"""The notebook of the examples, run cell by cell in a shell of IPython, without a kernel's process."""

import io
from pathlib import Path

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image

NOTEBOOK = Path(__file__).parents[1] / "examples/quickstart.ipynb"


def test_the_notebook_runs_from_top_to_bottom():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    tiny = ["data.size=32", "module.generator.base_channels=4", "discriminator=patch_16", "data.num_workers=0"]
    tiny += ["trainer.max_epochs=2", "trainer.limit_train_batches=1", "data.num_val=4"]
    parameters.source = f"settings = {tiny}"
    shell, pictures = InteractiveShell(), []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            with capture_output() as captured:
                result = shell.run_cell(cell.source)
            result.raise_error()
            pictures += [output.data["image/png"] for output in captured.outputs if "image/png" in output.data]
    assert [Image.open(io.BytesIO(picture)).size for picture in pictures] == [(32 * num, 32) for num in (4, 3, 2, 3)]
    assert not any(cell.get("outputs") for cell in notebook.cells)  # none are committed
