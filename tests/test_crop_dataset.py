import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from crop_samples import FAST, LAYOUTS, sample_rows, write_plain

from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.errors import ConfigError, DataError


def read(crops, rows):
    rows = np.asarray(rows)
    out = {key: np.full((len(rows), *shape), 99, np.uint8) for key, shape in crops.image_shapes.items()}
    crops.read(rows, out)
    return out


# A face of 224 px makes h5py's guess split the frames; 20 rows leave the last chunk of 16 half empty.
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("face", [8, 224])
def test_every_layout_gives_h5pys_bytes(tmp_path, layout, face):
    path = write_plain(tmp_path / "a.h5", sample_rows(20, face=face), layout=layout)
    crops = CropDataset([path])
    rows = [19, 3, 4, 5, 0, 17, 3, 16, 15]
    with h5py.File(path) as file:
        for key, stored in (("face", "face"), ("left_eye", "leye"), ("right_eye", "reye")):
            np.testing.assert_array_equal(read(crops, rows)[key], file[stored][:][rows])
    is_whole = layout in FAST or (face == 8 and layout == "h5py's own guess")
    assert bool(crops.slow_files) != is_whole


def test_rows_are_numbered_through_files_in_their_order(tmp_path):
    parts = [sample_rows(num, seed=num) for num in (3, 1, 7)]
    layouts = ("contiguous", "gzip", "chunks of 1")
    paths = [
        write_plain(tmp_path / f"{i}.h5", part, layout=layout)
        for i, (part, layout) in enumerate(zip(parts, layouts, strict=True))
    ]
    crops = CropDataset(paths)
    order = np.random.default_rng(0).permutation(11)
    out = read(crops, order)
    for key, stored in (("face", "face"), ("left_eye", "leye"), ("right_eye", "reye")):
        np.testing.assert_array_equal(out[key], np.concatenate([part[stored] for part in parts])[order])
    np.testing.assert_array_equal(crops.gaze, np.concatenate([part["gaze"] for part in parts]))
    assert len(crops) == 11


def test_files_that_offsets_cannot_describe_are_read_right(tmp_path):
    rows = sample_rows(4)
    user_block = write_plain(tmp_path / "user_block.h5", rows, userblock_size=512)
    never_written = write_plain(tmp_path / "never.h5", {key: rows[key] for key in ("leye", "reye", "gaze")})
    with h5py.File(never_written, "a") as file:
        file.create_dataset("face", shape=(4, 8, 8, 3), dtype="uint8", fillvalue=7)
    outside = write_plain(tmp_path / "external.h5", {key: rows[key] for key in ("leye", "reye", "gaze")})
    with h5py.File(outside, "a") as file:
        file.create_dataset("face", data=rows["face"], external=[(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)])
    np.testing.assert_array_equal(read(CropDataset([user_block]), [2, 0])["face"], rows["face"][[2, 0]])
    np.testing.assert_array_equal(read(CropDataset([user_block]), [2, 0])["left_eye"], rows["leye"][[2, 0]])
    assert (read(CropDataset([never_written]), [2, 0])["face"] == 7).all()
    np.testing.assert_array_equal(read(CropDataset([outside]), [3, 1])["face"], rows["face"][[3, 1]])


def test_swap_eyes_exchanges_the_eyes_only(tmp_path):
    rows = sample_rows(3)
    out = read(CropDataset([write_plain(tmp_path / "a.h5", rows)], swap_eyes=True), [0, 1, 2])
    np.testing.assert_array_equal(out["left_eye"], rows["reye"])
    np.testing.assert_array_equal(out["right_eye"], rows["leye"])
    np.testing.assert_array_equal(out["face"], rows["face"])


@pytest.mark.parametrize("layout", ["contiguous", "gzip"])
@pytest.mark.parametrize(
    ("attrs", "colour_order", "is_reversed"),
    [
        ({"color_order": "BGR"}, "auto", True),
        ({"colour_order": np.bytes_(b"bgr")}, "auto", True),
        ({"color_order": "RGB"}, "auto", False),
        ({}, "auto", False),
        ({}, "bgr", True),
        ({"color_order": "BGR"}, "rgb", False),
    ],
)
def test_bgr_files_come_out_as_rgb(tmp_path, layout, attrs, colour_order, is_reversed):
    rows = sample_rows(5, face=31, eye=9)
    path = write_plain(tmp_path / "a.h5", rows, layout=layout, attrs=attrs)
    crops = CropDataset([path], colour_order=colour_order)
    out = read(crops, [4, 1, 2])
    for key, stored in (("face", "face"), ("left_eye", "leye"), ("right_eye", "reye")):
        expected = rows[stored][[4, 1, 2]]
        np.testing.assert_array_equal(out[key], expected[..., ::-1] if is_reversed else expected)
    assert crops.unknown_colour == ([path] if not attrs and colour_order == "auto" else [])


def test_invalid_rows_are_dropped_and_counted_and_may_hold_nan(tmp_path):
    rows = sample_rows(4)
    rows["gaze"][1] = np.nan
    rows["validity"] = np.array([1.0, 0.0, np.nan, 1.0])
    crops = CropDataset([write_plain(tmp_path / "a.h5", rows)])
    assert crops.usable.tolist() == [0, 3]
    assert crops.dropped == {"invalid": 2}


def test_nan_in_a_valid_row_is_refused_or_dropped_on_request(tmp_path):
    rows = sample_rows(4)
    rows["gaze"][2, 1] = np.inf
    path = write_plain(tmp_path / "a.h5", rows)
    with pytest.raises(DataError, match=r"a\.h5: gaze is NaN .* in 1 valid rows, first row 2.*drop_nonfinite=true"):
        CropDataset([path])
    crops = CropDataset([path], drop_nonfinite=True)
    assert crops.usable.tolist() == [0, 1, 3]
    assert crops.dropped == {"nonfinite": 1}


def test_head_is_nan_where_a_file_has_none(tmp_path):
    with_head = write_plain(tmp_path / "a.h5", sample_rows(2) | {"head": np.ones((2, 2))})
    without = write_plain(tmp_path / "b.h5", sample_rows(1))
    head = CropDataset([with_head, without]).head
    np.testing.assert_array_equal(head, [[1, 1], [1, 1], [np.nan, np.nan]])
    assert CropDataset([without]).head is None


def test_persons_come_from_the_attribute_else_the_folder(tmp_path):
    paths = [
        write_plain(tmp_path / "train01" / "participant_001" / "a.h5", sample_rows(2)),
        write_plain(tmp_path / "train02" / "participant_001" / "a.h5", sample_rows(1)),
        write_plain(tmp_path / "train03" / "participant_001" / "a.h5", sample_rows(1), attrs={"participant": "p7"}),
    ]
    crops = CropDataset(paths)
    assert [crops.subjects[i] for i in crops.subject] == ["participant_001"] * 3 + ["p7"]
    crops = CropDataset(paths, person_id="folder")
    assert crops.subjects == ["train01/participant_001", "train02/participant_001", "train03/participant_001"]


def without(rows, name):
    return {key: values for key, values in rows.items() if key != name}


BAD = {
    "no face": (lambda rows: without(rows, "face"), "no array `face`"),
    "no gaze": (lambda rows: without(rows, "gaze"), "`gaze`"),
    "float images": (lambda rows: rows | {"face": (rows["face"] / 255).astype(np.float32)}, "face is float32"),
    "one channel": (lambda rows: rows | {"leye": rows["leye"][..., :1]}, "leye has shape"),
    "channels first": (lambda rows: rows | {"face": rows["face"].transpose(0, 3, 1, 2)}, "channels come last"),
    "short gaze": (lambda rows: rows | {"gaze": rows["gaze"][:-1]}, "lengths disagree: .*gaze 4"),
    "short eye": (lambda rows: rows | {"reye": rows["reye"][:-1]}, "lengths disagree: .*reye 4"),
    "short validity": (lambda rows: rows | {"validity": np.ones(4, bool)}, "validity 4"),
    "3D gaze": (lambda rows: rows | {"gaze": np.zeros((5, 3))}, "gaze has shape"),
    "text gaze": (lambda rows: rows | {"gaze": np.full((5, 2), b"up")}, "gaze is .*numbers"),
    "degrees": (lambda rows: rows | {"gaze": rows["gaze"] * 57}, "degrees.*deg2rad"),
    "no frames": (lambda rows: {name: values[:0] for name, values in rows.items()}, "no frames"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_with_its_key(tmp_path, name):
    change, message = BAD[name]
    path = write_plain(tmp_path / "frames_basler.h5", change(sample_rows(5)))
    with pytest.raises(DataError, match=message) as error:
        CropDataset([path])
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("attrs", "message"),
    [({"color_order": "GBR"}, "color_order"), ({"unit": "deg"}, "unit"), ({"angle_order": "yaw,pitch"}, "order")],
)
def test_an_attribute_that_says_something_else_is_refused(tmp_path, attrs, message):
    with pytest.raises(DataError, match=message):
        CropDataset([write_plain(tmp_path / "a.h5", sample_rows(2), attrs=attrs)])


def truncate(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def not_hdf5(path):
    path.write_bytes(b"not HDF5 at all" * 100)


def absent(path):
    path.unlink()


def corrupt_header(path):
    with path.open("r+b") as file:
        file.seek(96)
        file.write(b"\xff" * 600)


@pytest.mark.parametrize("damage", [truncate, not_hdf5, absent, corrupt_header])
def test_an_unreadable_file_is_named(tmp_path, damage):
    path = write_plain(tmp_path / "frames_basler.h5", sample_rows(5))
    damage(path)
    with pytest.raises(DataError, match=str(path)):
        CropDataset([path])


def test_bad_files_are_counted_refused_and_skipped_on_request(tmp_path, caplog):
    paths = [write_plain(tmp_path / f"{i}.h5", sample_rows(2)) for i in range(4)]
    truncate(paths[1])
    not_hdf5(paths[3])
    with pytest.raises(DataError, match="2 of 4 crop files cannot be used") as error:
        CropDataset(paths)
    assert str(paths[1]) in str(error.value)
    assert str(paths[3]) in str(error.value)
    assert "data.skip_bad_files=true" in str(error.value)
    crops = CropDataset(paths, skip_bad_files=True)
    assert len(crops) == 4
    assert list(crops.bad_files) == [paths[1], paths[3]]
    assert "2 of 4" in caplog.text


def test_nothing_left_after_skipping_is_refused(tmp_path):
    path = write_plain(tmp_path / "a.h5", sample_rows(2))
    truncate(path)
    with pytest.raises(DataError, match="1 of 1"):
        CropDataset([path], skip_bad_files=True)


def test_sizes_that_differ_name_both_files(tmp_path):
    small = write_plain(tmp_path / "small.h5", sample_rows(2))
    large = write_plain(tmp_path / "large.h5", sample_rows(2, face=16))
    with pytest.raises(DataError, match=r"large\.h5: face is \(16, 16\) px, but \(8, 8\) in .*small\.h5"):
        CropDataset([small, large])


def test_unknown_options_are_refused(tmp_path):
    path = write_plain(tmp_path / "a.h5", sample_rows(2))
    with pytest.raises(ConfigError, match=r"data\.colour_order"):
        CropDataset([path], colour_order="gbr")
    with pytest.raises(ConfigError, match=r"data\.person_id"):
        CropDataset([path], person_id="name")


def test_a_file_cut_short_while_in_use_is_an_error_not_a_crash(tmp_path):
    path = write_plain(tmp_path / "a.h5", sample_rows(50, face=64))
    crops = CropDataset([path])
    read(crops, [0])
    truncate(path)
    with pytest.raises(DataError, match=r"a\.h5: .* cannot be read at row 4[0-9].*cut short"):
        read(crops, [49])


@pytest.mark.parametrize("layout", ["contiguous", "gzip"])
def test_a_file_replaced_after_the_start_is_refused(tmp_path, layout):
    path = write_plain(tmp_path / "a.h5", sample_rows(5), layout=layout)
    crops = CropDataset([path])
    path.unlink()
    write_plain(path, sample_rows(6, face=16), layout=layout)
    with pytest.raises(DataError, match=r"a\.h5: was changed"):
        read(crops, [0])


@pytest.mark.parametrize("layout", ["contiguous", "gzip"])
def test_reading_works_in_a_fork_and_after_pickling(tmp_path, layout):
    rows = sample_rows(20)
    crops = CropDataset([write_plain(tmp_path / "a.h5", rows, layout=layout)])
    read(crops, [1])
    child = os.fork()
    if child == 0:
        os._exit(0 if (read(crops, [7, 3])["face"] == rows["face"][[7, 3]]).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(read(pickle.loads(pickle.dumps(crops)), [7, 3])["face"], rows["face"][[7, 3]])
    np.testing.assert_array_equal(read(crops, [5])["face"], rows["face"][[5]])


def num_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_are_closed_with_the_dataset(tmp_path):
    paths = [write_plain(tmp_path / f"{i}.h5", sample_rows(16), layout=layout) for i, layout in enumerate(LAYOUTS)]
    before = num_descriptors()
    crops = CropDataset(paths)
    assert num_descriptors() == before
    read(crops, range(0, len(crops), 16))
    assert num_descriptors() == before + len(paths)
    del crops
    assert num_descriptors() == before


FEW_DESCRIPTORS = """
import resource, sys
import numpy as np
from gaze_exp.data.crop_dataset import CropDataset
resource.setrlimit(resource.RLIMIT_NOFILE, (64, int(sys.argv[1])))
crops = CropDataset(sys.argv[2:])
out = {key: np.empty((len(crops), *shape), np.uint8) for key, shape in crops.image_shapes.items()}
crops.read(np.arange(len(crops)), out)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], out["face"].sum())
"""


@pytest.mark.parametrize(("hard", "soft_after"), [(4096, 712), (64, 64)])
def test_more_files_than_descriptors_are_read(tmp_path, hard, soft_after):
    rows = sample_rows(1)
    paths = [write_plain(tmp_path / f"{i}.h5", rows) for i in range(100)]
    command = [sys.executable, "-c", FEW_DESCRIPTORS, str(hard), *map(str, paths)]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split() == [str(soft_after), str(100 * rows["face"].sum(dtype=int))]


def test_shuffled_labels_are_the_same_labels_elsewhere(tmp_path):
    rows = sample_rows(50)
    rows["validity"] = np.arange(50) % 5 > 0
    path = write_plain(tmp_path / "a.h5", rows)
    crops = CropDataset([path])
    crops.shuffle_labels(3)
    kept = rows["validity"]
    assert sorted(crops.gaze[kept].tolist()) == sorted(rows["gaze"][kept].tolist())
    assert (crops.gaze[kept] != rows["gaze"][kept]).any(axis=1).mean() > 0.8
    np.testing.assert_array_equal(crops.gaze[~kept], rows["gaze"][~kept])


def test_the_digest_knows_labels_but_not_place_or_time(tmp_path):
    def digest(folder, rows):
        path = write_plain(tmp_path / folder / "train01" / "participant_001" / "frames_basler.h5", rows)
        os.utime(path, (len(folder), 5))
        return CropDataset([path]).digest()

    rows = sample_rows(3)
    assert digest("a", rows) == digest("another", rows)
    changed = rows | {"gaze": rows["gaze"] + np.float32(1e-6)}
    assert digest("a", rows) != digest("a_third", changed)
