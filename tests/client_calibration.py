"""A rendered person's calibration, cut as the client cuts, and a personal model that answers it."""

import functools
import json
from dataclasses import asdict
from pathlib import Path

import client_simulator
import numpy as np
import pytest
import torch
from PIL import Image

from gaze_exp.client.export import ExportWishes, export_for_client
from gaze_exp.client.manifest import sha256_of
from gaze_exp.data.calibration_set import LabelRow, read_calibration_set
from gaze_exp.data.calibration_writer import new_set_folder, write_labels
from gaze_exp.data.synthetic.layouts import write_set
from gaze_exp.data.synthetic.set_plan import SetPlan
from gaze_exp.models.l2cs import L2CS
from gaze_exp.personal.model import PersonalModel, load_personal, save_personal
from gaze_exp.screen import ScreenGeometry

GEOMETRY = ScreenGeometry()
AFFINE = torch.tensor([[0.9, 0.05, 1.5], [-0.1, 1.2, -2.0]])
GOOD = {"of": "fine-tuned", "over": "base + affine", "better": True, "worse": False, "text": "fine-tuned is better."}
FACTS = {
    "method": "fine-tuned",
    "geometry": asdict(GEOMETRY),
    "size_px": 448,
    "crop": "client",
    "base": {"sha256": "ba5e", "licence": "research only"},
    "split_sha256": "5917",
    "table": [{"method": "fine-tuned", "mean_deg": 1.5}],
    "verdict": GOOD,
}


def box_of(label):
    """A face's box about its eyes, which the client's JSON knows: (left, top, right, bottom) px."""
    eyes = label["inference"]["Gaze"]
    left, right = ((eyes[f"{side}_eye"]["x"], eyes[f"{side}_eye"]["y"]) for side in ("left", "right"))
    apart = abs(left[0] - right[0])
    x, y = (left[0] + right[0]) / 2, (left[1] + right[1]) / 2
    return (x - 1.1 * apart, y - 0.9 * apart, x + 1.1 * apart, y + 1.7 * apart)


def photos_in(folder):
    """[(stem, frame, box, target px)] of a folder of calibration photos."""
    read = []
    for path in sorted(Path(folder).glob("img_*.json")):
        label = json.loads(path.read_text())
        with Image.open(path.with_suffix(".jpg")) as photo:
            frame = np.asarray(photo.convert("RGB"))
        read.append((path.stem, frame, box_of(label), (label["screen_x"], label["screen_y"])))
    return read


def write_clean(root, photos, *, size_px=448):
    """`dataset_clean` of photos, cut by the simulated client."""
    rows = []
    with new_set_folder(root) as folder:
        for number, (stem, frame, box, target) in enumerate(photos):
            picture = client_simulator.face_picture(frame, box, size_px=size_px)
            Image.fromarray(picture).save(folder / f"{stem}.jpg", quality=95, subsampling=0)
            yaw, pitch = GEOMETRY.to_degrees(torch.tensor(target, dtype=torch.float64)).tolist()
            rows.append(
                LabelRow(
                    f"{stem}.jpg", round(yaw, 6), round(pitch, 6), *target, 0, number % 9, *box, 1.0, -1, f"{stem}.jpg"
                )
            )
        write_labels(folder, rows, facts={"geometry": asdict(GEOMETRY), "size_px": size_px, "crop": "client"})
    return read_calibration_set(root)


def answering_model(data, *, head="linear", mirrored=True, seed=0):
    """A small net whose last layer has been solved for the photos' own targets."""
    torch.manual_seed(seed)
    net = L2CS(arch="resnet18", head=head, pretrained="none", image_size=64).eval()
    model = PersonalModel(net, mirrored=mirrored, affine=AFFINE).eval()
    if head == "linear":
        with torch.no_grad():
            features = net.late(net.early(net.normalise(data.images()))).double()
            wanted = (
                (data.angles_deg - AFFINE[:, 2].double()) @ AFFINE[:, :2].double().inverse().T * model.sign.double()
            )
            mean, centre = features.mean(0), wanted.mean(0)
            spread, rest = features - mean, wanted - centre
            kernel = spread @ spread.T
            weight = rest.T @ torch.linalg.solve(kernel + 1e-3 * kernel.trace() * torch.eye(len(kernel)), spread)
            net.fc_angles.weight.copy_(weight)
            net.fc_angles.bias.copy_(centre - weight @ mean)
    return model


@functools.cache
def _build(root):
    folder = Path(root, "client_calibration")
    write_set(folder / "people", SetPlan(layout="calibration", persons=1, frames=9, seed=3))
    photos = photos_in(folder / "people" / "participant_001" / "calibration_data")
    data = write_clean(folder / "dataset_clean", photos)
    path = save_personal(folder / "personal.pt", answering_model(data), FACTS | {"data": str(data.folder)})
    model, facts = load_personal(path)
    (folder / "run").mkdir()
    export_for_client(
        model, facts, data, folder=folder / "run", checkpoint_sha256=sha256_of(path),
        wishes=ExportWishes(latency_threads=(1,), latency_rounds=2),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def calibrated(tmp_path_factory):
    """A folder with `people`, `dataset_clean`, `personal.pt` and the exported `run`; made once, not to be changed."""
    return _build(tmp_path_factory.getbasetemp())
