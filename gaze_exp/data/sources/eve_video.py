"""Frames of an EVE video by their number, decoded from its start in one go: never a seek.

A frame that cannot be decoded is None, and so is every later one up to the next key frame: what H.264 predicts
from a broken picture looks plausible and is wrong. Frames are numbered by their presentation times, so that one
that is lost does not move the others beside wrong labels. Frames that nobody wants and no other frame needs (most
B-frames) are passed over: a third of the decoding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

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
            times = sorted({packet.pts for packet in file.demux(stream) if packet.pts is not None and packet.size})
            return VideoIndex({time: number for number, time in enumerate(times)}, float(stream.average_rate or 0))
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise DataError(f"{path}: cannot be opened as video: {error}; it is cut short, copy it again") from error


def read_frames(path: Path, index: VideoIndex, wanted: Sequence[int]) -> Iterator[Image | None]:
    """Decode some frames of a video.

    Args:
        path: the video.
        index: of the same file.
        wanted: numbers of frames, rising.

    Yields:
        For each wanted frame (H, W, 3) uint8 RGB, or None where it cannot be decoded.
    """
    to_rgb = VideoReformatter()
    numbers = iter(wanted)
    number = next(numbers, None)
    for place, frame in _decoded(path, index, set(wanted)):
        while number is not None and number < place:
            yield None
            number = next(numbers, None)
        if number is None:
            return
        if number == place:
            yield None if frame is None else to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray()
            number = next(numbers, None)
    while number is not None:
        yield None
        number = next(numbers, None)


def _decoded(path: Path, index: VideoIndex, wanted: set[int]) -> Iterator[tuple[int, VideoFrame | None]]:
    """(number, frame) in rising order, all that are wanted; the frame is None from a damage to the next key frame."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        stream.codec_context.thread_count = 1  # steps run side by side; in one, threads only wait for each other
        is_damaged, last, needs = False, -1, True
        times = {time for time, number in index.places.items() if number in wanted}
        for packet in file.demux(stream):
            if needs != (packet.pts in times):
                needs = not needs
                stream.codec_context.skip_frame = "DEFAULT" if needs else "NONREF"
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                is_damaged = True
                continue
            is_damaged = is_damaged or packet.is_corrupt
            for frame in frames:
                is_damaged = frame.is_corrupt or (is_damaged and not frame.key_frame)
                place = -1 if frame.pts is None else index.places.get(frame.pts, -1)
                if place > last:
                    last = place
                    yield place, None if is_damaged else frame
