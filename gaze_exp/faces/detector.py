"""Open a user's face detector, whichever of the known kinds it is."""

from pathlib import Path
from typing import Protocol

from PIL import Image

from gaze_exp.errors import ConfigError
from gaze_exp.faces.face import Face
from gaze_exp.faces.onnx_file import open_session
from gaze_exp.faces.ultraface import KEY, UltraFace
from gaze_exp.faces.yunet import OUTPUTS, YuNet

WHERE_TO_GET_IT = (
    "the client's own is models/face_detection.onnx in its folder (an UltraFace, version-RFB-320.onnx from "
    "github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, models/onnx/, MIT)"
)


class FaceDetector(Protocol):
    """What finds faces."""

    kind: str
    """ultraface or yunet."""
    decoded: bool
    """The file gives corners rather than offsets to be decoded."""

    def faces(self, photo: Image.Image) -> list[Face]:
        """Faces of an RGB photo, the surest first."""


def open_detector(path: str | Path | None, *, min_confidence: float = 0.7, client_quirk: bool = False) -> FaceDetector:
    """Open an UltraFace or a YuNet.

    Args:
        path: of the ONNX file.
        min_confidence: a face is above it, 0..1.
        client_quirk: decode an UltraFace's boxes as the client does, right or wrong.

    Raises:
        ConfigError: no file given, or none that is known.
    """
    if not path:
        raise ConfigError(f"{KEY}: nothing given; {WHERE_TO_GET_IT}")
    if not isinstance(min_confidence, (int, float)) or not 0 <= min_confidence < 1:
        raise ConfigError(f"faces.min_confidence: {min_confidence} is none; 0.7, from 0 to below 1, is the client's")
    path = Path(path).expanduser()
    outputs = {node.name for node in open_session(path, key=KEY).get_outputs()}
    if {"scores", "boxes"} <= outputs:
        return UltraFace(path, min_confidence=min_confidence, client_quirk=client_quirk)
    if outputs.issuperset(OUTPUTS):
        if client_quirk:
            raise ConfigError("faces.client_quirk: the client knows no YuNet; false, or an UltraFace, would be right")
        return YuNet(path, min_confidence=min_confidence)
    told = ", ".join(sorted(outputs)[:4])
    raise ConfigError(f"{KEY}: {path} is no UltraFace and no YuNet (its outputs: {told}); {WHERE_TO_GET_IT}")
