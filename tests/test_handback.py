"""A model put in the client's folder and taken back, by the program as a user runs it."""

import json
import shutil

import client_simulator
import onnx
import pytest
import torch
from client_calibration import GEOMETRY, GOOD, calibrated, photos_in  # noqa: F401
from client_folder import CONFIG, config_of, make_client, state_of
from conftest import program
from test_client_export import other_file

from gaze_exp.client import svr
from gaze_exp.client.config_file import read_config
from gaze_exp.client.placement import take_back
from gaze_exp.errors import DataError
from gaze_exp.personal.model import load_personal

MODEL = "models/custom_gaze.onnx"
WHAT = ("gain", "offset", "curve")


def handback(folder, *overrides, cwd):
    return program("task=l2cs_handback", f"client_dir='{folder}'", "hardware=cpu", *overrides, cwd=cwd)


@pytest.fixture
def run_of(calibrated, tmp_path):  # noqa: F811
    """A maker of run folders with another verdict or method in their manifest."""

    def make(**changes):
        run = tmp_path / "a run"
        run.mkdir()
        shutil.copy(calibrated / "run" / "custom_gaze.onnx", run)
        shutil.copy(calibrated / "run" / "custom_gaze.int8.onnx", run)
        content = json.loads((calibrated / "run" / "custom_gaze.json").read_text()) | changes
        (run / "custom_gaze.json").write_text(json.dumps(content))
        return run / "custom_gaze.onnx"

    return make


@pytest.fixture
def exported(calibrated):  # noqa: F811
    return calibrated / "run" / "custom_gaze.onnx"


def expected_config(**numbers):
    content = json.loads(CONFIG)
    content["models"]["l2cs_path"] = MODEL
    neutral = {
        f"{axis}_{what}": float(what == "gain") for axis in ("yaw", "pitch") for what in ("gain", "offset", "curve")
    }
    content["calibration"]["models"]["l2cs"] = neutral | numbers
    return content


def test_native_resets_the_calibration_and_says_what_that_reaches(tmp_path, exported):
    folder = make_client(tmp_path / "client")
    done = handback(folder, f"onnx={exported}", cwd=tmp_path)
    assert done.code == 0, done.err
    assert config_of(folder) == expected_config()
    assert (folder / MODEL).read_bytes() == exported.read_bytes()
    assert (folder / "models" / "custom_gaze.json").is_file()
    assert (folder / "config.json.before_gaze_exp").read_bytes() == CONFIG.encode()
    assert "61 % of the way" in done.out
    assert "mapping=screen writes gain 1.6287" in done.out
    assert "--model l2cs" in done.out
    assert "Moondream off" in done.out
    manifest = json.loads((exported.parent / "custom_gaze.json").read_text())
    for x, y in manifest["targets_px"]:  # each target and the pixel that it would get
        drawn = (864 + (x - 864) * 0.614, 558.5 + (y - 558) * 0.614)
        assert f"({x:.0f}, {y:.0f}) -> ({drawn[0]:.0f}, {drawn[1]:.0f})" in done.out


def test_screen_mapping_reaches_the_pixels_that_the_model_means(tmp_path, exported, calibrated):  # noqa: F811
    folder = make_client(tmp_path / "client")
    window = ("screen.window_width_px=1920", "screen.window_height_px=1080")
    done = handback(folder, f"onnx={exported}", "mapping=screen", *window, cwd=tmp_path)
    assert done.code == 0, done.err
    assert config_of(folder) == expected_config(
        yaw_gain=1.628664, pitch_gain=1.628664, yaw_offset=-4.8, pitch_offset=0.9
    )
    assert "of the way" not in done.out
    client = client_simulator.Client(folder, window_px=(1920, 1080))
    model = load_personal(calibrated / "personal.pt")[0]
    for _, frame, box, _ in photos_in(calibrated / "people" / "participant_001" / "calibration_data")[:3]:
        face = torch.from_numpy(client_simulator.face_picture(frame, box)).permute(2, 0, 1)[None]
        with torch.no_grad():
            meant = GEOMETRY.to_pixels(model(face).double())[0].tolist()
        assert client.look(frame, box) == pytest.approx(meant, abs=0.05)


def test_undo_brings_back_every_byte(tmp_path, exported):
    folder = make_client(tmp_path / "client", svr="xy")
    before = state_of(folder)
    assert handback(folder, f"onnx={exported}", "handback.disable_svr=true", cwd=tmp_path / "1").code == 0
    assert state_of(folder) != before
    done = handback(folder, "undo=true", cwd=tmp_path / "2")
    assert done.code == 0, done.err
    assert state_of(folder) == before
    again = handback(folder, "undo=true", cwd=tmp_path / "3")
    assert again.code == 2
    assert "no hand-back to undo" in again.err


def test_a_second_hand_back_keeps_the_first_backup(tmp_path, exported):
    """Otherwise its backup would be our own config, and the user's settings gone."""
    folder = make_client(tmp_path / "client")
    (folder / MODEL).write_bytes(b"a model of his own")
    before = state_of(folder)
    for number, mapping in enumerate(("native", "screen", "screen")):
        assert handback(folder, f"onnx={exported}", f"mapping={mapping}", cwd=tmp_path / str(number)).code == 0
    assert (folder / "models" / "custom_gaze.onnx.before_gaze_exp").read_bytes() == b"a model of his own"
    assert handback(folder, f"onnx={exported.with_name('custom_gaze.int8.onnx')}", cwd=tmp_path / "int8").code == 0
    assert (folder / MODEL).read_bytes() == exported.with_name("custom_gaze.int8.onnx").read_bytes()
    take_back(folder)
    assert state_of(folder) == before


def test_a_second_identical_hand_back_changes_nothing_but_the_date(tmp_path, exported):
    folder = make_client(tmp_path / "client")
    assert handback(folder, f"onnx={exported}", cwd=tmp_path / "1").code == 0
    record = folder / "models" / "custom_gaze.handback.json"
    before, said = state_of(folder), json.loads(record.read_text())
    assert handback(folder, f"onnx={exported}", cwd=tmp_path / "2").code == 0
    after = state_of(folder)
    assert {name for name in after if after[name] != before.get(name)} <= {"models/custom_gaze.handback.json"}
    assert after.keys() == before.keys()
    assert json.loads(record.read_text()) | {"written": ""} == said | {"written": ""}


def test_what_the_user_changed_since_survives_undo(tmp_path, exported):
    folder = make_client(tmp_path / "client")
    assert handback(folder, f"onnx={exported}", cwd=tmp_path).code == 0
    content = config_of(folder)  # as the client saves it: its own layout
    content["ui"]["menu_scale"] = 9
    (folder / "config.json").write_text(json.dumps(content, indent=2))
    (folder / MODEL).write_bytes(b"put there by hand since")
    assert handback(folder, "undo=true", cwd=tmp_path / "2").code == 0
    expected = json.loads(CONFIG)
    expected["ui"]["menu_scale"] = 9
    assert config_of(folder) == expected
    assert (folder / MODEL).read_bytes() == b"put there by hand since"


def test_a_changed_window_gives_new_offsets_and_a_warning(tmp_path, exported):
    folder = make_client(tmp_path / "client")
    assert handback(folder, f"onnx={exported}", "mapping=screen", cwd=tmp_path / "1").code == 0
    assert config_of(folder)["calibration"]["models"]["l2cs"]["yaw_offset"] == 0.0
    window = ("screen.window_width_px=1440", "screen.window_height_px=900")
    done = handback(folder, f"onnx={exported}", "mapping=screen", *window, cwd=tmp_path / "2")
    assert "was 1728x1117 at the last hand-back and is 1440x900 now" in done.out
    numbers = config_of(folder)["calibration"]["models"]["l2cs"]
    assert (numbers["yaw_offset"], numbers["pitch_offset"]) == pytest.approx((7.2, 5.4))


def test_the_models_own_degrees_stay_when_another_screen_is_named(tmp_path, exported):
    folder = make_client(tmp_path / "client")
    done = handback(folder, f"onnx={exported}", "mapping=screen", "screen=macbook_1440x900", cwd=tmp_path)
    assert "learnt 0.0307 degrees a pixel around (864, 558), and that stays" in done.out
    assert config_of(folder)["calibration"]["models"]["l2cs"]["yaw_gain"] == pytest.approx(1.628664)


@pytest.mark.parametrize("verdict", [GOOD | {"better": False, "text": "they cannot be told apart."}, None])
def test_a_model_that_was_not_better_needs_force(tmp_path, run_of, verdict):
    folder = make_client(tmp_path / "client")
    before, onnx_file = state_of(folder), run_of(verdict=verdict)
    done = handback(folder, f"onnx='{onnx_file}'", cwd=tmp_path / "1")
    assert done.code == 2
    assert ("not better than the affine baseline" if verdict else "no verdict") in done.err
    assert "force=true" in done.err
    assert "base_affine.pt" in done.err
    assert state_of(folder) == before
    assert handback(folder, f"onnx='{onnx_file}'", "force=true", cwd=tmp_path / "2").code == 0
    assert config_of(folder) == expected_config()


@pytest.mark.parametrize(("worse", "code"), [(False, 0), (True, 2)])
def test_the_affine_baseline_itself_is_placed_unless_it_does_harm(tmp_path, run_of, worse, code):
    verdict = {"of": "base + affine", "over": "base", "better": False, "worse": worse, "text": ""}
    folder = make_client(tmp_path / "client")
    onnx_file = run_of(method="base + affine", verdict=verdict)
    assert handback(folder, f"onnx='{onnx_file}'", cwd=tmp_path).code == code


def test_svr_files_that_override_stop_a_hand_back_until_asked(tmp_path, exported):
    folder = make_client(tmp_path / "client", svr="xy")
    before = state_of(folder)
    done = handback(folder, f"onnx={exported}", cwd=tmp_path / "1")
    assert done.code == 2
    assert "svr_l2cs_x.model and svr_l2cs_y.model" in done.err
    assert "handback.disable_svr=true" in done.err
    assert state_of(folder) == before
    done = handback(folder, f"onnx={exported}", "handback.disable_svr=true", cwd=tmp_path / "2")
    assert done.code == 0, done.err
    assert not client_simulator.Client(folder, window_px=(1728, 1117)).overridden
    assert (folder / "svr_l2cs_x.model.disabled").read_bytes() == b"support vectors of x"


def test_one_svr_file_alone_is_only_told(tmp_path, exported):
    folder = make_client(tmp_path / "client", svr="x")
    done = handback(folder, f"onnx={exported}", cwd=tmp_path)
    assert done.code == 0
    assert "svr_l2cs_x.model lies there alone" in done.out
    assert (folder / "svr_l2cs_x.model").is_file()


def test_renaming_svr_files_twice_loses_none(tmp_path):
    folder = make_client(tmp_path / "client", svr="xy")
    first = svr.disable(folder)
    assert svr.disable(folder) == {}
    (folder / "svr_l2cs_x.model").write_bytes(b"made anew")  # by the client's `calibrate`
    second = svr.disable(folder)
    assert second == {"svr_l2cs_x.model": "svr_l2cs_x.model.disabled.2"}
    assert (folder / "svr_l2cs_x.model.disabled").read_bytes() == b"support vectors of x"
    assert svr.enable(folder, second) == ["svr_l2cs_x.model"]
    assert svr.enable(folder, first) == ["svr_l2cs_y.model"]  # x is there and stays
    assert (folder / "svr_l2cs_x.model").read_bytes() == b"made anew"


def test_the_check_says_what_a_calibration_left_over_would_do(tmp_path):
    folder = make_client(tmp_path / "client")
    content = CONFIG.replace('"moondream_active": false', '"moondream_active": true')
    (folder / "config.json").write_text(content)
    before = state_of(folder)
    window = ("screen.window_width_px=1920", "screen.window_height_px=1080")
    done = handback(folder, "handback.check_only=true", *window, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "curves/offsets not reset" in done.out
    assert "(0, 0) is drawn at (1094.80, 87.70)" in done.out
    assert "models/l2cs_net.onnx is not there" in done.out
    assert "moondream_active is true" in done.out
    assert state_of(folder) == before


def test_a_mirror_that_does_not_fit_is_told(tmp_path, exported):
    folder = make_client(tmp_path / "client", config=CONFIG.replace('"mirror_mode": true', '"mirror_mode": false'))
    done = handback(folder, f"onnx={exported}", cwd=tmp_path)
    assert "mirror_mode is false, the model is for pictures that are mirrored" in done.out


def test_folders_with_spaces_and_accents_work(tmp_path, exported):
    folder = make_client(tmp_path / "Blick Tracker – né 視線")
    done = handback(folder, f"onnx={exported}", cwd=tmp_path)
    assert done.code == 0, done.err
    assert config_of(folder)["models"]["l2cs_path"] == MODEL
    client_simulator.Client(folder, window_px=(1728, 1117))
    assert handback(folder, "undo=true", cwd=tmp_path / "2").code == 0


def test_a_relative_client_folder_works(tmp_path, exported):
    make_client(tmp_path / "client")
    assert handback("client", f"onnx={exported}", cwd=tmp_path).code == 0
    assert config_of(tmp_path / "client")["models"]["l2cs_path"] == MODEL


def test_a_file_of_another_maker_needs_force_and_right_units(tmp_path, calibrated):  # noqa: F811
    folder = make_client(tmp_path / "client")
    before = state_of(folder)
    path = other_file(tmp_path / "by_hand.onnx", (2,))
    root = f"data.root={calibrated / 'dataset_clean'}"
    done = handback(folder, f"onnx={path}", root, "force=true", cwd=tmp_path / "1")
    assert done.code == 2
    assert "radians" in done.err
    assert state_of(folder) == before
    right = shutil.copy(calibrated / "run" / "custom_gaze.onnx", tmp_path / "unknown.onnx")
    done = handback(folder, f"onnx={right}", root, cwd=tmp_path / "2")
    assert done.code == 2
    assert "nothing is known about it" in done.err
    done = handback(folder, f"onnx={right}", root, "force=true", cwd=tmp_path / "3")
    assert done.code == 0, done.err
    assert "unit and signs are right on 9 crops" in done.out
    assert not (folder / "models" / "custom_gaze.json").exists()


def test_ninety_bins_in_two_outputs_may_be_placed(tmp_path):
    folder = make_client(tmp_path / "client")
    path = other_file(tmp_path / "base.onnx", (90, 90))
    done = handback(folder, f"onnx={path}", "force=true", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "unit and signs are not checked" in done.out


def test_a_manifest_of_another_file_is_no_recommendation(tmp_path, run_of):
    onnx_file = run_of()
    graph = onnx.load(str(onnx_file))
    graph.producer_name = "somebody else"
    onnx.save(graph, str(onnx_file))
    folder = make_client(tmp_path / "client")
    done = handback(folder, f"onnx='{onnx_file}'", "force=true", cwd=tmp_path)
    assert done.code == 2
    assert "speaks of other files" in done.err


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "config.json").chmod(0o444), "write-protected"),
        (lambda folder: (folder / "config.json").unlink(), "start the eye tracker once"),
        (lambda folder: (folder / "config.json").write_text('{"calibration": []}'), "'calibration' is no object"),
    ],
)
def test_a_config_that_cannot_be_changed_leaves_the_folder_as_it_was(tmp_path, exported, spoil, said):
    folder = make_client(tmp_path / "client")
    spoil(folder)
    before = state_of(folder)
    done = handback(folder, f"onnx={exported}", "force=true", cwd=tmp_path)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert state_of(folder) == before


def test_an_error_late_in_the_hand_back_undoes_what_came_before(tmp_path, exported, monkeypatch):
    """The config is the last to be written; here the disk is full just then."""
    from gaze_exp.client import placement
    from gaze_exp.client.mapping import ClientMapping

    folder = make_client(tmp_path / "client", svr="xy")
    (folder / MODEL).write_bytes(b"his own")
    before = state_of(folder)

    def full(*_):
        raise DataError("config.json: cannot write: No space left on device")

    monkeypatch.setattr(placement, "write_config", full)
    wanted = placement.Handback(
        onnx=exported, known=None, mapping_name="native", mapping=ClientMapping(), window_px=(1, 1), disable_svr=True
    )
    with pytest.raises(DataError, match="No space left"):
        placement.place(read_config(folder), wanted)
    assert state_of(folder) == before


def test_missing_choices_are_named(tmp_path):
    folder = make_client(tmp_path / "client")
    cases = {
        (): "client_dir: nothing given",
        (f"client_dir={folder}",): "onnx: nothing given",
        (f"client_dir={folder}", "onnx=nowhere.onnx"): "nowhere.onnx: is not there",
        (f"client_dir={tmp_path}/nowhere", "onnx=x.onnx"): "client_dir",
        (f"client_dir={folder}", "onnx=nowhere.onnx", "mapping=linear"): "mapping: 'linear'",
    }
    for number, (overrides, said) in enumerate(cases.items()):
        done = program("task=l2cs_handback", *overrides, cwd=tmp_path / str(number))
        assert (done.code, said in done.err) == (2, True), done.err
