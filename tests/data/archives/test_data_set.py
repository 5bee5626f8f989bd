"""A data set appears as a whole, with the pairs that its archive is known to have, or not at all."""

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from loopback import serve
from pix2pix_lightning.data.archives import data_set as module
from pix2pix_lightning.data.archives.archive import Archive
from pix2pix_lightning.data.archives.data_set import describe_data_set, download_data_set
from pix2pix_lightning.utils.errors import UserError

PAIRS = {"train": 3, "val": 2, "test": 1}


def build_archive(pairs=PAIRS, prefix="facades/", more=()):
    """A tar file whose images are never decoded: their names alone count."""
    buffer = io.BytesIO()
    files = {
        f"{prefix}{split}/{number}.jpg": os.urandom(500) for split, count in pairs.items() for number in range(count)
    }
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in (files | dict(more)).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue()), files


CONTENT, FILES = build_archive()
ROOT = Path("data/facades")


@pytest.fixture
def server():
    with serve(CONTENT) as started:
        yield started


@pytest.fixture
def archive(server):
    return Archive("facades", server.url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), PAIRS, "free", "Anna 2013")


def change(archive, **values):
    return Archive(**{**vars(archive), **values})


def read_tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


def expected(prefix="facades/"):
    return {name.removeprefix(prefix): content for name, content in FILES.items()}


def list_names():
    return sorted(path.name for path in Path("data").iterdir()) if Path("data").is_dir() else []


def refused(*arguments, **options):
    with pytest.raises(UserError) as caught:
        download_data_set(*arguments, wait=lambda seconds: None, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_data_set_is_downloaded_once(server, archive):
    found = download_data_set(ROOT, archive)
    assert (found.root, found.pairs, found.is_new) == (ROOT, PAIRS, True)
    assert read_tree(ROOT) == expected()
    assert list_names() == ["facades"]
    text = "\n".join(describe_data_set(found, archive))
    assert all(part in text for part in ("data/facades", "3 pairs in train", "free", "Anna 2013"))
    assert "sha256" not in text
    assert found.sha256 in "\n".join(describe_data_set(found, change(archive, sha256=None)))
    again = download_data_set(ROOT, archive)
    assert (again.pairs, again.is_new) == (PAIRS, False)
    assert len(server.requests) == 1


def test_what_has_arrived_is_kept_for_the_next_command(server, archive):
    server.failures = [lambda handler: handler.answer(stop=700), *[lambda handler: handler.refuse(503)] * 5]
    assert "503" in refused(ROOT, archive)
    assert list_names() == ["facades.part", "facades.part.json"]
    assert Path("data/facades.part").read_bytes() == CONTENT[:700]
    download_data_set(ROOT, archive)
    assert server.requests[-1]["range"] == "bytes=700-"
    assert read_tree(ROOT) == expected()
    assert list_names() == ["facades"]


@pytest.mark.parametrize(
    ("changes", "part"), [({"sha256": "0" * 64}, "SHA-256"), ({"num_bytes": 5}, "5"), ({"url": "http://x/"}, "url=")]
)
def test_another_file_than_expected_leaves_nothing(archive, changes, part):
    assert part in refused(ROOT, change(archive, **changes))
    assert list_names() == []


def test_an_archive_with_other_pairs_is_refused_and_not_fetched_again(server, archive):
    other = change(archive, pairs={**PAIRS, "train": 4})
    assert re.search("3 of 4 pairs in train.*data.archive.pairs=null", refused(ROOT, other))
    assert list_names() == ["facades.part", "facades.part.json"]
    assert download_data_set(ROOT, change(archive, pairs={})).pairs == PAIRS
    assert len(server.requests) == 1


@pytest.mark.parametrize("content", [b"<html>Log in</html>", CONTENT[:-100], build_archive(prefix="../")[0]])
def test_a_bad_archive_leaves_nothing(server, archive, content):
    server.content = content
    refused(ROOT, change(archive, num_bytes=None, sha256=None))
    assert list_names() == []


def test_nothing_that_exists_is_overwritten(server, archive):
    (ROOT / "train").mkdir(parents=True)
    assert "data/facades/train" in refused(ROOT, archive)
    (ROOT / "train/mine.jpg").write_bytes(b"mine")
    assert "1 of 3 pairs in train" in refused(ROOT, archive)
    assert read_tree(ROOT) == {"train/mine.jpg": b"mine"}
    shutil.rmtree(ROOT)
    ROOT.write_bytes(b"a file")
    assert "data.root" in refused(ROOT, archive)
    assert ROOT.read_bytes() == b"a file"
    assert server.requests == []


def test_a_link_to_another_disk_and_an_empty_folder_are_filled(archive, tmp_path):
    (tmp_path / "disk/facades").mkdir(parents=True)
    Path("data").mkdir()
    ROOT.symlink_to(tmp_path / "disk/facades")
    assert download_data_set(ROOT, archive).root == ROOT
    assert ROOT.is_symlink()
    assert read_tree(tmp_path / "disk") == {f"facades/{name}": content for name, content in expected().items()}


@pytest.mark.parametrize("build_url", [str, lambda path: path.resolve().as_uri()])
def test_a_file_on_this_machine_is_unpacked_and_stays(archive, build_url, server):
    path = Path("my archive.tgz")
    path.write_bytes(CONTENT)
    assert download_data_set(ROOT, archive, url=build_url(path)).is_new
    assert read_tree(ROOT) == expected()
    assert path.read_bytes() == CONTENT
    shutil.rmtree(ROOT)
    path.write_bytes(CONTENT[:-1])
    assert "bytes" in refused(ROOT, archive, url=build_url(path))
    assert path.exists()
    path.unlink()
    assert "does not exist" in refused(ROOT, archive, url=build_url(path))
    assert "ftp" in refused(ROOT, archive, url="ftp://x/y.zip")
    assert (list_names(), server.requests) == ([], [])


@pytest.mark.parametrize(
    ("pairs", "prefix", "more"),
    [
        ({"train": 2, "val": 1}, "", {}),
        ({"train": 2}, "outer/inner/", {}),
        ({"train": 2, "val": 1}, "mine/", {"LICENSE": b"mine", "__MACOSX/mine/._x.jpg": b"", "mine/.x.png": b""}),
        ({"train/A": 2, "train/B": 2}, "mine/", {}),
    ],
)
def test_the_folder_of_the_pairs_is_found(server, pairs, prefix, more):
    server.content, files = build_archive(pairs, prefix, more)
    found = download_data_set(Path("mine"), Archive(url=server.url))
    assert found.pairs == {
        split: count for split, count in (("train", 2), ("val", 1)) if any(split in name for name in pairs)
    }
    tree = read_tree("mine")
    assert {name.removeprefix(prefix): content for name, content in files.items()}.items() <= tree.items()
    assert ("LICENSE" in tree) == ("LICENSE" in more)


def test_an_archive_of_strips_without_splits(server):
    server.content, files = build_archive({"flat": 5}, "")
    assert download_data_set(Path("mine"), Archive(url=server.url)).pairs == {"": 5}
    assert len(read_tree("mine")) == len(files)


def test_an_archive_that_lacks_a_side_is_named_without_the_temporary_folder(server):
    server.content, _ = build_archive({"train/A": 2}, "mine/")
    message = refused(Path("mine"), Archive(url=server.url))
    assert ".unpacked" not in message
    assert "mine/train/B" in message
    assert not Path("mine").exists()


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(server, archive, monkeypatch):
    free = [2 * len(CONTENT) + module._FREE]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, free[0]))
    free[0] -= 1
    message = refused(ROOT, archive)
    assert "data.root" in message
    assert list_names() == []
    free[0] += 1
    download_data_set(ROOT, archive)
    assert read_tree(ROOT) == expected()


def test_what_killed_processes_left_is_removed(archive):
    Path("data/.facades.0123456789abcdef.part/.unpacked").mkdir(parents=True)
    Path("data/.facades.mine.part").mkdir()
    download_data_set(ROOT, archive)
    assert list_names() == [".facades.mine.part", "facades"]


def test_two_processes_download_it_once(server, archive):
    code = (
        "import sys; from pathlib import Path\n"
        "from pix2pix_lightning.data.archives.archive import Archive\n"
        "from pix2pix_lightning.data.archives.data_set import download_data_set\n"
        "print(download_data_set(Path('data/facades'), Archive(url=sys.argv[1])).is_new)\n"
    )
    other = []

    def start_another(handler):
        """While the first one downloads, a second one waits for it."""
        process = subprocess.Popen([sys.executable, "-c", code, server.url], text=True, stdout=-1, stderr=-1)
        assert "waiting for another process" in process.stderr.readline()
        other.append(process)
        handler.answer()

    server.failures = [start_another]
    assert download_data_set(ROOT, archive).is_new
    assert other[0].communicate(timeout=20)[0] == "False\n"
    assert len(server.requests) == 1
    assert read_tree(ROOT) == expected()
    assert list_names() == ["facades"]


def test_a_data_set_without_an_archive():
    assert "data=facades" in refused(ROOT, Archive())
    assert "register" in refused(ROOT, Archive("cityscapes", note="register there"))


@pytest.mark.parametrize(
    "value",
    [
        {"sha256": "abc"},
        {"num_bytes": 0},
        {"num_bytes": "31 MB"},
        {"pairs": 400},
        {"pairs": {"train": "many"}},
        {"site": "http://x/"},
    ],
)
def test_facts_that_are_none_are_refused_with_their_key(value):
    with pytest.raises(UserError, match=rf"data\.archive\.{next(iter(value))}"):
        Archive.from_config(value)


def test_an_address_alone_and_nulls_are_facts_too():
    assert Archive.from_config("http://x/y.zip") == Archive(url="http://x/y.zip")
    assert Archive.from_config({"name": "mine", "pairs": None}) == Archive("mine")
    assert Archive.from_config(None) == Archive()
