"""The command, in this process: what it says of mistakes. What it serves is tested in tests/drawing."""

import socket
import sys

import pytest

from pix2pix_lightning.demo import __main__ as demo


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"not read before it is chosen")
    return path


def said(capsys, *words):
    assert demo.main(list(words)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return line


def test_a_port_in_use(checkpoint, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = said(capsys, f"checkpoint={checkpoint}", f"port={port}")
    assert line == f"error: port={port} of 127.0.0.1 is in use: choose another, port={port + 1}, or 0 for any"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["port=70000"], "error: port=70000: a number from 0 to 65535 is expected"),
        (["host=192.0.2.1", "port=0"], "error: host=192.0.2.1 is no address of this machine: 127.0.0.1, or"),
        (["brushes=cats"], "error: brushes=cats is unknown: facades, procedural, or {name: [r,g,b], ...} is expected"),
        (["kept=0"], "error: kept=0 models: 1 or more are expected"),
        (["max_waiting=0"], "error: max_waiting=0 requests: 1 or more are expected"),
        (["max_pixels=10"], "error: max_pixels=10: "),
        (["max_megabytes=0"], "error: max_megabytes=0: "),
        (["prot=8000"], "error: prot is no key of this configuration: did you mean port?"),
    ],
)
def test_values_that_cannot_be(checkpoint, capsys, words, line):
    assert said(capsys, f"checkpoint={checkpoint}", *words).startswith(line)


def test_no_checkpoint(tmp_path, checkpoint, capsys):
    assert "checkpoint is not given" in said(capsys)
    assert f"checkpoint {tmp_path / 'none.ckpt'} does not exist" in said(
        capsys, f"checkpoint=[{checkpoint},{tmp_path / 'none.ckpt'}]"
    )


def test_gradio_is_asked_for(checkpoint, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    line = said(capsys, f"checkpoint={checkpoint}", "port=0")
    assert line == 'error: the package gradio is missing: pip install "pix2pix-lightning[demo]"'


def test_help_lists_the_keys(capsys):
    assert demo.main(["--help"]) == 0
    out = capsys.readouterr().out
    for key in ("checkpoint", "host: 127.0.0.1", "port: 7860", "max_pixels", "max_megabytes", "brushes"):
        assert key in out
