"""Predict the gaze of a crop file or a folder of pictures: predictions.csv and pictures."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from gaze_exp import assemble
from gaze_exp.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gaze_exp.predictions import Predictions

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Write `predictions.csv` and `predictions.png` into the run folder.

    Args:
        cfg: the run; `cfg.predict.source` names a crop file or a folder of pictures.

    Raises:
        ConfigError: no source given.
        DataError: it cannot be read.
    """
    from gaze_exp.batch import input_parameters
    from gaze_exp.predictions import collect, to_csv

    if not cfg.predict.source:
        raise ConfigError("predict.source: nothing given; a crop file (.h5) or a folder of NAME_face.png ... is right")
    machine = assemble.machine_of(cfg)
    saved = assemble.saved_of(cfg)
    model = assemble.model_of(saved)
    needs = {parameter.name for parameter in input_parameters(model)}
    reading, path = assemble.chosen_data(cfg, saved), Path(cfg.predict.source)
    length = reading.get("eval_sequence_length") or reading.get("sequence_length", 1)
    if path.is_dir() and length > 1:
        raise DataError(
            f"{path}: a temporal model needs frames in order, with step_id and frame_index: a crop file (.h5)"
        )
    batches, subjects, face_of = _source(path, needs=needs, sizes=saved.crop_sizes, reading=reading, length=length)
    predictions = collect(model, batches, device=machine.torch_device, subjects=subjects)
    folder = Path(cfg.run_dir)
    to_csv(predictions, folder / "predictions.csv")
    log.info("predict: %d samples -> %s", len(predictions.row), folder / "predictions.csv")
    if cfg.predict.num_pictures > 0:
        _draw(predictions, face_of, number=cfg.predict.num_pictures, path=folder / "predictions.png")
        log.info("predict: pictures -> %s", folder / "predictions.png")


def _source(
    path: Path, *, needs: set[str], sizes: tuple[int, int], reading: DictConfig, length: int
) -> tuple[Any, list[str], Any]:
    """Batches, names of persons (or pictures), and a function row -> face picture."""
    from gaze_exp.image_folder import ImageFolder

    if path.is_dir():
        images = ImageFolder.open(path, needs=needs, face_size=sizes[0], eye_size=sizes[1])
        return images.batches(), images.names, images.face
    if not path.is_file():
        raise DataError(f"{path}: there is no such file or folder; a crop file (.h5) or a folder of pictures is right")
    import numpy as np

    from gaze_exp.data.batch_loader import BatchLoader
    from gaze_exp.data.crop_dataset import CropDataset

    swapped, colours = reading.get("swap_eyes", False), reading.get("colour_order", "auto")
    rows = CropDataset([path], need_gaze=False, swap_eyes=swapped, colour_order=colours)
    everything = np.arange(len(rows))  # rows without a label too
    if length > 1:
        stride = reading.get("frame_stride", 1)
        everything = rows.windows(length, every=stride, every_phase=True, need_label=False)
    loader = BatchLoader(rows, batch_size=max(1, 64 // length), num_workers=1, rows=everything)
    return loader, rows.subjects, rows.face


def _draw(predictions: "Predictions", face_of: Any, *, number: int, path: Path) -> None:
    """Draw evenly chosen samples in one grid."""
    import torch

    from gaze_exp import draw
    from gaze_exp.atomic_write import atomic_write

    chosen = torch.linspace(0, len(predictions.row) - 1, min(number, len(predictions.row))).long().unique()
    pictures = [
        draw.validation_picture(
            face_of(int(predictions.row[i])),
            predictions.predicted[i],
            predictions.target[i] if predictions.valid[i] else None,
        )
        for i in chosen.tolist()
    ]
    with atomic_write(path) as temporary:
        temporary.write_bytes(draw.png_bytes(draw.grid(pictures)))
