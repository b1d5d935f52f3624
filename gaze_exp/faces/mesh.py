"""The client's face mesh: 468 points of a face, whose bounding box the client crops at run time."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gaze_exp.errors import ConfigError, DataError
from gaze_exp.faces.face import Face
from gaze_exp.faces.onnx_file import open_session
from gaze_exp.faces.shrink import shrunk

KEY = "faces.mesh"
SIZE_PX = 192
NUM_POINTS = 468
_PADDING = 0.25


class FaceMesh:
    """A model (1, 192, 192, 3) -1..1 -> at least 468 points x, y, z in px of its input."""

    def __init__(self, path: str | Path) -> None:
        """Open a file.

        Raises:
            ConfigError: another model.
        """
        path = Path(path).expanduser()
        self.session = open_session(path, key=KEY)
        self.input = self.session.get_inputs()[0]
        fits = len(self.input.shape) == 4 and all(
            not isinstance(n, int) or n == right
            for n, right in zip(self.input.shape, (1, SIZE_PX, SIZE_PX, 3), strict=True)
        )
        if not fits:
            raise ConfigError(
                f"{KEY}: {path} takes {self.input.shape}; the client's face mesh takes [1, {SIZE_PX}, {SIZE_PX}, 3]"
            )

    def points(self, photo: Image.Image, face: Face) -> NDArray[np.float32]:
        """Find the points of one face.

        Args:
            photo: RGB.
            face: where a detector saw it.

        Returns:
            (468, 2) px of the photo.

        Raises:
            ConfigError: the model gives fewer.
            DataError: the face is outside of the photo, or the points are no numbers.

        Source:
            The client's `FaceMeshPipeline::process`: it cuts whole px and scales back by the uncut sizes.
        """
        x, y, width, height = _padded(face, photo)
        edges = (int(x), int(y), int(x) + int(width), int(y) + int(height))
        small = shrunk(photo.crop(edges), width_px=SIZE_PX, height_px=SIZE_PX)
        pixels = small.astype(np.float32)[None] / np.float32(127.5) - np.float32(1)
        values = self.session.run(None, {self.input.name: pixels})[0].reshape(-1)
        if len(values) < 3 * NUM_POINTS:
            raise ConfigError(f"{KEY}: gives {len(values)} numbers; a face mesh gives {3 * NUM_POINTS} or more")
        found = values[: 3 * NUM_POINTS].reshape(-1, 3)[:, :2].astype(np.float32)
        if not np.isfinite(found).all():
            raise DataError("the face mesh found no points in it")
        scale = np.array([width, height], np.float32) / np.float32(SIZE_PX)
        return np.array([x, y], np.float32) + found * scale

    def box(self, photo: Image.Image, face: Face) -> Face:
        """The same face with the bounding box of its points."""
        found = self.points(photo, face)
        return Face.at((*found.min(0), *found.max(0)), face.confidence)


def _padded(face: Face, photo: Image.Image) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Left, top, width and height of what the mesh looks at: an eighth more on each side, inside of the photo."""
    left, top, right, bottom = (np.float32(edge) for edge in (face.left, face.top, face.right, face.bottom))
    more_x, more_y = (right - left) * np.float32(_PADDING), (bottom - top) * np.float32(_PADDING)
    # The client moves a box inwards at the left and top without making it smaller.
    x, y = max(left - more_x / 2, np.float32(0)), max(top - more_y / 2, np.float32(0))
    width = min(right - left + more_x, np.float32(photo.width) - x)
    height = min(bottom - top + more_y, np.float32(photo.height) - y)
    if int(width) < 1 or int(height) < 1:
        raise DataError("the face lies outside of the photo")
    return x, y, width, height
