import os
from pathlib import Path

import pytest

ACCOUNT = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_PROJECT", "WANDB_NAME", "WANDB_RUN_ID")


@pytest.fixture(scope="package")
def isolated_wandb(tmp_path_factory):
    """Set wandb up without login, network and home folder, and end its process after the tests."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        "HOME": str(home),
        "NETRC": str(home / "netrc"),
        "WANDB_CONFIG_DIR": str(home),
        "WANDB_CACHE_DIR": str(home),
        "WANDB_DATA_DIR": str(home),
        "WANDB_BASE_URL": "http://127.0.0.1:9",  # refuses
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in ACCOUNT:
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        import wandb

        yield
        wandb.teardown()
        assert not find_children("wandb-core")


@pytest.fixture
def fresh_wandb(isolated_wandb):
    """Set wandb up in the same way, without what other tests have left."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def wandb_processes():
    """Return a function that returns the ids of wandb's processes."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("processes are looked up in /proc")
    return lambda: find_children("wandb-core")


def find_children(name):
    """Return the ids of the child processes of a name, by ``/proc``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            called, _, rest = path.read_text().partition("(")[2].rpartition(")")
        except OSError:  # it has ended
            continue
        state, parent = rest.split()[:2]
        if called == name and int(parent) == os.getpid() and state != "Z":
            found.append(int(path.parent.name))
    return found
