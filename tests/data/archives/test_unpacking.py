"""Archives are unpacked below a folder and nowhere else, and hostile ones not at all."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import tracemalloc
import zipfile

import pytest

from pix2pix_lightning.data.archives import unpacking
from pix2pix_lightning.data.archives.unpacking import BadArchiveError, Limits, unpack

FILES = {"pairs/train/1.png": b"one" * 1000, "pairs/train/b/2.png": b"", "./pairs/val/3.png": b"three"}
EXPECTED = {"pairs/train/1.png": b"one" * 1000, "pairs/train/b/2.png": b"", "pairs/val/3.png": b"three"}


def build_tar(files, *, kind=tarfile.REGTYPE, link="", compress=gzip.compress):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, link, 0o777
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(content))
    return compress(buffer.getvalue())


def build_zip(files, mode=stat.S_IFREG | 0o777):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            opened.writestr(info, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def attempt(content, tmp_path, **options):
    (tmp_path / "archive").write_bytes(content)
    (tmp_path / "folder").mkdir(exist_ok=True)
    unpack(tmp_path / "archive", tmp_path / "folder", **options)
    return {
        str(path.relative_to(tmp_path / "folder")): path.read_bytes()
        for path in (tmp_path / "folder").rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "content",
    [
        *(
            build_tar(FILES.items(), compress=compress)
            for compress in (gzip.compress, bz2.compress, lzma.compress, bytes)
        ),
        build_zip(FILES.items()),
        build_zip(FILES.items(), mode=0),
    ],
    ids=["gz", "bz2", "xz", "tar", "zip", "zip of Windows"],
)
def test_files_are_unpacked_with_plain_permissions(content, tmp_path):
    seen, spaces = [], []
    assert attempt(content, tmp_path, on_bytes=seen.append, check_space=spaces.append) == EXPECTED
    assert seen == [3000, 3005]
    assert len(spaces) == 1
    assert not (tmp_path / "folder/pairs/train/1.png").stat().st_mode & 0o111


@pytest.mark.parametrize(
    "name", ["/pairs/x.png", "../x.png", "a/../../x.png", "C:/x.png", "c:x.png", "..\\x.png", "a\\..\\..\\x.png"]
)
@pytest.mark.parametrize("build", [build_tar, build_zip])
def test_paths_that_lead_out_are_refused(build, name, tmp_path):
    with pytest.raises(BadArchiveError, match="leads out"):
        attempt(build([("good.png", b""), (name, b"evil")]), tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == {"archive", "folder", "good.png"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind, tmp_path):
    with pytest.raises(BadArchiveError, match="a link" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "a device"):
        attempt(build_tar([("x.png", b"")], kind=kind, link="/etc/passwd"), tmp_path)
    with pytest.raises(BadArchiveError, match="a link"):
        attempt(build_zip([("x.png", b"/etc/passwd")], mode=stat.S_IFLNK | 0o777), tmp_path)
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_file_twice_and_a_file_in_the_place_of_a_folder_are_refused(tmp_path):
    with pytest.raises(BadArchiveError, match="twice"):
        attempt(build_tar([("a/x.png", b"1"), ("a/./x.png", b"2")]), tmp_path)
    assert (tmp_path / "folder/a/x.png").read_bytes() == b"1"
    for files in ([("y", b"1"), ("y/x.png", b"2")], [("z/x.png", b"1"), ("z", b"2")]):
        with pytest.raises(BadArchiveError):
            attempt(build_tar(files), tmp_path)


def test_bombs_are_refused_by_size_and_by_number(tmp_path):
    limits = Limits(num_files=3, num_bytes=10_000)
    zeros = bytes(2_000_000)
    with pytest.raises(BadArchiveError, match="more than"):
        attempt(build_tar([("x.bmp", zeros)]), tmp_path, limits=limits)
    assert (tmp_path / "folder/x.bmp").stat().st_size <= 1_000_000
    with pytest.raises(BadArchiveError, match="more than"):
        attempt(build_zip([("y.bmp", zeros)]), tmp_path, limits=limits)
    assert not (tmp_path / "folder/y.bmp").exists()
    for build in (build_tar, build_zip):
        with pytest.raises(BadArchiveError, match="more than 3 files"):
            attempt(build([(f"{build.__name__}{number}", b"") for number in range(4)]), tmp_path, limits=limits)
    lying = bytearray(build_zip([("z.bmp", zeros)]))
    for place in (22, lying.index(b"PK\x01\x02") + 24):  # the size before compression, at both places
        lying[place : place + 4] = (5).to_bytes(4, "little")
    with pytest.raises(BadArchiveError):
        attempt(bytes(lying), tmp_path, limits=limits)


def test_a_header_that_unpacks_to_much_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "_LONGEST_READ", 2**20)
    size = 2**23
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, size
    with gzip.open(tmp_path / "bomb", "wb", compresslevel=1) as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(size))
    tracemalloc.start()
    try:
        with pytest.raises(BadArchiveError):
            attempt((tmp_path / "bomb").read_bytes(), tmp_path, limits=Limits(num_bytes=2**40))
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cut", [30, 100, -1, -9])
@pytest.mark.parametrize("build", [build_tar, build_zip])
def test_archives_that_are_cut_short_are_refused(build, cut, tmp_path):
    with pytest.raises(BadArchiveError):
        attempt(build(FILES.items())[:cut], tmp_path)


def test_a_wrong_checksum_is_found(tmp_path):
    content = bytearray(build_tar(FILES.items()))
    content[-8] ^= 1  # of the CRC
    with pytest.raises(BadArchiveError, match="CRC"):
        attempt(bytes(content), tmp_path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\n<!DOCTYPE html><p>Log in", "a web page"),
        (b"<html>", "a web page"),
        (b"", "no archive"),
        (b"x", "no archive"),
    ],
)
def test_files_that_are_no_archives_are_named(content, what, tmp_path):
    with pytest.raises(BadArchiveError, match=what):
        attempt(content, tmp_path)


def test_an_encrypted_archive_is_named(tmp_path):
    content = bytearray(build_zip([("x.png", b"1")]))
    for place in (6, content.index(b"PK\x01\x02") + 8):
        content[place] |= 1
    with pytest.raises(BadArchiveError, match="encrypted"):
        attempt(bytes(content), tmp_path)
