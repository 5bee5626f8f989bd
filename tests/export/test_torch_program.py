"""Programs of torch.export, compared with the plain generator."""

import json

import pytest
import torch

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.torch_program import write_program
from small_networks import GENERATORS, UNET, by_hand, trained

SMALL = {**UNET, "num_downs": 2, "base_channels": 2}
pytestmark = pytest.mark.filterwarnings("ignore")


def load_program(path):
    extra = {"pix2pix_lightning": ""}
    program = torch.export.load(path, extra_files=extra)
    return program.module(), json.loads(extra["pix2pix_lightning"])


@pytest.mark.parametrize(
    ("generator", "norm"),
    [
        ({**SMALL, "upsample": "resize"}, "image"),
        pytest.param(
            {**GENERATORS["resnet"], "base_channels": 2, "norm": "instance"}, "running", marks=pytest.mark.slow
        ),
    ],
    ids=["batch norm", "instance norm"],
)
def test_any_sides_from_twice_the_stride(tmp_path, generator, norm):
    module = trained(generator)
    assert write_program(Graph(module, norm), tmp_path / "model.pt2", size=None, made_by={}) < 1e-4
    run, metadata = load_program(tmp_path / "model.pt2")
    assert (metadata["side_multiple"], metadata["min_side"], metadata["size"]) == (4, 8, None)
    for shape in [(1, 3, 8, 16), (3, 3, 32, 24), (1, 3, 256, 264)]:
        source = torch.rand(shape) * 2 - 1
        torch.testing.assert_close(run(source), by_hand(module, source, norm), rtol=0, atol=1e-5)


def test_one_size(tmp_path):
    module = trained(SMALL)
    with pytest.raises(ValueError, match=r"size=6.* 4 "):
        write_program(Graph(module), tmp_path / "other.pt2", size=6, made_by={})
    write_program(Graph(module, "running"), tmp_path / "model.pt2", size=(4, 8), made_by={})
    run, metadata = load_program(tmp_path / "model.pt2")
    assert (metadata["size"], metadata["min_side"], metadata["side_multiple"]) == ([4, 8], 4, 4)
    for batch in (1, 3):
        source = torch.rand(batch, 3, 4, 8) * 2 - 1
        torch.testing.assert_close(run(source), by_hand(module, source, "running"), rtol=0, atol=1e-5)
    with pytest.raises(AssertionError):
        run(torch.zeros(1, 3, 16, 16))


def test_program_with_other_outputs_is_not_written(tmp_path):
    class Counter(torch.nn.Module):
        calls = 0

        def forward(self, x):
            Counter.calls += 1
            return x * 0.5 + 0.1 * Counter.calls

    module = Pix2PixModule(Counter(), None)
    with pytest.raises(ValueError, match="differs"):
        write_program(Graph(module, "running"), tmp_path / "model.pt2", size=8, made_by={})
    assert not list(tmp_path.iterdir())
