"""A model put in place in the client's folder, and taken back.

The model comes first, is opened where it lies, and only then does the config point to it. What stood there before
the first hand-back is kept beside it under a name of its own, until `take_back` puts it back.
"""

import contextlib
import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaze_exp.atomic_write import atomic_write
from gaze_exp.client import svr
from gaze_exp.client.config_file import (
    ClientConfig,
    check_writable,
    originals,
    patched,
    read_config,
    restored,
    write_config,
)
from gaze_exp.client.manifest import NAME as MANIFEST_NAME
from gaze_exp.client.manifest import Known
from gaze_exp.client.mapping import ClientMapping
from gaze_exp.client.onnx_contract import inspect
from gaze_exp.errors import DataError
from gaze_exp.file_hash import sha256_of
from gaze_exp.record import write_json

MODEL = Path("models", "custom_gaze.onnx")
MANIFEST = Path("models", MANIFEST_NAME)
RECORD = Path("models", "custom_gaze.handback.json")
BEFORE = ".before_gaze_exp"
FORMAT = "gaze_exp hand-back 1"


@dataclass(frozen=True)
class Handback:
    """What shall be put in place."""

    onnx: Path
    known: Known | None
    mapping_name: str
    mapping: ClientMapping
    window_px: tuple[int, int]
    disable_svr: bool


def read_record(client_dir: str | Path) -> dict[str, Any] | None:
    """What the last hand-back wrote down; None when none is in place.

    Raises:
        DataError: the record is broken.
    """
    path = Path(client_dir) / RECORD
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); the backups lie beside it ({BEFORE})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise DataError(f"{path}: was written by another program or version; move it away, then try again")
    return record


def place(config: ClientConfig, wanted: Handback) -> dict[str, Any]:
    """Put a model in place; on any error everything stands as before.

    Args:
        config: of the client, as read.
        wanted: checked already: the client can read the model.

    Returns:
        The record, as written beside the model.

    Raises:
        DataError: something cannot be written; the client's folder is as before.
    """
    folder = config.path.parent
    earlier = read_record(folder)
    clean = _without_us(config, earlier)
    text = patched(config, model_path=MODEL.as_posix(), numbers=wanted.mapping.numbers())
    check_writable(config.path)
    record: dict[str, Any] = {
        "format": FORMAT,
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "mapping": wanted.mapping_name,
        "numbers": wanted.mapping.numbers(),
        "window_px": list(wanted.window_px),
        "config_before": originals(clean),
        "files": {},
        "svr": dict(earlier["svr"]) if earlier else {},
    }
    with contextlib.ExitStack() as on_error:
        sources = {MODEL: wanted.onnx} | ({MANIFEST: wanted.known.path} if wanted.known else {})
        for name, source in sources.items():
            was = (earlier or {"files": {}})["files"].get(name.as_posix())
            record["files"][name.as_posix()] = _put(source, folder / name, was=was, on_error=on_error)
        inspect(folder / MODEL)
        if wanted.disable_svr:
            renamed = svr.disable(folder)
            on_error.callback(svr.enable, folder, renamed)
            record["svr"] |= renamed
        record["config_backup"] = _back_up(config, clean, earlier, on_error=on_error)
        record["config_sha256"] = _sha256(text)
        _write_record(folder / RECORD, record, earlier=earlier, on_error=on_error)
        if text != config.text:
            write_config(config, text)
        on_error.pop_all()
    for name in record["files"]:
        (folder / name).with_name(f".{Path(name).name}.replaced").unlink(missing_ok=True)
    for name in set((earlier or record)["files"]) - set(record["files"]):  # the manifest of a model that is gone
        _restore(folder / name, (earlier or record)["files"][name])
    return record


def _without_us(config: ClientConfig, earlier: dict[str, Any] | None) -> ClientConfig:
    """The config as it would stand had nothing ever been put in place."""
    if earlier is None:
        return config
    backup = config.path.with_name(earlier["config_backup"])
    if _sha256(config.text) == earlier["config_sha256"] and backup.is_file():
        return ClientConfig(path=config.path, text=backup.read_bytes().decode())
    return ClientConfig(path=config.path, text=restored(config, earlier["config_before"]))


def _put(source: Path, target: Path, *, was: dict[str, Any] | None, on_error: contextlib.ExitStack) -> dict[str, Any]:
    """Copy a file to its place; what others put there before is kept under another name."""
    sha256 = sha256_of(source)
    there = sha256_of(target) if target.is_file() else None
    if there == sha256:
        same = was if was and was["sha256"] == sha256 else None
        return same or {"sha256": sha256, "from": str(source), "copied": False, "backup": None}
    ours = was is not None and there == was["sha256"]
    backup = was["backup"] if was else None
    try:
        with atomic_write(target) as temporary:
            shutil.copyfile(source, temporary)
            if sha256_of(temporary) != sha256:
                raise DataError(f"{source}: changed while it was copied; try again when nothing writes to it")
            if there is None:
                on_error.callback(target.unlink, missing_ok=True)
            else:
                free = _free(target.with_name(target.name + BEFORE))
                kept = target.with_name(f".{target.name}.replaced") if ours else free
                target.rename(kept)
                on_error.callback(kept.replace, target)
                backup = backup if ours else kept.name
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error.strerror or error}; nothing was changed") from error
    return {"sha256": sha256, "from": str(source.resolve()), "copied": True, "backup": backup}


def _back_up(
    config: ClientConfig, clean: ClientConfig, earlier: dict[str, Any] | None, *, on_error: contextlib.ExitStack
) -> str:
    """Keep the config as it was before the first hand-back; its name."""
    name = earlier["config_backup"] if earlier else _free(config.path.with_name(config.path.name + BEFORE)).name
    backup = config.path.with_name(name)
    old = backup.read_bytes() if backup.is_file() else None
    if old == clean.text.encode():
        return name
    on_error.callback(backup.unlink, missing_ok=True) if old is None else on_error.callback(backup.write_bytes, old)
    with atomic_write(backup) as temporary:
        temporary.write_bytes(clean.text.encode())
        shutil.copymode(config.path, temporary)
    return name


def _write_record(
    path: Path, record: dict[str, Any], *, earlier: dict[str, Any] | None, on_error: contextlib.ExitStack
) -> None:
    if earlier is None:
        on_error.callback(path.unlink, missing_ok=True)
    else:
        on_error.callback(write_json, path, earlier)
    write_json(path, record)


def take_back(client_dir: str | Path) -> list[str]:
    """Put back what stood in the client's folder before the first hand-back.

    Args:
        client_dir: of the client.

    Returns:
        What was done, a line each.

    Raises:
        DataError: nothing was ever put in place there, or the config cannot be read or written.
    """
    folder = Path(client_dir)
    config = read_config(folder)
    record = read_record(folder)
    if record is None:
        raise DataError(f"{folder / RECORD}: is not there: no hand-back to undo in this folder")
    clean = _without_us(config, record)
    if clean.text != config.text:
        write_config(config, clean.text)
    backup = config.path.with_name(record["config_backup"])
    whole = backup.is_file() and backup.read_bytes() == clean.text.encode()
    said = [
        f"{config.path}: "
        + ("as it was, to the byte" if whole else "path and calibration as they were; later changes kept")
    ]
    said += [line for name, facts in record["files"].items() if (line := _restore(folder / name, facts))]
    said += [f"{folder / name}: is back under its name" for name in svr.enable(folder, record["svr"])]
    if whole:
        backup.unlink()
    (folder / RECORD).unlink()
    return said


def _restore(path: Path, facts: dict[str, Any]) -> str | None:
    """Put back the file that was there before ours, or remove ours."""
    backup = path.with_name(facts["backup"]) if facts["backup"] else None
    if not facts["copied"]:
        return None
    if path.is_file() and sha256_of(path) != facts["sha256"]:
        return f"{path}: was put there by somebody else since, and stays"
    if backup is not None and backup.is_file():
        backup.replace(path)
        return f"{path}: the one that was there before"
    path.unlink(missing_ok=True)
    return f"{path}: removed (it came from {facts['from']})"


def _free(path: Path) -> Path:
    """The name itself, or with a number behind it when there is a file of that name already."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
