"""What is known about an exported model: `custom_gaze.json` beside it, and what of it a hand-back needs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaze_exp.errors import ConfigError, DataError
from gaze_exp.file_hash import sha256_of
from gaze_exp.screen import ScreenGeometry

FORMAT = "gaze_exp custom gaze 1"
NAME = "custom_gaze.json"
AFFINE = "base + affine"
"""The baseline to beat, by its name in the table of methods."""


@dataclass(frozen=True)
class Known:
    """A manifest that belongs to a file."""

    path: Path
    content: dict[str, Any]

    @property
    def geometry(self) -> ScreenGeometry:
        """Of the labels that the model learnt."""
        try:
            return ScreenGeometry(**self.content["geometry"])
        except (KeyError, TypeError, ConfigError) as error:
            raise DataError(f"{self.path}: geometry: {error}; export again with actions=[export_client]") from error

    @property
    def targets_px(self) -> Tensor:
        """(N, 2) px of the calibration targets."""
        return torch.tensor(self.content["targets_px"], dtype=torch.float64).view(-1, 2)


def find_manifest(onnx_path: Path) -> Known | None:
    """The manifest beside an ONNX file that names it by its hash; None when there is none.

    Raises:
        DataError: there is one that is broken or speaks of another file.
    """
    stem = onnx_path.name.removesuffix(".onnx").removesuffix(".int8")
    candidates = [onnx_path.with_name(name) for name in dict.fromkeys((f"{stem}.json", NAME))]
    path = next((each for each in candidates if each.is_file()), None)
    if path is None:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); export again, or move it away") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    known = {each["sha256"] for each in content["files"].values()}
    if sha256_of(onnx_path) not in known:
        raise DataError(
            f"{path}: speaks of other files than {onnx_path.name} (by SHA-256); export again, or move it away to hand "
            "back a file about which nothing is known"
        )
    return Known(path=path, content=content)


def why_not(known: Known | None) -> str | None:
    """Why a model should not be put in place without `force=true`; None when nothing speaks against it."""
    if known is None:
        return "nothing is known about it: no manifest of an export lies beside it"
    verdict = known.content.get("verdict") or {}
    if not verdict:
        return f"{known.path} holds no verdict on photos that it had not seen"
    text = str(verdict.get("text") or "").strip()
    if known.content.get("method") == AFFINE:
        # The baseline itself is the modest choice, and only refused where it does harm.
        harmful = verdict.get("of") == AFFINE and verdict.get("worse")
        return f"it was worse than the base alone on photos it had not seen. {text}" if harmful else None
    if verdict.get("better"):
        return None
    return f"it was not better than the affine baseline on photos it had not seen. {text}"


def build_manifest(
    facts: dict[str, Any],
    *,
    method: str,
    geometry: ScreenGeometry,
    targets_px: Tensor,
    files: dict[str, Any],
    extra: dict[str, Any],
) -> dict[str, Any]:
    """Put together what a hand-back and a reader need.

    Args:
        facts: of the personal model's file.
        method: its name in the table of methods.
        geometry: of the labels.
        targets_px: (N, 2) of the calibration targets.
        files: by name, each with its `sha256`.
        extra: what the export measured.

    Returns:
        Plain data.
    """
    first = {
        "format": FORMAT,
        "files": files,
        "method": method,
        "verdict": facts.get("verdict"),
        "geometry": asdict(geometry),
        "targets_px": [[round(x, 2), round(y, 2)] for x, y in targets_px.tolist()],
    }
    return first | extra | {key: value for key, value in facts.items() if key not in first | extra}
