"""Names of files on a terminal and in a log."""

import io
import logging

import pytest

from pix2pix_lightning.utils.log_file import LogFile
from pix2pix_lightning.utils.text import EscapedFormatter, escape_controls, print_escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("photo 1.png", "photo 1.png"),
        ("fenêtre 窓.png", "fenêtre 窓.png"),
        ("\x1b[2J\x1b]0;title\x07.png", "\\x1b[2J\\x1b]0;title\\x07.png"),
        ("a\r\nb\tc\x7f\x9b", "a\\r\\nb\\tc\\x7f\\x9b"),
        ("gpj.\u202egnp", "gpj.\\u202egnp"),
        ("a\u2028b\u2066", "a\\u2028b\\u2066"),
        (b"\xff\x1b".decode("utf-8", "surrogateescape"), "\\udcff\\x1b"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text, shown):
    assert escape_controls(text) == shown
    shown.encode()


def test_lines_of_a_message_stay_lines():
    file = io.StringIO()
    print_escaped("a\n  b\x1b", 5, file=file)
    assert file.getvalue() == "a\n  b\\x1b\n5\n"


def test_a_name_cannot_look_like_a_line_of_the_log():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(EscapedFormatter("%(levelname)s %(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.warning("left out %s, %d", "a\nERROR all is lost\x1b", 3)
    logger.warning("%s", "done:\n  val/l1 0.5")
    assert stream.getvalue() == "WARNING left out a\\nERROR all is lost\\x1b, 3\nWARNING done:\n  val/l1 0.5\n"


def test_a_log_is_not_added_to_what_a_link_leads_to(tmp_path):
    (tmp_path / "other").write_text("the user's")
    (tmp_path / "train.log").symlink_to("other")
    LogFile(tmp_path / "train.log").close()
    assert (tmp_path / "other").read_text() == "the user's"
    assert (tmp_path / "train.log").read_text() == ""
