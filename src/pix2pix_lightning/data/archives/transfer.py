"""Download a file by HTTP, in several attempts where the connection breaks, also by several processes in turn."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from pix2pix_lightning.data.archives.progress import Progress
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.version import __version__

_TIMEOUT = 60.0  # seconds without a byte
_ATTEMPTS = 6  # in a row that bring next to nothing
_PROGRESS = 2**20  # bytes with which an attempt has brought something
_CHUNK = 2**18
_LONGEST_PAUSE = 600.0  # seconds that a server may ask to wait
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)
_BROKEN = (ConnectionError, TimeoutError, http.client.HTTPException)


class _TemporaryError(Exception):
    """An attempt failed, and another one may not."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass(frozen=True)
class _Record:
    """What a partial file is a part of, in a file next to it.

    Attributes:
        url: Address of the whole file.
        validator: Its strong ETag or its date, by which the server knows whether the file has changed since.
        num_bytes: Size of the whole file, or None.
    """

    url: str
    validator: str
    num_bytes: int | None = None


class Download:
    """Download a file, and continue a partial one that belongs to the same state of the file on the server.

    Args:
        url: Address, ``http://`` or ``https://``.
        part: Where the file is written. What is there is continued or replaced; after an error it stays, so that a
            later process continues it.
        num_bytes: Size that the file must have, or None.
        progress: Shows what has arrived.
        check_space: Called with the bytes still to come, and the size of the whole file, before they are read.
        wait: Waits for so many seconds between two attempts.
    """

    def __init__(
        self,
        url: str,
        part: Path,
        *,
        num_bytes: int | None = None,
        progress: Progress,
        check_space: Callable[[int, int], None],
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url = url
        self.part = part
        self.num_bytes = num_bytes
        self.progress = progress
        self.check_space = check_space
        self.wait = wait
        self.name = url.partition("?")[0]  # what follows may be a password
        self._record_file = find_record_file(part)

    def run(self) -> None:
        """Download the file, or what is missing of it.

        Raises:
            UserError: The server refuses, does not answer, or has a file of another size; or the disk is too small.
            OSError: The file cannot be written.
        """
        failures = 0
        while True:
            before = self._measure_part()
            try:
                self._fetch_rest()
                return
            except _TemporaryError as problem:
                now = self._measure_part()
                failures = 1 if now - before >= _PROGRESS else failures + 1
                if failures >= _ATTEMPTS:
                    kept = f"the same command continues at byte {now}" if now else "try again later"
                    raise UserError(f"{self.name}: {problem}: {kept}, or set url= to a mirror") from problem
                pause = 2.0**failures if problem.pause is None else problem.pause
                self.progress.say(f"{self.name}: {problem}; next attempt" + (f" in {pause:.0f} s" if pause else ""))
                self.wait(pause)

    def discard(self) -> None:
        """Remove the partial file and its record."""
        self.part.unlink(missing_ok=True)
        self._record_file.unlink(missing_ok=True)

    def _measure_part(self) -> int:
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def _fetch_rest(self) -> None:
        record, begin = self._read_record(), self._measure_part()
        if record is None:
            begin = 0
        elif begin and begin == record.num_bytes:
            return
        headers = {"User-Agent": f"pix2pix_lightning/{__version__}", "Accept-Encoding": "identity"}
        if begin and record is not None:
            headers |= {"Range": f"bytes={begin}-", "If-Range": record.validator}
        try:
            with urlopen(Request(self.url, headers=headers), timeout=_TIMEOUT) as response:
                begin, num_bytes = self._read_head(response, begin, record)
                self._write_body(response, begin, num_bytes)
        except HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and begin:
                if _read_total(error.headers.get("Content-Range")) == begin:
                    return
                self._start_anew("the file on the server is shorter than the part that is here")
            self._explain_status(error)
        except URLError as error:
            is_temporary = isinstance(error.reason, socket.gaierror) and error.reason.errno == socket.EAI_AGAIN
            if isinstance(error.reason, _BROKEN) or is_temporary:
                raise _TemporaryError(_describe(error.reason)) from error
            raise UserError(f"{self.name} cannot be reached ({error.reason}): {_ELSEWHERE}") from None
        except (http.client.InvalidURL, UnicodeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"url={self.name} is no address ({error}): {_ELSEWHERE}") from None
        except _BROKEN as error:  # before the body, whose errors are caught where they occur
            raise _TemporaryError(_describe(error)) from error

    def _read_head(self, response: Any, begin: int, record: _Record | None) -> tuple[int, int | None]:
        """Return from which byte on the answer has the file, and the file's size, None where it is not said."""
        headers = response.headers
        if begin and response.status == http.client.PARTIAL_CONTENT:
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", str(headers.get("Content-Range")).strip())
            etag = headers.get("ETag")
            is_same = record is None or not etag or not record.validator.startswith('"') or etag == record.validator
            if found is None or int(found[1]) != begin or not is_same:
                self._start_anew("the server sends another part than was asked for")
            assert found is not None
            num_bytes = None if found[3] == "*" else int(found[3])
            if record is not None and record.num_bytes not in (None, num_bytes):
                self._start_anew("the file on the server has another size than before")
        elif response.status == http.client.OK:
            begin, length = 0, headers.get("Content-Length")
            num_bytes = int(length) if length is not None and length.isdigit() else None
        else:
            raise UserError(f"{self.name} answers {response.status} {response.reason}: {_ELSEWHERE}")
        if self.num_bytes is not None and num_bytes not in (None, self.num_bytes):
            raise UserError(
                f"{self.name} has {num_bytes} bytes, and data.archive.num_bytes={self.num_bytes}: it is another file; "
                "set data.archive.num_bytes=null to take it"
            )
        num_bytes = self.num_bytes if num_bytes is None else num_bytes
        if num_bytes is not None:
            self.check_space(num_bytes - begin, num_bytes)
        if not begin:
            self.discard()
            if (validator := _find_validator(headers)) is not None:
                with atomic_write(self._record_file) as scratch:
                    scratch.write_text(json.dumps(asdict(_Record(self.url, validator, num_bytes))), encoding="utf-8")
        return begin, num_bytes

    def _write_body(self, response: Any, begin: int, num_bytes: int | None) -> None:
        self.progress.start(begin, num_bytes)
        done = begin
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(self.part, flags, 0o666), "ab") as file:
            while True:
                try:
                    chunk = response.read1(_CHUNK)
                except (*_BROKEN, OSError) as error:
                    raise _TemporaryError(_describe(error)) from error
                if not chunk:
                    break
                file.write(chunk)
                done += len(chunk)
                self.progress.update(done)
                if num_bytes is not None and done > num_bytes:
                    break
        if num_bytes is not None and done < num_bytes:
            raise _TemporaryError(f"the connection broke off after {done} of {num_bytes} bytes")
        if num_bytes is not None and done > num_bytes:
            self.discard()
            raise UserError(
                f"{self.name} sends more than {num_bytes} bytes: it is another file, or set url= to a mirror"
            )

    def _start_anew(self, reason: str) -> NoReturn:
        self.discard()
        raise _TemporaryError(reason, pause=0.0)

    def _explain_status(self, error: HTTPError) -> NoReturn:
        """Raise what an answer that is no file means."""
        answer = f"the server answers {error.code} {error.reason}"
        if error.code not in _TRY_AGAIN:
            raise UserError(f"{self.name}: {answer}: {_ELSEWHERE}") from None
        pause = _read_pause(error.headers.get("Retry-After"))
        if pause is not None and pause > _LONGEST_PAUSE:
            raise UserError(f"{self.name}: {answer} and asks to wait {pause:.0f} s: try again then, or {_ELSEWHERE}")
        raise _TemporaryError(answer, pause) from error

    def _read_record(self) -> _Record | None:
        """Read what the partial file belongs to; None where that is not known, or is another address."""
        try:
            record = _Record(**json.loads(self._record_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        is_sound = isinstance(record.validator, str) and isinstance(record.num_bytes, int | None)
        return record if is_sound and record.url == self.url else None


_ELSEWHERE = "set url= to a mirror, or to a file that is here already"


def find_record_file(part: Path) -> Path:
    """Return the file that says what a partial file is a part of."""
    return part.with_name(f"{part.name}.json")


def _find_validator(headers: Any) -> str | None:
    """Return what tells the states of a file apart: an ETag that is not weak, which ``If-Range`` needs, or its date."""
    etag = headers.get("ETag")
    if etag and etag.startswith('"'):
        return str(etag)
    date = headers.get("Last-Modified")
    return str(date) if date else None


def _read_total(content_range: str | None) -> int | None:
    found = re.fullmatch(r"bytes \*/(\d+)", (content_range or "").strip())
    return int(found[1]) if found else None


def _read_pause(retry_after: str | None) -> float | None:
    """Return the seconds of ``Retry-After``, which are a number or a date."""
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    with suppress(ValueError, TypeError):
        date = parsedate_to_datetime(retry_after)
        return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return None


def _describe(error: BaseException | str) -> str:
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    text = str(error).rstrip(".")
    return f"the connection broke off ({text or type(error).__name__})"
