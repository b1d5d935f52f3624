"""Rendered people as a data module: the first run renders them, every later one finds them."""

import hashlib
import logging
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from gaze_exp.data.datamodule import CropDataModule
from gaze_exp.data.synthetic.motion import Movement
from gaze_exp.data.synthetic.rendering import RenderPlan, is_complete, render_crops
from gaze_exp.data.synthetic.rigs import ABOVE, BELOW
from gaze_exp.errors import ConfigError, DataError

log = logging.getLogger(__name__)

_NO_PIXELS = {
    *("datamodule", "rendering", "jobs", "set_plan", "layouts", "contact_sheet", "video"),
    *("eve_layout", "eve_labels", "eve_screen", "calibration_layout", "sitting"),
}
"""Files that cannot change what is in a crop file."""


class SyntheticDataModule(CropDataModule):
    """Crop files of rendered people, made when they are first needed.

    Args:
        root: folder of all rendered sets; each gets a folder of its own, named by what decides its pixels.
        num_train_persons: persons to train on.
        num_val_persons: persons to validate on; none of them is in training.
        num_test_persons: persons to test on; none of them is in training or validation.
        frames_per_person: rows of each file.
        face_size: side of the face crop, px.
        face_width_mm: what it spans: 160 as in EVE, 280 as in a square of 1.5 times a detector's box.
        eye_size: side of the eye crops, px.
        scene_seed: another seed, other people.
        sample_hz: frames a second of people who move; 0 draws every frame apart.
        frames_per_step: frames that follow each other, of people who move.
        masks: render masks of the eyes too, and read them.
        camera_below: the camera is below the screen instead of above it.
        camera: the camera in the file name.
        **reading: the other arguments of `CropDataModule`.
    """

    def __init__(
        self,
        root: str | Path = "outputs/data/synthetic",
        *,
        num_train_persons: int = 48,
        num_val_persons: int = 6,
        num_test_persons: int = 8,
        frames_per_person: int = 150,
        face_size: int = 224,
        face_width_mm: float = 160.0,
        eye_size: int = 112,
        scene_seed: int = 0,
        sample_hz: int = 0,
        frames_per_step: int = 48,
        masks: bool = False,
        camera_below: bool = False,
        camera: str = "basler",
        **reading: Any,
    ) -> None:
        self.plan = RenderPlan(
            num_train_persons=num_train_persons,
            num_val_persons=num_val_persons,
            num_test_persons=num_test_persons,
            frames_per_person=frames_per_person,
            face_size=face_size,
            face_width_mm=face_width_mm,
            eye_size=eye_size,
            scene_seed=scene_seed,
            camera=camera,
            rig=BELOW if camera_below else ABOVE,
            movement=Movement(fps=sample_hz, frames_per_step=frames_per_step) if sample_hz else None,
            masks=masks,
        )
        _check(self.plan)
        super().__init__(Path(root).expanduser() / _folder_name(self.plan), camera=camera, masks=masks, **reading)

    def prepare_data(self) -> None:
        """Render what is missing.

        Raises:
            DataError: the folder cannot be written, or the disk is too small.
        """
        if is_complete(self.root, self.plan):
            _say_once(self.root)
        else:
            render_crops(self.root, self.plan)

    def setup(self, stage: str | None = None) -> None:
        """Look at every file once.

        Args:
            stage: what Lightning is about to do.

        Raises:
            DataError: rendering was not finished.
        """
        if not self._splits and not is_complete(self.root, self.plan):
            raise DataError(f"data.root: {self.root} is not completely rendered; call prepare_data() to go on")
        super().setup(stage)


@cache
def _say_once(root: Path) -> None:
    """Lightning and every action ask again; the user wants to hear it once."""
    log.info("rendered people are in %s", root)


def _check(plan: RenderPlan) -> None:
    least = {"num_test_persons": 0, "scene_seed": 0, "face_size": 8, "eye_size": 8, "face_width_mm": 20.0}
    for name, value in asdict(plan).items():
        if isinstance(value, int | float) and not isinstance(value, bool) and value < least.get(name, 1):
            raise ConfigError(f"data.{name}: {value} is too small; {least.get(name, 1)} or more")


def _folder_name(plan: RenderPlan) -> str:
    """Sizes to read, and a hash of the plan and of the code that draws: old pictures are never taken for new."""
    digest = hashlib.sha256(repr(sorted(asdict(plan).items())).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        if source.stem not in _NO_PIXELS:
            digest.update(source.read_bytes())
    return f"face{plan.face_size}_eyes{plan.eye_size}_seed{plan.scene_seed}_{digest.hexdigest()[:10]}"
