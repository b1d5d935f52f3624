"""A user's own ONNX file, opened or refused in words that help."""

from pathlib import Path

import onnx
import onnxruntime

from gaze_exp.errors import ConfigError


def open_session(path: Path, *, key: str) -> onnxruntime.InferenceSession:
    """Open a model on the CPU, one thread in itself: photos are spread over the cores, not operators.

    Args:
        path: of the file.
        key: of the config, for the error.

    Raises:
        ConfigError: there is no such file, or it is no ONNX model.
    """
    require_file(path, key=key)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # old files list their weights as inputs too, which makes a page of warnings
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors have no class in common
        raise ConfigError(
            f"{key}: {path} cannot be opened as an ONNX model ({_first_line(error)}); {_why(path)}"
        ) from error


def read_graph(path: Path, *, key: str) -> onnx.GraphProto:
    """The graph of a model, without weights that lie in other files.

    Raises:
        ConfigError: it is no ONNX model.
    """
    try:
        return onnx.load(str(path), load_external_data=False).graph
    except Exception as error:  # of protobuf, which it does not share with onnx
        raise ConfigError(f"{key}: {path} cannot be read as an ONNX model; {_why(path)}") from error


def require_file(path: Path, *, key: str) -> None:
    """Refuse a path that is no file."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(f"{key}: {path} {what}; the path of an .onnx file, from {Path.cwd()}, would be right")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:160]


def _why(path: Path) -> str:
    head = path.read_bytes()[:64]
    if not head:
        return "it is empty: download it again"
    if head.startswith(b"version https://git-lfs"):
        return "it is a git-lfs pointer: `git lfs pull` fetches the file itself"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is a web page: download the raw file"
    return "it is damaged or another kind of file: download it again"
