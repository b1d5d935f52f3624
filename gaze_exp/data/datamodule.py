"""Training, validation and test batches from a folder of crop files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor

from gaze_exp.data.batch_loader import BatchLoader
from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.data.crop_summary import describe, refuse_other_sizes, warn_if_colour_unknown, warn_if_slow
from gaze_exp.data.device_copies import DeviceCopies
from gaze_exp.data.splits import find_crop_files, refuse_leaks, require_splits
from gaze_exp.errors import ConfigError, DataError

_NEEDED = {None: ("train", "val"), "fit": ("train", "val"), "validate": ("val",), "test": (), "predict": ()}


class CropDataModule(lightning.LightningDataModule):
    """The data of one root, split by person.

    Args:
        root: folder with `{train,val,test}*/participant_*/frames_<camera>.h5`.
        camera: the camera in the file name; `all` for every one.
        swap_eyes: `leye` holds the right eye.
        colour_order: `auto`, `rgb` or `bgr`; see `CropDataset`.
        skip_bad_files: go on without the files that cannot be used.
        drop_nonfinite: leave rows with NaN or infinite labels out.
        masks: read masks of the eyes.
        person_id: `participant` or `folder`; see `splits.person_of`.
        batch_size: training rows a step on this device.
        eval_batch_size: the same for validation and test.
        num_workers: threads that read ahead.
        seed: of the training order.
        frame_stride: train on every so many-th row of each file; neighbours at 60 Hz hardly differ. Frames of
            a window lie so far apart in evaluation too.
        sequence_length: 1 gives single frames, T windows of T frames that follow each other; the batch sizes
            count frames either way.
        eval_sequence_length: T of validation and test; default as in training.
        shuffle_labels: train on labels of other rows, to check that this learns nothing.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        camera: str = "basler",
        swap_eyes: bool = False,
        colour_order: str = "auto",
        skip_bad_files: bool = False,
        drop_nonfinite: bool = False,
        masks: bool = False,
        person_id: str = "participant",
        batch_size: int = 64,
        eval_batch_size: int = 256,
        num_workers: int = 2,
        seed: int = 0,
        frame_stride: int = 1,
        sequence_length: int = 1,
        eval_sequence_length: int | None = None,
        shuffle_labels: bool = False,
    ) -> None:
        super().__init__()
        _check_least(
            batch_size=(batch_size, 1),
            eval_batch_size=(eval_batch_size, 1),
            num_workers=(num_workers, 0),
            frame_stride=(frame_stride, 1),
            sequence_length=(sequence_length, 1),
            eval_sequence_length=(eval_sequence_length or sequence_length, sequence_length),
        )
        # A device may get no row of a small validation set.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.root = Path(root).expanduser()
        self.camera = camera
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.frame_stride = frame_stride
        self.sequence_length = sequence_length
        self.eval_sequence_length = eval_sequence_length or sequence_length
        self.shuffle_labels = shuffle_labels
        self._reading: dict[str, Any] = {"swap_eyes": swap_eyes, "colour_order": colour_order, "masks": masks}
        self._reading |= {
            "skip_bad_files": skip_bad_files,
            "drop_nonfinite": drop_nonfinite,
            "person_id": person_id,
        }
        self._splits: dict[str, CropDataset] = {}
        self._hash = ""
        self._copies = DeviceCopies()

    def setup(self, stage: str | None = None) -> None:
        """Look at every file once; no image is read.

        Args:
            stage: what Lightning is about to do; `fit` needs training and validation persons.

        Raises:
            DataError: data that cannot be used.
        """
        if not self._splits:
            found = find_crop_files(self.root, camera=self.camera)
            splits = {name: self._open(name, files) for name, files in found.items() if files}
            refuse_leaks({name: crops.persons for name, crops in splits.items()})
            refuse_other_sizes(splits)
            warn_if_slow(list(splits.values()))
            warn_if_colour_unknown(list(splits.values()))
            self._hash = "-".join(crops.digest() for crops in splits.values())
            if self.shuffle_labels and "train" in splits:
                splits["train"].shuffle_labels(self.seed)
            self._splits = splits
        there = {name: [file.path for file in crops.files] for name, crops in self._splits.items()}
        require_splits({"train": [], "val": [], "test": []} | there, root=self.root, needed=_NEEDED[stage])

    def _open(self, split: str, files: Sequence[Path]) -> CropDataset:
        crops = CropDataset(files, **self._reading, need_gaze=split != "test")
        if split != "test" and not crops.valid.any():
            raise DataError(f"{self.root}: no {split} row has a valid label ({crops.dropped}); check `validity`")
        return crops

    def _split(self, name: str) -> CropDataset:
        if not self._splits:
            self.setup()
        if name not in self._splits:
            raise DataError(f"data.root: {self.root} has no {name} person; add {name}01/participant_*/")
        return self._splits[name]

    @property
    def train(self) -> CropDataset:
        """The training rows."""
        return self._split("train")

    @property
    def val(self) -> CropDataset:
        """The validation rows."""
        return self._split("val")

    @property
    def test(self) -> CropDataset:
        """The rows that are reported: those of `test_split`."""
        return self._split(self.test_split)

    @property
    def test_split(self) -> str:
        """`test` if it has labels (the official release keeps them back), else `val`."""
        if not self._splits:
            self.setup("test")
        return "test" if "test" in self._splits and self._splits["test"].valid.any() else "val"

    @property
    def train_mean_gaze(self) -> Tensor:
        """(2,) mean pitch, yaw of the training labels in radians: the constant baseline."""
        crops = self.train
        return torch.from_numpy(crops.gaze[crops.usable].mean(axis=0, dtype=np.float64).astype(np.float32))

    def train_dataloader(self) -> BatchLoader:
        """Full batches in a new order each epoch."""
        # With `overfit_batches` the same few batches are wanted again and again.
        repeat = getattr(self.trainer, "overfit_batches", 0) > 0
        length = self.sequence_length
        if self.batch_size % length:
            raise ConfigError(
                f"global_batch: {self.batch_size} frames a device and step are no whole number of windows of "
                f"{length}; with sequence_length={length}, a multiple of {length} for each device and piece is right"
            )
        windows = self.train.windows(length, every=self.frame_stride) if length > 1 else None
        rows = self.train.every(self.frame_stride) if windows is None else windows
        loader = self._loader(self.train, batch_size=self.batch_size // length, shuffle=not repeat, rows=rows)
        if len(loader) == 0:
            raise ConfigError(
                f"global_batch: more than the {rows.size} rows there are to train on; "
                f"global_batch={2 ** int(np.log2(max(1, rows.size)))} would be right"
            )
        return loader

    def val_dataloader(self) -> BatchLoader:
        """Every validation row once, in the order of the files."""
        return self._eval_loader(self.val)

    def test_dataloader(self) -> BatchLoader:
        """Every row of `test_split` once, in the order of the files."""
        return self._eval_loader(self.test)

    def _eval_loader(self, crops: CropDataset) -> BatchLoader:
        length = self.eval_sequence_length
        if length == 1:
            return self._loader(crops, batch_size=self.eval_batch_size)
        rows = crops.windows(length, every=self.frame_stride, every_phase=True)
        return self._loader(crops, batch_size=max(1, self.eval_batch_size // length), rows=rows)

    def _loader(
        self, crops: CropDataset, *, batch_size: int, shuffle: bool = False, rows: np.ndarray | None = None
    ) -> BatchLoader:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return BatchLoader(
            crops,
            batch_size=batch_size,
            shuffle=shuffle,
            num_workers=self.num_workers,
            seed=self.seed,
            pin_memory=on_gpu,
            rows=rows,
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Copy without waiting; the buffer stays lent until the copy is done."""
        if device.type != "cuda":
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        return self._copies.copy(batch, device)

    def summary(self) -> dict[str, Any]:
        """What `run.json` says about the data."""
        if not self._splits:
            self.setup("test")
        return {
            "root": str(self.root),
            "camera": self.camera,
            "hash": self._hash,
            "test_split": self.test_split,
            "sequence_length": self.sequence_length,
            "splits": {name: describe(crops) for name, crops in self._splits.items()},
        }


def _check_least(**values: tuple[int, int]) -> None:
    for name, (value, least) in values.items():
        if value < least:
            raise ConfigError(f"data.{name}: {value} is too small; {least} or more")
