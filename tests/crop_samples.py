"""Small real crop files in every way that people write them."""

import h5py
import numpy as np

from gaze_exp.data.crops import CropWriter

LAYOUTS = {
    "contiguous": {},
    "chunks of 1": {"chunks": 1},
    "chunks of 16": {"chunks": 16},
    "gzip": {"chunks": 1, "compression": "gzip"},
    "gzip, chunks of 16": {"chunks": 16, "compression": "gzip"},
    "lzf and shuffle": {"chunks": 4, "compression": "lzf", "shuffle": True},
    "fletcher32": {"chunks": 4, "fletcher32": True},
    "h5py's own guess": {"chunks": True},
    "h5py's own guess, gzip": {"chunks": True, "compression": "gzip"},
}
FAST = ("contiguous", "chunks of 1", "chunks of 16")


def sample_rows(num, *, face=8, eye=4, seed=0):
    random = np.random.default_rng(seed)
    return {
        "face": random.integers(0, 256, (num, face, face, 3), np.uint8),
        "leye": random.integers(0, 256, (num, eye, eye, 3), np.uint8),
        "reye": random.integers(0, 256, (num, eye, eye, 3), np.uint8),
        "gaze": random.uniform(-0.5, 0.5, (num, 2)).astype(np.float32),
    }


def write_plain(path, rows, *, layout="contiguous", attrs=None, **file_options):
    """Write with h5py alone, as a user's own script would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", **file_options) as file:
        for name, values in rows.items():
            options = dict(LAYOUTS[layout]) if getattr(values, "ndim", 0) == 4 else {}
            if isinstance(chunk := options.get("chunks"), int) and chunk is not True:
                options["chunks"] = (chunk, *values.shape[1:])
            file.create_dataset(name, data=values, **options)
        file.attrs.update({"color_order": "RGB"} if attrs is None else attrs)
    return path


def crop_path(root, split, person, camera="basler"):
    return root / split / f"participant_{person:03d}" / f"frames_{camera}.h5"


def write_root(root, *, num_rows=10, train=2, val=1, test=0, face=8, eye=4, attrs=None):
    """A data set with the given number of persons in each split, `num_rows` rows each."""
    person = 0
    for split, count in (("train", train), ("val", val), ("test", test)):
        for index in range(count):
            person += 1
            path = crop_path(root, f"{split}{index + 1:02d}", person)
            with CropWriter(path, num_rows=num_rows, face_size=face, eye_size=eye, attrs=attrs or {}) as writer:
                writer.append(sample_rows(num_rows, face=face, eye=eye, seed=person))
    return root
