"""Exported files: the GPU on which onnxruntime runs one, and the images that it takes at once."""

import json
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, save_model
from PIL import Image

from pix2pix_lightning import PairSpec, Translator
from pix2pix_lightning.inference import exported
from pix2pix_lightning.inference.exported import ExportedNetwork, OnnxSession
from pix2pix_lightning.inference.grouping import choose_batch_size
from pix2pix_lightning.inference.translate_files import translate_files

METADATA = {"format": 1, "side_multiple": 1, "min_side": 1, "norm": "image", "context": None} | {
    "input": "float",
    "output": "float",
    "pair_spec": PairSpec().to_dict(),
}


@pytest.mark.parametrize(
    ("device", "provider"),
    [
        ("cuda:1", ("CUDAExecutionProvider", {"device_id": "1"})),
        ("cuda", ("CUDAExecutionProvider", {"device_id": "0"})),
        ("cpu", ("CPUExecutionProvider", {})),
    ],
)
def test_the_gpu_is_that_of_the_device(device, provider, tmp_path, monkeypatch):
    given = []

    def build_session(content, options, providers):
        given.extend(providers)
        meta = SimpleNamespace(custom_metadata_map={})
        return SimpleNamespace(get_inputs=list, get_outputs=list, get_modelmeta=lambda: meta)

    monkeypatch.setattr(onnxruntime, "InferenceSession", build_session)
    monkeypatch.setattr(exported, "can_run_onnx", lambda device_type: True)
    (tmp_path / "model.onnx").write_bytes(b"")
    OnnxSession(tmp_path / "model.onnx", torch.device(device))
    assert given == [provider]


def write_norm(path, batch):
    """Write a graph that normalizes each image by its own statistics, for ``batch`` images or, by a name, for any."""
    shape = [batch, 3, "height", "width"]
    source, target = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("source", "target"))
    thirds = [helper.make_tensor(name, TensorProto.FLOAT, [3], [value] * 3) for name, value in (("a", 0.3), ("b", 0))]
    node = helper.make_node("InstanceNormalization", ["source", "a", "b"], ["target"], epsilon=1e-5)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(helper.make_graph([node], "norm", [source], [target], thirds), opset_imports=opset)
    model.ir_version = 8
    helper.set_model_props(model, {"pix2pix_lightning": json.dumps(METADATA)})
    save_model(model, path)
    return path


@pytest.mark.parametrize(("batch", "expected"), [("batch", [16, 2]), (1, [1] * 18)])
def test_a_folder_is_translated_in_batches_where_the_graph_takes_them(batch, expected, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    outputs = {}
    for number in range(18):  # from dark to bright
        noise = np.random.default_rng(number).integers(0, 12 * number + 50, (256, 256, 3)).astype(np.uint8)
        Image.fromarray(noise).save(path := tmp_path / "in" / f"{number:02}.png")
        outputs[path] = [tmp_path / "out" / path.name]
    sizes, run = [], OnnxSession.run
    monkeypatch.setattr(OnnxSession, "run", lambda self, source: sizes.append(len(source)) or run(self, source))
    list(translate_files(Translator(write_norm(tmp_path / "model.onnx", batch)), outputs))
    assert sizes == expected
    for path, (output,) in outputs.items():
        source = np.asarray(Image.open(path)) / 127.5 - 1
        normed = 0.3 * (source - source.mean((0, 1))) / np.sqrt(source.var((0, 1)) + 1e-5)
        levels = (normed.clip(-1, 1) + 1) * 127.5
        assert np.abs(np.asarray(Image.open(output)) - levels).max() < 0.6  # half a level, and what sums round


def test_files_that_gain_nothing_get_one_image(tmp_path, monkeypatch):
    translator = Translator(write_norm(tmp_path / "model.onnx", "batch"))
    assert choose_batch_size(translator, (256, 256)) == 16
    monkeypatch.setattr(translator, "network", ExportedNetwork(torch.clone, METADATA, torch.device("cpu")))
    assert choose_batch_size(translator, (256, 256)) == 1
