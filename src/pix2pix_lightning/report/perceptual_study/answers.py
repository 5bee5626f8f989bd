"""Read the files of answers that the pages of a perceptual study save."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pix2pix_lightning.utils.checks import is_whole_number
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.saved_files import read_text

FORMAT = "pix2pix_lightning perceptual study 1"
STUDY_FILE = "study.json"
"""What the pages were made of. It tells real from generated pictures, and is not for the raters."""
_SIDES = ("left", "right")
_MAX_BYTES = 16 * 2**20


class Session(NamedTuple):
    """The answers of a rater.

    Attributes:
        file: The file that they were read from.
        session: Random name of the session.
        study: Random name of the study.
        algorithm: Label of the algorithm that was judged.
        labelled_real: For each trial of the test, without the practice, whether the generated picture was labelled
            real: the rater called the real one generated.
    """

    file: Path
    session: str
    study: str
    algorithm: str
    labelled_real: Sequence[bool]


def read_answers(paths: Sequence[Path]) -> tuple[list[Session], list[str]]:
    """Read sessions, each once.

    Args:
        paths: Files, and folders whose ``.json`` files are read.

    Returns:
        The sessions in the order of the files, and remarks about files that hold a session again.

    Raises:
        UserError: There is no file; one is no file of answers, or is cut, or has been changed; or they are of several
            studies.
    """  # noqa: DOC501  _build_error returns a UserError
    files = [file for path in paths for file in _list_files(path)]
    found: dict[str, tuple[Session, Mapping[str, Any]]] = {}
    remarks = []
    for file in dict.fromkeys(files):
        content = _read_file(file)
        session = _parse_session(file, content)
        if session.session not in found:
            found[session.session] = session, content
            continue
        first, earlier = found[session.session]
        if content != earlier:
            raise _build_error(file, f"its session is that of {first.file} with other answers")
        remarks.append(f"counted once, since it is the session of {first.file} again: {file}")
    sessions = [session for session, _ in found.values()]
    for session in sessions[1:]:
        if session.study != sessions[0].study:
            raise UserError(
                f"{session.file} is of another study than {sessions[0].file}, whose pictures may differ: give the "
                "answers of one study"
            )
    return sessions, remarks


def _list_files(path: Path) -> list[Path]:
    if path.name == STUDY_FILE or (path / STUDY_FILE).is_file():
        raise UserError(f"answers={path} is a study, not its answers: give the files that raters have saved")
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"answers={path} does not exist: give files that raters have saved, or a folder of them")
    files = sorted(file for file in path.iterdir() if file.suffix == ".json")
    if not files:
        raise UserError(f"answers={path} holds no .json file: put the files that raters have saved there")
    return files


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(file, _MAX_BYTES))
    except UserError:
        raise
    except (ValueError, RecursionError):
        raise _build_error(file, "it is cut, or no JSON") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _build_error(file, f"it has no format={FORMAT!r}")
    return content


def _parse_session(file: Path, content: Mapping[str, Any]) -> Session:
    def check(is_right: bool, what: str) -> None:
        if not is_right:
            raise _build_error(file, what)

    for key, digits in (("session", 32), ("study", 16)):
        check(re.fullmatch(rf"[0-9a-f]{{{digits}}}", str(content.get(key))) is not None, f"{key} is wrong")
    check(isinstance(content.get("algorithm"), str) and content["algorithm"] != "", "algorithm is wrong")
    check(_is_in_range(content.get("seed"), 0, 2**32 - 1), "seed is wrong")
    practice: Any = content.get("practice")
    trials: Any = content.get("trials")
    rows: Any = content.get("answers")
    check(_is_in_range(practice, 0) and _is_in_range(trials, 1), "practice or trials is wrong")
    check(isinstance(rows, list) and all(isinstance(row, dict) for row in rows), "answers are wrong")
    check(len(rows) == practice + trials, f"it has {len(rows)} answers of {practice + trials}")
    for number, row in enumerate(rows, start=1):
        times = row.get("reaction_ms")
        is_right = (
            row.get("trial") == number
            and row.get("practice") is (number <= practice)
            and all(isinstance(row.get(key), str) for key in ("generated_pair", "real_pair"))
            and all(row.get(key) in _SIDES for key in ("real", "called_generated"))
            and isinstance(times, int | float)
            and 0 <= times < math.inf
        )
        check(is_right, f"answer {number} is wrong")
    labelled_real = [row["called_generated"] == row["real"] for row in rows[practice:]]
    return Session(file, content["session"], content["study"], content["algorithm"], labelled_real)


def _is_in_range(value: object, least: int, most: int | None = None) -> bool:
    return is_whole_number(value) and least <= int(value) and (most is None or int(value) <= most)  # type: ignore[call-overload]


def _build_error(file: Path, why: str) -> UserError:
    return UserError(f"{file} is no whole file of answers ({why}): ask its rater for the file, or leave it out")
