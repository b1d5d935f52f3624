"""Face detectors that others made, run as their makers say; the files come from the folder GAZE_TEST_DATA names."""

import os
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

ULTRAFACE = "version-RFB-320.onnx"
YUNET = "yunet_n_320_320.onnx"
_SOURCES = {
    ULTRAFACE: "Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, models/onnx/",
    YUNET: "ShiqiYu/libfacedetection.train, onnx/",
}


def detector_file(name):
    """Path of a detector, or a skip that says what is missing."""
    folder = os.environ.get("GAZE_TEST_DATA")
    path = Path(folder or "") / "detectors" / name
    if not folder or not path.is_file():
        pytest.skip(f"needs $GAZE_TEST_DATA/detectors/{name} (from {_SOURCES[name]})")
    return path


class UltraFace:
    """RFB-320: picture -> (N, 4) boxes in px, best first, overlaps removed."""

    def __init__(self, path, threshold=0.7):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # its initialisers are listed as inputs, which makes a long warning
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.threshold = threshold

    def __call__(self, picture):
        height, width = picture.shape[:2]
        small = (cv2.resize(picture, (320, 240)).astype(np.float32) - 127) / 128
        scores, boxes = self.session.run(None, {"input": small.transpose(2, 0, 1)[None]})
        found = scores[0, :, 1] > self.threshold
        scores, boxes = scores[0, found, 1], boxes[0, found] * [width, height, width, height]
        kept = []
        for box in boxes[np.argsort(-scores)]:
            if all(overlap(box, other) < 0.3 for other in kept):
                kept.append(box)
        return np.array(kept).reshape(-1, 4)


class YuNet:
    """Picture -> (2, 2) px of the left and the right eye of the surest face, or None."""

    def __init__(self, path, *, width_px, height_px):
        self.detector = cv2.FaceDetectorYN.create(str(path), "", (width_px, height_px), 0.5)

    def __call__(self, picture):
        _, faces = self.detector.detect(np.ascontiguousarray(picture[..., ::-1]))
        if faces is None:
            return None
        surest = max(faces, key=lambda face: face[-1])
        return np.stack((surest[6:8], surest[4:6]))


def overlap(box, other):
    """Intersection over union of two boxes (left, top, right, bottom)."""
    size = np.clip(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0, None)
    areas = (box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod()
    return size.prod() / (areas - size.prod())
