"""The garbage collector during imports."""

import gc

import pytest

from pix2pix_lightning.utils.imports import pause_gc


@pytest.mark.parametrize("was_enabled", [True, False])
def test_the_collector_pauses_and_is_then_as_it_was(was_enabled):
    (gc.enable if was_enabled else gc.disable)()
    try:
        with pause_gc():
            assert not gc.isenabled()
        assert gc.isenabled() == was_enabled
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()
        gc.enable()
