"""Videos, read and written frame by frame."""

import struct

import cv2
import numpy as np
import pytest

from pix2pix_lightning import PairSpec, Translator
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.inference import video
from pix2pix_lightning.inference.video import VideoReader, VideoWriter, check_video_sides, translate_video
from pix2pix_lightning.utils.errors import UserError
from small_networks import PALETTE, UNET, trained

UPRIGHT = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
TURNED = (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)  # shown turned to the right


def write_clip(path, count=16, size=(32, 32), tag="FFV1", rate=12.5):
    """A clip whose frames get brighter from left to right and with time, by OpenCV alone; returns the RGB frames."""
    frames = [np.zeros((size[1], size[0], 3), np.uint8) for _ in range(count)]
    for number, frame in enumerate(frames):
        frame[:] = (np.linspace(0, 90, size[0])[:, None] * (1, 0.5, 0.2) + 8 * number).astype(np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*tag), rate, size)
    for frame in frames:
        writer.write(frame[..., ::-1].copy())
    writer.release()
    return frames


def read_clip(path):
    """The RGB frames and the rate of a video, by OpenCV alone."""
    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


@pytest.fixture(scope="module")
def module():
    return trained({**UNET, "base_channels": 2})


def test_each_frame_is_translated_at_the_same_rate(module, tmp_path, monkeypatch):
    write_clip(tmp_path / "clip.mkv")
    frames, calls, given, write = read_clip(tmp_path / "clip.mkv")[0], [], [], VideoWriter.write
    monkeypatch.setattr(VideoWriter, "write", lambda writer, frame: given.append(frame) or write(writer, frame))
    translator = Translator(module)
    with VideoReader(tmp_path / "clip.mkv") as reader:
        result = translate_video(
            translator, reader, tmp_path / "clip.mkv", tmp_path / "out.mp4", on_frame=lambda: calls.append(1)
        )
    translated, rate = read_clip(tmp_path / "out.mp4")
    assert (len(translated), rate, result.num_frames, result.rate, len(calls)) == (16, 12.5, 16, 12.5, 16)
    assert result.notes == ()
    expected = translator.translate_arrays(frames)
    assert np.abs(expected[0].astype(int) - expected[-1]).mean() > 5
    assert np.array_equal(given, expected)
    for frame, wanted in zip(translated, expected, strict=True):
        assert np.abs(frame.mean((0, 1)) - wanted.mean((0, 1))).max() < 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mkv", "out.mp4"]


def test_noise_is_the_same_in_every_frame(module, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(VideoWriter, "write", lambda writer, frame: written.append(frame))
    monkeypatch.setattr(VideoWriter, "close", lambda writer: None)
    write_clip(tmp_path / "clip.mkv", count=1)
    frame = read_clip(tmp_path / "clip.mkv")[0][0]
    for seed in (0, 0, 1):
        with VideoReader(tmp_path / "clip.mkv") as reader:
            monkeypatch.setattr(reader, "read", iter([frame, frame, None, *[None] * 8]).__next__)
            translator = Translator(module, mode="paper", seed=seed)
            translate_video(translator, reader, tmp_path / "clip.mkv", tmp_path / "out.mp4", overwrite=True)
    assert all(np.array_equal(one, written[0]) for one in written[:4])
    assert np.array_equal(written[4], written[5])
    assert not np.array_equal(written[4], written[0])


@pytest.mark.parametrize("size", [(33, 31), (34, 32)])
def test_odd_sides_repeat_their_last_pixels(tmp_path, size):
    frame = np.zeros((size[1], size[0], 3), np.uint8)
    frame[:, -1] = frame[-1] = 255
    writer = VideoWriter(tmp_path / "odd.mp4", 25, *size)
    for _ in range(3):
        writer.write(frame)
    writer.close()
    (first, *_), _ = read_clip(tmp_path / "odd.mp4")
    assert first.shape == (32, 34, 3)
    assert first[:, -1].mean() > 200
    assert first[-1].mean() > 200
    assert first[:28, :28].mean() < 20
    with pytest.raises(UserError, match="frame 3 has 32 x 32"):
        writer.write(np.zeros((32, 32, 3), np.uint8))


def test_gray_levels_and_a_writer_without_vp9(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "CODECS", {"none": "zzzz", "MPEG-4": "mp4v"})
    writer = VideoWriter(tmp_path / "gray.mp4", 25, 32, 32)
    writer.write(np.full((32, 32, 1), 120, np.uint8))
    writer.close()
    assert writer.codec == "MPEG-4"
    assert np.abs(read_clip(tmp_path / "gray.mp4")[0][0].astype(int) - 120).max() <= 4
    monkeypatch.setattr(video, "CODECS", {"none": "zzzz"})
    with pytest.raises(UserError, match="MP4"):
        VideoWriter(tmp_path / "none.mp4", 25, 32, 32)


def test_phones_turn_frames_by_metadata(tmp_path):
    path = tmp_path / "phone.mp4"
    write_clip(path, count=2, size=(64, 32), tag="mp4v")
    content = path.read_bytes()
    assert content.count(struct.pack(">9i", *UPRIGHT)) == 2  # of the film and of its track
    start = content.index(struct.pack(">9i", *UPRIGHT), content.index(b"tkhd"))
    path.write_bytes(content[:start] + struct.pack(">9i", *TURNED) + content[start + 36 :])
    with VideoReader(path, max_pixels=64 * 32) as reader:
        frame = reader.read()
    assert frame.shape == (64, 32, 3)
    assert frame[-8:].mean() > frame[:8].mean() + 30  # it was brighter at the right, which is now below


def test_frames_that_cannot_be_read_are_counted(module, tmp_path):
    path = tmp_path / "cut.avi"
    write_clip(path, tag="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    count = len(read_clip(path)[0])
    assert 0 < count < 16
    with VideoReader(path) as reader:
        result = translate_video(Translator(module), reader, path, tmp_path / "out.mp4")
    assert result.num_frames == count
    assert f"{count} of the 16 frames" in result.notes[0]
    write_clip(tmp_path / "cut.mp4", tag="mp4v")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "cut.mp4").read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cut\.mp4"):
        VideoReader(tmp_path / "cut.mp4")
    with pytest.raises(UserError, match="max_pixels=100"):
        VideoReader(path, max_pixels=100)


def test_a_rate_in_milliseconds_is_measured(tmp_path):
    write_clip(tmp_path / "clip.mp4", tag="mp4v", rate=480.0, count=8)
    with VideoReader(tmp_path / "clip.mp4") as reader:
        assert reader.rate == 240
    write_clip(tmp_path / "slow.mkv", rate=0.5, count=3)
    with VideoReader(tmp_path / "slow.mkv") as reader:
        while reader.read() is not None:
            pass
        assert reader.seconds == 4
        assert list(reader.describe_losses()) == []
        reader.rate = 2.0
        assert "1.0 s" in next(iter(reader.describe_losses()))


def test_an_error_leaves_no_file(module, tmp_path):
    write_clip(tmp_path / "clip.mkv")

    def interrupt():
        assert len(list(tmp_path.glob("*.part.mp4"))) == 1
        raise KeyboardInterrupt

    with VideoReader(tmp_path / "clip.mkv") as reader, pytest.raises(KeyboardInterrupt):
        translate_video(Translator(module), reader, tmp_path / "clip.mkv", tmp_path / "out.mp4", on_frame=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]


def test_a_file_that_lacks_frames_is_an_error(tmp_path):
    writer = VideoWriter(tmp_path / "full.mp4", 25, 32, 32)
    writer.write(np.zeros((32, 32, 3), np.uint8))
    writer.num_frames += 1  # as if the disk had been full
    with pytest.raises(OSError, match="1 of 2 frames"):
        writer.close()


def test_classes_are_no_colours_of_a_video(tmp_path):
    numbers = build_side(kind="label", num_classes=4)
    with pytest.raises(UserError, match="class numbers"):
        check_video_sides(tmp_path / "a.mp4", PairSpec(source=numbers))
    for target in (numbers, build_side(palette=PALETTE, snap_palette=True)):
        with pytest.raises(UserError, match="classes"):
            check_video_sides(tmp_path / "a.mp4", PairSpec(target=target))
    check_video_sides(tmp_path / "a.mp4", PairSpec(source=build_side(kind="label", palette=PALETTE)))
