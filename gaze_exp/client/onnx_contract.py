"""What the client can read: checks of an ONNX file before it is put in place, whoever made it.

The client feeds (1, 3, 448, 448) float32 and reads either one output of two float32 (yaw, pitch in degrees) or
two outputs of bins, which it always takes for 360 degrees.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor

from gaze_exp.client.custom_onnx import OPSET, client_tensor
from gaze_exp.errors import DataError
from gaze_exp.onnx_export import open_session

SIZE_PX = 448
NUM_BINS = 90
DEGREES, BINS = "degrees", "bins"
REEXPORT = "actions=[export_client] checkpoint=RUN/checkpoints/personal.pt writes such a file"
_WIDE_DEG = 8.0
"""Targets that reach beyond this cannot be looked at with angles within pi."""


@dataclass(frozen=True)
class ClientModel:
    """A file that the client reads."""

    path: Path
    output: str
    """`degrees` or `bins`."""
    opset: int
    ir_version: int
    metadata: dict[str, str]
    notes: list[str] = field(default_factory=list)
    """What may not work everywhere."""


def inspect(path: str | Path, *, size_px: int = SIZE_PX) -> ClientModel:
    """Open a file in onnxruntime and hold it against what the client feeds and reads.

    Args:
        path: of the file.
        size_px: side of the client's crop.

    Raises:
        DataError: the client could not use it; the reason and the remedy are in the text.
    """
    path = Path(path)
    graph = _loaded(path)
    try:
        session = open_session(path)
    except Exception as error:  # onnxruntime's exceptions share no class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: onnxruntime cannot open it ({reason}); {REEXPORT}") from error
    _check_input(path, session.get_inputs(), size_px=size_px)
    opset = max((each.version for each in graph.opset_import if each.domain in ("", "ai.onnx")), default=0)
    return ClientModel(
        path=path,
        output=_kind(path, _run_once(path, session, size_px=size_px)),
        opset=opset,
        ir_version=graph.ir_version,
        metadata={entry.key: entry.value for entry in graph.metadata_props},
        notes=[f"opset {opset} is above {OPSET}: an older onnxruntime may refuse it"] if opset > OPSET else [],
    )


def _loaded(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise DataError(f"{path}: is not there; {REEXPORT}")
    try:
        graph = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own, of several kinds
        raise DataError(f"{path}: is no ONNX file, or is cut short; {REEXPORT}") from error
    outside = {
        entry.value
        for tensor in graph.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    if outside:
        beside = ", ".join(sorted(outside))
        raise DataError(
            f"{path}: its weights lie in another file ({beside}), and the client is given one; "
            f"make it one with onnx.save(onnx.load(...)), or {REEXPORT}"
        )
    return graph


def _check_input(path: Path, inputs: list[Any], *, size_px: int) -> None:
    wanted = [1, 3, size_px, size_px]
    shapes = [each.shape for each in inputs]
    fits = len(inputs) == 1 and len(shapes[0]) == len(wanted)
    fits = fits and all(
        isinstance(side, str | None) or side == want for side, want in zip(shapes[0], wanted, strict=True)
    )
    if not fits or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{each.name} {each.shape} {each.type}" for each in inputs)
        raise DataError(
            f"{path}: takes {found}; the client feeds one float32 {wanted}. "
            f"Prepare and train with faces.size_px={size_px}"
        )


def _run_once(path: Path, session: onnxruntime.InferenceSession, *, size_px: int) -> list[Any]:
    grey = client_tensor(torch.full((1, 3, size_px, size_px), 128)).numpy()
    try:
        return session.run(None, {session.get_inputs()[0].name: grey})
    except Exception as error:  # onnxruntime's exceptions share no class
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{path}: onnxruntime cannot run it on one crop ({reason}); {REEXPORT}") from error


def _kind(path: Path, outputs: list[Any]) -> str:
    """What the client would take the outputs for."""
    kinds = {str(each.dtype) for each in outputs[:2]}
    if kinds != {"float32"}:
        raise DataError(f"{path}: gives {', '.join(sorted(kinds))}; the client reads float32 only. {REEXPORT}")
    sizes = [each.size for each in outputs]
    if len(outputs) == 1:
        if sizes[0] != 2:
            raise DataError(f"{path}: its one output has {sizes[0]} numbers; the client reads yaw, pitch. {REEXPORT}")
        return DEGREES
    if sizes[:2] == [1, 1]:
        raise DataError(
            f"{path}: two outputs of one number each (angles, in radians as a rule): the client takes them for one bin "
            f"and draws -180 degrees for ever. {REEXPORT}"
        )
    if sizes[:2] != [NUM_BINS, NUM_BINS]:
        raise DataError(
            f"{path}: outputs of {sizes[0]} and {sizes[1]} bins; the client spreads any number over 360 degrees, which "
            f"is right for {NUM_BINS} only. {REEXPORT}"
        )
    return BINS


def drawn_deg(model: ClientModel, images: Tensor) -> Tensor:
    """Angles that the client decodes from crops, before its calibration.

    Args:
        model: from `inspect`.
        images: (N, 3, S, S) RGB 0..255.

    Returns:
        (N, 2) float64 yaw, pitch in degrees.
    """
    session = open_session(model.path)
    name = session.get_inputs()[0].name
    rows = []
    for image in images:
        outputs = [torch.from_numpy(x).double() for x in session.run(None, {name: client_tensor(image[None]).numpy()})]
        rows.append(
            outputs[0].flatten() if model.output == DEGREES else torch.stack([_expected(x) for x in outputs[:2]])
        )
    return torch.stack(rows)


def _expected(logits: Tensor) -> Tensor:
    share = logits.flatten().softmax(0)
    return (share * torch.arange(len(share))).sum() * 360 / len(share) - 180


def check_answers(model: ClientModel, answers_deg: Tensor, labels_deg: Tensor) -> None:
    """Hold a file's answers on the user's own crops against the targets: unit and signs.

    Args:
        model: from `inspect`.
        answers_deg: (N, 2) from `drawn_deg`.
        labels_deg: (N, 2) client degrees.

    Raises:
        DataError: not finite, radians, or running against the screen.
    """
    if not bool(answers_deg.isfinite().all()):
        raise DataError(f"{model.path}: gives NaN or infinity on the user's own crops; train again, then export")
    if float(labels_deg.abs().max()) > _WIDE_DEG and float(answers_deg.abs().max()) < math.pi:
        raise DataError(
            f"{model.path}: its answers stay within {float(answers_deg.abs().max()):.2f}, the targets reach "
            f"{float(labels_deg.abs().max()):.0f} degrees: it gives radians, or nearly the same answer everywhere. "
            f"The client reads degrees; {REEXPORT}"
        )
    for axis, name, positive in ((0, "yaw", "right"), (1, "pitch", "down")):
        if _correlation(answers_deg[:, axis], labels_deg[:, axis]) < -0.3:
            raise DataError(
                f"{model.path}: its {name} grows when the user looks the other way; positive is {positive} in the "
                f"client. {REEXPORT}, with the signs inside"
            )


def _correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's; 0 where one of them does not vary."""
    if len(first) < 3 or float(first.std()) == 0 or float(second.std()) == 0:
        return 0.0
    return float(torch.corrcoef(torch.stack((first.double(), second.double())))[0, 1])
