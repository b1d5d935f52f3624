import subprocess
import sys

import h5py
import numpy as np
import pytest
from crop_samples import sample_rows as rows

from gaze_exp.data.crops import CropWriter
from gaze_exp.errors import DataError


def test_written_rows_come_back_and_lie_contiguous(tmp_path):
    path = tmp_path / "train01" / "participant_001" / "frames_basler.h5"
    parts = [rows(3, seed=1), rows(2, seed=2)]
    optional = {"validity": ((), "bool"), "face_R": ((3, 3), "float32")}
    extras = {"validity": np.array([True, False, True]), "face_R": np.ones((3, 3, 3), np.float32)}
    with CropWriter(path, num_rows=5, face_size=8, eye_size=4, optional=optional, attrs={"camera": "basler"}) as writer:
        writer.append(parts[0] | extras)
        writer.append(parts[1] | {name: values[:2] for name, values in extras.items()})
    with h5py.File(path) as file:
        for name in parts[0]:
            np.testing.assert_array_equal(file[name][:], np.concatenate([part[name] for part in parts]))
            assert file[name].chunks is None
            assert file[name].id.get_offset() is not None
        assert file["validity"][:].tolist() == [True, False, True, True, False]
        assert file.attrs["color_order"] == "RGB"
        assert file.attrs["camera"] == "basler"
        assert file.attrs["format_version"] == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["frames_basler.h5"]


def test_reserved_room_is_where_written_rows_would_lie(tmp_path):
    written, reserved = tmp_path / "written.h5", tmp_path / "reserved.h5"
    with CropWriter(written, num_rows=3, face_size=8, eye_size=4) as writer:
        writer.append(rows(3))
    with CropWriter(reserved, num_rows=3, face_size=8, eye_size=4) as writer:
        writer.reserve()
    with h5py.File(written) as one, h5py.File(reserved) as other:
        places = {name: (array.id.get_offset(), array.id.get_storage_size()) for name, array in one.items()}
        assert {name: (array.id.get_offset(), array.id.get_storage_size()) for name, array in other.items()} == places
    content = bytearray(reserved.read_bytes())
    for start, size in places.values():
        content[start : start + size] = written.read_bytes()[start : start + size]
    assert bytes(content) == written.read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_while_writing_leaves_nothing(tmp_path, error):
    writer = CropWriter(tmp_path / "frames_basler.h5", num_rows=4, face_size=8, eye_size=4)
    with pytest.raises(error), writer:
        writer.append(rows(2))
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_older_whole_file_survives_a_failed_rewrite(tmp_path):
    path = tmp_path / "frames_basler.h5"
    with CropWriter(path, num_rows=2, face_size=8, eye_size=4) as writer:
        writer.append(rows(2, seed=5))
    before = path.read_bytes()
    with pytest.raises(RuntimeError), CropWriter(path, num_rows=2, face_size=8, eye_size=4):
        raise RuntimeError
    assert path.read_bytes() == before


def test_missing_rows_are_refused(tmp_path):
    with (
        pytest.raises(DataError, match="2 rows written, 3 announced"),
        CropWriter(tmp_path / "a.h5", num_rows=3, face_size=8, eye_size=4) as writer,
    ):
        writer.append(rows(2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"face": np.zeros((2, 8, 8, 3), np.float32)}, "face is float32"),
        ({"leye": np.zeros((2, 4, 4, 1), np.uint8)}, "leye has shape"),
        ({"gaze": np.zeros((3, 2), np.float32)}, "gaze has shape"),
        ({"head": np.zeros((2, 2), np.float32)}, "announced: head"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_name(tmp_path, change, message):
    with (
        pytest.raises(DataError, match=message),
        CropWriter(tmp_path / "a.h5", num_rows=2, face_size=8, eye_size=4) as writer,
    ):
        writer.append(rows(2) | change)


def test_more_rows_than_announced_are_refused(tmp_path):
    with (
        pytest.raises(DataError, match="more than the 1 rows"),
        CropWriter(tmp_path / "a.h5", num_rows=1, face_size=8, eye_size=4) as writer,
    ):
        writer.append(rows(2))


DISK_FULL = """
import resource, sys
import numpy as np
from gaze_exp.data.crops import CropWriter
from gaze_exp.errors import DataError
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
eye, face = np.zeros((20, 32, 32, 3), np.uint8), np.zeros((20, 64, 64, 3), np.uint8)
try:
    with CropWriter(sys.argv[1], num_rows=20, face_size=64, eye_size=32) as writer:
        writer.append({"face": face, "leye": eye, "reye": eye, "gaze": np.zeros((20, 2), np.float32)})
except DataError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_names_the_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "frames_basler.h5"
    done = subprocess.run([sys.executable, "-c", DISK_FULL, str(path)], capture_output=True, text=True, check=True)
    assert str(path) in done.stdout
    assert "cannot write" in done.stdout
    assert list(tmp_path.iterdir()) == []
