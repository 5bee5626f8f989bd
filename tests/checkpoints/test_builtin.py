"""The models that ship with the package."""

import numpy as np
import pytest
import torch

from pix2pix_lightning import Pix2PixModule, Translator
from pix2pix_lightning.checkpoints.builtin import find_builtin, list_builtin
from pix2pix_lightning.checkpoints.files import PROJECT_KEY, find_checkpoint, read_checkpoint
from pix2pix_lightning.data.procedural import PALETTE, ProceduralPairs
from pix2pix_lightning.demo.brushes import build_brushes
from pix2pix_lightning.training.init_weights import load_initial_weights

FACADES = "builtin:facades"


@pytest.fixture(scope="module")
def translator():
    return Translator(FACADES, device="cpu")


def test_the_shipped_model_translates_a_label_map_to_its_photo(translator):
    size = translator.pair_spec.size
    photo, labels, _ = ProceduralPairs(1, size=size, split="val", num_looks=1)[0]
    output = translator(labels)
    assert (output.shape, output.dtype) == ((size, size, 3), np.uint8)
    assert np.abs(output / 255 - photo / 255.0).mean() < 0.1  # random weights give more than 0.2
    assert next(translator.generator.parameters()).dtype == torch.float32
    assert build_brushes(translator.pair_spec.source).colours == PALETTE


def test_the_file_is_small_and_says_how_it_was_made():
    path = find_checkpoint(find_builtin(FACADES))
    assert path.stat().st_size <= 8e6
    saved = read_checkpoint(path)
    assert {value.dtype for value in saved["state_dict"].values() if value.is_floating_point()} == {torch.float16}
    made_by = saved[PROJECT_KEY]["made_by"]
    assert made_by["train"].startswith("python -m pix2pix_lightning.train ")
    assert {"l1", "psnr", "ssim"} <= made_by["metrics"].keys()


def test_modules_and_trainings_start_from_it(translator):
    module = Pix2PixModule.from_pretrained(FACADES)
    own = module.state_dict()
    for name, value in translator.generator.state_dict().items():
        assert torch.equal(own[f"generator.{name}"], value)
    assert (module.training, module.discriminator) == (False, None)
    fresh = Pix2PixModule(module.parts["generator"], None, pair_spec=module.pair_spec, seed=1)
    load_initial_weights(fresh, FACADES)
    assert all(torch.equal(value, own[name]) for name, value in fresh.state_dict().items())


def test_wrong_names_are_told_the_right_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "builtin:maps").touch()  # the model's name goes before a file's
    assert FACADES in list_builtin()
    for open_model in (Translator, Pix2PixModule.from_pretrained):
        with pytest.raises(ValueError, match=r"builtin:maps .*builtin:facades"):
            open_model("builtin:maps")
    with pytest.raises(ValueError, match="revision=v1"):
        Pix2PixModule.from_pretrained(FACADES, revision="v1")
