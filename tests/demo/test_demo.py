"""Errors of the command. What it serves is tested in test_demo_page.py."""

import errno
import socket
import sys

import pytest
import torch

import small_networks
from pix2pix_lightning import compose
from pix2pix_lightning.checkpoints.files import EMA_KEY, read_checkpoint, write_checkpoint
from pix2pix_lightning.demo import __main__ as demo
from pix2pix_lightning.demo.resources import open_socket
from pix2pix_lightning.demo.session import DemoSession


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"not read before it is chosen")
    return path


def error_line(capsys, *overrides):
    assert demo.main(list(overrides)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return line


def test_the_last_port_in_use_suggests_the_one_before(monkeypatch):
    def refuse(*args, **options):
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(ValueError, match=r"port=65535 .*port=65534"):
        open_socket("127.0.0.1", 65535)


def test_port_in_use_suggests_the_next(checkpoint, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = error_line(capsys, f"checkpoint={checkpoint}", f"port={port}")
    assert f"port={port}" in line
    assert f"port={port + 1}" in line


@pytest.mark.parametrize(
    ("host", "port", "named"), [("127.0.0.1", 70000, "port=70000"), ("192.0.2.1", 0, "host=192.0.2.1")]
)
def test_addresses_that_cannot_be_used(host, port, named):
    with pytest.raises(ValueError, match=named):
        open_socket(host, port)


@pytest.mark.parametrize(("key", "value"), [("max_waiting", 0), ("max_pixels", 10), ("max_bytes", 0)])
def test_limits_without_room_are_refused(key, value):
    limits = {"max_pixels": 2**20, "max_bytes": 2**20, "max_waiting": 1, key: value}
    with pytest.raises(ValueError, match=key.replace("max_bytes", "max_megabytes") + "=0|max_pixels=10"):
        DemoSession(None, **limits)


@pytest.mark.parametrize("name", ["pc:7860", "http://pc", "[::1]", "a b", "1:2"])
def test_a_host_name_that_would_never_match_is_refused(checkpoint, capsys, name):
    assert "hosts=" in error_line(capsys, f"checkpoint={checkpoint}", "port=0", f"hosts=['{name}']")


def test_missing_checkpoint_and_missing_gradio(tmp_path, checkpoint, capsys, monkeypatch):
    missing = tmp_path / "none.ckpt"
    assert str(missing) in error_line(capsys, f"checkpoint=[{checkpoint},{missing}]")
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pix2pix-lightning[demo]" in error_line(capsys, f"checkpoint={checkpoint}", "port=0")


def test_the_weights_that_are_asked_for(tmp_path, monkeypatch):
    module = small_networks.trained(small_networks.UNET)
    path = small_networks.save(module, tmp_path / "run.ckpt")
    average = {name: value.clone() for name, value in module.generator.state_dict().items()}
    average[next(iter(average))] += 1
    write_checkpoint({**read_checkpoint(path), EMA_KEY: average}, path)

    class FoundError(Exception):
        pass

    def stop(models, **options):
        raise FoundError(models.get_translator("run.ckpt"))

    monkeypatch.setattr("pix2pix_lightning.demo.session.DemoSession", stop)
    for weights, state in (("trained", module.generator.state_dict()), ("ema", average)):
        with pytest.raises(FoundError) as found:
            demo.demo(compose("demo", [f"checkpoint={path}", f"weights={weights}", "open_browser=false"]))
        (translator,) = found.value.args
        torch.testing.assert_close(dict(translator.generator.state_dict()), dict(state), rtol=0, atol=0)
