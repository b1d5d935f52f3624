"""What a written data set shall hold, who is in which split, and whether a folder may receive it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gaze_exp.atomic_write import atomic_write
from gaze_exp.data.synthetic.calibration_layout import GRIDS
from gaze_exp.data.synthetic.crop_layout import Recording, recordings
from gaze_exp.data.synthetic.jobs import LOCK, PARTIAL
from gaze_exp.data.synthetic.motion import Movement
from gaze_exp.data.synthetic.rigs import LAPTOPS
from gaze_exp.errors import ConfigError, DataError

MANIFEST = "synthetic.json"
SHEET = "contact_sheet.png"
LAYOUTS = ("crops", "eve", "calibration")
DEFAULT_FRAMES = {"crops": 150, "eve": 180}
"""A calibration takes one photo of each target."""


@dataclass(frozen=True)
class SetPlan:
    """All that decides the bytes of a written data set."""

    layout: str
    """`crops`, `eve` or `calibration`."""
    persons: int
    frames: int
    """crops: rows of a person; eve: frames of the 60 Hz camera in a step; calibration: photos of a session."""
    seed: int
    val_seed: int | None = None
    """Draw the validation persons from a seed of their own; None numbers all persons through one seed."""
    test_seed: int | None = None
    face_size: int = 224
    """Of the crop layout, px; so is the next."""
    eye_size: int = 112
    masks: bool = True
    """Write `mask_left` and `mask_right` into crop files."""
    sample_hz: int = 0
    """Of crop files: frames a second of people who move; 0 draws every frame apart."""
    frames_per_step: int = 48
    """Of people who move."""
    steps: int = 3
    """Steps of each EVE participant: image, video, wikipedia and again."""
    frame_width: int = 480
    """Width of EVE's full-frame videos, px; 1920 as in the release, 0 for none."""
    targets: int = 9
    """Calibration points, a key of `GRIDS`."""
    sessions: int = 1
    photo_width: int = 640
    """Of a calibration: 640 (x480), or 1920 (x1080) as the client wrote before 0.4.13."""
    mirrored: bool = True
    """Calibration photos are mirrored, as the client writes them."""

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ConfigError(f"layout: {self.layout!r} is none; {', '.join(LAYOUTS)} are")
        least = {"persons": 1, "frames": 2 if self.layout == "eve" else 1, "face_size": 8, "eye_size": 8}
        for name, low in (least | {"steps": 1, "sessions": 1}).items():
            if getattr(self, name) < low:
                key = name if name in {"persons", "frames"} else f"synthetic.{name}"
                raise ConfigError(f"{key}: {getattr(self, name)} is too small; {low} or more")
        if self.targets not in GRIDS:
            raise ConfigError(f"synthetic.targets: {self.targets} is no grid; {', '.join(map(str, GRIDS))} are")
        if self.photo_width not in LAPTOPS:
            raise ConfigError(f"synthetic.photo_width: {self.photo_width} px is none of the client's; 640 or 1920")
        if self.frame_width and (self.frame_width < 64 or self.frame_width % 32):
            raise ConfigError(
                f"synthetic.frame_width: {self.frame_width} px cannot be 16:9 in even numbers; 0, or a multiple of 32 "
                "from 64 on"
            )
        _refuse_overlap(self.recordings)
        _ = self.movement  # refuses what cannot be filmed

    @property
    def movement(self) -> Movement | None:
        """Of people who move, in crop files."""
        return Movement(fps=self.sample_hz, frames_per_step=self.frames_per_step) if self.sample_hz else None

    @property
    def recordings(self) -> list[Recording]:
        """The persons, numbered through; a calibration session knows no splits."""
        if self.layout == "calibration":
            return [Recording(n, "", self.seed, n) for n in range(1, self.persons + 1)]
        # The shares of the release: 39, 5 and 10 of 54.
        num_val = max(1, round(self.persons * 5 / 54)) if self.persons >= 2 else 0
        num_test = max(1, round(self.persons * 10 / 54)) if self.persons >= 3 else 0
        return recordings(
            num_train=self.persons - num_val - num_test,
            num_val=num_val,
            num_test=num_test,
            seed=self.seed,
            own_seeds={"val": self.val_seed, "test": self.test_seed},
        )


def _refuse_overlap(people: list[Recording]) -> None:
    """Nobody may be in two splits, whatever the name."""
    first: dict[tuple[int, int], Recording] = {}
    for one in people:
        other = first.setdefault((one.seed, one.drawn), one)
        if other is not one:
            split = one.folder.rstrip("0123456789")
            raise ConfigError(
                f"synthetic.{split}_seed: {one.seed} draws in {one.folder} the person of {other.folder} once more; "
                f"another seed, or null to number all persons through one"
            )


def claim(root: Path, plan: SetPlan) -> bool:
    """Make a folder the home of a data set, unless it is that of something else.

    Args:
        root: there already, and locked.
        plan: what is to be written.

    Returns:
        True when everything is there already.

    Raises:
        DataError: the folder holds something else, named.
    """
    here = described(plan)
    found = read_manifest(root)
    if found is None:
        there = sorted(path.name for path in root.iterdir() if path.name != LOCK and not path.name.endswith(PARTIAL))
        if there:
            more = f" and {len(there) - 3} more" if len(there) > 3 else ""
            raise DataError(
                f"data.root: {root} holds something else already: {', '.join(there[:3])}{more}; choose a new folder"
            )
        write_manifest(root, here)
        return False
    changed = [key for key in here if found.get(key) != here[key]]
    if changed:
        told = ", ".join(f"{key}={found.get(key)} there, {here[key]} here" for key in changed)
        raise DataError(
            f"data.root: {root} holds another synthetic data set ({told}); choose a new folder, or remove that one"
        )
    sizes = found.get("bytes", {})
    return bool(sizes) and all(_has_size(root / name, size) for name, size in sizes.items())


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def described(plan: SetPlan) -> dict[str, Any]:
    """A plan as it stands in the manifest: with a digest of the code that draws, so that no set is half old."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return asdict(plan) | {"program": digest.hexdigest()[:10]}


def read_manifest(root: Path) -> dict[str, Any] | None:
    """The manifest of a folder; None where there is none that can be read."""
    try:
        found = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write_manifest(root: Path, content: dict[str, Any]) -> None:
    """Replace the manifest of a folder."""
    with atomic_write(root / MANIFEST) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
