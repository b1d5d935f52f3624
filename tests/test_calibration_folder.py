"""Reading a client's folder: which label counts, what is left out and why, targets, sessions, and what they allow."""

import itertools
import json
import re

import pytest
import torch

from gaze_exp.data.allowed_fits import allowed_fits
from gaze_exp.data.sources.calibration import CalibrationSource, read_calibration_folder
from gaze_exp.data.target_groups import group_sessions, group_targets
from gaze_exp.errors import ConfigError, DataError

START_MS = 1_766_068_421_832


NUMBERS = itertools.count()


def pair(folder, label, *, stem=None, picture=None):
    """One label, and bytes beside it that nobody decodes here."""
    number = next(NUMBERS)
    stem = stem or f"img_{START_MS + 2000 * number}"
    folder.mkdir(exist_ok=True)
    (folder / f"{stem}.json").write_text(label if isinstance(label, str) else json.dumps(label))
    (folder / f"{stem}.jpg").write_bytes(picture or f"photo {number}".encode())
    return stem


def at(x, y, **more):
    return {"screen_x": x, "screen_y": y} | more


def reasons(found):
    return {one.file: one.reason for one in found.dropped}


def test_the_pointer_is_read_wherever_it_stood(tmp_path):
    pair(tmp_path, at(850.855, -71.0, inference={"Gaze": {"yaw": 99.0}}))
    (photo,) = read_calibration_folder(tmp_path).photos
    assert photo.target_px == (850.855, -71.0)


def test_target_keys_are_an_alias(tmp_path):
    pair(tmp_path, {"target_x": 10.0, "target_y": 20})
    pair(tmp_path, at(5.0, 6.0, target_x=5.0, target_y=6.0))
    assert [photo.target_px for photo in read_calibration_folder(tmp_path).photos] == [(10.0, 20.0), (5.0, 6.0)]


def test_two_different_targets_stop_everything(tmp_path):
    pair(tmp_path, at(1.0, 2.0))
    stem = pair(tmp_path, at(1.0, 2.0, target_x=1.0, target_y=900.0))
    with pytest.raises(DataError, match=rf"{stem}\.json: screen_x, screen_y \(1\.0, 2\.0\) and target_x.* differ"):
        read_calibration_folder(tmp_path)


def test_no_target_at_all_is_never_a_default(tmp_path):
    pair(tmp_path, at(1.0, 2.0))
    stem = pair(tmp_path, {"timestamp": 5, "x": 3.0})
    with pytest.raises(DataError, match=rf"{stem}\.json: has neither screen_x"):
        read_calibration_folder(tmp_path)


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ('{"screen_x": NaN, "screen_y": 1.0}', "screen_x: nan px is no place"),
        ('{"screen_x": 1.0, "screen_y": -Infinity}', "screen_y: -inf px is no place"),
        ('{"screen_x": 1.0, "screen_y": 1e300}', "screen_y: 1e\\+300 px is no place"),
        ('{"screen_x": "864", "screen_y": 1.0}', 'screen_x: "864" is no number'),
        ('{"screen_x": null, "screen_y": 1.0}', "screen_x: null is no number"),
        ('{"screen_x": true, "screen_y": 1.0}', "screen_x: true is no number"),
        ('{"screen_x": 3.0}', "screen_y: null is no number"),
        ('{"screen_x": 3.0, ', "is no JSON"),
        ("[1, 2]", "is no JSON object"),
        ("", "is no JSON"),
        ("[" * 100_000, ""),
    ],
)
def test_a_label_that_is_no_number_is_left_out_by_its_name(tmp_path, label, told):
    pair(tmp_path, at(1.0, 2.0))
    stem = pair(tmp_path, label)
    found = read_calibration_folder(tmp_path)
    assert len(found.photos) == 1
    assert list(reasons(found)) == [f"{stem}.jpg"]
    assert re.search(told, reasons(found)[f"{stem}.jpg"])


def test_of_two_photos_with_one_label_the_second_is_left_out(tmp_path):
    pair(tmp_path, at(1.0, 2.0), stem="me")
    (tmp_path / "me.jpeg").write_bytes(b"another photo")
    found = read_calibration_folder(tmp_path)
    assert len(found.photos) == 1
    assert reasons(found) == {"me.jpg": "another photo has the same name and label"}


def test_what_stands_alone_is_counted_and_listed(tmp_path):
    pair(tmp_path, at(1.0, 2.0))
    (tmp_path / "img_1766068421999.json").write_text("{}")
    (tmp_path / "img_1766068422999.jpg").write_bytes(b"photo")
    assert reasons(read_calibration_folder(tmp_path)) == {
        "img_1766068421999.json": "a label without its photo",
        "img_1766068422999.jpg": "a photo without its label (.json of the same name)",
    }


def test_what_the_client_keeps_beside_is_ignored(tmp_path):
    pair(tmp_path, at(1.0, 2.0))
    (tmp_path / "calibration.json").write_text('{"x_coeffs": []}')
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "._img_1.jpg").write_bytes(b"\0")
    reports = tmp_path / "reports"
    pair(reports, {"entries": []}, stem="img_1")
    found = read_calibration_folder(tmp_path)
    assert (len(found.photos), found.dropped) == (1, [])


def test_an_empty_and_a_missing_folder_say_where_the_client_writes(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=r"data\.calibration_dir=PATH"):
            read_calibration_folder(folder)


def test_of_copies_one_is_kept(tmp_path):
    first = pair(tmp_path, at(1.0, 2.0), picture=b"same")
    again = pair(tmp_path, at(1.0, 2.5), picture=b"same")
    found = read_calibration_folder(tmp_path)
    assert [photo.path.stem for photo in found.photos] == [first]
    assert reasons(found) == {f"{again}.jpg": f"the same picture or time as {first}.jpg"}


def test_two_files_of_one_time_are_copies_too(tmp_path):
    pair(tmp_path, at(1.0, 2.0, timestamp=START_MS), stem="a")
    pair(tmp_path, at(1.0, 2.0, timestamp=START_MS), stem="b")
    pair(tmp_path, at(1.0, 2.0, timestamp=START_MS + 1), stem="c")
    assert [photo.path.stem for photo in read_calibration_folder(tmp_path).photos] == ["a", "c"]


def test_copies_with_different_targets_are_all_left_out(tmp_path):
    pair(tmp_path, at(1.0, 2.0), picture=b"same", stem="a")
    pair(tmp_path, at(500.0, 2.0), picture=b"same", stem="b")
    kept = pair(tmp_path, at(1.0, 2.0))
    found = read_calibration_folder(tmp_path)
    assert [photo.path.stem for photo in found.photos] == [kept]
    assert all("different targets (a.jpg, b.jpg)" in reason for reason in reasons(found).values())


def test_photos_come_in_the_order_of_their_times(tmp_path):
    pair(tmp_path, at(1.0, 2.0, timestamp=START_MS + 5), stem="a")
    pair(tmp_path, at(1.0, 2.0), stem=f"img_{START_MS}")
    pair(tmp_path, at(1.0, 2.0, timestamp="soon"), stem="c")
    photos = read_calibration_folder(tmp_path).photos
    assert [photo.time_ms for photo in photos] == [None, START_MS, START_MS + 5]


@pytest.mark.parametrize("change", [{"same_target_px": -1.0}, {"session_gap_min": float("nan")}])
def test_distances_that_are_none_are_refused(change):
    with pytest.raises(ConfigError, match=rf"^data\.{next(iter(change))}: "):
        CalibrationSource(**change)


def test_a_target_taken_twice_is_one_target():
    grid = torch.cartesian_prod(torch.tensor([50.0, 550.0, 1050.0]), torch.tensor([80.0, 860.0, 1640.0])).flip(-1)
    order = torch.randperm(18, generator=torch.Generator().manual_seed(0))
    points = torch.cat((grid, grid + 20.0))[order]
    ids = group_targets(points, same_target_px=80.0)
    assert torch.equal(ids, order % 9)  # row by row over the screen


def test_no_two_targets_are_nearer_than_the_distance():
    points = 1500 * torch.rand(90, 2, generator=torch.Generator().manual_seed(1))
    ids = group_targets(points, same_target_px=80.0)
    apart = torch.cdist(points, points)
    assert apart[ids[:, None] != ids[None]].min() >= 80.0
    assert 20 < len(ids.unique()) < 90


def test_a_chain_of_near_pointers_is_one_target():
    line = torch.stack((torch.arange(0.0, 700.0, 70.0), torch.zeros(10)), -1)
    assert group_targets(line.flip(0), same_target_px=80.0).tolist() == [0] * 10
    assert len(group_targets(line, same_target_px=60.0).unique()) == 10


def test_a_long_pause_begins_a_session():
    times = [START_MS + int(60_000 * minute) for minute in (0, 9, 18, 40, 1500)]
    assert group_sessions(times, gap_min=10.0).tolist() == [0, 0, 0, 1, 2]
    assert group_sessions([times[4], None, times[0]], gap_min=10.0).tolist() == [1, 2, 0]
    assert group_sessions([None, None], gap_min=10.0).tolist() == [0, 0]


def grid(columns, rows):
    x, y = torch.linspace(50, 1650, columns), torch.linspace(50, 1050, rows)
    return torch.cartesian_prod(x, y)


@pytest.mark.parametrize(
    ("targets", "times", "names"),
    [
        (grid(1, 1), 30, ["offset"]),
        (grid(2, 1), 15, ["offset"]),
        (grid(2, 2)[:3], 1, ["offset", "affine"]),
        (grid(4, 2), 5, ["offset", "affine"]),
        (grid(3, 3), 2, ["offset", "affine"]),
        (grid(3, 3), 3, ["offset", "affine", "fine-tune"]),
        (grid(1, 9), 3, ["offset", "scale of pitch"]),
        (grid(9, 1), 3, ["offset", "scale of yaw"]),
        (torch.stack((torch.linspace(0, 1000, 9), torch.linspace(0, 900, 9)), -1), 3,
         ["offset", "scale of yaw", "scale of pitch"]),
    ],
)  # fmt: skip
def test_fewer_targets_allow_less(targets, times, names):
    allowed = allowed_fits(targets.repeat(times, 1), torch.arange(len(targets)).repeat(times))
    assert allowed.names == names
    assert set(allowed.reasons) == {"affine", "fine-tune"} - set(names)


def test_reasons_count_what_is_missing():
    ids = torch.arange(9)
    allowed = allowed_fits(grid(3, 3), ids)
    assert allowed.reasons == {"fine-tune": "9 of the 20 photos that it needs"}
    assert str(allowed) == "9 photos of 9 targets allow offset, affine; no fine-tune: 9 of the 20 photos that it needs"
    assert allowed_fits(grid(1, 9), ids).reasons["affine"] == "the targets all have the same x"
    assert allowed_fits(grid(2, 1), ids[:2]).reasons["affine"] == "2 of the 3 targets that it needs"
