"""Folders that are complete at any time."""

import pytest

from pix2pix_lightning.utils.atomic import atomic_folder


def read_all(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_exists_by_then_is_replaced_only_with_overwrite(tmp_path, overwrite):
    folder = tmp_path / "result"
    with atomic_folder(folder, overwrite=overwrite) as scratch:
        (scratch / "new").write_text("1")
        assert not folder.exists()
        folder.mkdir()
        (folder / "other").write_text("2")
    assert read_all(tmp_path) == ({"result/new": "1"} if overwrite else {"result/other": "2"})


def test_an_error_changes_nothing_and_leaves_nothing(tmp_path):
    folder = tmp_path / "result"
    with atomic_folder(folder, overwrite=True) as scratch:
        (scratch / "first").write_text("1")

    def fail():
        with atomic_folder(folder, overwrite=True) as scratch:
            (scratch / "second").write_text("2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert read_all(tmp_path) == {"result/first": "1"}
    assert list(tmp_path.iterdir()) == [folder]
