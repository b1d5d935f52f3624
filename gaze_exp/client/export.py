"""A personal model -> `custom_gaze.onnx`, its 8 bit version and `custom_gaze.json`, checked on real crops."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import torch
from torch import Tensor

from gaze_exp.client.custom_onnx import answers_deg, torch_deg, write_custom_onnx
from gaze_exp.client.int8 import quantise
from gaze_exp.client.latency import time_in_turn
from gaze_exp.client.manifest import NAME, build_manifest
from gaze_exp.errors import DataError
from gaze_exp.file_hash import sha256_of
from gaze_exp.record import write_json

if TYPE_CHECKING:
    from gaze_exp.data.calibration_set import CalibrationSet
    from gaze_exp.personal.model import PersonalModel

FLOAT32, INT8 = "custom_gaze.onnx", "custom_gaze.int8.onnx"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportWishes:
    """What a user chooses."""

    int8: bool = True
    int8_crops: int = 64
    """As many crops set the ranges of the 8 bit version."""
    tolerance_deg: float = 1e-3
    """Largest difference between torch and onnxruntime on a real crop."""
    latency_threads: Sequence[int] = (1, 2)
    latency_rounds: int = 10


def export_for_client(
    model: "PersonalModel",
    facts: dict[str, Any],
    data: "CalibrationSet",
    *,
    folder: Path,
    checkpoint_sha256: str,
    wishes: ExportWishes,
) -> dict[str, Any]:
    """Write the files; each gets its name when onnxruntime has answered every crop as torch does.

    Args:
        model: left as it is.
        facts: of its file.
        data: the user's prepared photos.
        folder: of the files.
        checkpoint_sha256: of the model's file.
        wishes: of the user.

    Returns:
        The manifest.

    Raises:
        DataError: the graph differs from torch, or the photos are not those of the model.
    """
    _check_same_screen(facts, data)
    images = data.images()
    about = _about(facts, data) | {"checkpoint_sha256": checkpoint_sha256}
    answers, files = _float32(model, images, folder / FLOAT32, about=about, wishes=wishes)
    files[FLOAT32]["error_on_its_own_photos_deg"] = _errors(answers, data.angles_deg)
    if wishes.int8:
        files[INT8] = _int8(folder, images, data, float32_deg=answers, max_crops=wishes.int8_crops)
    _add_latency(files, folder, size_px=data.size_px, wishes=wishes)
    manifest = build_manifest(
        facts,
        method=str(about["method"]),
        geometry=data.geometry,
        targets_px=_targets(data),
        files=files,
        extra=about
        | {
            "mirrored": bool(model.mirrored),
            "mirrored_by": facts.get("mirrored"),
            "size_px": data.size_px,
            "num_crops_checked": len(images),
            "note": "errors on its own photos are not held out; the table of methods is",
        },
    )
    write_json(folder / NAME, manifest)
    return manifest


def _float32(
    model: "PersonalModel", images: Tensor, path: Path, *, about: dict[str, Any], wishes: ExportWishes
) -> tuple[Tensor, dict[str, Any]]:
    """Write the file, compare it with torch on every crop, and only then give it its name."""
    unchecked = write_custom_onnx(model, path.with_suffix(".unchecked.onnx"), size_px=images.shape[-1], metadata=about)
    answers = answers_deg(unchecked, images)
    difference_deg = float((answers - torch_deg(model, images)).abs().max())
    if not difference_deg <= wishes.tolerance_deg:
        refused = unchecked.rename(path.with_suffix(".refused.onnx"))
        raise DataError(
            f"{refused}: differs from torch by {difference_deg:.2e} degrees on the user's crops, above "
            f"export_client.tolerance_deg={wishes.tolerance_deg:g}; do not use it, and report how it was trained"
        )
    unchecked.rename(path)
    facts = {"precision": "float32", "largest_difference_to_torch_deg": difference_deg}
    return answers, {path.name: _file_facts(path) | facts}


def _about(facts: dict[str, Any], data: "CalibrationSet") -> dict[str, Any]:
    """What both the file's metadata and the manifest say."""
    return {
        "method": facts.get("method", "unknown"),
        "crop": facts.get("crop"),
        "base_weights_sha256": (facts.get("base") or {}).get("sha256"),
        "split_sha256": facts.get("split_sha256"),
        "deg_per_pixel": data.geometry.deg_per_pixel,
        "center_px": [data.geometry.center_x, data.geometry.center_y],
    } | licence_of(facts)


def _check_same_screen(facts: dict[str, Any], data: "CalibrationSet") -> None:
    trained = facts.get("geometry")
    if trained and trained != dict(vars(data.geometry)):
        raise DataError(
            f"{data.folder}: was prepared for the screen {vars(data.geometry)}, the model learnt on {trained}; "
            "data.root must be the photos of the fine-tune"
        )


def licence_of(facts: dict[str, Any]) -> dict[str, str]:
    """The licence note of a model: that of the base's weights, and whose photos it was made from."""
    base = str((facts.get("base") or {}).get("licence") or "").strip()
    own = "made from one person's photos: pass it on only if that person agrees"
    return {"licence": f"{own}. Base weights: {base}" if base else own}


def _int8(
    folder: Path, images: Tensor, data: "CalibrationSet", *, float32_deg: Tensor, max_crops: int
) -> dict[str, Any]:
    """Write the 8 bit version, and what it costs in degrees."""
    to = folder / INT8
    made = quantise(folder / FLOAT32, to, images, float32_deg=float32_deg, target=data.target, max_crops=max_crops)
    return _file_facts(to) | {
        "precision": "int8",
        "calibrated_on": f"{min(max_crops, len(images))} of the same crops",
        "difference_to_float32_deg": _errors(made.held_out_deg, float32_deg),
        "difference_without_shift_deg": _errors(made.raw_deg, float32_deg),
        "shift_deg": [round(x, 4) for x in made.shift_deg.tolist()],
        "error_on_its_own_photos_deg": _errors(answers_deg(to, images), data.angles_deg),
    }


def _file_facts(path: Path) -> dict[str, Any]:
    graph = onnx.load(str(path), load_external_data=False)
    return {
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "opset": next(each.version for each in graph.opset_import if each.domain == ""),
        "ir_version": graph.ir_version,
    }


def _errors(answers: Tensor, labels_deg: Tensor) -> dict[str, Any]:
    """Distance in client degrees: px times degrees a pixel."""
    distance = (answers.double() - labels_deg.double()).norm(dim=-1)
    if not bool(distance.isfinite().all()):
        raise DataError("the exported model gives NaN or infinity on the user's crops; train again, then export")
    return {
        "mean": round(float(distance.mean()), 4),
        "p90": round(float(distance.quantile(0.9)), 4),
        "max": round(float(distance.max()), 4),
    }


def _targets(data: "CalibrationSet") -> Tensor:
    """(T, 2) px: the middle of the photos of each target."""
    return torch.stack([data.target_px[data.target == target].mean(dim=0) for target in data.target.unique()])


def _add_latency(files: dict[str, Any], folder: Path, *, size_px: int, wishes: ExportWishes) -> None:
    if not wishes.latency_threads:
        return
    rows = time_in_turn(
        {name: folder / name for name in files},
        size_px=size_px, threads=wishes.latency_threads, num_rounds=wishes.latency_rounds,
    )  # fmt: skip
    for name, entry in files.items():
        entry["latency"] = [{k: v for k, v in row.items() if k != "what"} for row in rows if row["what"] == name]


def as_text(manifest: dict[str, Any]) -> list[str]:
    """The files for a terminal: what each costs and how long it takes."""
    lines = [f"{'':22} {'MB':>6} {'to float32':>18} {'on its own photos':>18}   one crop, least of several"]
    for name, entry in manifest["files"].items():
        apart, errors = entry.get("difference_to_float32_deg"), entry["error_on_its_own_photos_deg"]
        to_float32 = f"{apart['mean']:.2f}, most {apart['max']:.2f}°" if apart else ""
        speed = ", ".join(f"{row['min_ms']:.1f} ms on {row['threads']} thread(s)" for row in entry.get("latency", []))
        lines.append(f"{name:22} {entry['bytes'] / 1e6:6.1f} {to_float32:>18} {errors['mean']:16.2f}°   {speed}")
    return lines
