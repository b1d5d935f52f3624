"""The client's SVR files, which override a model's calibration when both are there."""

from pathlib import Path

from gaze_exp.errors import DataError

FILES = ("svr_l2cs_x.model", "svr_l2cs_y.model")
DISABLED = ".disabled"


def found_in(client_dir: str | Path) -> list[Path]:
    """The SVR files of the L2CS slot that lie in the client's folder."""
    return [path for name in FILES if (path := Path(client_dir) / name).is_file()]


def override(client_dir: str | Path) -> bool:
    """Whether the client would use them: it loads both or neither."""
    return len(found_in(client_dir)) == len(FILES)


def disable(client_dir: str | Path) -> dict[str, str]:
    """Rename those that are there; nothing is ever deleted or written over.

    Returns:
        Name before -> name now; empty when there are none.

    Raises:
        DataError: the folder is read-only.
    """
    renamed: dict[str, str] = {}
    for path in found_in(client_dir):
        now = _free(path.with_name(path.name + DISABLED))
        _rename(path, now)
        renamed[path.name] = now.name
    return renamed


def enable(client_dir: str | Path, renamed: dict[str, str]) -> list[str]:
    """Take the renaming back.

    Args:
        client_dir: the client's folder.
        renamed: from `disable`.

    Returns:
        Names that are there again. One that the client has made anew in the meantime stays as it is.
    """
    folder, back = Path(client_dir), []
    for name, now in renamed.items():
        if (folder / now).is_file() and not (folder / name).exists():
            _rename(folder / now, folder / name)
            back.append(name)
    return back


def _free(path: Path) -> Path:
    """The name itself, or with a number behind it when there is a file of that name already."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def _rename(path: Path, to: Path) -> None:
    try:
        path.rename(to)
    except OSError as error:
        raise DataError(f"{path}: cannot be renamed to {to.name}: {error.strerror or error}") from error
