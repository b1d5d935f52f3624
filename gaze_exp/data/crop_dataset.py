"""Many crop files as one table: labels in memory, images read when a batch needs them."""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gaze_exp.data.crop_file import CropFile, index_crop_file
from gaze_exp.data.crop_labels import Labels
from gaze_exp.data.eye_labels import join_eye_labels
from gaze_exp.data.eye_masks import UNKNOWN
from gaze_exp.data.frame_reader import FrameReader
from gaze_exp.data.mask_reader import MaskReader
from gaze_exp.data.sequences import PADDING, read_runs, windows
from gaze_exp.data.splits import person_of
from gaze_exp.errors import ConfigError, DataError

log = logging.getLogger(__name__)

COLOUR_ORDERS = ("auto", "rgb", "bgr")


class CropDataset:
    """The rows of many crop files, numbered through in the order of the files.

    Args:
        files: the crop files.
        swap_eyes: `leye` holds the right eye, as in files made with a viewer's left.
        colour_order: `auto` believes the file's attribute (RGB where it has none); `rgb`, `bgr` overrule it.
        skip_bad_files: leave files out that cannot be used, instead of refusing all.
        drop_nonfinite: leave rows with NaN or infinite labels out, instead of refusing their file.
        need_gaze: refuse files without labels; without it their rows are not `valid`.
        masks: read masks of the eyes, `mask_left` and `mask_right`, of the files that have them.
        person_id: `participant` (attribute, else folder) or `folder` (split folder and participant folder).

    Raises:
        DataError: files that cannot be used, each with its reason, or whose image sizes differ.
    """

    def __init__(
        self,
        files: Sequence[str | Path],
        *,
        swap_eyes: bool = False,
        colour_order: str = "auto",
        skip_bad_files: bool = False,
        drop_nonfinite: bool = False,
        need_gaze: bool = True,
        masks: bool = False,
        person_id: str = "participant",
    ) -> None:
        if colour_order not in COLOUR_ORDERS:
            raise ConfigError(f"data.colour_order: {colour_order!r} is not known; one of {COLOUR_ORDERS}")
        self.bad_files: dict[Path, str] = {}
        indexed = self._index(files, need_gaze=need_gaze, drop_nonfinite=drop_nonfinite, masks=masks)
        self._refuse_bad_files(len(files), skip_bad_files=skip_bad_files)
        self.files: list[CropFile] = [file for file, _ in indexed]
        self._refuse_mixed_sizes()
        self._join([labels for _, labels in indexed])
        self._name_persons(person_id)
        colours = [file.colour if colour_order == "auto" else colour_order for file in self.files]
        self._reader = FrameReader(self.files, reverse_channels=[colour == "bgr" for colour in colours])
        self._masks = MaskReader(self.files, swap_eyes=swap_eyes) if masks else None
        self.unknown_colour = [file.path for file, colour in zip(self.files, colours, strict=True) if not colour]
        self._stored = {
            "face": "face",
            "left_eye": "reye" if swap_eyes else "leye",
            "right_eye": "leye" if swap_eyes else "reye",
        }

    def _index(self, files: Sequence[str | Path], **options: bool) -> list[tuple[CropFile, Labels]]:
        indexed = []
        for path in map(Path, files):
            try:
                indexed.append(index_crop_file(path, **options))
            except DataError as error:
                self.bad_files[path] = str(error)
        return indexed

    def _refuse_bad_files(self, num_files: int, *, skip_bad_files: bool) -> None:
        if not self.bad_files:
            return
        told = "\n  ".join(self.bad_files.values())
        count = f"{len(self.bad_files)} of {num_files} crop files cannot be used"
        if not skip_bad_files or len(self.bad_files) == num_files:
            can_skip = not skip_bad_files and len(self.bad_files) < num_files
            remedy = "\nRepair them, or go on without them: data.skip_bad_files=true" if can_skip else ""
            raise DataError(f"{count}:\n  {told}{remedy}")
        log.warning("%s and are left out:\n  %s", count, told)

    def _refuse_mixed_sizes(self) -> None:
        first = self.files[0]
        for file in self.files:
            for name, image in file.images.items():
                if image.shape != first.images[name].shape:
                    raise DataError(
                        f"{file.path}: {name} is {image.shape[:2]} px, but {first.images[name].shape[:2]} in "
                        f"{first.path}; crops of one data set have one size: make both with the same settings"
                    )
        if first.images["leye"].shape != first.images["reye"].shape:
            raise DataError(f"{first.path}: leye and reye differ in size; make both with the same settings")

    def _join(self, labels: Sequence[Labels]) -> None:
        self._starts = np.cumsum([0, *(file.num_rows for file in self.files)])
        self.gaze = np.concatenate([each.gaze for each in labels])
        self.valid = np.concatenate([each.valid for each in labels])
        self.dropped = dict(sum((Counter(each.dropped) for each in labels), Counter[str]()))
        self.eyes = join_eye_labels([each.eyes for each in labels], [file.num_rows for file in self.files])
        self.head = None
        if any(each.head is not None for each in labels):
            unknown = np.float32(np.nan)
            self.head = np.concatenate(
                [np.full_like(each.gaze, unknown) if each.head is None else each.head for each in labels]
            )

    def _name_persons(self, person_id: str) -> None:
        names = [person_of(file.path, participant=file.participant, person_id=person_id) for file in self.files]
        self.subjects = sorted(set(names))
        self.persons: dict[str, Path] = {}
        for name, file in zip(names, self.files, strict=True):
            self.persons.setdefault(name, file.path)
        numbers = [self.subjects.index(name) for name in names]
        self.subject = np.repeat(np.array(numbers, np.int32), [file.num_rows for file in self.files])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def usable(self) -> np.ndarray:
        """(K,) int64 rows that carry a label."""
        return np.flatnonzero(self.valid)

    def every(self, stride: int) -> np.ndarray:
        """(K,) int64 rows that carry a label, every `stride`-th of each file."""
        row_in_file = np.arange(len(self)) - np.repeat(self._starts[:-1], np.diff(self._starts))
        rows = self.usable
        return rows[row_in_file[rows] % stride == 0]

    def windows(self, length: int, *, every: int = 1, every_phase: bool = False, need_label: bool = True) -> np.ndarray:
        """Windows of frames that follow each other, see `sequences.windows`.

        Args:
            length: T, frames of a window.
            every: distance of its frames, rows.
            every_phase: go through the rows between them too.
            need_label: leave windows out in which no frame has a label.

        Returns:
            (K, T) int64 rows, `PADDING` where a window is not full.

        Raises:
            DataError: files that do not say which of their frames follow each other.
        """
        runs, problems = [], []
        for number, file in enumerate(self.files):
            try:
                runs.append(read_runs(file.path, num_rows=file.num_rows) + (number << 32))
            except DataError as error:
                problems.append(str(error))
        if problems:
            more = f"\n  and {len(problems) - 3} more files" if len(problems) > 3 else ""
            raise DataError("\n  ".join(problems[:3]) + more)
        cut = windows(np.concatenate(runs), length=length, every=every, every_phase=every_phase)
        return cut if not need_label else cut[((cut != PADDING) & self.valid[cut]).any(axis=1)]

    @property
    def image_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Batch key -> height, width in px, channels."""
        return {key: self.files[0].images[stored].shape for key, stored in self._stored.items()}

    @property
    def face_size(self) -> tuple[int, int]:
        """Height, width of the face crop, px."""
        return self.image_shapes["face"][:2]

    @property
    def eye_size(self) -> tuple[int, int]:
        """Height, width of the eye crops, px."""
        return self.image_shapes["left_eye"][:2]

    @property
    def slow_files(self) -> list[CropFile]:
        """Files whose frames have to be decoded by HDF5."""
        return [file for file in self.files if not file.is_fast]

    def read(self, rows: np.ndarray, out: Mapping[str, np.ndarray]) -> None:
        """Read images into given memory; safe from several threads.

        Args:
            rows: (B,) rows, any order.
            out: `face`, `left_eye`, `right_eye` or some of them -> (B, H, W, 3) uint8, contiguous; RGB.

        Raises:
            DataError: a file that ends early or changed meanwhile.
        """
        stored = {self._stored[key]: images for key, images in out.items()}
        files, rows_in_file = self.place(rows)
        self._reader.read(files, rows=rows_in_file, out=stored)

    def place(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where rows come from.

        Args:
            rows: (B,) rows of the whole data set.

        Returns:
            (B,) index into `files`, (B,) row in that file.
        """
        files = np.searchsorted(self._starts, rows, side="right") - 1
        return files, rows - self._starts[files]

    def masks(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What each pixel of the eyes is; nothing unless masks were asked for.

        Args:
            rows: (B,) or (B, T) rows; what is negative is unknown.

        Returns:
            `mask_left`, `mask_right`: (B, h, w) or (B, T, h, w) uint8, `UNKNOWN` where nothing is said.
        """
        if self._masks is None:
            return {}
        flat = rows.ravel()
        files = np.searchsorted(self._starts, np.maximum(flat, 0), side="right") - 1
        found = self._masks.read(files, rows=np.maximum(flat, 0) - self._starts[files])
        for mask in found.values():
            mask[flat < 0] = UNKNOWN
        return {key: mask.reshape(*rows.shape, *mask.shape[1:]) for key, mask in found.items()}

    def face(self, row: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB face of one row."""
        image = np.empty((1, *self.image_shapes["face"]), np.uint8)
        self.read(np.array([row]), {"face": image})
        return image[0]

    def shuffle_labels(self, seed: int) -> None:
        """Give every usable row another one's label: what then still seems learned is not in the pictures."""
        rows = self.usable
        others = np.random.default_rng(seed).permutation(rows)
        # The head pose of an eye is no answer but an input.
        for labels in (self.gaze, *(values for name, values in self.eyes.items() if not name.startswith("head"))):
            labels[rows] = labels[others]

    def digest(self) -> str:
        """Hash of names, sizes and labels; the same wherever the folder lies and whenever it was copied."""
        told = hashlib.sha256()
        for file, start in zip(self.files, self._starts, strict=False):
            rows = slice(start, start + file.num_rows)
            shapes = [image.shape for image in file.images.values()]
            told.update(repr(("/".join(file.path.parts[-3:]), file.num_rows, shapes)).encode())
            told.update(self.gaze[rows].tobytes() + self.valid[rows].tobytes())
        return told.hexdigest()[:16]

    def seconds_per_slow_row(self) -> float:
        """Time the first slow file: what one of its rows costs."""
        file = self.slow_files[0]
        number = self.files.index(file)
        rows = self._starts[number] + np.unique([0, file.num_rows - 1])
        out = {key: np.empty((len(rows), *shape), np.uint8) for key, shape in self.image_shapes.items()}
        begin = time.perf_counter()
        self.read(rows, out)
        return (time.perf_counter() - begin) / len(rows)
