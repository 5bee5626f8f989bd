"""Translate a video frame by frame, in the same memory for any length."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.decoding import quiet_opencv
from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides.picture import PictureSide
from pix2pix_lightning.inference.prefetch import map_ahead
from pix2pix_lightning.inference.translator import Translator
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.errors import UserError

Image = npt.NDArray[np.uint8]

CODECS = {"VP9": "vp09", "MPEG-4": "mp4v"}
"""What is written, in this order of preference: browsers play VP9 and not MPEG-4, which every OpenCV writes."""
_MAX_RATE = 240  # frames a second; files of recorders that state 1000 mean milliseconds
_NUM_PROBED = 60  # frames whose times tell the rate of such a file
_QUIET = "-8"
_SAVE_AS_PICTURES = "save the frames as pictures and translate their folder"


class VideoResult(NamedTuple):
    """What was written.

    Attributes:
        num_frames: Number of frames.
        width: Width of the translated frames in pixels.
        height: Height of the translated frames in pixels.
        rate: Frames per second.
        codec: A key of `CODECS`.
        notes: Lines on frames that were lost, and on a duration that differs.
    """

    num_frames: int
    width: int
    height: int
    rate: float
    codec: str
    notes: tuple[str, ...]

    def describe(self) -> str:
        """Return a line on what was written."""
        width, height = _make_even(self.width), _make_even(self.height)
        is_padded = (width, height) != (self.width, self.height)
        parts = (
            f"{self.num_frames} frame{'' if self.num_frames == 1 else 's'} of {width} x {height}",
            "" if not is_padded else "an odd side has its last pixels twice, since codecs need even sides",
            f"{self.rate:.6g} a second",
            self.codec if self.codec == "VP9" else f"{self.codec}, which browsers do not play",
            "without sound",
        )
        return ", ".join(filter(None, parts))


class VideoReader:
    """Read the frames of a video in order, upright.

    Args:
        path: The file.
        max_pixels: Greatest number of pixels of a frame; None for any number.

    Attributes:
        num_frames: Number of frames that the header states, which may be an estimate; None where it states none.
        rate: Frames per second.
        num_read: Number of frames that were read.
        seconds: Time of the last frame after the first.

    Raises:
        UserError: The file is no video that OpenCV reads, is damaged, or its frames are too large.
    """

    def __init__(self, path: Path, *, max_pixels: int | None = None) -> None:
        self._path = path
        self._capture = _open_capture(path)
        width, height = (round(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if max_pixels is not None and width * height > max_pixels:
            self._capture.release()
            raise UserError(
                f"{path} has frames of {width} x {height} pixels, more than max_pixels={max_pixels}: make it smaller, "
                "or raise max_pixels if you trust the file"
            )
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.num_frames = round(count) if 0 < count < 2**31 else None
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate <= _MAX_RATE else _measure_rate(path)
        self.num_read = 0
        self.seconds = 0.0
        self._start: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._capture.release()

    def read(self) -> Image | None:
        """Read the next frame.

        Returns:
            (H, W, 3) RGB, uint8; None after the last frame that can be read.
        """
        is_read, frame = self._capture.read()
        if not is_read:
            return None
        time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        self._start = time if self._start is None else self._start
        self.seconds = time - self._start
        self.num_read += 1
        image: Image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        return image

    def describe_losses(self) -> Iterator[str]:
        """Yield a line for each difference between what the header states and what was read."""
        if self.num_frames is not None and self.num_read < self.num_frames:
            yield (
                f"{self._path}: {self.num_read} of the {self.num_frames} frames that its header states could be read; "
                "the file may be cut off or damaged"
            )
        expected = (self.num_read - 1) / self.rate
        if abs(self.seconds - expected) > max(0.5, 0.02 * expected) and self.seconds > 0:
            yield (
                f"{self._path}: its frames have varying distances, {self.seconds:.1f} s in all; at {self.rate:g} "
                f"frames a second the output lasts {expected:.1f} s"
            )


class VideoWriter:
    """Write frames as a video in an MP4 file. Sides become even by repeating the last row or column.

    Args:
        path: The file, which ends with ``.mp4``.
        rate: Frames per second.
        width: Width of the frames in pixels.
        height: Height of the frames in pixels.

    Attributes:
        codec: A key of `CODECS`.
        size: Width and height of the frames that are given; what is written has even sides.
        num_frames: Number of frames that were written.

    Raises:
        UserError: OpenCV writes no such file here.
    """

    def __init__(self, path: Path, rate: float, width: int, height: int) -> None:
        self._path, self.size = path, (width, height)
        self.num_frames = 0
        even = _make_even(width), _make_even(height)
        for self.codec, tag in CODECS.items():
            code = cv2.VideoWriter.fourcc(*tag)
            with quiet_opencv():
                self._writer = cv2.VideoWriter(str(path.absolute()), cv2.CAP_FFMPEG, code, rate, even)
            if self._writer.isOpened():
                return
        raise UserError(
            f"OpenCV {cv2.__version__} cannot write {width} x {height} pixels as MP4 here: install "
            f"opencv-python-headless, or {_SAVE_AS_PICTURES}"
        )

    def write(self, frame: Image) -> None:
        """Write a frame.

        Args:
            frame: (H, W, 1 or 3) levels or RGB, uint8.

        Raises:
            UserError: It has another size than the first one.
        """
        height, width = frame.shape[:2]
        if (width, height) != self.size:
            raise UserError(
                f"frame {self.num_frames} has {width} x {height} pixels, and those before it "
                f"{self.size[0]} x {self.size[1]}: set resize=[height,width]"
            )
        colours = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR if frame.shape[2] == 1 else cv2.COLOR_RGB2BGR)
        even = np.pad(colours, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        self._writer.write(even)
        self.num_frames += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: It does not hold all frames, as on a full disk, of which OpenCV does not tell.
        """
        self._writer.release()
        check = cv2.VideoCapture(str(self._path.absolute()), cv2.CAP_FFMPEG)
        count = round(check.get(cv2.CAP_PROP_FRAME_COUNT)) if check.isOpened() else 0
        check.release()
        if count != self.num_frames:
            raise OSError(
                f"only {count} of {self.num_frames} frames are in the video that was written: is the disk full?"
            )

    def release(self) -> None:
        """Let go of a file that is not wanted any more."""
        self._writer.release()


def check_video_sides(path: Path, spec: PairSpec) -> None:
    """Check that images of a model can be frames: a codec changes colours, and so the classes that they stand for.

    Args:
        path: The video, for messages.
        spec: What the model's images mean.

    Raises:
        UserError: A side is no 8-bit picture or holds class numbers, or the outputs are classes.
    """
    for side, verb in ((spec.source, "takes"), (spec.target, "returns")):
        if not isinstance(side, PictureSide):
            raise UserError(
                f"input={path}: frames are 8-bit pictures, and this model {verb} {side.file_channels} channels of "
                f"{side.dtype}: {_SAVE_AS_PICTURES}"
            )
    if spec.source.has_class_numbers:
        raise UserError(
            f"input={path}: a video does not hold class numbers, which this model takes: {_SAVE_AS_PICTURES}"
        )
    if spec.target.is_exact:
        raise UserError(f"input={path}: a video would change the classes that this model gives: {_SAVE_AS_PICTURES}")


def translate_video(
    translator: Translator,
    reader: VideoReader,
    source: Path,
    output: Path,
    *,
    overwrite: bool = False,
    on_frame: Callable[[], object] = lambda: None,
) -> VideoResult:
    """Translate a video into a video of the same rate and number of frames, without sound.

    Each frame is translated on its own. With dropout every frame has the same noise, that of the translator's seed, so
    that what stands still does not flicker.

    Args:
        translator: Translator of the model.
        reader: What reads the video, at its first frame.
        source: The video, for messages.
        output: File to write, which ends with ``.mp4``. It appears when it is complete.
        overwrite: Replace ``output`` where it exists by then.
        on_frame: Called after each frame.

    Returns:
        What was written.

    Raises:
        UserError: No frame can be read, or a frame does not fit the model; or OpenCV writes no MP4 here.
        FileExistsError: ``output`` exists, and ``overwrite`` is off.
        OSError: It cannot be written.
    """
    writer: VideoWriter | None = None

    def write(frame: Image) -> None:
        nonlocal writer
        if writer is None:
            writer = VideoWriter(scratch, reader.rate, frame.shape[1], frame.shape[0])
        writer.write(frame)

    with atomic_write(output, overwrite=overwrite, keep_suffix=True) as scratch:
        try:
            for _ in map_ahead(write, _translate_frames(translator, reader, source)):
                on_frame()
            if writer is None:
                raise UserError(f"{source}: no frame can be read: the file is damaged or of an unknown codec")
            writer.close()
        finally:
            if writer is not None:
                writer.release()
    return VideoResult(writer.num_frames, *writer.size, reader.rate, writer.codec, tuple(reader.describe_losses()))


def _translate_frames(translator: Translator, reader: VideoReader, source: Path) -> Iterator[Image]:
    decoded = map_ahead(lambda _: reader.read(), itertools.count())
    for number, frame in enumerate(itertools.takewhile(lambda frame: frame is not None, decoded)):
        assert frame is not None
        try:
            image = translator.reader.convert(FileImage(pixels=frame, name=str(source)), source)
            translated = translator.translate_arrays([image])[0]
        except UserError as error:
            text = str(error).removeprefix(f"{source}: ")
            raise UserError(f"{source}, frame {number}: {text}") from None
        yield translated


def _make_even(side: int) -> int:
    return side + side % 2


def _open_capture(path: Path) -> cv2.VideoCapture:
    """Open a video, whose frames OpenCV turns upright, as phones say."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _QUIET)
    with path.open("rb"), quiet_opencv():  # an OSError, such as of permissions, names itself
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)  # absolute: "a:b.mp4" would be an address
    if not capture.isOpened():
        raise UserError(
            f"{path} cannot be read as a video: it is cut off (an MP4 or MOV file without its end cannot be read), "
            "damaged, or of a kind that OpenCV does not read"
        )
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # off by default in OpenCV 4.11
    return capture


def _measure_rate(path: Path) -> float:
    """Compute the rate from the times of the first frames."""
    capture = _open_capture(path)
    times: list[float] = []
    while len(times) < _NUM_PROBED and capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    capture.release()
    seconds = times[-1] - times[0] if times else 0.0
    if seconds <= 0 or not math.isfinite(seconds):
        raise UserError(f"{path} states no frame rate, and its frames no times: convert it to MP4 first")
    return min((len(times) - 1) / seconds, _MAX_RATE)
