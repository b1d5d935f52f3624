"""EVE as it really arrives: files that are missing, cut short, damaged or of unequal length, and odd folders."""

import resource
import shutil
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
from eve_sample import STEPS, damage, edit, grey, index_first, plain, write_release, write_step, write_video

from gaze_exp.data.sources.eve_eyes import better_on_the_right
from gaze_exp.data.sources.eve_labels import read_labels, unit_of
from gaze_exp.data.sources.eve_official import preparation
from gaze_exp.data.sources.eve_prepare import prepare
from gaze_exp.data.sources.eve_release import NUM_PERSONS, find_recordings, split_of, step_kind
from gaze_exp.data.sources.eve_video import index_video, read_frames
from gaze_exp.errors import ConfigError, DataError

SMALL = {"face_size": 32, "eye_size": 16, "workers": 0}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("eve") / "release", ("train01",))


@pytest.fixture
def source(release, tmp_path):
    return shutil.copytree(release, tmp_path / "own")


@pytest.fixture
def step(source):
    return source / "train01" / STEPS[0]


def converted(source, root, **settings):
    return prepare(
        preparation(source=source, root=root, **({"face_size": 32, "eye_size": 16, "workers": 0} | settings))
    )


def frames_of(root, step_id=0):
    """Numbers of the frames of a step that were kept, each beside the right picture."""
    with h5py.File(root / "train01" / "participant_001" / "frames_basler.h5") as file:
        rows = file["step_id"][:] == step_id
        frames = file["frame_index"][:][rows]
        assert file["face"][:][rows].mean((1, 2, 3)) == pytest.approx([grey(i) for i in frames], abs=3)
        return frames.tolist()


@pytest.mark.parametrize("name", ["basler.h5", "basler_face.mp4", "basler_eyes.mp4", "basler.timestamps.txt"])
def test_a_step_with_a_missing_file_is_named_skipped_and_counted(source, step, tmp_path, name, caplog):
    (step / name).unlink()
    told = converted(source, tmp_path / "crops")
    assert told["counts"]["recordings_skipped"] == 1
    assert told["counts"]["kept"] == 4
    assert told["skipped"][0]["recording"] == f"train01/{STEPS[0]}/basler"
    assert f"missing {name}" in told["skipped"][0]["reason"]
    assert f"missing {name}" in caplog.text
    assert told["counts"]["kept"] + sum(told["counts"]["dropped"].values()) == told["counts"]["frames"]
    with pytest.raises(DataError, match=f"missing {name}"):
        converted(source, tmp_path / "strict", strict=True)


@pytest.mark.parametrize("name", ["basler.h5", "basler_face.mp4", "basler_eyes.mp4"])
def test_a_file_that_was_cut_short_skips_its_step(source, step, tmp_path, name):
    path = step / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    told = converted(source, tmp_path / "crops")
    assert [each["recording"] for each in told["skipped"]] == [f"train01/{STEPS[0]}/basler"]
    assert name in told["skipped"][0]["reason"]
    assert told["counts"]["kept"] == 4


def test_a_video_that_ends_early_gives_the_frames_before_its_end(source, step, tmp_path):
    path = step / "basler_face.mp4"
    index_first(path)
    path.write_bytes(path.read_bytes()[:-150])
    told = converted(source, tmp_path / "crops", sample_hz=0)
    kept = frames_of(tmp_path / "crops")
    assert 0 < len(kept) < 24
    assert kept == list(range(len(kept)))
    assert any("basler_face.mp4" in text or "cannot be decoded" in text for text in told["warnings"])
    assert told["counts"]["kept"] + sum(told["counts"]["dropped"].values()) == told["counts"]["frames"]


@pytest.mark.parametrize("name", ["basler_face.mp4", "basler_eyes.mp4"])
def test_frames_that_do_not_decode_are_left_out_and_the_others_keep_their_labels(source, step, tmp_path, name):
    damage(step / name, 12)
    told = converted(source, tmp_path / "crops", sample_hz=0)
    kept = frames_of(tmp_path / "crops")
    assert 0 < len(kept) < 24
    assert told["counts"]["dropped"]["undecodable"] == 24 - len(kept)
    assert any("frames cannot be decoded" in text for text in told["warnings"])
    with pytest.raises(DataError, match="frames cannot be decoded"):
        converted(source, tmp_path / "strict", sample_hz=0, strict=True)


def test_a_video_without_one_good_frame_gives_no_rows(source, step, tmp_path):
    damage(step / "basler_face.mp4", 0)
    told = converted(source, tmp_path / "crops")
    assert told["counts"]["dropped"]["undecodable"] == 4
    assert frames_of(tmp_path / "crops") == []
    assert frames_of(tmp_path / "crops", step_id=1) == [0, 6, 12, 18]


def test_decoding_goes_on_at_the_next_key_frame(tmp_path):
    import av

    path = tmp_path / "keys.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=60, options={"g": "8", "bf": "0", "threads": "1"})
        stream.width = stream.height = 64
        for i in range(24):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(plain(grey(i), 64, 64), format="rgb24")))
        file.mux(stream.encode())
    damage(path, 10)
    frames = list(read_frames(path, index_video(path), range(24)))
    assert [number for number, frame in enumerate(frames) if frame is None] == list(range(10, 16))
    assert [frame.mean() for frame in frames if frame is not None] == pytest.approx(
        [grey(i) for i in (*range(10), *range(16, 24))], abs=3
    )


def shorten_stamps(step):
    path = step / "basler.timestamps.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:20]))


def shorten_video(step):
    write_video(step / "basler_eyes.mp4", [np.zeros((128, 256, 3), np.uint8)] * 20)


def lengthen_stamps(step):
    with (step / "basler.timestamps.txt").open("a") as file:
        file.write("1590000000000000000\n")


@pytest.mark.parametrize(
    ("spoil", "name", "kept"),
    [
        (shorten_stamps, "basler.timestamps.txt 20", 20),
        (shorten_video, "basler_eyes.mp4 20", 20),
        (lengthen_stamps, "basler.timestamps.txt 25", 24),
    ],
)
def test_counts_that_disagree_are_cut_to_the_shortest_and_named(source, step, tmp_path, spoil, name, kept):
    spoil(step)
    told = converted(source, tmp_path / "crops", sample_hz=0)
    assert frames_of(tmp_path / "crops") == list(range(kept))
    assert any(name in text for text in told["warnings"])
    assert told["counts"]["dropped"].get("beyond the shortest", 0) == 24 - kept
    with pytest.raises(DataError, match=f"disagree .*{name}"):
        converted(source, tmp_path / "strict", sample_hz=0, strict=True)


@pytest.mark.parametrize("text", ["", "not a number\n" * 24, "1.5e18\n" * 24, "9" * 30 + "\n"])
def test_stamps_that_are_no_integers_skip_the_step_or_its_rows(source, step, tmp_path, text):
    (step / "basler.timestamps.txt").write_text(text)
    told = converted(source, tmp_path / "crops")
    assert told["counts"]["kept"] == 4


@pytest.mark.parametrize(("factor", "unit"), [(1, "ns"), (1000, "us"), (10**6, "ms")])
def test_stamps_come_out_in_nanoseconds_whatever_their_unit(source, step, tmp_path, factor, unit):
    stamps = [1_580_000_000_000_000_000 // factor + round(i * 1e9 / 60 / factor) for i in range(24)]
    (step / "basler.timestamps.txt").write_text("".join(f"{stamp}\n" for stamp in stamps))
    told = converted(source, tmp_path / "crops")
    assert told["files"][0]["steps"][0]["timestamp_unit"] == unit
    with h5py.File(tmp_path / "crops" / "train01" / "participant_001" / "frames_basler.h5") as file:
        times = file["timestamp"][:4]
    assert np.diff(times) == pytest.approx(1e8, abs=1e6)
    assert times[0] == 1_580_000_000_000_000_000


def test_stamps_of_no_unit_are_kept_and_said_so(source, step, tmp_path):
    (step / "basler.timestamps.txt").write_text("".join(f"{i * 123}\n" for i in range(24)))
    told = converted(source, tmp_path / "crops")
    assert any("unit of the time stamps cannot be told" in text for text in told["warnings"])
    assert unit_of(np.array([5]), fps=60) is None


@pytest.mark.parametrize("group", ["face_g_tobii", "face_R", "face_o"])
def test_labels_that_are_missing_or_misshapen_skip_the_step_by_name(source, step, tmp_path, group):
    with h5py.File(step / "basler.h5", "r+") as file:
        del file[group]
    told = converted(source, tmp_path / "crops")
    assert group in told["skipped"][0]["reason"]
    edit(source / "train01" / STEPS[1] / "basler.h5", group, np.zeros((24, 7), np.float32))
    with pytest.raises(DataError, match=r"no frame of .* is left"):
        converted(source, tmp_path / "none")


def test_angles_in_degrees_are_no_labels(source, step, tmp_path):
    edit(step / "basler.h5", "face_g_tobii", np.full((24, 2), 20.0, np.float32))
    assert converted(source, tmp_path / "crops")["counts"]["dropped"]["no angle"] == 4


def test_a_group_that_may_be_missing_becomes_nan(step):
    with h5py.File(step / "basler.h5", "r+") as file:
        del file["left_p"]
    labels = read_labels(step / "basler.h5", has_gaze=True)
    assert np.isnan(labels.arrays["pupil_left_mm"]).all()
    assert np.isfinite(labels.arrays["pupil_right_mm"]).any()


def test_odd_folders_are_passed_over_and_said_so(source, tmp_path):
    for name in ("train40", "etc01", "valid01", "train00", "segmentation"):
        write_step(source / name / STEPS[0])
    (source / "train01" / "step001_eye_tracker_calibration").mkdir()
    (source / "train01" / "notes").mkdir()
    told = converted(source, tmp_path / "crops")
    assert told["counts"]["persons"] == 1
    assert len(told["ignored"]) == 7
    assert any(text.startswith("train01/step001_eye_tracker_calibration") for text in told["ignored"])


def test_an_unknown_type_of_stimulus_is_an_error_that_names_its_folder(source, tmp_path):
    (source / "train01" / "step050_hologram_x").mkdir()
    with pytest.raises(DataError, match=r"train01/step050_hologram_x: 'hologram' is no type of stimulus"):
        converted(source, tmp_path / "crops")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("step008_image_MIT-i2263021117", "image"),
        ("step120_wikipedia_wikipedia-random", "wikipedia"),
        ("step002_eye_tracker_calibration", None),
        ("notes", None),
    ],
)
def test_the_type_of_a_stimulus_is_in_its_folder(tmp_path, name, kind):
    assert step_kind(tmp_path / name) == kind


def test_the_official_persons_and_no_others():
    names = [f"{split}{number:02d}" for split in ("train", "val", "test", "etc") for number in range(60)]
    assert sum(split_of(name) is not None for name in names) == sum(NUM_PERSONS.values()) == 54
    assert split_of("train1") is None


def test_any_part_of_the_release_will_do(tmp_path):
    source = write_release(tmp_path / "eve", ("train03",), steps=STEPS[:1], cameras=("basler", "webcam_c"))
    write_step(source / "train03" / STEPS[1], cameras=("webcam_c",))
    told = converted(source, tmp_path / "crops", camera="all")
    assert {(file["camera"], file["num_rows"]) for file in told["files"]} == {("basler", 4), ("webcam_c", 8)}


@pytest.mark.parametrize(("place", "match"), [("gone", "is no folder"), (".", "holds no recording of basler")])
def test_a_source_that_is_none_is_refused(tmp_path, place, match):
    with pytest.raises(DataError, match=match):
        converted(tmp_path / place, tmp_path / "crops")


def test_settings_that_make_no_sense_are_refused_by_key(source):
    with pytest.raises(ConfigError, match=r"data.root: .* is the release itself"):
        converted(source, source)
    with pytest.raises(ConfigError, match=r"data.camera: 'webcam' is no camera"):
        find_recordings(source, camera="webcam")
    with pytest.raises(ConfigError, match=r"data.source: nothing given"):
        preparation(source=None, root=source)
    with pytest.raises(ConfigError, match=r"data.sample_hz: -1 is too small"):
        preparation(source=source, root=source / "x", sample_hz=-1)


def test_a_folder_with_other_crop_files_is_left_alone(source, tmp_path):
    other = tmp_path / "crops" / "train01" / "participant_007" / "frames_basler.h5"
    other.parent.mkdir(parents=True)
    other.touch()
    with pytest.raises(DataError, match="holds crop files that are not EVE's"):
        converted(source, tmp_path / "crops")


@pytest.mark.slow
def test_a_full_disk_ends_in_one_line_and_the_same_command_goes_on(source, tmp_path):
    # In a process of its own: HDF5 does not recover from a disk that takes no more.
    root = tmp_path / "crops"
    command = [sys.executable, "-m", "gaze_exp", "task=eve_prepare", f"data.source={source}", f"data.root={root}"]
    command += ["data.workers=1", "data.face_size=32", "data.eye_size=16"]

    def small_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    full = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=small_disk)
    assert full.returncode == 2
    # h5py has its own say before.
    assert full.stderr.splitlines()[-1].startswith(f"error: {root}")
    assert "cannot write" in full.stderr.splitlines()[-1]
    assert not list(root.rglob("frames_*.h5*"))
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert frames_of(root) == [0, 6, 12, 18]


def test_swapped_halves_are_noticed_by_the_warp():
    random = np.random.default_rng(0)
    frame = random.integers(0, 256, (1080, 1920, 3), np.uint8)
    left_W, right_W = (np.array([[1.0, 0, -x], [0, 1.0, -400], [0, 0, 1]]) for x in (1000, 700))
    left, right = frame[400:528, 1000:1128], frame[400:528, 700:828]
    usual = better_on_the_right(frame, np.concatenate((right, left), 1), left_W=left_W, right_W=right_W)
    swapped = better_on_the_right(frame, np.concatenate((left, right), 1), left_W=left_W, right_W=right_W)
    assert usual == pytest.approx(2, abs=0.05)
    assert swapped == pytest.approx(-usual, abs=0.05)


def test_a_release_that_contradicts_the_mapping_is_warned_of(source, step, tmp_path, caplog):
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (27, 48, 3), np.uint8)
    frame = coarse.repeat(40, 0).repeat(40, 1)
    warps = {side: np.array([[1.0, 0, -x], [0, 1.0, -400], [0, 0, 1]]) for side, x in (("left", 1000), ("right", 700))}
    for side, warp in warps.items():
        edit(step / "basler.h5", f"{side}_W", np.repeat(warp[None], 24, 0))
    left, right = frame[400:528, 1000:1128], frame[400:528, 700:828]
    write_video(step / "basler.mp4", [frame] * 3)
    write_video(step / "basler_eyes.mp4", [np.concatenate((left, right), 1)] * 24)
    told = converted(source, tmp_path / "crops")
    assert told["survey"]["recordings"][0]["left_eye_is"] == "left half"
    assert "data.swap_halves=true would be right" in caplog.text


def test_labels_that_do_not_follow_from_the_point_of_gaze_are_warned_of(source, step, tmp_path, caplog):
    with h5py.File(step / "basler.h5") as file:
        gaze = file["face_g_tobii/data"][:]
    edit(step / "basler.h5", "face_g_tobii", gaze * [1, -1])
    converted(source, tmp_path / "crops")
    assert "labels do not follow from the points of gaze" in caplog.text
