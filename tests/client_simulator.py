"""What the eye tracker does at run time, in plain numpy, PIL and onnxruntime: from a camera frame to a pixel.

It imports nothing of the package: it is what the package's exports, crops and mappings are held against.
Lengths are pixels of the frame; a box is (left, top, right, bottom); a crop is (left, top, width, height).
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

PIXELS_PER_DEGREE = 20.0
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
MESH_POINTS = 468
REQUIRED_NUMBERS = ("yaw_offset", "pitch_offset", "yaw_gain", "pitch_gain")
NUMBERS = ("yaw_curve", "yaw_gain", "yaw_offset", "pitch_curve", "pitch_gain", "pitch_offset")


def open_model(path):
    """An onnxruntime session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def triangle_resize(image, width, height):
    """(H, W, 3) uint8 -> (height, width, 3) uint8 as the Rust image crate's Triangle filter does.

    Rows first into floats, then columns, rounded once; the filter widens when it makes a picture smaller.
    """
    if image.shape[:2] == (height, width):
        return image.copy()
    rows = _triangle_weights(image.shape[0], height) @ image.reshape(image.shape[0], -1).astype(np.float32)
    rows = rows.reshape(height, image.shape[1], 3).transpose(1, 0, 2).reshape(image.shape[1], -1)
    columns = (_triangle_weights(image.shape[1], width) @ rows).reshape(width, height, 3).transpose(1, 0, 2)
    return np.floor(np.clip(columns, 0, 255) + 0.5).astype(np.uint8)


def _triangle_weights(size, new_size):
    """(new_size, size) float32 rows that sum to one."""
    ratio = size / new_size
    scale = max(ratio, 1.0)
    weights = np.zeros((new_size, size), np.float32)
    for out in range(new_size):
        centre = (out + 0.5) * ratio
        left = min(max(math.floor(centre - scale), 0), size - 1)
        right = min(max(math.ceil(centre + scale), left + 1), size)
        each = np.clip(1 - np.abs((np.arange(left, right) - (centre - 0.5)) / scale), 0, None)
        weights[out, left:right] = each / each.sum()
    return weights


def client_anchors():
    """(4420, 4) centre x, y, width, height as the client makes them: rows of the last two maps too far apart."""
    rows = []
    for stride, columns, lines, sides in (
        (8, 40, 30, (10, 16, 24)), (16, 20, 15, (32, 48)), (32, 10, 8, (64, 96)), (64, 5, 4, (128, 192, 256)),
    ):  # fmt: skip
        for line in range(lines):
            for column in range(columns):
                centre = ((column + 0.5) * stride / 320, (line + 0.5) * stride / 240)
                rows += [(*centre, side / 320, side / 240) for side in sides]
    return np.array(rows, np.float32)


def detect_face(session, frame, *, threshold=0.7, decode=True):
    """The surest face, (4,) px, or None.

    Args:
        session: an UltraFace of 320 x 240.
        frame: (H, W, 3) uint8 RGB.
        threshold: of the score.
        decode: as the client: decode what the net gives, also where it is decoded already.
    """
    height, width = frame.shape[:2]
    small = (triangle_resize(frame, 320, 240).astype(np.float32) - 127) / 128
    scores, boxes = session.run(["scores", "boxes"], {"input": small.transpose(2, 0, 1)[None]})
    best = int(scores[0, :, 1].argmax())
    if scores[0, best, 1] <= threshold:
        return None
    box = boxes[0, best]
    if decode:
        anchor = client_anchors()[best]
        centre = box[:2] * 0.1 * anchor[2:] + anchor[:2]
        half = np.exp(box[2:] * 0.2) * anchor[2:] / 2
        box = np.concatenate((centre - half, centre + half))
    return box * np.array([width, height, width, height], np.float32)


def mesh_crop(box, *, frame_width, frame_height):
    """Crop for the face mesh: a quarter more than the box, slid in at the left and top, cut at the right and bottom."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    x, y = max(left - 0.125 * width, 0.0), max(top - 0.125 * height, 0.0)
    width, height = min(1.25 * width, frame_width - x), min(1.25 * height, frame_height - y)
    return tuple(int(v) for v in (x, y, width, height))


def mesh_box(session, frame, box):
    """Box of the 468 points that the mesh net finds in a detector's box, (4,) px."""
    crop = mesh_crop(box, frame_width=frame.shape[1], frame_height=frame.shape[0])
    x, y, width, height = crop
    face = triangle_resize(frame[y : y + height, x : x + width], 192, 192).astype(np.float32) / 127.5 - 1
    found = session.run(None, {session.get_inputs()[0].name: face[None]})[0].reshape(-1)
    assert len(found) >= 3 * MESH_POINTS
    points = found[: 3 * MESH_POINTS].reshape(-1, 3)[:, :2] * np.array([width, height]) / 192 + np.array([x, y])
    return np.concatenate((points.min(0), points.max(0)))


def gaze_crop(box, *, frame_width, frame_height):
    """Crop for the gaze net: a square of 1.5 times the box, slid in at left and top, cut at right and bottom."""
    left, top, right, bottom = (float(v) for v in box)
    size = 1.5 * max(right - left, bottom - top)
    x, y = max((left + right) / 2 - size / 2, 0.0), max((top + bottom) / 2 - size / 2, 0.0)
    width, height = min(size, frame_width - x), min(size, frame_height - y)
    return tuple(int(v) for v in (x, y, width, height))


def face_picture(frame, box, *, size_px=448):
    """(S, S, 3) uint8 that the gaze net sees."""
    x, y, width, height = gaze_crop(box, frame_width=frame.shape[1], frame_height=frame.shape[0])
    return triangle_resize(frame[y : y + height, x : x + width], size_px, size_px)


def tensor_of(picture):
    """(1, 3, S, S) float32 of a (S, S, 3) uint8 RGB picture."""
    return ((picture.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)[None]


def decode_outputs(outputs):
    """Yaw and pitch in degrees from what the net gave; None where the client drops the frame."""
    if any(each.dtype != np.float32 for each in outputs[:2]):
        return None
    if len(outputs) == 1:
        return tuple(float(v) for v in outputs[0].reshape(-1)) if outputs[0].size == 2 else None
    angles = []
    for logits in outputs[:2]:
        flat = logits.reshape(-1)
        share = np.exp(flat - flat.max())
        share /= share.sum()
        angles.append(float((share * np.arange(len(flat))).sum() * 360 / len(flat) - 180))
    return tuple(angles)


def calibrated(angles_deg, numbers):
    """Yaw and pitch as drawn: its two polynomials, pitch negated."""
    yaw, pitch = angles_deg
    yaw_drawn = numbers["yaw_curve"] * yaw**2 + numbers["yaw_gain"] * yaw + numbers["yaw_offset"]
    pitch_drawn = -(numbers["pitch_curve"] * pitch**2 + numbers["pitch_gain"] * pitch + numbers["pitch_offset"])
    return yaw_drawn, pitch_drawn


def to_screen(angles_deg, numbers, *, window_px):
    """Pixel that the client draws, (x, y), from yaw and pitch in degrees and the six numbers of its config."""
    return _pixel(calibrated(angles_deg, numbers), window_px)


def _pixel(drawn_deg, window_px):
    width, height = window_px
    return width / 2 + drawn_deg[0] * PIXELS_PER_DEGREE, height / 2 - drawn_deg[1] * PIXELS_PER_DEGREE


@dataclass
class Client:
    """The eye tracker in its folder: its config.json is read as strictly as it does itself."""

    folder: Path
    window_px: tuple
    smoothing: float = 1.0
    """Weight of a new frame; the client's is 0.4, 1 switches the average off."""

    def __post_init__(self):
        config = json.loads(Path(self.folder, "config.json").read_text(encoding="utf-8"))
        models = config.get("calibration", {"models": {}})["models"]
        for each in models.values():
            assert all(isinstance(each[name], (int, float)) for name in REQUIRED_NUMBERS), (
                "would be replaced by defaults"
            )
        neutral = {name: float(name.endswith("gain")) for name in NUMBERS}
        self.numbers = neutral | models.get("l2cs", {})
        self.session = open_model(Path(self.folder, config.get("models", {}).get("l2cs_path", "models/l2cs_net.onnx")))
        self.last = None

    @property
    def size_px(self):
        """Side of the picture that its gaze net takes; the client's own is 448."""
        return self.session.get_inputs()[0].shape[-1]

    @property
    def overridden(self):
        """Whether SVR files replace the calibration: the client loads both or neither."""
        return all(Path(self.folder, f"svr_l2cs_{axis}.model").is_file() for axis in "xy")

    def angles(self, frame, box):
        """Yaw and pitch in degrees of a frame (H, W, 3) RGB whose face box is known."""
        picture = face_picture(frame, box, size_px=self.size_px)
        return decode_outputs(self.session.run(None, {self.session.get_inputs()[0].name: tensor_of(picture)}))

    def look(self, frame, box):
        """Pixel of the window that a frame makes it draw."""
        assert not self.overridden, "the SVR's pixels times 20 are off every screen"
        angles = self.angles(frame, box)
        assert angles is not None, "the client drops this frame"
        drawn, weight = calibrated(angles, self.numbers), self.smoothing
        if self.last is not None:
            drawn = tuple(weight * now + (1 - weight) * before for now, before in zip(drawn, self.last, strict=True))
        self.last = drawn
        return _pixel(drawn, self.window_px)
