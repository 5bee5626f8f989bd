"""Downloads from a server on this machine that fails in every way; what is compared are the bytes on the disk."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest

from loopback import serve
from pix2pix_lightning.data.archives.progress import Progress
from pix2pix_lightning.data.archives.transfer import Download
from pix2pix_lightning.utils.errors import UserError

CONTENT = np.random.default_rng(0).bytes(1_200_000)
OTHER = np.random.default_rng(1).bytes(1_200_000)


@pytest.fixture
def server():
    with serve(CONTENT) as started:
        yield started


def fetch(server, tmp_path, *, url=None, num_bytes=None, check_space=lambda missing, whole: None):
    """Download, and return the pauses between attempts."""
    pauses = []
    with Progress("downloading") as progress:
        Download(
            url or server.url,
            tmp_path / "x.part",
            num_bytes=num_bytes,
            progress=progress,
            check_space=check_space,
            wait=pauses.append,
        ).run()
    return pauses


def refused(server, tmp_path, **options):
    with pytest.raises(UserError) as caught:
        fetch(server, tmp_path, **options)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    return str(caught.value)


def break_off(after, **lie):
    return lambda handler: handler.answer(stop=after, **lie)


def refuse(status, **headers):
    return lambda handler: handler.refuse(status, {key.replace("_", "-"): value for key, value in headers.items()})


def read(tmp_path):
    return (tmp_path / "x.part").read_bytes()


def list_ranges(server):
    return [request.get("range") for request in server.requests]


def test_a_whole_file(server, tmp_path, capsys):
    asked = []
    assert fetch(server, tmp_path, num_bytes=1_200_000, check_space=lambda *sizes: asked.append(sizes)) == []
    assert read(tmp_path) == CONTENT
    assert asked == [(1_200_000, 1_200_000)]
    assert list_ranges(server) == [None]
    lines = capsys.readouterr().err.splitlines()  # no terminal
    assert 1 <= len(lines) <= 10
    assert "100 % of 1.2 MB" in lines[-1]
    assert all("/s" in line and "left" in line for line in lines)
    fetch(server, tmp_path)
    assert len(server.requests) == 1  # it is complete


@pytest.mark.parametrize(("etag", "date"), [('"one"', None), (None, "Sun, 02 Sep 2018 08:58:00 GMT")])
def test_a_connection_that_breaks_off_is_continued(server, tmp_path, etag, date):
    server.etag, server.date = etag, date
    server.failures = [break_off(1000), break_off(200_000), refuse(503, Retry_After="0")]
    assert fetch(server, tmp_path) == [2.0, 4.0, 0.0]
    assert read(tmp_path) == CONTENT
    assert list_ranges(server) == [None, "bytes=1000-", "bytes=201000-", "bytes=201000-"]
    assert {request.get("if-range") for request in server.requests[1:]} == {etag or date}


def test_another_process_continues_and_a_server_that_never_sends_more_is_given_up(server, tmp_path):
    server.failures = [break_off(5000), *[break_off(0)] * 5]
    assert "5000" in refused(server, tmp_path)
    assert read(tmp_path) == CONTENT[:5000]
    asked = []
    fetch(server, tmp_path, check_space=lambda *sizes: asked.append(sizes))
    assert read(tmp_path) == CONTENT
    assert asked == [(1_195_000, 1_200_000)]


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.has_ranges = False
    server.failures = [break_off(300_000)]
    fetch(server, tmp_path)
    assert read(tmp_path) == CONTENT


def test_a_file_that_has_changed_is_not_put_behind_an_old_part(server, tmp_path):
    def change(handler):
        handler.server.content, handler.server.etag = OTHER, '"two"'
        handler.refuse(503, {"Retry-After": "0"})

    server.failures = [break_off(300_000), change]
    fetch(server, tmp_path)
    assert read(tmp_path) == OTHER


def test_a_server_that_ignores_if_range_is_found_out(server, tmp_path):
    def change(handler):
        del handler.headers["If-Range"]
        handler.headers["If-Range"] = handler.server.etag = '"two"'
        handler.server.content = OTHER
        handler.answer()

    server.failures = [break_off(300_000), change]
    assert fetch(server, tmp_path) == [2.0, 0.0]
    assert read(tmp_path) == OTHER


@pytest.mark.parametrize("content", [CONTENT[:1000], CONTENT[:5000], OTHER + CONTENT])
def test_a_file_that_has_another_size_than_before_starts_anew(server, tmp_path, content):
    def change(handler):
        handler.server.content = content
        handler.answer()

    server.failures = [break_off(5000), change]
    fetch(server, tmp_path)
    assert read(tmp_path) == content


def test_without_an_etag_or_date_a_part_is_never_continued(server, tmp_path):
    server.etag = None
    server.failures = [break_off(300_000)]
    fetch(server, tmp_path)
    assert list_ranges(server) == [None, None]
    assert read(tmp_path) == CONTENT


def test_a_part_of_another_address_or_without_a_sound_record_starts_anew(server, tmp_path):
    for record in (b"", b"{", b'{"url": 1}', json.dumps({"url": "http://other/", "validator": '"one"'}).encode()):
        (tmp_path / "x.part").write_bytes(OTHER[:1000])
        (tmp_path / "x.part.json").write_bytes(record)
        fetch(server, tmp_path)
        assert read(tmp_path) == CONTENT


def test_a_content_length_that_is_too_small_or_too_large(server, tmp_path):
    server.failures = [break_off(None, length=1000)]
    assert "1000 bytes" in refused(server, tmp_path, num_bytes=1_200_000)
    assert not (tmp_path / "x.part").exists()
    server.failures = [break_off(None, length=1_300_000)]
    server.etag = None
    fetch(server, tmp_path)
    assert read(tmp_path) == CONTENT


def test_no_content_length(server, tmp_path):
    server.failures = [break_off(None, is_chunked=True)]
    fetch(server, tmp_path, num_bytes=1_200_000)
    assert read(tmp_path) == CONTENT
    (tmp_path / "x.part").unlink()
    server.failures = [break_off(None, is_chunked=True)]
    assert "more than 1000 bytes" in refused(server, tmp_path, num_bytes=1000)
    assert not (tmp_path / "x.part").exists()


@pytest.mark.parametrize(("status", "reason"), [(404, "404 Not Found"), (403, "403 Forbidden"), (410, "410 Gone")])
def test_a_refusal_is_one_line(server, tmp_path, status, reason):
    server.failures = [refuse(status)]
    message = refused(server, tmp_path)
    assert reason in message
    assert "url=" in message
    assert list(tmp_path.iterdir()) == []


def test_retry_after_is_obeyed_up_to_ten_minutes(server, tmp_path):
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    server.failures = [
        refuse(429, Retry_After="7"),
        refuse(503, Retry_After=soon),
        refuse(503, Retry_After="soon"),
        refuse(502),
    ]
    first, second, *others = fetch(server, tmp_path)
    assert (first, others) == (7.0, [8.0, 16.0])
    assert 60 < second <= 90
    assert read(tmp_path) == CONTENT
    (tmp_path / "x.part").unlink()
    server.failures = [refuse(503, Retry_After="86400")]
    assert "86400 s" in refused(server, tmp_path)


def test_a_disk_that_is_too_small_is_found_before_the_body_is_read(server, tmp_path):
    def check(missing, whole):
        raise UserError(f"{missing} {whole}")

    assert refused(server, tmp_path, check_space=check) == "1200000 1200000"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["http://", "http://127.0.0.1:x/", "http://a b/", "https://[::1/x"])
def test_addresses_that_are_none(tmp_path, url):
    assert "url=" in refused(None, tmp_path, url=url)


def test_a_server_that_is_not_there_is_tried_again(server, tmp_path):
    server.shutdown()
    server.server_close()
    assert "refused" in refused(server, tmp_path)


def test_nothing_is_written_through_a_link(server, tmp_path):
    (tmp_path / "x.part").symlink_to(tmp_path / "mine")
    fetch(server, tmp_path)
    assert read(tmp_path) == CONTENT
    assert not (tmp_path / "mine").exists()
