"""The crop file of one person and camera: converted step by step, each kept, then put together.

    <root>/.eve_prepare/train01/basler/step008_image_x.rows, .json  a step that is done; gone once it is in its file
    <root>/train01/participant_001/frames_basler.h5                 the file, whole
    <root>/.eve_prepare/train01/basler.json                         what is in it: counts, hash, sizes of its sources

Whatever is killed goes on at the next step, and the file comes out the same.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gaze_exp.atomic_write import atomic_write
from gaze_exp.data.crops import CropWriter
from gaze_exp.data.sources.eve_labels import SCREEN_PX, columns
from gaze_exp.data.sources.eve_release import Recording, participant_of
from gaze_exp.data.sources.eve_rows import put_together, row_arrays
from gaze_exp.data.sources.eve_step import Settings, StepResult, convert_step
from gaze_exp.errors import DataError

WORK = ".eve_prepare"


@dataclass(frozen=True)
class PersonFile:
    """One file to make, and from what."""

    root: Path
    recordings: tuple[Recording, ...]
    """Of one person and camera, in the order of the steps."""
    has_gaze: bool

    @property
    def person(self) -> str:
        """`train01`."""
        return self.recordings[0].person

    @property
    def camera(self) -> str:
        """`basler`."""
        return self.recordings[0].camera

    @property
    def path(self) -> Path:
        """The crop file."""
        return self.root / self.person / participant_of(self.person) / f"frames_{self.camera}.h5"

    @property
    def state(self) -> Path:
        """What is known about it, once it is whole."""
        return self.root / WORK / self.person / f"{self.camera}.json"

    def part(self, number: int) -> Path:
        """The rows of one step, until they are in the person's file."""
        return self.root / WORK / self.person / self.camera / f"{self.recordings[number].step}.rows"

    def done(self) -> dict[str, Any] | None:
        """The state of a file that is whole and whose sources are as they were; else None."""
        state = _read_json(self.state)
        if state is None or state["sources"] != self.sources():
            return None
        is_there = not state["num_rows"] or (self.path.is_file() and self.path.stat().st_size == state["num_bytes"])
        return state if is_there else None

    def sources(self) -> dict[str, dict[str, int]]:
        """Step -> file -> bytes."""
        return {recording.step: recording.sizes() for recording in self.recordings}

    def waiting(self) -> list[int]:
        """Numbers of the steps that are not converted yet."""
        return [number for number in range(len(self.recordings)) if self._result(number) is None]

    def _result(self, number: int) -> StepResult | None:
        kept = _read_json(self.part(number).with_suffix(".json"))
        if kept is None or kept.pop("sizes") != self.recordings[number].sizes():
            return None
        result = StepResult(**kept)
        return result if not result.num_rows or self.part(number).is_file() else None

    def convert(self, number: int, settings: Settings) -> int:
        """Convert one step; returns the number of its frames.

        Raises:
            DataError: the disk takes no more; or, under `strict`, something is wrong with the source.
        """
        recording, part = self.recordings[number], self.part(number)
        result = convert_step(recording, part, step_id=number, has_gaze=self.has_gaze, settings=settings)
        write_json(part.with_suffix(".json"), result.plain() | {"sizes": recording.sizes()})
        return result.num_frames

    def join(self, settings: Settings) -> dict[str, Any]:
        """Put the steps together and forget them.

        Returns:
            The state that `done` gives from then on.

        Raises:
            DataError: the disk takes no more.
        """
        results = [self._result(number) for number in range(len(self.recordings))]
        assert all(result is not None for result in results), "a step is missing"
        steps = [result for result in results if result is not None]
        state: dict[str, Any] = {
            "path": self.path.relative_to(self.root).as_posix(),
            "person": self.person,
            "camera": self.camera,
            "has_gaze": self.has_gaze,
            "num_rows": sum(result.num_rows for result in steps),
            "num_bytes": 0,
            "sha256": None,
        }
        if state["num_rows"]:
            digest = self._write(steps, settings)
            state |= {"num_bytes": self.path.stat().st_size, "sha256": digest}
        else:
            self.path.unlink(missing_ok=True)  # of a source that has changed
        state |= {"steps": [result.plain() for result in steps], "sources": self.sources()}
        write_json(self.state, state)
        shutil.rmtree(self.state.with_suffix(""), ignore_errors=True)
        return state

    def _write(self, results: list[StepResult], settings: Settings) -> str:
        """Write the file; returns its hash."""
        temporary = self.state.with_suffix("") / "whole.h5"
        with CropWriter(
            temporary,
            num_rows=sum(result.num_rows for result in results),
            face_size=settings.face_size,
            eye_size=settings.eye_size,
            optional=columns(has_gaze=self.has_gaze),
            attrs=self._attributes(results, settings),
            has_gaze=self.has_gaze,
        ) as writer:
            writer.reserve()
        arrays = row_arrays(face_size=settings.face_size, eye_size=settings.eye_size, has_gaze=self.has_gaze)
        parts = [(self.part(number), result.num_rows) for number, result in enumerate(results) if result.num_rows]
        digest = put_together(temporary, parts, arrays)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(self.path)
        return digest

    def _attributes(self, results: list[StepResult], settings: Settings) -> dict[str, Any]:
        """What holds for the whole file, and the geometry of each step; NaN for one without rows."""
        fps = next(round(result.fps) for result in results if result.num_rows)
        shapes = {"camera_matrix": (3, 3), "screen_to_camera": (4, 4), "mm_per_px": (2,)}
        geometry = {
            name: np.array([result.geometry.get(name, np.full(shape, np.nan)) for result in results])
            for name, shape in shapes.items()
        }
        return {
            "participant": participant_of(self.person),
            "eve_person": self.person,
            "camera": self.camera,
            "gaze_key": "face_g_tobii" if self.has_gaze else None,
            "source_fps": fps,
            "sample_hz": settings.sample_hz or fps,
            "timestamp_unit": "ns" if all(result.timestamp_unit for result in results if result.num_rows) else "mixed",
            "resize": "linear; area from half the size down",
            "eye_halves": "left eye is the left half" if settings.swap_halves else "left eye is the right half",
            "steps": [recording.step for recording in self.recordings],
            "screen_px": np.array(SCREEN_PX),
            **geometry,
        }


def settings_of_bytes(settings: Settings) -> dict[str, Any]:
    """What must be equal for a conversion to go on: `strict` decides whether, not what."""
    return {name: value for name, value in asdict(settings).items() if name != "strict"}


def claim(root: Path, settings: Settings) -> None:
    """Take a folder for a conversion, or go on with one.

    Args:
        root: may hold nothing but an earlier part of a conversion with the same settings.
        settings: of the conversion.

    Raises:
        DataError: it holds something else.
    """
    path, mine = root / WORK / "settings.json", settings_of_bytes(settings)
    there = _read_json(path)
    if there is not None and there != mine:
        odd = ", ".join(f"{key} {there.get(key)} -> {mine[key]}" for key in mine if there.get(key) != mine[key])
        raise DataError(f"data.root: {root} was converted with other settings ({odd}); choose another data.root")
    if there is None and any(root.glob("*/participant_*/frames_*.h5")):
        raise DataError(f"data.root: {root} holds crop files that are not EVE's; choose another data.root")
    if there is None:
        write_json(path, mine)


def _read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write plain data, whole or not at all.

    Raises:
        DataError: the disk takes no more.
    """
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot write: {error.strerror}; free space or choose another data.root") from error
