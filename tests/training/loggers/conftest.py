import os
from pathlib import Path

import pytest

ACCOUNT = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_PROJECT", "WANDB_NAME", "WANDB_RUN_ID")


@pytest.fixture(scope="package")
def wandb_alone(tmp_path_factory):
    """Wandb without a login, a network and a home; its process ends with the tests."""
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
        assert not children("wandb-core")


@pytest.fixture
def wandb_anew(wandb_alone):
    """The same, with nothing left of what other tests set up."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def wandb_processes():
    """The numbers of wandb's processes, when it is called."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("processes are looked up in /proc")
    return lambda: children("wandb-core")


def children(name):
    """Processes that were started by this one, where there is ``/proc``."""
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
