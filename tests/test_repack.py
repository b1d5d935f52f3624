import h5py
import numpy as np
import pytest
from crop_samples import LAYOUTS, crop_path, sample_rows, write_plain

from gaze_exp.data.datamodule import CropDataModule
from gaze_exp.data.repack import repack_file, repack_root
from gaze_exp.errors import DataError


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_repacked_file_is_fast_and_holds_the_same(tmp_path, layout):
    rows = sample_rows(70) | {
        "validity": np.arange(70, dtype=np.uint8) % 2,
        "step_id": np.arange(70, dtype=np.int32),
        "mask_left": np.ones((70, 4, 4), np.uint8),
        "camera_matrix": np.eye(3),
    }
    rows["gaze"][0] = np.nan
    attrs = {"color_order": "BGR", "participant": "p3", "steps": ["a", "b"]}
    source = write_plain(tmp_path / "slow.h5", rows, layout=layout, attrs=attrs)
    with h5py.File(source, "a") as file:
        file.create_group("history").attrs["by"] = "me"
    done = repack_file(source, tmp_path / "new" / "fast.h5")
    assert done.num_rows == 70
    with h5py.File(done.target) as file:
        assert set(file) == {*rows, "history"}
        for name, values in rows.items():
            np.testing.assert_array_equal(file[name][:], values)
            assert file[name].dtype == values.dtype
            assert file[name].chunks is None
        assert file["history"].attrs["by"] == "me"
        assert {name: file.attrs[name] for name in ("color_order", "participant")} == {
            "color_order": "BGR",
            "participant": "p3",
        }
        assert file.attrs["steps"].tolist() == ["a", "b"]
        assert "eye_naming" not in file.attrs


def test_an_unsaid_colour_order_stays_unsaid(tmp_path):
    source = write_plain(tmp_path / "slow.h5", sample_rows(3), layout="gzip", attrs={})
    with h5py.File(repack_file(source, tmp_path / "fast.h5").target) as file:
        assert dict(file.attrs) == {"format_version": 1}


def test_files_without_labels_are_repacked(tmp_path):
    rows = sample_rows(3)
    del rows["gaze"]
    target = repack_file(write_plain(tmp_path / "slow.h5", rows, layout="gzip"), tmp_path / "fast.h5").target
    with h5py.File(target) as file:
        assert set(file) == {"face", "leye", "reye"}


@pytest.mark.parametrize("in_place", [False, True])
def test_a_root_is_repacked_once_and_reads_the_same(tmp_path, in_place, caplog):
    root = tmp_path / "old"
    for number, (split, layout) in enumerate(
        (("train01", "gzip"), ("train02", "contiguous"), ("val01", "lzf and shuffle"))
    ):
        write_plain(crop_path(root, split, number), sample_rows(9, seed=number), layout=layout)
    before = list(CropDataModule(root, batch_size=2).train_dataloader())
    to = root if in_place else tmp_path / "new"
    assert [bool(done.seconds) for done in repack_root(root, to)] == [True, not in_place, True]
    assert [done.seconds for done in repack_root(root, to)] == [0, 0, 0]
    caplog.clear()
    after = list(CropDataModule(to, batch_size=2).train_dataloader())
    assert not caplog.messages
    for old, new in zip(before, after, strict=True):
        assert all((old[key] == new[key]).all() for key in old)


def test_a_half_written_target_is_not_left(tmp_path):
    source = write_plain(tmp_path / "slow.h5", sample_rows(200, face=32), layout="gzip")
    with h5py.File(source, "r") as file:
        offset = file["face"].id.get_chunk_info(150).byte_offset
    with source.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 40)
    with pytest.raises(DataError, match=r"slow\.h5"):
        repack_file(source, tmp_path / "new" / "fast.h5")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_root_without_crop_files_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no"):
        list(repack_root(tmp_path, tmp_path / "new"))
