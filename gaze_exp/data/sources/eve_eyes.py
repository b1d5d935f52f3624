"""Which half of `_eyes.mp4` is the left eye: what `left_W` cuts out of the full frame decides."""

import cv2
import numpy as np

from gaze_exp.data.sources.eve_labels import SCREEN_PX, StepLabels
from gaze_exp.data.sources.eve_release import Recording
from gaze_exp.data.sources.eve_video import index_video, read_frames
from gaze_exp.errors import DataError

FRAME_PX = SCREEN_PX
"""EVE's cameras record as many pixels as its screen has; a warp speaks of those."""
LEAST_DIFFERENCE = 0.03
_NUM_FRAMES = 3


def which_half(recording: Recording, labels: StepLabels) -> str | None:
    """Compare the first frames with what `left_W` and `right_W` cut out of the full ones.

    Args:
        recording: with `_eyes.mp4`, and the full frames if they are there.
        labels: of the same recording.

    Returns:
        `right half` (the authors' mapping) or `left half`; None without full frames, or when both fit alike.
    """
    frames = recording.path(".mp4")
    if not frames.is_file():
        return None
    wanted = range(_NUM_FRAMES)
    try:
        full = list(read_frames(frames, index_video(frames), wanted))
        pairs = list(read_frames(recording.path("_eyes.mp4"), index_video(recording.path("_eyes.mp4")), wanted))
    except DataError:
        return None
    votes = [
        better_on_the_right(frame, pair, left_W=labels.arrays["left_W"][row], right_W=labels.arrays["right_W"][row])
        for row, (frame, pair) in enumerate(zip(full, pairs, strict=True))
        if frame is not None and pair is not None and row < labels.num_rows
    ]
    known = [vote for vote in votes if np.isfinite(vote)]
    mean = float(np.mean(known)) if known else 0.0
    return None if abs(mean) < LEAST_DIFFERENCE else "right half" if mean > 0 else "left half"


def better_on_the_right(frame: np.ndarray, pair: np.ndarray, *, left_W: np.ndarray, right_W: np.ndarray) -> float:
    """How much better the left eye fits the right half than the left one.

    Args:
        frame: (H, W, 3) the full frame, of any size.
        pair: (h, 2 w, 3) the frame of `_eyes.mp4`.
        left_W: (3, 3) pixels of a 1920x1080 frame -> pixels of the left eye's patch.
        right_W: (3, 3) of the right eye's.

    Returns:
        Difference of correlations, -2..2; NaN where a warp is not known.
    """
    if not np.isfinite([left_W, right_W]).all():
        return float("nan")
    height, width = pair.shape[0], pair.shape[1] // 2
    scale = np.diag([FRAME_PX[0] / frame.shape[1], FRAME_PX[1] / frame.shape[0], 1.0])
    left, right = (cv2.warpPerspective(frame, warp @ scale, (width, height)) for warp in (left_W, right_W))
    on_left, on_right = pair[:, :width], pair[:, width:]
    with np.errstate(invalid="ignore"):  # a black patch has no correlation
        usual = _alike(left, on_right) + _alike(right, on_left)
        swapped = _alike(left, on_left) + _alike(right, on_right)
    return float(usual - swapped)


def _alike(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
