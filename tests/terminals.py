"""A terminal for tests: standard output and error are a pty, whose screen is replayed."""

import contextlib
import fcntl
import os
import pty
import struct
import sys
import termios
import threading

import pyte


class Terminal:
    """The screen of a terminal, with all lines that have left it at the top."""

    def __init__(self, columns, lines=24):
        self._columns = columns
        self._screen = pyte.HistoryScreen(columns, lines, history=10_000)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self.raw = b""

    def feed(self, data):
        with self._lock:
            self.raw += data
            self._stream.feed(data)

    def read_lines(self):
        """All lines so far, without the empty ones at the end."""
        with self._lock:
            gone = ["".join(row[x].data for x in range(self._columns)) for row in self._screen.history.top]
            lines = [line.rstrip() for line in [*gone, *self._screen.display]]
        while lines and not lines[-1]:
            lines.pop()
        return lines


@contextlib.contextmanager
def open_terminal(columns=80):
    """Let standard output and error be a terminal inside."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    terminal = Terminal(columns)

    def read():
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(master, 4096):
                terminal.feed(data)

    reader = threading.Thread(target=read)
    reader.start()
    before, descriptors = (sys.stdout, sys.stderr), [os.dup(number) for number in (1, 2)]
    for number in (1, 2):
        os.dup2(slave, number)
    os.close(slave)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, "utf-8", closefd=False) for number in (1, 2))
    try:
        yield terminal
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
        for number, descriptor in zip((1, 2), descriptors, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        reader.join()
        os.close(master)
