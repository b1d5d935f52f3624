"""YuNet, the face detector that OpenCV ships an API for, run by onnxruntime.

Source: ShiqiYu/libfacedetection.train; decoding as in its `onnx` exports and OpenCV's FaceDetectorYN.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gaze_exp.errors import ConfigError
from gaze_exp.faces.face import Face, faces_of
from gaze_exp.faces.onnx_file import open_session
from gaze_exp.faces.shrink import shrunk

KEY = "faces.detector"
STRIDES = (8, 16, 32)
OUTPUTS = [f"{name}_{stride}" for name in ("cls", "obj", "bbox") for stride in STRIDES]


class YuNet:
    """Finds faces; see `detector.FaceDetector`."""

    kind = "yunet"
    decoded = True

    def __init__(self, path: Path, *, min_confidence: float = 0.7) -> None:
        """Open a file.

        Raises:
            ConfigError: another model.
        """
        self.session = open_session(path, key=KEY)
        self.min_confidence = min_confidence
        self.input = self.session.get_inputs()[0]
        height, width = (n if isinstance(n, int) else 320 for n in self.input.shape[2:])
        if width % STRIDES[-1] or height % STRIDES[-1]:
            raise ConfigError(f"{KEY}: {path} takes {width} x {height} px; a YuNet takes multiples of {STRIDES[-1]}")
        self.size_px = (width, height)

    def faces(self, photo: Image.Image) -> list[Face]:
        """Find the faces of a photo.

        Args:
            photo: RGB, of any size; it is fitted into the model's picture at its own proportions, black beside.

        Returns:
            The surest first.
        """
        width, height = self.size_px
        scale = min(width / photo.width, height / photo.height)
        fitted = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
        canvas = np.zeros((height, width, 3), np.float32)
        canvas[: fitted[1], : fitted[0]] = shrunk(photo, width_px=fitted[0], height_px=fitted[1])
        bgr = canvas[..., ::-1].transpose(2, 0, 1)[None]
        found = dict(zip(OUTPUTS, self.session.run(OUTPUTS, {self.input.name: np.ascontiguousarray(bgr)}), strict=True))
        levels = [self._level(found, stride) for stride in STRIDES]
        boxes = np.concatenate([level[0] for level in levels])
        scores = np.concatenate([level[1] for level in levels])
        back = np.array([photo.width / fitted[0], photo.height / fitted[1]] * 2, np.float32)
        return faces_of(boxes * back, scores, min_confidence=self.min_confidence)

    def _level(
        self, found: dict[str, NDArray[np.float32]], stride: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N, 4) corners in px of the model's picture and (N,) scores of one map."""
        columns, rows = self.size_px[0] // stride, self.size_px[1] // stride
        y, x = (axis.reshape(-1).astype(np.float32) for axis in np.mgrid[:rows, :columns])
        box = found[f"bbox_{stride}"].reshape(-1, 4)
        centre = (np.stack((x, y), -1) + box[:, :2]) * stride
        half = np.exp(box[:, 2:]) * stride / 2
        sure = (found[f"{name}_{stride}"].reshape(-1).clip(0, 1) for name in ("cls", "obj"))
        return np.concatenate((centre - half, centre + half), -1), np.sqrt(np.prod(list(sure), axis=0))
