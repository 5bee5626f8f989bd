"""Files and folders that are complete at any time."""

import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from pix2pix_lightning.utils.atomic import atomic_folder, atomic_write, remove_leftovers, remove_old_leftovers


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


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_exists_by_then_is_replaced_only_with_overwrite(tmp_path, monkeypatch, has_links):
    def fail(*args):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    if not has_links:
        monkeypatch.setattr(os, "link", fail)
    path = tmp_path / "output.png"
    with atomic_write(path, overwrite=False) as scratch:
        scratch.write_text("first")
    with pytest.raises(FileExistsError, match=r"output\.png"), atomic_write(path, overwrite=False) as scratch:
        scratch.write_text("second")
    assert read_all(tmp_path) == {"output.png": "first"}
    with atomic_write(path) as scratch:
        scratch.write_text("third")
    assert read_all(tmp_path) == {"output.png": "third"}


def test_of_writers_at_once_the_first_wins_and_readers_see_whole_files(tmp_path):
    """Both wait for each other before each rename; a reader looks all the time."""
    path, barrier, results, seen = tmp_path / "output.png", Barrier(2), [], set()

    def write(letter):
        for _ in range(20):
            try:
                with atomic_write(path, overwrite=False) as scratch:
                    scratch.write_text(letter * 5000)
                    barrier.wait(20)
                results.append(letter)
            except FileExistsError:
                results.append(None)
            if barrier.wait(20) == 0:
                seen.add(path.read_text())
                path.unlink()
            barrier.wait(20)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, "ab"))
    assert len(results) == 40
    assert results.count(None) == 20
    assert seen <= {"a" * 5000, "b" * 5000}
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_to_a_new_place_that_cannot_be_foreseen(tmp_path):
    path, names = tmp_path / ("n" * 250), []
    for text in ("1", "2"):
        with atomic_write(path) as scratch:
            assert scratch.read_bytes() == b""
            assert scratch.parent == tmp_path
            names += re.findall(r"^n+\.([0-9a-f]{16})\.part$", scratch.name)
            scratch.write_text(text)
        assert read_all(tmp_path) == {path.name: text}
    assert len(set(names)) == 2


def test_nothing_is_written_through_a_link(tmp_path, monkeypatch):
    (tmp_path / "other").write_text("the user's")
    path = tmp_path / "file"
    path.symlink_to("other")
    with atomic_write(path) as scratch:
        scratch.write_text("1")
    assert not path.is_symlink()
    assert read_all(tmp_path) == {"file": "1", "other": "the user's"}

    monkeypatch.setattr("secrets.token_hex", lambda count: "foreseen")
    (tmp_path / "file.foreseen.part").symlink_to("other")
    with pytest.raises(FileExistsError, match="file'"), atomic_write(path):
        pass
    assert (tmp_path / "other").read_text() == "the user's"


def test_errors_of_the_disk_name_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "none/file"):
        pass
    assert caught.value.filename == str(tmp_path / "none/file")

    def write():
        with atomic_write(tmp_path / "file") as scratch:
            scratch.unlink()
            scratch.symlink_to("/dev/full")
            scratch.write_text("1")

    with pytest.raises(OSError, match="No space left") as caught:
        write()
    assert caught.value.filename == str(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_leftovers_are_removed_where_nobody_writes(tmp_path):
    names = ["config.yaml.0a.part", "model.onnx.0a.part", "checkpoints/last.ckpt.0a.part", "checkpoints/last.ckpt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, "config.yaml*", "checkpoints/*", "none/*")
    assert set(read_all(tmp_path)) == {"model.onnx.0a.part", "checkpoints/last.ckpt"}


def test_old_leftovers_are_removed_next_to_files_of_others(tmp_path):
    with atomic_write(tmp_path / "x.png") as scratch:
        left = scratch.name.replace("x.png", "y.png")
    kept = ["film.mp4.part", "a.0123456789abcdeg.part", left.replace("y", "young"), "x.png"]
    for name in (left, f"{left}.mp4", *kept):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / kept[2])
    remove_old_leftovers(tmp_path)
    remove_old_leftovers(tmp_path / "none")
    assert set(read_all(tmp_path)) == set(kept)
