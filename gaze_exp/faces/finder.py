"""From a photo to the one face whose gaze counts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from gaze_exp.errors import DataError
from gaze_exp.faces.detector import FaceDetector, open_detector
from gaze_exp.faces.face import Face
from gaze_exp.faces.mesh import FaceMesh
from gaze_exp.file_hash import sha256_of


@dataclass(frozen=True)
class FaceFinder:
    """A detector, and a mesh where the user has one."""

    detector: FaceDetector
    mesh: FaceMesh | None
    facts: dict[str, Any]
    """Files, digests and options, for a manifest."""

    def find(self, photo: Image.Image) -> tuple[Face, int]:
        """Find the largest face.

        Args:
            photo: RGB.

        Returns:
            Its box (of the mesh's points, with a mesh), and how many faces there were.

        Raises:
            DataError: there is none.
        """
        faces = self.detector.faces(photo)
        if not faces:
            raise DataError(f"no face above a confidence of {self.facts['min_confidence']:g}")
        face = max(faces, key=lambda one: one.area)
        return (self.mesh.box(photo, face) if self.mesh else face), len(faces)


def open_finder(
    detector: str | Path | None,
    *,
    mesh: str | Path | None = None,
    min_confidence: float = 0.7,
    client_quirk: bool | None = None,
) -> FaceFinder:
    """Open the user's model files.

    Args:
        detector: UltraFace or YuNet, ONNX.
        mesh: the client's face mesh, ONNX.
        min_confidence: a face is above it.
        client_quirk: decode the detector's boxes as the client does, right or wrong; None does so where a mesh is
            given and the detector is the client's, so that the crop is the one of run time.

    Raises:
        ConfigError: a file is missing or not what it should be.
    """
    opened = open_detector(detector, min_confidence=min_confidence, client_quirk=bool(client_quirk))
    as_client = bool(mesh and opened.kind == "ultraface") if client_quirk is None else client_quirk
    if as_client and not client_quirk:
        opened = open_detector(detector, min_confidence=min_confidence, client_quirk=True)
    opened_mesh = FaceMesh(mesh) if mesh else None
    facts = {
        "detector": _file_facts(detector) | {"kind": opened.kind, "boxes": "decoded" if opened.decoded else "raw"},
        "mesh": _file_facts(mesh) if mesh else None,
        "min_confidence": min_confidence,
        "client_quirk": as_client,
        "box_of": "mesh" if mesh else "detector",
    }
    return FaceFinder(opened, opened_mesh, facts)


def _file_facts(path: str | Path | None) -> dict[str, str]:
    assert path, "opened before"
    return {"file": str(path), "sha256": sha256_of(Path(path).expanduser())}
