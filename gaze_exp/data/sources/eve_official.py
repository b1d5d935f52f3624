"""The official EVE release as a data module: the first run converts what it needs, every later one finds it."""

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from gaze_exp.data.datamodule import CropDataModule
from gaze_exp.data.sources.eve_prepare import Preparation, prepare
from gaze_exp.data.sources.eve_step import Settings
from gaze_exp.errors import ConfigError

log = logging.getLogger(__name__)


class EveOfficialDataModule(CropDataModule):
    """Crops of the official release, converted when they are first needed.

    Args:
        source: the folder above `train01`.
        root: the crop files; `task=eve_prepare` makes the same.
        camera: `basler`, `webcam_l`, `webcam_c`, `webcam_r` or `all`.
        persons: only these, such as [train01, val01]; none for all.
        sample_hz: frames a second to keep; 0 for all.
        face_size: side of the face crop, px.
        eye_size: side of the eye crops, px.
        swap_halves: the left eye is the left half of `_eyes.mp4`.
        strict: refuse what is missing, damaged or of unequal length, instead of leaving it out.
        workers: processes that convert; null for one a core, 0 for none beside this one.
        **reading: the other arguments of `CropDataModule`.
    """

    def __init__(
        self,
        source: str | Path | None = None,
        root: str | Path = "outputs/data/eve",
        *,
        camera: str = "basler",
        persons: Sequence[str] = (),
        sample_hz: int = 10,
        face_size: int = 224,
        eye_size: int = 112,
        swap_halves: bool = False,
        strict: bool = False,
        workers: int | None = None,
        **reading: Any,
    ) -> None:
        super().__init__(root, camera=camera, **reading)
        self.plan = preparation(
            source=source,
            root=root,
            camera=camera,
            persons=persons,
            workers=workers,
            sample_hz=sample_hz,
            face_size=face_size,
            eye_size=eye_size,
            swap_halves=swap_halves,
            strict=strict,
        )

    def prepare_data(self) -> None:
        """Convert what is missing.

        Raises:
            DataError: as `eve_prepare.prepare` says.
        """
        _once(self.plan)


def preparation(
    *,
    source: str | Path | None,
    root: str | Path,
    camera: str = "basler",
    persons: Sequence[str] = (),
    workers: int | None = None,
    **settings: Any,
) -> Preparation:
    """A plan from plain values.

    Args:
        source: the folder above `train01`.
        root: where the crop files go.
        camera: one camera or `all`.
        persons: only these; none for all.
        workers: processes; None for one a core, 0 for none beside this one.
        **settings: of `Settings`.

    Raises:
        ConfigError: no source, or a number that makes no sense.
    """
    if source is None:
        raise ConfigError("data.source: nothing given; the folder above train01 of the EVE release is right")
    least = {"sample_hz": 0, "workers": 0, "face_size": 8, "eye_size": 8}
    for name, value in (settings | {"workers": workers or 0}).items():
        if value < least.get(name, 1) and not isinstance(value, bool):
            raise ConfigError(f"data.{name}: {value} is too small; {least.get(name, 1)} or more is right")
    return Preparation(
        source=Path(source).expanduser(),
        root=Path(root).expanduser(),
        settings=Settings(**settings),
        camera=camera,
        persons=tuple(persons),
        workers=workers,
    )


@cache
def _once(plan: Preparation) -> None:
    """Lightning and every action ask again."""
    prepare(plan)
