import pytest
from crop_samples import crop_path, write_root

from gaze_exp.data.splits import find_crop_files, person_of, refuse_leaks, require_splits
from gaze_exp.errors import ConfigError, DataError


def touch(root, *names, camera="basler"):
    for number, name in enumerate(names):
        path = crop_path(root, name, number, camera)
        path.parent.mkdir(parents=True)
        path.touch()


def test_splits_are_taken_by_name_and_look_alikes_are_named(tmp_path, caplog):
    touch(tmp_path, "train01", "train40", "train", "val_1", "test-02", "valid01", "training", "etc01", "Train02")
    (tmp_path / "notes").mkdir()
    found = find_crop_files(tmp_path)
    names = {split: [path.parts[-3] for path in files] for split, files in found.items()}
    assert names == {"train": ["train", "train01", "train40"], "val": ["val_1"], "test": ["test-02"]}
    (warning,) = caplog.messages
    assert all(name in warning for name in ("valid01", "training", "etc01", "Train02"))
    assert "notes" not in warning


def test_only_the_cameras_whole_files_are_found(tmp_path):
    touch(tmp_path, "train01")
    touch(tmp_path, "train02", camera="webcam_c")
    crop_path(tmp_path, "train01", 0).with_name("frames_basler.h5.partial").touch()
    assert [str(path.relative_to(tmp_path)) for path in find_crop_files(tmp_path)["train"]] == [
        "train01/participant_000/frames_basler.h5"
    ]


@pytest.mark.parametrize("make", [lambda root: None, lambda root: root.mkdir(), lambda root: root.touch()])
def test_a_root_without_data_says_what_was_looked_for_and_two_ways_on(tmp_path, make):
    root = tmp_path / "eve"
    make(root)
    with pytest.raises(DataError) as error:
        find_crop_files(root)
    for part in (
        str(root),
        "{train,val,test}*/participant_*/frames_basler.h5",
        "data=synthetic",
        "convert the official release",
    ):
        assert part in str(error.value)


def test_another_camera_is_offered(tmp_path):
    touch(tmp_path, "train01", "val01", camera="webcam_c")
    with pytest.raises(DataError, match=r"data\.camera=webcam_c"):
        find_crop_files(tmp_path)


def test_a_missing_split_is_named(tmp_path):
    found = find_crop_files(write_root(tmp_path, val=0))
    with pytest.raises(DataError, match="no val person"):
        require_splits(found, root=tmp_path, needed=("train", "val"))
    require_splits(found, root=tmp_path, needed=("train",))


def test_a_person_in_two_splits_is_refused_by_name(tmp_path):
    paths = {split: tmp_path / f"{split}01" / "participant_001" / "frames_basler.h5" for split in ("train", "val")}
    persons = {
        split: {person_of(path, participant=None, person_id="participant"): path} for split, path in paths.items()
    }
    with pytest.raises(DataError, match="participant_001 is in train and in val") as error:
        refuse_leaks(persons)
    for part in (str(paths["train"]), str(paths["val"]), "move one", "data.person_id=folder"):
        assert part in str(error.value)
    refuse_leaks(
        {split: {person_of(path, participant=None, person_id="folder"): path} for split, path in paths.items()}
    )


def test_an_unknown_person_id_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.person_id"):
        person_of(tmp_path / "a" / "b" / "c", participant=None, person_id="nobody")
