"""Trainings broken on purpose are named within one epoch, and sound ones are not: ``make test-slow``."""

import re

import pytest

import sabotage

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def drawn_pairs(tmp_path_factory):
    """All trainings read the pairs that the first has drawn."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("drawn")
        patch.setattr(sabotage, "SMALL", [*sabotage.SMALL, f"data.cache={folder}"])
        yield


@pytest.mark.parametrize("name", sabotage.SABOTAGES)
def test_a_broken_training_is_named_within_an_epoch(name, tmp_path):
    words, change, named = sabotage.SABOTAGES[name]
    lines, _ = sabotage.run(words, change, tmp_path / "run")
    if named:
        assert re.search(named, "\n".join(lines)), lines
    else:
        assert not lines


@pytest.mark.parametrize("name", sabotage.SOUND)
def test_a_sound_training_raises_nothing(name, tmp_path):
    lines, _ = sabotage.run(sabotage.SOUND[name], None, tmp_path / "run")
    assert not lines
