"""A prepared calibration in which a bright spot stands where the person looks, and nets small enough for tests."""

import json

import numpy as np
import torch
from PIL import Image

from gaze_exp.data.calibration_set import FORMAT, LABELS, MANIFEST, LabelRow, labels_text, read_calibration_set
from gaze_exp.models.l2cs import L2CS
from gaze_exp.personal.adapters import Layer4AndHead
from gaze_exp.personal.feature_bank import Device, FrozenViews
from gaze_exp.personal.fit import Recipe
from gaze_exp.personal.photo_augment import PhotoAugment
from gaze_exp.personal.preparation import Wishes
from gaze_exp.screen import ScreenGeometry

SIZE_PX = 48
CPU = Device("cpu", autocast=False, num_threads=1, channels_last=True)
STILL = PhotoAugment(brightness=0.0, contrast=0.0, saturation=0.0, blur_sigma_px=0.1, iso_noise=0.05, shift=0.0)
GRID = [(x, y) for y in (100.0, 558.0, 1016.0) for x in (100.0, 610.0, 1118.0, 1628.0)]


def write_set(folder, *, targets=10, photos_each=2, sessions=1, points=None):
    """Photos of the first targets of a grid, or of the given points."""
    folder.mkdir(parents=True)
    geometry = ScreenGeometry()
    rows = []
    for number in range(targets * photos_each):
        target = number % targets
        x, y = (points or GRID)[target]
        name = f"img_{1_766_068_421_832 + 3000 * number}.jpg"
        Image.fromarray(picture(x / 1728, y / 1117, seed=number)).save(folder / name, quality=95)
        yaw, pitch = geometry.to_degrees(torch.tensor([x, y], dtype=torch.float64)).tolist()
        session = number * sessions // (targets * photos_each)
        rows.append(LabelRow(name, yaw, pitch, x, y, session, target, 0.0, 0.0, 48.0, 48.0, 1.0, number, name))
    (folder / LABELS).write_text(labels_text(rows))
    manifest = {"format": FORMAT, "geometry": vars(geometry), "size_px": SIZE_PX, "crop": "client"}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return read_calibration_set(folder)


def picture(right, down, *, seed):
    """(48, 48, 3) noise with a spot at parts of its sides."""
    noise = np.random.default_rng(seed).normal(0, 4, (SIZE_PX, SIZE_PX, 3))
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] / SIZE_PX
    spot = 180 * np.exp(-(((x - 0.1 - 0.8 * right) ** 2 + (y - 0.1 - 0.8 * down) ** 2) / 0.02))
    return (40 + spot[..., None] + noise).clip(0, 255).astype(np.uint8)


def random_net(seed=0, head="bins"):
    """ResNet-18 with random weights and statistics, on pictures as they come."""
    torch.manual_seed(seed)
    net = L2CS(arch="resnet18", head=head, pretrained="none", image_size=None)
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.05)
    return net.eval().requires_grad_(False)


def taught_net(data, *, mirrored=True, error_deg=4.0):
    """The random net with heads that were fitted to a calibration, and err by an offset and a scale."""
    net = random_net()
    with torch.no_grad():
        features = net.late(net.early(net.normalise(data.images()))).double()
    wanted = (data.angles_deg * 0.6 + error_deg) * torch.tensor([-1.0 if mirrored else 1.0, -1.0])
    centred = features - features.mean(0)
    gram = centred @ centred.T
    ridge = 0.05 * gram.diagonal().mean() * torch.eye(len(gram)).double()
    slopes = (centred.T @ torch.linalg.solve(gram + ridge, wanted - wanted.mean(0))).T
    bias = wanted.mean(0) - slopes @ features.mean(0)
    edges, variance = torch.arange(-180.0, 180.0, 4.0).double(), 30.0
    for head, slope, constant in zip((net.fc_yaw_gaze, net.fc_pitch_gaze), slopes, bias, strict=True):
        # Logits of a normal distribution around the angle: its expectation over the bins is the angle.
        head.weight.copy_(edges[:, None] * slope / variance)
        head.bias.copy_((edges * constant - edges.square() / 2) / variance)
    return net


def views_of(data, net, *, pooled=False, augment=STILL):
    return FrozenViews(net, data.images(), augment=augment, pooled=pooled, device=CPU, seed=0)


def wishes(**changes):
    recipe = {"epochs": 2, "views_per_epoch": 2, "patience": 2, "batch_size": 16} | changes.pop("recipe", {})
    chosen = {"adapter": Layer4AndHead(), "augment": STILL, "mirrored": True, "bank_views": 2}
    return Wishes(recipe=Recipe(**recipe), **(chosen | changes))
