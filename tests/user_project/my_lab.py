"""A user's own model and data set, outside the package: what docs/add_a_model.md and add_a_dataset.md show."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gaze_exp.batch import GazeOutput
from gaze_exp.data.crops import CropWriter
from gaze_exp.data.datamodule import CropDataModule
from gaze_exp.geometry import vector_to_pitch_yaw


class Net(nn.Module):
    """Reads the face alone: the names of `forward`'s arguments are the batch keys it gets."""

    def __init__(self, *, width: int = 8) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
        )
        self.head = nn.Linear(16 * width, 2)

    def forward(self, face: Tensor) -> GazeOutput:
        return {"gaze": self.head(self.features(face / 127.5 - 1)).float()}


class LampData(CropDataModule):
    """Raw data of our own (a lamp that shines from where the person looks), converted once into crop files."""

    def prepare_data(self) -> None:
        persons = {"train01": ["p1", "p2", "p3"], "val01": ["p4"], "test01": ["p5", "p6"]}
        for number, (split, names) in enumerate(persons.items()):
            for name in names:
                path = Path(self.root, split, f"participant_{name}", f"frames_{self.camera}.h5")
                if not path.exists():
                    convert(path, seed=number * 10 + int(name[1]))


def convert(path: Path, *, seed: int) -> None:
    """Write one person's crop file; its labels are converted to our convention here, and only here."""
    random = np.random.default_rng(seed)
    to_target = random.uniform(-0.4, 0.4, (48, 3)).astype(np.float32)
    to_target[:, 2] = -1.0  # towards the camera
    gaze = vector_to_pitch_yaw(torch.from_numpy(to_target)).numpy()
    with CropWriter(path, num_rows=48, face_size=32, eye_size=16) as writer:
        writer.append({"face": lit(gaze, 32), "leye": lit(gaze, 16), "reye": lit(gaze, 16), "gaze": gaze})


def lit(gaze: np.ndarray, side: int) -> np.ndarray:
    """(N, side, side, 3) pictures that are brighter on the side of the gaze."""
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    light = 128 - 200 * (gaze[:, 1, None, None] * ramp[None, None, :] + gaze[:, 0, None, None] * ramp[None, :, None])
    return np.repeat(np.clip(light, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)
