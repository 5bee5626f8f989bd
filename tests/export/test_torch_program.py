"""Programs of torch.export beside the plain generator."""

import json

import pytest
import torch

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.torch_program import write_program
from small_networks import GENERATORS, UNET, by_hand, trained


def read(path):
    extra = {"pix2pix_lightning": ""}
    program = torch.export.load(path, extra_files=extra)
    return program.module(), json.loads(extra["pix2pix_lightning"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "norm"), [*((name, "image") for name in GENERATORS), ("unet", "running")])
def test_any_sides_from_twice_the_stride(tmp_path, name, norm):
    module = trained(GENERATORS[name])
    stride = module.generator.side_multiple
    assert write_program(Graph(module, norm), tmp_path / "model.pt2", size=None, made_by={}) < 1e-4
    run, facts = read(tmp_path / "model.pt2")
    assert (facts["side_multiple"], facts["min_side"], facts["size"]) == (stride, max(8, 2 * stride), None)
    for shape in [(1, 3, 2 * stride + 8 % stride, 16), (3, 3, 32, 24), (1, 3, 256, 264)]:
        source = torch.rand(shape) * 2 - 1
        torch.testing.assert_close(run(source), by_hand(module, source, norm), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", ["image", "running"])
def test_one_size(tmp_path, norm):
    module = trained(UNET)
    write_program(Graph(module, norm), tmp_path / "model.pt2", size=8, made_by={})
    run, facts = read(tmp_path / "model.pt2")
    assert (facts["size"], facts["min_side"], facts["side_multiple"]) == (8, 8, 8)
    for batch in (1, 3):
        source = torch.rand(batch, 3, 8, 8) * 2 - 1
        torch.testing.assert_close(run(source), by_hand(module, source, norm), rtol=0, atol=1e-5)
    with pytest.raises(AssertionError):
        run(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"size=12: this generator takes multiples of 8 from 8"):
        write_program(Graph(module), tmp_path / "other.pt2", size=12, made_by={})


@pytest.mark.filterwarnings("ignore")
def test_one_that_is_not_the_module_is_not_kept(tmp_path, monkeypatch):
    class Moody(torch.nn.Module):
        calls = 0

        def forward(self, x):
            Moody.calls += 1
            return x * 0.5 + 0.1 * Moody.calls

    module = Pix2PixModule(Moody(), None)
    with pytest.raises(ValueError, match="differs from the module"):
        write_program(Graph(module, "running"), tmp_path / "model.pt2", size=8, made_by={})
    assert not list(tmp_path.iterdir())
