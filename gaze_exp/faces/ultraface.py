"""UltraFace, the client's `face_detection.onnx`: boxes that come decoded or raw, told apart by graph and by data.

Source: Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB (RFB-320, RFB-640, slim).
"""

import math
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from gaze_exp.errors import ConfigError
from gaze_exp.faces.face import Face, faces_of
from gaze_exp.faces.onnx_file import open_session, read_graph
from gaze_exp.faces.shrink import shrunk

Array = NDArray[np.float32]
KEY = "faces.detector"
SMALLEST_PX = ((10.0, 16.0, 24.0), (32.0, 48.0), (64.0, 96.0), (128.0, 192.0, 256.0))
"""Faces that each of the four maps looks for."""
STRIDES = (8, 16, 32, 64)
_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2


class UltraFace:
    """Finds faces; see `detector.FaceDetector`."""

    kind = "ultraface"

    def __init__(self, path: Path, *, min_confidence: float = 0.7, client_quirk: bool = False) -> None:
        """Open and examine a file.

        Args:
            path: of the ONNX file.
            min_confidence: a face is above it.
            client_quirk: take the boxes for raw ones whatever they are, with the client's anchors and without
                suppressing overlaps: the surest alone counts. That is what the eye tracker does at run time.

        Raises:
            ConfigError: another model, or one whose graph and boxes contradict each other.
        """
        self.session = open_session(path, key=KEY)
        self.min_confidence = min_confidence
        self.client_quirk = client_quirk
        self.input = self.session.get_inputs()[0]
        free = not all(isinstance(n, int) for n in self.input.shape[2:])
        height, width = (240, 320) if free else self.input.shape[2:]
        self.size_px = (width, height)
        self.anchors = anchors(width, height, clipped=not client_quirk)
        by_graph = decodes_in_graph(read_graph(path, key=KEY), output=self._names()[1])
        self.decoded = agreed(by_graph, self._run(_noise(width, height))[1], path=path)

    def faces(self, photo: Image.Image) -> list[Face]:
        """Find the faces of a photo.

        Args:
            photo: RGB, of any size.

        Returns:
            The surest first.
        """
        width, height = self.size_px
        scores, boxes = self._run(shrunk(photo, width_px=width, height_px=height))
        if self.client_quirk or not self.decoded:
            boxes = decode(boxes, self.anchors)
        boxes_px = boxes * np.array([photo.width, photo.height] * 2, np.float32)
        if self.client_quirk:
            best = int(scores.argmax())
            boxes_px, scores = boxes_px[best : best + 1], scores[best : best + 1]
        return faces_of(boxes_px, scores, min_confidence=self.min_confidence)

    def _run(self, small: NDArray[np.uint8]) -> tuple[Array, Array]:
        """(N,) scores of a face and (N, 4) boxes as the model gives them."""
        pixels = (small.astype(np.float32) - 127.0) / 128.0
        scores, boxes = self.session.run(self._names(), {self.input.name: pixels.transpose(2, 0, 1)[None]})
        if boxes.shape != (1, len(self.anchors), 4) or scores.shape[:2] != boxes.shape[:2]:
            raise ConfigError(
                f"{KEY}: gives scores {scores.shape} and boxes {boxes.shape}, an UltraFace of {self.size_px} px has "
                f"{len(self.anchors)} boxes; version-RFB-320.onnx is one"
            )
        return scores[0, :, 1:].max(-1), boxes[0]

    def _names(self) -> tuple[str, str]:
        """Outputs: scores, boxes."""
        names = {node.name for node in self.session.get_outputs()}
        if names != {"scores", "boxes"}:
            raise ConfigError(f"{KEY}: its outputs are {', '.join(sorted(names))}; an UltraFace has scores and boxes")
        return "scores", "boxes"


def anchors(width_px: int, height_px: int, *, clipped: bool = True) -> Array:
    """Boxes that the raw offsets refer to.

    Args:
        width_px: of the model's input.
        height_px: likewise.
        clipped: as the detector was trained: rows are spread over the whole height where it is no multiple of the
            stride, and everything is clipped to the picture. The client does neither.

    Returns:
        (N, 4) centre x, y, width, height in parts of the picture.

    Source:
        `vision/ssd/config/fd_config.py` and `vision/utils/box_utils.py` of the detector.

    >>> anchors(320, 240).shape
    (4420, 4)
    """
    levels = []
    for stride, sizes in zip(STRIDES, SMALLEST_PX, strict=True):
        columns, rows = math.ceil(width_px / stride), math.ceil(height_px / stride)
        step_x, step_y = (width_px / columns, height_px / rows) if clipped else (stride, stride)
        y, x, size = np.meshgrid(
            (np.arange(rows) + 0.5) * step_y / height_px, (np.arange(columns) + 0.5) * step_x / width_px, sizes,
            indexing="ij",
        )  # fmt: skip
        levels.append(np.stack((x, y, size / width_px, size / height_px), -1).reshape(-1, 4))
    boxes = np.concatenate(levels)
    return (boxes.clip(0, 1) if clipped else boxes).astype(np.float32)


def decode(offsets: Array, boxes: Array) -> Array:
    """Apply raw offsets to the anchors.

    Args:
        offsets: (N, 4).
        boxes: (N, 4) anchors.

    Returns:
        (N, 4) left, top, right, bottom in parts of the picture.

    Source:
        SSD (Liu et al. 2016) with variances 0.1 and 0.2.
    """
    centre = offsets[:, :2] * _CENTRE_VARIANCE * boxes[:, 2:] + boxes[:, :2]
    half = np.exp(offsets[:, 2:] * _SIZE_VARIANCE) * boxes[:, 2:] / 2
    return np.concatenate((centre - half, centre + half), -1)


def decodes_in_graph(graph: onnx.GraphProto, *, output: str = "boxes") -> bool:
    """Whether the sizes of the boxes pass an exponential on their way out, as decoding has it."""
    makers = {name: node for node in graph.node for name in node.output}
    waiting, seen = [output], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in makers:
            continue
        seen.add(name)
        if makers[name].op_type == "Exp":
            return True
        waiting += makers[name].input
    return False


def agreed(by_graph: bool, boxes: Array, *, path: Path) -> bool:
    """Whether boxes come decoded, if graph and data say the same.

    Args:
        by_graph: the graph decodes.
        boxes: (N, 4) of some picture. Decoded corners are in order in every row, raw offsets in one of seven.
        path: for the error.

    Raises:
        ConfigError: they contradict each other.
    """
    in_order = float(((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).mean())
    by_data = in_order > 0.99
    if by_graph != by_data:
        told = "decodes its boxes (Exp)" if by_graph else "does not decode its boxes (no Exp)"
        raise ConfigError(
            f"{KEY}: {path} contradicts itself: its graph {told}, but {in_order:.0%} of the boxes it gives are corners "
            "in order; version-RFB-320.onnx, or version-RFB-320_without_postprocessing.onnx, as released is right"
        )
    return by_data


def _noise(width_px: int, height_px: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height_px, width_px, 3), np.uint8)
