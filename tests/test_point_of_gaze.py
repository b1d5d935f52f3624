"""Angles back to the screen: known points, the two aggregations, and what a run says about them."""

import dataclasses
import math

import h5py
import numpy as np
import pytest
import torch
from conftest import TINY, program
from eve_sample import STEPS, write_release

from gaze_exp.camera import normalising_rotation
from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.data.screen_labels import UNKNOWN, ScreenLabels, read_screen_labels
from gaze_exp.data.sources.eve_official import preparation
from gaze_exp.data.sources.eve_prepare import prepare
from gaze_exp.geometry import screen_to_gaze
from gaze_exp.point_of_gaze import on_screen, sequence_mean, summarise
from gaze_exp.predictions import Predictions

MM_PER_PX = 0.288
TRANSFORM = torch.tensor([[-1.0, 0, 0, 276.48], [0, 1, 0, 10], [0, 0, -1, 0], [0, 0, 0, 1]]).double()
ORIGIN_MM = torch.tensor([0.0, 100.0, 600.0]).double()
ROTATION = normalising_rotation(ORIGIN_MM, torch.tensor([1.0, 0, 0]).double())


def gaze_at(points_px, rotation=ROTATION):
    """Angles of an eye of the rig of docs/eve.md that looks at points of the screen."""
    points_px = torch.as_tensor(points_px, dtype=torch.float64)
    return screen_to_gaze(
        points_px, origin_mm=ORIGIN_MM, rotation=rotation, screen_to_camera=TRANSFORM,
        mm_per_px=torch.tensor([MM_PER_PX, MM_PER_PX]).double(),
    )  # fmt: skip


def labels_of(target_px, **changed):
    target_px = np.asarray(target_px, np.float64)
    num = len(target_px)
    labels = ScreenLabels(
        origin_mm=ORIGIN_MM.expand(num, 3).numpy(),
        rotation=ROTATION.expand(num, 3, 3).numpy(),
        screen_to_camera=TRANSFORM.expand(num, 4, 4).numpy(),
        mm_per_px=np.full((num, 2), MM_PER_PX),
        screen_px=np.tile([1920.0, 1080.0], (num, 1)),
        target_px=target_px,
        both_origin_mm=ORIGIN_MM.expand(num, 3).numpy(),
        both_target_px=target_px,
        camera=np.full(num, "basler", object),
        stimulus=np.full(num, "image", object),
        sequence=np.zeros(num, np.int64),
    )
    return dataclasses.replace(labels, **changed)


def predictions_of(predicted, target, *, subject=None):
    num = len(predicted)
    return Predictions(
        predicted=predicted.float(),
        target=target.float(),
        valid=torch.ones(num, dtype=torch.bool),
        subject=torch.zeros(num, dtype=torch.int64) if subject is None else torch.tensor(subject),
        row=torch.arange(num),
        subjects=["a", "b"],
    )


def errors_at(predicted_px, target_px, **changed):
    return on_screen(predictions_of(gaze_at(predicted_px), gaze_at(target_px)), labels_of(target_px, **changed))


def test_known_angles_of_the_rig():
    expected = {(960, 540): (-0.273918, 0.0), (0, 540): (-0.248480, -0.444114), (960, 0): (-0.016259, 0.0)}
    for point, gaze in expected.items():
        assert gaze_at([point])[0].tolist() == pytest.approx(gaze, abs=1e-5)


def test_a_perfect_prediction_has_no_error_in_any_unit():
    points = [(960, 540), (0, 0), (1920, 1080), (100, 900)]
    errors = errors_at(points, points)
    assert errors.predicted_px.numpy() == pytest.approx(np.array(points), abs=0.05)
    for by_unit in errors.errors.values():
        assert max(values.max() for values in by_unit.values()) < 0.1


def test_centimetres_and_pixels_of_a_hundred_pixels():
    errors = errors_at([(1060, 540)], [(960, 540)]).errors["face"]
    assert errors["px"][0] == pytest.approx(100, abs=0.05)
    assert errors["cm"][0] == pytest.approx(2.88, abs=0.002)


def test_a_point_beside_the_screen_counts_in_cm_where_it_is_and_in_px_at_the_edge():
    errors = errors_at([(-500, 540)], [(0, 540)])
    assert errors.predicted_px[0].tolist() == pytest.approx([-500, 540], abs=0.1)
    assert errors.errors["face"]["cm"][0] == pytest.approx(14.4, abs=0.005)
    assert errors.errors["face"]["px"][0] == pytest.approx(0, abs=0.05)


def test_degrees_at_the_middle_of_both_eyes_do_not_depend_on_the_face_s_frame():
    target = [(200, 300), (1500, 900)]
    errors = errors_at([(300, 300), (1400, 950)], target)
    assert errors.errors["both_eyes"]["deg"] == pytest.approx(errors.errors["face"]["deg"], abs=1e-3)


def test_the_combined_gaze_is_compared_with_the_mean_of_both_points():
    target = np.array([(960.0, 540.0)])
    both = labels_of(target).both_target_px + np.array([100.0, 0.0])
    errors = errors_at(target, target, both_target_px=both)
    assert errors.errors["face"]["cm"][0] < 0.01
    assert errors.errors["both_eyes"]["cm"][0] == pytest.approx(2.88, abs=0.01)
    # 28.8 mm, seen from 276.48 - 276.48 = 0 mm beside and 600 mm away, 65.52 mm below the eyes.
    assert errors.errors["both_eyes"]["deg"][0] == pytest.approx(
        math.degrees(math.atan2(28.8, math.hypot(600, 65.52))), abs=0.3
    )


def test_a_gaze_away_from_the_screen_has_no_point_and_is_counted():
    target = [(960, 540), (960, 540)]
    away = torch.tensor([[0.0, math.pi - 0.1], gaze_at([(960, 540)])[0].tolist()]).double()
    errors = on_screen(predictions_of(away, gaze_at(target)), labels_of(target))
    assert errors.dropped == {"gaze away from the screen": 1}
    assert np.isnan(errors.errors["face"]["cm"][0])
    assert errors.errors["face"]["cm"][1] < 0.01


def test_rows_without_geometry_or_a_target_are_left_out_and_counted():
    target = [(960, 540)] * 3
    labels = labels_of(target)
    transform = labels.screen_to_camera.copy()
    transform[1] = np.nan
    points = labels.target_px.copy()
    points[2] = np.nan
    errors = on_screen(
        predictions_of(gaze_at(target), gaze_at(target)),
        dataclasses.replace(labels, screen_to_camera=transform, target_px=points),
    )
    assert np.isfinite(errors.errors["face"]["cm"]).tolist() == [True, False, False]
    assert errors.dropped == {"no point of gaze or no geometry": 2}


def test_frames_and_sequences_are_two_means():
    values, sequence = np.array([10.0] * 10 + [2.0] * 30), np.array([0] * 10 + [1] * 30)
    assert values.mean() == 4.0
    assert sequence_mean(values, sequence) == 6.0
    assert sequence_mean(values, np.full(40, -1)) is None


def test_a_sequence_without_a_valid_frame_is_not_counted_as_errorless():
    target = [(960, 540)] * 60
    predicted = gaze_at([(1060, 540)] * 60)
    labels = labels_of(target, sequence=np.repeat([0, 1], 30))
    predictions = dataclasses.replace(predictions_of(predicted, gaze_at(target)), valid=torch.arange(60) < 30)
    told = summed(predictions, labels)
    assert told["face"]["cm"]["sequence_mean"] == pytest.approx(2.88, abs=0.01)
    assert told["num_sequences"] == 1
    assert told["num_frames"] == 30


def summed(predictions, labels):
    errors = on_screen(predictions, labels)
    return summarise(errors, predictions=predictions, labels=labels, constant=errors)


def test_each_camera_stimulus_and_person_has_its_own_numbers():
    target = [(960, 540)] * 4
    predicted = gaze_at([(1060, 540)] * 2 + [(1260, 540)] * 2)
    labels = labels_of(
        target,
        camera=np.array(["basler", "basler", "webcam_l", "webcam_l"], object),
        stimulus=np.array(["image", "video"] * 2, object),
    )
    told = summed(predictions_of(predicted, gaze_at(target), subject=[0, 0, 1, 1]), labels)
    assert {name: round(each["face"]["px"]["mean"]) for name, each in told["per_camera"].items()} == {
        "basler": 100, "webcam_l": 300,
    }  # fmt: skip
    assert {name: round(each["face"]["px"]["mean"]) for name, each in told["per_stimulus"].items()} == {
        "image": 200, "video": 200,
    }  # fmt: skip
    assert {name: each["num"] for name, each in told["per_person"].items()} == {"a": 2, "b": 2}
    assert told["face"]["px"]["ci95"][0] < 200 < told["face"]["px"]["ci95"][1] + 101


@pytest.fixture(scope="module")
def eve_crops(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eve")
    source = write_release(folder / "eve", ("train01", "val01"), steps=STEPS, cameras=("basler", "webcam_l"))
    settings = {"face_size": 32, "eye_size": 16, "workers": 0, "sample_hz": 30}
    prepare(preparation(source=source, root=folder / "crops", camera="all", **settings))
    return folder / "crops"


def test_crop_files_say_where_people_looked_and_when(eve_crops):
    crops = CropDataset(sorted(eve_crops.glob("val01/*/*.h5")))
    rows = np.arange(len(crops))[::-1]
    labels = read_screen_labels(crops, rows)
    assert set(labels.camera) == {"basler", "webcam_l"}
    assert set(labels.stimulus) == {"image", "video", "wikipedia"}
    assert len(np.unique(labels.sequence)) == 6
    truth = torch.from_numpy(crops.gaze[rows])
    errors = on_screen(dataclasses.replace(predictions_of(truth, truth), row=torch.from_numpy(rows.copy())), labels)
    assert np.nanmax(errors.errors["face"]["px"]) < 0.1
    assert not errors.dropped


def test_files_without_a_screen_have_no_points_of_gaze(crops):
    rows = CropDataset(sorted(crops.glob("test01/*/*.h5")))
    assert read_screen_labels(rows, rows.usable) is None


def test_rows_of_unnumbered_frames_belong_to_no_sequence(eve_crops, tmp_path):
    path = next(eve_crops.glob("val01/*/frames_basler.h5"))
    copy = tmp_path / "frames_basler.h5"
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "r+") as file:
        del file["frame_index"], file.attrs["steps"]
    crops = CropDataset([copy])
    labels = read_screen_labels(crops, crops.usable)
    assert set(labels.sequence) == {-1}
    assert set(labels.stimulus) == {UNKNOWN}


def test_a_run_reports_points_of_gaze_of_every_camera_and_stimulus(eve_crops, tmp_path):
    done = program(
        *TINY, f"data.root={eve_crops}", "data.camera=all", "trainer.max_epochs=1", "global_batch=8",
        "actions=[train,evaluate]", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    screen = done.read("metrics.json")["point_of_gaze"]
    assert set(screen["per_camera"]) == {"basler", "webcam_l"}
    assert set(screen["per_stimulus"]) == {"image", "video", "wikipedia"}
    for kind in ("face", "both_eyes", "constant"):
        assert all(
            screen[kind][unit]["mean"] > 0 and screen[kind][unit]["sequence_mean"] > 0 for unit in ("deg", "cm", "px")
        )
    assert screen["face"]["deg"]["mean"] == pytest.approx(done.read("metrics.json")["mean"], abs=1e-5)
    assert "Point of gaze, both eyes: " in done.out
    assert "Point of gaze, webcam_l: " in done.out
    text = (done.folder / "report.html").read_text()
    assert "Point of gaze on the screen" in text
    assert "webcam_l" in text
    assert {"screen_points.png", "screen_errors.png"} <= {path.name for path in (done.folder / "figures").iterdir()}


def test_a_run_on_data_without_a_screen_says_so(trained):
    assert "point_of_gaze" not in trained.read("metrics.json")
    assert "do not say where the screen stood" in (trained.folder / "report.html").read_text()
