"""Frames of an EVE video by their number, decoded from its start in one go: never a seek.

A frame that cannot be decoded is None, and so is every later one up to the next key frame: what H.264 predicts
from a broken picture looks plausible and is wrong. Frames are numbered by their presentation times, so that one
that is lost does not move the others beside wrong labels. Frames that nobody wants and no other frame needs (most
B-frames) are passed over: a third of the decoding.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from gaze_exp.errors import DataError

Image = np.ndarray


@dataclass(frozen=True)
class VideoIndex:
    """What a video holds, found without decoding it."""

    places: dict[int, int]
    """Presentation time -> number of the frame."""
    fps: float

    @property
    def num_frames(self) -> int:
        """Frames that are there as data; some may not decode."""
        return len(self.places)


def index_video(path: Path) -> VideoIndex:
    """Count the frames of a video.

    Args:
        path: the video.

    Raises:
        DataError: it cannot be opened: cut short, empty, or no video.
    """
    try:
        with av.open(str(path)) as file:
            stream = file.streams.video[0]
            return _index(stream, file.demux(stream))
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise _not_opened(path, error) from error


def _index(stream: VideoStream, packets: Iterable["Packet[VideoStream]"]) -> VideoIndex:
    times = sorted({packet.pts for packet in packets if packet.pts is not None and packet.size})
    return VideoIndex({time: number for number, time in enumerate(times)}, float(stream.average_rate or 0))


def _not_opened(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: cannot be opened as video: {error}; it is cut short, copy it again")


class Video:
    """A video that is read once, to be counted and decoded: until then, the data of its frames stay in memory.

    Args:
        path: the video, some minutes of a small picture.

    Raises:
        DataError: it cannot be opened: cut short, empty, or no video.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = av.open(str(path))
            self._stream = self._file.streams.video[0]
            packets = list(self._file.demux(self._stream))
            self.index = _index(self._stream, packets)
        except (av.error.FFmpegError, OSError, IndexError) as error:
            raise _not_opened(path, error) from error
        self._path = path
        self._packets: list[Packet[VideoStream]] | None = packets

    def frames(self, wanted: Sequence[int]) -> Iterator[Image | None]:
        """Decode some frames, from the start of the video.

        Args:
            wanted: numbers of frames, rising.

        Yields:
            As `read_frames`.
        """
        packets, self._packets = self._packets, None
        if packets is None:  # a decoder that has met damage is not used again
            yield from read_frames(self._path, self.index, wanted)
        else:
            yield from _wanted(self._stream, packets, self.index, wanted)


def read_frames(path: Path, index: VideoIndex, wanted: Sequence[int]) -> Iterator[Image | None]:
    """Decode some frames of a video.

    Args:
        path: the video.
        index: of the same file.
        wanted: numbers of frames, rising.

    Yields:
        For each wanted frame (H, W, 3) uint8 RGB, or None where it cannot be decoded.
    """
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        yield from _wanted(stream, file.demux(stream), index, wanted)


def _wanted(
    stream: VideoStream, packets: Iterable["Packet[VideoStream]"], index: VideoIndex, wanted: Sequence[int]
) -> Iterator[Image | None]:
    to_rgb = VideoReformatter()
    numbers = iter(wanted)
    number = next(numbers, None)
    for place, frame in _decoded(stream, packets, index, set(wanted)):
        while number is not None and number < place:
            yield None
            number = next(numbers, None)
        if number is None:
            return
        if number == place:
            yield None if frame is None else _pixels(to_rgb.reformat(frame, format="rgb24", threads=1))
            number = next(numbers, None)
    while number is not None:
        yield None
        number = next(numbers, None)


def _pixels(picture: VideoFrame) -> Image:
    """Look at an RGB picture, without copying it."""
    plane = picture.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(picture.height, plane.line_size)
    return rows[:, : 3 * picture.width].reshape(picture.height, picture.width, 3)


def _decoded(
    stream: VideoStream, packets: Iterable["Packet[VideoStream]"], index: VideoIndex, wanted: set[int]
) -> Iterator[tuple[int, VideoFrame | None]]:
    """(number, frame) in rising order, all that are wanted; the frame is None from a damage to the next key frame."""
    decoder, places = stream.codec_context, index.places
    decoder.thread_count = 1  # steps run side by side; in one, threads only wait for each other
    is_damaged, last, needs = False, -1, True
    times = {time for time, number in places.items() if number in wanted}
    for packet in packets:
        if needs != (packet.pts in times):
            needs = not needs
            decoder.skip_frame = "DEFAULT" if needs else "NONREF"
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            is_damaged = True
            continue
        is_damaged = is_damaged or packet.is_corrupt
        for frame in frames:
            is_damaged = frame.is_corrupt or (is_damaged and not frame.key_frame)
            place = -1 if frame.pts is None else places.get(frame.pts, -1)
            if place > last:
                last = place
                yield place, None if is_damaged else frame
