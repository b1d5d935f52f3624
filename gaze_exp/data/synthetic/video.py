"""Frames to mp4 and back, through PyAV.

PyAV and not the ffmpeg program: its wheels for x86-64 and ARM Linux bring libx264 along, so that nothing has
to be installed beside Python and a frame never passes through a pipe.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

_BITEXACT = 0x400
"""AVFMT_FLAG_BITEXACT: no time and no version in the header, so that the same frames are the same bytes."""


class VideoWriter:
    """An H.264 video that grows by frames; the memory it takes does not.

    Args:
        path: the mp4 file.
        width_px: of every frame, even.
        height_px: of every frame, even.
        fps: frames a second.
        quality: x264's constant rate factor; 18 looks like the original.
    """

    def __init__(self, path: Path, *, width_px: int, height_px: int, fps: int, quality: int = 18) -> None:
        self._file = av.open(str(path), "w", format="mp4")
        self._file.flags |= _BITEXACT
        # One thread: x264 cuts a frame into as many slices as it has threads, and the bytes would differ.
        options = {"crf": str(quality), "preset": "veryfast", "threads": "1"}
        self._stream = self._file.add_stream("libx264", rate=fps, options=options)
        self._stream.width, self._stream.height = width_px, height_px
        self._stream.pix_fmt = "yuv420p"

    def __enter__(self) -> Self:
        return self

    def append(self, frames: np.ndarray) -> None:
        """Encode the next frames.

        Args:
            frames: (F, H, W, 3) uint8 RGB.
        """
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            self._file.mux(self._stream.encode(picture))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.mux(self._stream.encode())
        finally:
            self._file.close()


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Decode a video from its start.

    Args:
        path: the video.

    Yields:
        (H, W, 3) uint8 RGB.
    """
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            yield frame.to_ndarray(format="rgb24")
