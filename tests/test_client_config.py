"""The client's config.json: seven values change, every other byte stays."""

import json

import pytest
from client_folder import CONFIG, LEFT_OVER, config_of, make_client, state_of

from gaze_exp.client import json_text
from gaze_exp.client.config_file import OURS, originals, patched, read_config, restored, write_config
from gaze_exp.client.mapping import ClientMapping
from gaze_exp.errors import DataError

NEW_MODEL = "models/custom_gaze.onnx"
NATIVE = ClientMapping().numbers()


def patch(folder, **changes):
    config = read_config(folder)
    write_config(config, patched(config, **({"model_path": NEW_MODEL, "numbers": NATIVE} | changes)))
    return config


def test_only_the_seven_values_change_and_every_other_byte_stays(tmp_path):
    folder = make_client(tmp_path / "client")
    patch(folder)
    expected = CONFIG.replace("models/l2cs_net.onnx", NEW_MODEL)
    for name, number in LEFT_OVER.items():
        expected = expected.replace(f'"{name}": {number}', f'"{name}": {1.0 if name.endswith("gain") else 0.0}')
    assert (folder / "config.json").read_bytes() == expected.encode()
    assert '"mobile": { "yaw_offset": 1e-3, "pitch_offset": -0.50, "yaw_gain": 1.0, "pitch_gain": 2 }' in expected


LAYOUTS = {
    "compact": lambda text: json.dumps(json.loads(text), separators=(",", ":")),
    "one line": lambda text: json.dumps(json.loads(text)),
    "tabs": lambda text: json.dumps(json.loads(text), indent="\t"),
    "four spaces, Windows lines": lambda text: json.dumps(json.loads(text), indent=4).replace("\n", "\r\n"),
    "odd": lambda text: text.replace(": ", " :").replace(",\n", " ,\n\n"),
}
CUTS = {
    "nothing": (),
    "the six numbers": (("calibration", "models", "l2cs"),),
    "both curves": (("calibration", "models", "l2cs", "yaw_curve"), ("calibration", "models", "l2cs", "pitch_curve")),
    "all models of calibration": (("calibration", "models", "l2cs"), ("calibration", "models", "mobile")),
    "calibration": (("calibration",),),
    "calibration and models": (("calibration",), ("models",)),
    "everything": (("calibration",), ("models",), ("ui",), ("defaults",)),
}


@pytest.mark.parametrize("layout", [*LAYOUTS, "as written"])
@pytest.mark.parametrize("cut", CUTS)
def test_missing_keys_are_created_in_any_layout_and_taken_back(tmp_path, layout, cut):
    text = LAYOUTS.get(layout, str)(CONFIG)
    for path in CUTS[cut]:
        text = json_text.without(text, path)
    folder = make_client(tmp_path / "client", config=text)
    before = patch(folder)
    written = (folder / "config.json").read_bytes().decode()
    expected = json.loads(text)
    expected.setdefault("models", {})["l2cs_path"] = NEW_MODEL
    expected.setdefault("calibration", {}).setdefault("models", {})["l2cs"] = NATIVE
    assert json.loads(written) == expected
    for path in OURS:
        written = json_text.without(written, path)
    kept = [line.strip().rstrip(",") for line in text.splitlines()]
    if not CUTS[cut]:  # what was there is there still, to the byte
        for path in OURS:
            text = json_text.without(text, path)
        assert written == text
    elif "\n" in text:
        ours = ("{", "}", '"models', '"calibration', '"l2cs', '"yaw', '"pitch')
        assert {line for line in kept if line and not line.startswith(ours)} <= {
            line.strip().rstrip(",") for line in (folder / "config.json").read_bytes().decode().splitlines()
        }
    back = restored(read_config(folder), originals(before))
    assert back == before.text


def test_a_created_block_is_indented_as_its_neighbours(tmp_path):
    text = json_text.without(CONFIG, ("calibration", "models", "l2cs"))
    folder = make_client(tmp_path / "client", config=text)
    patch(folder)
    assert '"pitch_gain": 2 },\n      "l2cs": {\n        "yaw_gain": 1.0,\n' in (folder / "config.json").read_text()
    assert (folder / "config.json").read_text().endswith('"pitch_curve": 0.0\n      }\n    }\n  }\n}\n')


def test_what_the_client_saved_since_survives_the_way_back(tmp_path):
    folder = make_client(tmp_path / "client")
    before = originals(patch(folder))
    content = config_of(folder)
    content["ui"]["menu_scale"] = 5
    content["calibration"]["models"]["l2cs"]["yaw_gain"] = 77.0
    (folder / "config.json").write_text(json.dumps(content, indent=2))
    config = read_config(folder)
    write_config(config, restored(config, before))
    expected = json.loads(CONFIG)
    expected["ui"]["menu_scale"] = 5
    assert config_of(folder) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CONFIG[:-20], "cannot be read as JSON"),
        ("", "cannot be read as JSON"),
        ("[1, 2]", "no object"),
        (CONFIG.replace("150.0", "NaN"), "NaN"),
        (CONFIG.replace('"ui"', '"models"'), "twice"),
        ("\ufeff" + CONFIG, "BOM"),
    ],
)
def test_a_config_that_the_client_could_not_parse_is_refused_untouched(tmp_path, text, said):
    folder = make_client(tmp_path / "client", config=text)
    before = state_of(folder)
    with pytest.raises(DataError, match=said) as error:
        read_config(folder)
    assert str(folder / "config.json") in str(error.value)
    assert state_of(folder) == before


def test_a_config_in_another_encoding_is_refused(tmp_path):
    folder = make_client(tmp_path / "client")
    (folder / "config.json").write_bytes(CONFIG.encode("latin-1"))
    with pytest.raises(DataError, match="utf-8"):
        read_config(folder)


@pytest.mark.parametrize("value", ["null", "[]", '"text"', "3"])
def test_something_else_where_an_object_belongs_is_refused(tmp_path, value):
    text = json_text.with_value(CONFIG, ("calibration",), value)
    config = read_config(make_client(tmp_path / "client", config=text))
    with pytest.raises(DataError, match="'calibration' is no object"):
        patched(config, model_path=NEW_MODEL, numbers=NATIVE)


def test_a_write_protected_file_stays_as_it_is(tmp_path):
    folder = make_client(tmp_path / "client")
    (folder / "config.json").chmod(0o444)
    before = state_of(folder)
    with pytest.raises(DataError, match=r"write-protected.*chmod"):
        patch(folder)
    assert state_of(folder) == before


def test_a_file_that_changed_meanwhile_is_not_written_over(tmp_path):
    folder = make_client(tmp_path / "client")
    config = read_config(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(DataError, match="changed by another program"):
        write_config(config, patched(config, model_path=NEW_MODEL, numbers=NATIVE))
    assert (folder / "config.json").read_text() == "{}"


def test_permissions_and_links_stay(tmp_path):
    folder = make_client(tmp_path / "client")
    (folder / "config.json").rename(tmp_path / "shared.json")
    (tmp_path / "shared.json").chmod(0o640)
    (folder / "config.json").symlink_to(tmp_path / "shared.json")
    patch(folder)
    assert (folder / "config.json").is_symlink()
    assert (tmp_path / "shared.json").stat().st_mode & 0o777 == 0o640
    assert config_of(folder)["models"]["l2cs_path"] == NEW_MODEL


def test_numbers_that_are_right_already_keep_their_bytes(tmp_path):
    text = CONFIG.replace("6.3585", "1e0").replace('"yaw_curve": -0.23525', '"yaw_curve": 0')
    folder = make_client(tmp_path / "client", config=text)
    patch(folder)
    written = (folder / "config.json").read_text()
    assert '"yaw_gain": 1e0' in written
    assert '"yaw_curve": 0,' in written


def test_a_missing_folder_or_file_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="client_dir"):
        read_config(tmp_path / "nowhere")
    with pytest.raises(DataError, match="start the eye tracker once"):
        read_config(tmp_path)
