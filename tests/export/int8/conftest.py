"""Shared by the tests of int8: a float graph that several tests quantize is exported once."""

import hashlib

import pytest

from pix2pix_lightning.export.int8 import onnx_file
from pix2pix_lightning.export.onnx_file import write_onnx

_written = {}


def write_cached(graph, path, *, made_by, **options):
    """Write a float file as `write_onnx`, from memory where the same one was written before."""
    weights = b"".join(tensor.numpy().tobytes() for tensor in graph.generator.state_dict().values())
    values = (graph.norm, graph.values_in, graph.values_out, str(made_by), str(graph.spec), str(graph.generator))
    key = (hashlib.sha256(weights).digest(), *values)
    if key not in _written:
        write_onnx(graph, path, made_by=made_by, **options)
        _written[key] = path.read_bytes()
    path.write_bytes(_written[key])


@pytest.fixture(scope="session", autouse=True)
def one_export():
    """Let `write_int8` take float files from memory too."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(onnx_file, "write_onnx", write_cached)
        yield


@pytest.fixture(name="write_cached")
def fixture_write_cached():
    return write_cached
