"""Shared by all tests."""

import gc
import logging
import os
import pickle
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tensors are tiny, and threads would wait for each other

import pytest

# its thread outlives the test that killed its process, and would log into tests that have nothing to do with it
logging.getLogger("wandb.sdk.lib.asyncio_manager").addFilter(lambda record: False)


def pytest_ignore_collect(collection_path, config):
    """Leave out the folder whose tests are not selected, before it imports what it alone needs."""
    if collection_path == Path(__file__).parent / "fuzz" and "not fuzz" in config.option.markexpr:
        return True
    return None


def pytest_collection_finish():
    """Take what was imported out of the garbage collector's rounds: it stays until the end."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish():
    """Let the plugins that look for references at the end find them."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _compute_in_one_thread():
    """Also where OMP_NUM_THREADS was set; the process that hands out the tests needs no torch, and starts without."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _parse_each_file_of_conf_once():
    """Hydra reads two dozen files for each configuration, and the tests compose hundreds."""
    import hydra
    from omegaconf import OmegaConf

    from pix2pix_lightning.cli.conf import find_conf_dir

    load, parsed = OmegaConf.load, {}
    folders = str(find_conf_dir()), str(Path(hydra.__file__).parent)  # Hydra has settings of its own

    def load_once(file):
        path = str(file if isinstance(file, Path) else getattr(file, "name", ""))
        if not path.startswith(folders):
            return load(file)
        key = path, os.stat(path).st_mtime_ns  # noqa: PTH116
        if key not in parsed:
            parsed[key] = pickle.dumps(load(file))
        return pickle.loads(parsed[key])  # a copy, in a fifth of the time of deepcopy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", staticmethod(load_once))
        yield


@pytest.fixture(scope="session", autouse=True)
def _list_choices_for_interpolations_alone():
    """Hydra lists all choices for each file, a third of its time, and looks at them where there is an interpolation."""
    from hydra._internal import defaults_list

    list_choices = defaults_list._create_interpolation_map

    def list_if_used(overrides, defaults, self_added):
        is_used = any(default.is_interpolation() for default in defaults)
        return list_choices(overrides, defaults, self_added) if is_used else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(defaults_list, "_create_interpolation_map", list_if_used)
        yield


@pytest.fixture(autouse=True)
def _run_in_an_empty_folder(tmp_path, monkeypatch):
    """Whatever a test leaves behind is left in its own folder, and nothing that libraries write there by themselves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIX2PIX_DATA_DIR", raising=False)
    yield
    names = {path.name for path in tmp_path.iterdir()} if tmp_path.is_dir() else set()
    unasked = {"lightning_logs", "csv", "hparams.yaml", ".hydra", "multirun", "outputs", "optuna.db"}
    assert not names & unasked, "written to the current folder by itself"
    assert not [name for name in names if name.startswith("hpc_ckpt")]


@pytest.fixture
def full_disk(monkeypatch):
    """A list of paths; when one is written the next time, the disk is full, and its name is taken off the list."""
    from pix2pix_lightning.utils import atomic

    full, create = [], atomic._create_scratch

    def create_full(path, suffix):
        scratch = create(path, suffix)
        for name in full:
            if path.absolute() == Path(name).absolute():
                full.remove(name)
                scratch.unlink()
                scratch.symlink_to("/dev/full")
                break
        return scratch

    monkeypatch.setattr(atomic, "_create_scratch", create_full)
    return full


@pytest.fixture(scope="session")
def small_pairs(tmp_path_factory):
    """Pairs of 16 pixels, four for training and two for validation, which tests only read."""
    from helpers import make_strips

    return make_strips(tmp_path_factory.mktemp("small") / "pairs", train=4, val=2, side=16)
