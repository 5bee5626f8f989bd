"""Uploads to the Hub and downloads, with a server on this machine in its place."""

import importlib
import socket
import sys

import numpy as np
import pytest
import torch
from hub_server import TOKEN, served
from huggingface_hub import errors

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.checkpoints.pretrained import Card
from pix2pix_lightning.cli.errors import format_error

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's use of httpx2
SMALL_G = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 3, "base_channels": 4}
SMALL_D = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 1, "base_channels": 4}


@pytest.fixture
def called(monkeypatch):
    """Record the addresses that anything connects to."""
    addresses = []
    connect = socket.socket.connect

    def recorded(self, address):
        addresses.append(address)
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", recorded)
    return addresses


@pytest.fixture
def at(monkeypatch, tmp_path):
    """Return a function that sets the address of the Hub in the environment."""
    from huggingface_hub import constants

    def set_to(endpoint, **environment):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        for name, value in {"HF_TOKEN": TOKEN, **environment}.items():
            monkeypatch.setenv(name, value)
        importlib.reload(constants)

    yield set_to
    monkeypatch.undo()
    importlib.reload(constants)


@pytest.fixture
def hub(at):
    with served() as server:
        at(server.endpoint)
        yield server


@pytest.fixture
def module():
    return Pix2PixModule(SMALL_G, SMALL_D, seed=3)


def error_line(action):
    """Return the line that the user sees for the error of an action."""
    with pytest.raises((ValueError, OSError)) as caught:
        action()
    line = format_error(caught.value, "predict")
    assert line is not None, "a traceback"
    assert "\n" not in line
    return line


def first_weights(module):
    return next(module.generator.parameters()).detach().clone()


def test_round_trip(hub, module, called):
    card = Card("---\nlicense: mit\n---\n# mine\n", {"pictures/0.png": np.zeros((4, 8, 3), np.uint8)})
    assert module.push_to_hub("me/shoes", card=card) == f"{hub.endpoint}/me/shoes"
    files = hub.files("me/shoes")
    assert sorted(files) == ["README.md", "config.json", "model.safetensors", "pictures/0.png"]
    assert files["README.md"].decode() == card.text

    loaded = Pix2PixModule.from_pretrained("me/shoes")
    assert loaded.state_dict().keys() == module.state_dict().keys()
    for key, value in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    source = torch.rand(2, 3, 16, 24) * 2 - 1
    assert torch.equal(loaded(source), module.eval()(source))

    read = {path.rpartition("/")[2] for method, path, _ in hub.requests if "/resolve/" in path}
    assert read == {"config.json", "model.safetensors"}, "no more than is needed"
    assert {address[:2] for address in called} == {("127.0.0.1", hub.server_port)}


def test_default_card(hub, module):
    module.push_to_hub("me/shoes")
    text = hub.files("me/shoes")["README.md"].decode()
    assert text.startswith("---\nlibrary_name: pix2pix-lightning\npipeline_tag: image-to-image\n")
    assert 'Pix2PixModule.from_pretrained("me/shoes")' in text


def test_an_earlier_revision(hub, module):
    before = first_weights(module)
    module.push_to_hub("me/shoes")
    with torch.no_grad():
        next(module.generator.parameters()).add_(1)
    module.push_to_hub("me/shoes")
    _, first, newest = hub.repos["me/shoes"]["commits"]
    for revision, expected in ((first, before), (newest, before + 1), ("main", before + 1), (None, before + 1)):
        assert torch.equal(first_weights(Pix2PixModule.from_pretrained("me/shoes", revision=revision)), expected)


def test_downloaded_models_load_without_a_network(hub, module):
    module.push_to_hub("me/shoes")
    Pix2PixModule.from_pretrained("me/shoes")
    hub.shutdown()
    hub.server_close()
    for options in ({}, {"local_files_only": True}):
        assert torch.equal(first_weights(Pix2PixModule.from_pretrained("me/shoes", **options)), first_weights(module))
    line = error_line(lambda: Pix2PixModule.from_pretrained("me/bags", local_files_only=True))
    assert line == "me/bags was not downloaded before: set local_files_only=false"


def test_cache_dir(hub, module, tmp_path):
    module.push_to_hub("me/shoes")
    Pix2PixModule.from_pretrained("me/shoes", cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache").glob("**/model.safetensors"))
    assert not list((tmp_path / "home").glob("**/model.safetensors"))


def test_local_folder_takes_precedence_over_a_name(hub, module, tmp_path):
    module.save_pretrained("me/shoes")
    assert torch.equal(first_weights(Pix2PixModule.from_pretrained("me/shoes")), first_weights(module))
    assert not hub.requests
    line = error_line(lambda: Pix2PixModule.from_pretrained("me/shoes", revision="v1"))
    assert line.startswith("revision=v1 of me/shoes")


def test_a_private_repository(hub, module):
    module.push_to_hub("me/secret", private=True)
    assert hub.repos["me/secret"]["private"]
    assert torch.equal(first_weights(Pix2PixModule.from_pretrained("me/secret")), first_weights(module))
    line = error_line(lambda: Pix2PixModule.from_pretrained("me/secret", token=False, cache_dir="empty"))
    assert line == (
        f"me/secret is not at {hub.endpoint}, or it is private: check the name, or log in with hf auth login, "
        "or give token= or HF_TOKEN"
    )


def test_private_upload_to_a_public_repository_is_refused(hub, module):
    module.push_to_hub("me/shoes", private=False)
    before = len(hub.repos["me/shoes"]["commits"])
    line = error_line(lambda: module.push_to_hub("me/shoes", private=True))
    assert line.startswith("me/shoes exists already and is public")
    assert len(hub.repos["me/shoes"]["commits"]) == before


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((404, "RepoNotFound"), "me/x is not at {hub}, or it is private: check the name, or log in with"),
        ((401, None), "me/x is not at {hub}, or it is private: check the name, or log in with"),
        ((403, "GatedRepo"), "me/x is gated: ask for access at {hub}/me/x, and log in with hf auth login"),
        ((404, "RevisionNotFound"), "me/x has no revision=None: give a branch, tag or commit of it"),
        ((403, None), "me/x cannot be downloaded from {hub} ("),
        ((503, None), "me/x cannot be downloaded from {hub} ("),
    ],
    ids=str,
)
def test_refused_downloads(hub, answer, expected):
    hub.answers["/api/models/me/x"] = answer
    assert error_line(lambda: Pix2PixModule.from_pretrained("me/x")).startswith(expected.format(hub=hub.endpoint))


@pytest.mark.parametrize("files", [{}, {"README.md": b"# a model"}, {"config.json": b"{}", "pytorch_model.bin": b"x"}])
def test_other_models_are_refused(hub, files):
    hub.repos["some/bert"] = {"private": False, "commits": {"1" * 40: files}}
    line = error_line(lambda: Pix2PixModule.from_pretrained("some/bert"))
    assert line == f"some/bert at {hub.endpoint} is no model of pix2pix_lightning: it has no model.safetensors"


def test_forbidden_file(hub, module):
    module.push_to_hub("me/shoes")
    hub.answers["/me/shoes/resolve"] = (403, None)
    assert error_line(lambda: Pix2PixModule.from_pretrained("me/shoes")).startswith(
        f"me/shoes cannot be downloaded from {hub.endpoint}"
    )


@pytest.mark.parametrize(
    ("at_path", "answer", "expected"),
    [
        ("/api/repos/create", (403, None), "{hub} does not let you write me/x (403): log in with hf auth login"),
        ("/api/repos/create", (500, None), "{hub} answers 500 for me/x: status 500"),
        ("/api/models/me/x/preupload", (403, None), "{hub} does not let you write me/x (403): log in with"),
        ("/me/x.git", (403, None), "{hub} does not let you write me/x (403): log in with"),
        ("/lfs", (403, None), "{hub} does not let you write me/x (403): log in with"),
        ("/api/models/me/x/commit", (409, None), "{hub} answers 409 for me/x: status 409"),
    ],
)
def test_refused_uploads(hub, module, at_path, answer, expected):
    hub.answers[at_path] = answer
    assert error_line(lambda: module.push_to_hub("me/x")).startswith(expected.format(hub=hub.endpoint))


def test_not_logged_in(at, module):
    with served() as hub:
        at(hub.endpoint, HF_TOKEN="")
        line = error_line(lambda: module.push_to_hub("me/x"))
        assert line.startswith(f"{hub.endpoint} does not let you write me/x (401): log in with hf auth login")
        line = error_line(lambda: module.push_to_hub("me/x", token=True))
        assert line == "nobody is logged in: log in with hf auth login, or give token= or HF_TOKEN"
        module.push_to_hub("me/x", token=TOKEN)
        assert hub.files("me/x")


def test_card_that_the_hub_refuses(hub, module):
    card = Card("---\nlicense: none-such\n---\n")
    line = error_line(lambda: module.push_to_hub("me/x", card=card))
    assert line == f'{hub.endpoint} refuses me/x: Invalid metadata in README.md. - "license" must be one of [...]'
    assert not hub.files("me/x")


def test_no_network(at, module):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        at(endpoint)
        for transfer, action in (
            ("downloaded from", lambda: Pix2PixModule.from_pretrained("me/x")),
            ("uploaded to", lambda: module.push_to_hub("me/x")),
        ):
            line = error_line(action)
            assert line.startswith(f"me/x cannot be {transfer} {endpoint} (")
            assert "refused" in line
            assert line.endswith("check the network and HF_ENDPOINT")
        at(endpoint, HF_HUB_OFFLINE="1")
        assert "me/x cannot be downloaded from" in error_line(lambda: Pix2PixModule.from_pretrained("me/x"))
        assert "me/x cannot be uploaded to" in error_line(lambda: module.push_to_hub("me/x"))


@pytest.mark.parametrize("kind", [RuntimeError, TimeoutError, errors.XetDownloadError])
def test_errors_of_transfers(at, monkeypatch, kind):
    def fails(*args, **kwargs):
        raise kind("chunk 3 is missing\nsee the log")

    at("http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    assert error_line(lambda: Pix2PixModule.from_pretrained("me/x")) == (
        "me/x cannot be downloaded from http://127.0.0.1:9 (chunk 3 is missing): check the network and HF_ENDPOINT"
    )


@pytest.mark.parametrize("name", ["me/sh oes", "me/-", "me/a..b", "me/shoes.git", "me/" + "a" * 200])
def test_malformed_names(hub, module, name):
    assert (
        error_line(lambda: Pix2PixModule.from_pretrained(name))
        == f"{name!r} is no name on the Hub: user/name is expected"
    )
    error_line(lambda: module.push_to_hub(name))
    assert not hub.requests


@pytest.mark.parametrize("name", ["shoes", "runs/a/b", "/nowhere/model", "~/model", "../model", "me/x.safetensors"])
def test_missing_paths(hub, module, name):
    line = error_line(lambda: Pix2PixModule.from_pretrained(name))
    assert line == f"{name} does not exist: give a folder, a .safetensors file, or user/name of the Hub"
    assert not hub.requests


def test_without_the_package(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    expected = 'the package huggingface_hub is missing: pip install "pix2pix-lightning[hub]"'
    assert error_line(lambda: Pix2PixModule.from_pretrained("me/x")) == expected
    assert error_line(lambda: module.push_to_hub("me/x")) == expected
