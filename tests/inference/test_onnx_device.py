"""The GPU on which onnxruntime runs an exported file."""

from types import SimpleNamespace

import onnxruntime
import pytest
import torch

from pix2pix_lightning.inference import exported
from pix2pix_lightning.inference.exported import OnnxSession


@pytest.mark.parametrize(
    ("device", "provider"),
    [
        ("cuda:1", ("CUDAExecutionProvider", {"device_id": "1"})),
        ("cuda", ("CUDAExecutionProvider", {"device_id": "0"})),
        ("cpu", ("CPUExecutionProvider", {})),
    ],
)
def test_it_is_that_of_the_device(device, provider, tmp_path, monkeypatch):
    given = []

    def build_session(content, options, providers):
        given.extend(providers)
        meta = SimpleNamespace(custom_metadata_map={})
        return SimpleNamespace(get_inputs=list, get_outputs=list, get_modelmeta=lambda: meta)

    monkeypatch.setattr(onnxruntime, "InferenceSession", build_session)
    monkeypatch.setattr(exported, "can_run_onnx", lambda device_type: True)
    monkeypatch.setattr(exported, "check_embedded", lambda content, path: None)
    (tmp_path / "model.onnx").write_bytes(b"")
    OnnxSession(tmp_path / "model.onnx", torch.device(device))
    assert given == [provider]
