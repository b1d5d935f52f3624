"""onnxruntime's time for one crop: our ONNX file in 32 and in 8 bits beside a plain export of the same ResNet-50.

The weights are random, on which time does not depend. What 8 bits cost in degrees depends on trained weights, and
is measured by each export on its user's own crops (custom_gaze.json).
"""

import io
import tempfile
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from gaze_exp.client.custom_onnx import answers_deg, write_custom_onnx
from gaze_exp.client.int8 import quantise
from gaze_exp.client.latency import time_in_turn
from gaze_exp.hardware import Hardware
from gaze_exp.models.l2cs import L2CS
from gaze_exp.personal.model import PersonalModel

SIZE_PX = 448
PLAIN = "ResNet-50, two heads of 90 bins, exported plainly"


class PlainL2CS(nn.Module):
    """The net as others export it: logits out, decoded by the client."""

    def __init__(self, *, arch: str) -> None:
        super().__init__()
        self.trunk = torchvision.models.get_model(arch, weights=None)
        width = self.trunk.fc.in_features
        self.trunk.fc = nn.Identity()
        self.yaw, self.pitch = nn.Linear(width, 90), nn.Linear(width, 90)

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 3, S, S) normalised -> (1, 90) and (1, 90) logits."""
        features = self.trunk(face)
        return self.yaw(features), self.pitch(features)


def run(machine: Hardware) -> list[dict[str, Any]]:
    """Measure on the CPU, whatever the machine has: the client's laptop is meant."""
    del machine
    return measure(arch="resnet50", size_px=SIZE_PX, num_rounds=20)


def measure(*, arch: str, size_px: int, num_rounds: int) -> list[dict[str, Any]]:
    """Export all three and time them in turn on one and on two threads.

    Args:
        arch: of both nets.
        size_px: side of the crop.
        num_rounds: timed runs of each; the least counts, and the median stands beside it.

    Returns:
        A row for each number of threads and file, with its time as a share of the plain export's.
    """
    torch.manual_seed(0)
    net = L2CS(arch=arch, head="linear", pretrained="none", image_size=None)  # type: ignore[arg-type]
    model = PersonalModel(net.eval(), mirrored=True)
    crops = torch.randint(0, 256, (4, 3, size_px, size_px), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        ours, small, plain = (Path(folder, f"{name}.onnx") for name in ("ours", "int8", "plain"))
        write_custom_onnx(model, ours, size_px=size_px)
        quantise(ours, small, crops, float32_deg=answers_deg(ours, crops), target=torch.arange(len(crops)))
        _export_plainly(PlainL2CS(arch=arch).eval(), plain, size_px=size_px)
        files = {PLAIN: plain, "custom_gaze.onnx, float32": ours, "custom_gaze.int8.onnx": small}
        rows = time_in_turn(files, size_px=size_px, num_rounds=num_rounds)
        sizes_mb = {name: round(path.stat().st_size / 1e6, 1) for name, path in files.items()}
    return [_beside_plain(row, rows) | {"MB": sizes_mb[row["what"]]} for row in rows]


def _beside_plain(row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    plain = next(each for each in rows if each["what"] == PLAIN and each["threads"] == row["threads"])
    return row | {"of plain": round(row["min_ms"] / plain["min_ms"], 2)}


def _export_plainly(net: nn.Module, path: Path, *, size_px: int) -> None:
    """As the exporters of L2CS-Net do: TorchScript, constants folded, logits out."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (torch.zeros(1, 3, size_px, size_px),),
            str(path),
            input_names=["input"],
            output_names=["yaw", "pitch"],
            opset_version=17,
            do_constant_folding=True,
            dynamo=False,
        )
