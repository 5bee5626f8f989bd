"""Descriptions of pretrained networks, modules of others, and files that are refused."""

import zipfile
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from pix2pix_lightning.networks.features import EmbeddingModule, check_features, load_features
from pix2pix_lightning.networks.features.loading import FEATURES
from pix2pix_lightning.utils.errors import UserError

FLATTEN = {"_target_": "torch.nn.Flatten"}  # a module of this kind whose vectors are the values that it was given


class CreateFile:
    """An object whose unpickling creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_module_gets_whole_levels_by_default():
    images = torch.tensor([-1.0, -0.5, 0.001, 0.99, 1.0]).expand(2, 3, 1, 5)
    network = load_features(FLATTEN)
    found = network(images)
    assert found.layers == network.compute_layers(images) == []
    assert len(network.layer_channels) == 0
    assert not network.is_differentiable
    assert found.embedding[:, :5].tolist() == [[0, 64, 128, 254, 255]] * 2
    every_level = torch.arange(256).float() / 127.5 - 1
    assert network(every_level.expand(1, 3, 1, 256)).embedding[0, :256].tolist() == list(range(256))


def test_a_module_gets_floats_where_the_user_says_so():
    images = torch.tensor([-1.0, -0.5, 0.001, 1.0]).expand(1, 3, 1, 4).clone().requires_grad_()
    network = load_features({"module": FLATTEN, "range": [0, 1]})
    found = network(images).embedding
    torch.testing.assert_close(found[0, :4], torch.tensor([0, 0.25, 0.5005, 1]))
    assert network.is_differentiable
    found.sum().backward()
    assert images.grad.unique().tolist() == [0.5]


def test_modules_that_do_not_fit_are_refused_in_one_line():
    images = torch.zeros(2, 3, 8, 8)
    convolution = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 4, "kernel_size": 1}
    for description, words in (
        (convolution, "Conv2d refuses images of torch.uint8"),
        ({"module": convolution, "range": [0, 1]}, r"Conv2d returns \[2, 4, 8, 8\]: one vector for each image"),
    ):
        network = load_features(description)
        with pytest.raises(UserError, match=words) as error:
            network(images)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"a torch\.nn\.Module is expected, Size is none"):
        load_features({"_target_": "torch.Size"})
    assert isinstance(load_features({"module": FLATTEN}), EmbeddingModule)


def test_equal_descriptions_are_one_network():
    first = load_features({"module": FLATTEN, "range": [0, 1]})
    assert load_features(OmegaConf.create({"range": [0, 1], "module": FLATTEN})) is first
    assert load_features({"range": (0, 1), "module": FLATTEN}) is first
    assert load_features({"module": FLATTEN, "range": [0, 2]}) is not first


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("no_such_file.pth", "choose lite0, lite1, lite2, or give an ONNX file"),
        ("no_such_file.onnx", "there is no such file"),
        ({"file": "x.onnx"}, r"\{onnx: <file>\}"),
        ({"onnx": "x.onnx", "lpips": "alex"}, r"\{onnx: <file>\}"),
        ({"onnx": "x.onnx", "backbone": "y"}, "'backbone' is unknown"),
        (
            {"lpips": "alex", "backbone": "no_such_file.pth"},
            "features.backbone=no_such_file.pth: there is no such file",
        ),
        ({"module": "torch.nn.Flatten"}, "a description {_target_: ...} is expected"),
        ({"module": FLATTEN, "range": object()}, "is no plain data"),
        (7, "a name, a path or a mapping is expected"),
    ],
)
def test_other_descriptions_are_refused_in_one_line(description, words):
    with pytest.raises(UserError, match=words) as error:
        check_features(description)
    assert "\n" not in str(error.value)


def test_files_that_run_code_or_are_damaged_are_refused(tmp_path):
    torch.save({"layer.weight": torch.ones(1), "code": CreateFile(tmp_path / "created")}, tmp_path / "code.pth")
    with pytest.raises(UserError, match="cannot be read as weights alone"):
        load_features(tmp_path / "code.pth")
    assert not (tmp_path / "created").exists()
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        load_features(tmp_path / "list.pth")
    torch.save({"layer.weight": torch.arange(1000.0)}, tmp_path / "damaged.pth")
    with zipfile.ZipFile(tmp_path / "damaged.pth") as archive:
        place = next(one for one in archive.infolist() if one.file_size == 4000).header_offset + 2000
    content = bytearray((tmp_path / "damaged.pth").read_bytes())
    content[place] ^= 1
    (tmp_path / "damaged.pth").write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        load_features(tmp_path / "damaged.pth")


def test_loading_in_a_validation_changes_no_random_numbers_and_leaves_a_network_for_losses(monkeypatch):
    monkeypatch.setitem(FEATURES, "new", lambda: EmbeddingModule(torch.nn.Linear(8, 2), None))
    state = torch.get_rng_state()
    with torch.inference_mode():
        network = load_features("new")
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(value.is_inference() for value in network.parameters())
