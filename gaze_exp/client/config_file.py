"""The client's config.json: seven values of it are read and changed, every other byte stays as it is.

The client replaces a file that it cannot parse by its own defaults and saves those, so a mistake here would
cost the user his settings. Nothing is written before the new text has been parsed and compared with the old.
"""

import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gaze_exp.atomic_write import atomic_write
from gaze_exp.client import json_text
from gaze_exp.client.json_text import KeyPath
from gaze_exp.errors import DataError

NAME = "config.json"
MODEL_PATH: KeyPath = ("models", "l2cs_path")
CALIBRATION: KeyPath = ("calibration", "models", "l2cs")
NUMBERS = ("yaw_gain", "yaw_offset", "yaw_curve", "pitch_gain", "pitch_offset", "pitch_curve")
"""The client's order of the polynomials `curve * angle^2 + gain * angle + offset`."""
OURS: tuple[KeyPath, ...] = (MODEL_PATH, *((*CALIBRATION, name) for name in NUMBERS))
"""All that a hand-back may change."""
DEFAULT_MODEL = "models/l2cs_net.onnx"
"""What the client opens when `models.l2cs_path` is missing."""


@dataclass(frozen=True)
class ClientConfig:
    """A config.json as it stands on the disk."""

    path: Path
    text: str

    @property
    def model_path(self) -> str:
        """`models.l2cs_path`, relative to the client's folder."""
        found = json_text.value_text(self.text, MODEL_PATH)
        return str(json.loads(found)) if found is not None else DEFAULT_MODEL

    @property
    def numbers(self) -> dict[str, float]:
        """The L2CS calibration; what is missing has the client's default."""
        found = {name: json_text.value_text(self.text, (*CALIBRATION, name)) for name in NUMBERS}
        return {
            name: float(name.endswith("_gain")) if text is None else _number(text, self.path, name)
            for name, text in found.items()
        }

    def flag(self, name: str) -> bool | None:
        """A switch below `defaults`, such as `mirror_mode`; None when it is not there."""
        found = json_text.value_text(self.text, ("defaults", name))
        return None if found not in ("true", "false") else found == "true"


def _number(text: str, path: Path, name: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DataError(
            f"{path}: {'.'.join(CALIBRATION)}.{name} is {text}, not a number; 1.0 or 0.0 is right"
        ) from error


def read_config(client_dir: str | Path) -> ClientConfig:
    """Read the client's config.json.

    Args:
        client_dir: the client's folder, from which it is started.

    Raises:
        DataError: no such folder or file, not UTF-8, or not JSON as the client's parser takes it.
    """
    folder = Path(client_dir)
    path = folder / NAME
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder; client_dir is the one from which the eye tracker is started")
    if not path.is_file():
        raise DataError(f"{path}: is not there; start the eye tracker once in this folder, it writes the file")
    try:
        text = path.read_bytes().decode("utf-8")
        json_text.parse(text)
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read as JSON ({error}); nothing was changed. Mend the file first: "
            "the client would replace it by its defaults"
        ) from error
    return ClientConfig(path=path, text=text)


def patched(config: ClientConfig, *, model_path: str, numbers: Mapping[str, float]) -> str:
    """The text with another model and calibration.

    Args:
        config: as it stands.
        model_path: for `models.l2cs_path`.
        numbers: a value for each of `NUMBERS`.

    Returns:
        The new text; a value that already equals the wanted one keeps its bytes.

    Raises:
        DataError: something on the way to a value is no object.
    """
    wanted: dict[KeyPath, str | float] = {MODEL_PATH: model_path}
    wanted |= {(*CALIBRATION, name): float(numbers[name]) for name in NUMBERS}
    text = config.text
    for path, value in wanted.items():
        now = json_text.value_text(text, path)
        if now is not None and json.loads(now) == value and not isinstance(json.loads(now), bool):
            continue
        try:
            text = json_text.with_value(text, path, json.dumps(value, ensure_ascii=False))
        except ValueError as error:
            raise DataError(f"{config.path}: {error}; nothing was changed. Mend the file first") from error
    _only_ours_differ(config.text, text)
    return text


def _only_ours_differ(before: str, after: str) -> None:
    """Compare two texts apart from the seven values; `parse` proves that the new one is whole."""
    rests = []
    for text in (before, after):
        for path in OURS:
            text = json_text.without(text, path)  # noqa: PLW2901
        rests.append(_pruned(json_text.parse(text)))
    assert rests[0] == rests[1], "the hand-back would have changed a setting that is not its own"


def _pruned(content: dict[str, object]) -> dict[str, object]:
    """Without the objects on our way that are empty."""
    kept = {key: _pruned(value) if isinstance(value, dict) else value for key, value in content.items()}
    return {key: value for key, value in kept.items() if not (value == {} and key in {"models", "calibration", "l2cs"})}


def originals(config: ClientConfig) -> dict[str, str | None]:
    """What `restored` needs: dotted path -> the text of its value, None where it is missing."""
    found: dict[str, str | None] = {}
    for path in OURS:
        missing = json_text.missing_from(config.text, path)
        if missing is None:
            found[".".join(path)] = json_text.value_text(config.text, path)
        else:
            found[".".join(missing)] = None
    return found


def restored(config: ClientConfig, before: Mapping[str, str | None]) -> str:
    """Put the seven values back, whatever else has changed since.

    Args:
        config: as it stands.
        before: from `originals`.
    """
    text = config.text
    try:
        for dotted, value in before.items():
            path = tuple(dotted.split("."))
            text = json_text.without(text, path) if value is None else json_text.with_value(text, path, value)
    except ValueError as error:
        raise DataError(f"{config.path}: {error}; nothing was changed. Mend the file first") from error
    json_text.parse(text)
    return text


def check_writable(path: Path) -> None:
    """Refuse a file that is write-protected, even where the system would let us replace it.

    Raises:
        DataError: the file or its folder is read-only.
    """
    for each in (path, path.resolve().parent):
        if not each.stat().st_mode & stat.S_IWUSR or not os.access(each, os.W_OK):
            raise DataError(f"{each}: is write-protected; nothing was changed. Allow it with: chmod u+w '{each}'")


def write_config(config: ClientConfig, text: str) -> None:
    """Replace the file, whole or not at all, with the same permissions.

    Args:
        config: what was read.
        text: what is to stand there.

    Raises:
        DataError: write-protected, changed by somebody else since it was read, or the disk is full.
    """
    check_writable(config.path)
    target = config.path.resolve()  # a link stays a link
    try:
        if target.read_bytes() != config.text.encode():
            raise DataError(f"{config.path}: was changed by another program just now; close the client, then try again")
        with atomic_write(target) as temporary:
            temporary.write_bytes(text.encode())
            shutil.copymode(target, temporary)
    except OSError as error:
        raise DataError(f"{config.path}: cannot write: {error.strerror or error}; it stands as before") from error
