"""Preparing a user's photos: the whole task, and the loop that one writes first, photos a second."""

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from gaze_exp.calibration_crops import Cutting
from gaze_exp.calibration_prepare import prepare
from gaze_exp.data.sources.calibration import CalibrationSource, read_calibration_folder
from gaze_exp.data.synthetic.layouts import write_set
from gaze_exp.data.synthetic.set_plan import SetPlan
from gaze_exp.faces.crop_rule import window_of
from gaze_exp.faces.face import faces_of
from gaze_exp.faces.finder import open_finder
from gaze_exp.hardware import Hardware
from gaze_exp.processes.cores import num_cores
from gaze_exp.screen import ScreenGeometry

DETECTOR = "detectors/version-RFB-320.onnx"
"""Below the folder that GAZE_TEST_DATA names."""
_SIZE_PX = 448


def run(machine: Hardware) -> list[dict[str, Any]]:
    """Measure on 60 rendered photos of 1920x1080; on the CPU whatever the machine has."""
    del machine
    detector = Path(os.environ.get("GAZE_TEST_DATA", ""), DETECTOR)
    if not detector.is_file():
        return [{"what": "prepare", "why not measured": f"GAZE_TEST_DATA names no folder with {DETECTOR}"}]
    with tempfile.TemporaryDirectory(prefix="prepare_") as folder:
        photos = write_photos(Path(folder), num_photos=60, width_px=1920)
        return measure(photos, detector=detector, num_rounds=3)


def write_photos(folder: Path, *, num_photos: int, width_px: int) -> Path:
    """A calibration folder of three rendered photos, each again and again under other noise.

    Args:
        folder: there already.
        num_photos: how many.
        width_px: 640 or 1920.

    Returns:
        The folder of the photos.
    """
    write_set(folder / "people", SetPlan(layout="calibration", persons=1, frames=3, seed=0, photo_width=width_px))
    rendered = sorted((folder / "people").rglob("img_*.jpg"))
    random = np.random.default_rng(0)
    photos = folder / "calibration_data"
    photos.mkdir()
    for number in range(num_photos):
        one = np.asarray(cv2.imread(str(rendered[number % len(rendered)])))
        noise = random.integers(-4, 5, one.shape, np.int8)
        noisy = cv2.add(one, noise, dtype=cv2.CV_8U)
        stem = photos / f"img_{1_766_068_421_832 + 2000 * number}"
        cv2.imwrite(str(stem.with_suffix(".jpg")), noisy, (cv2.IMWRITE_JPEG_QUALITY, 75))
        x, y = random.uniform((0, 0), (1728, 1117)).tolist()
        stem.with_suffix(".json").write_text(json.dumps({"screen_x": x, "screen_y": y}), encoding="utf-8")
    return photos


def measure(photos: Path, *, detector: Path, num_rounds: int) -> list[dict[str, Any]]:
    """Time both in turn on the same folder, pages cached.

    Args:
        photos: a calibration folder.
        detector: an UltraFace with decoded boxes.
        num_rounds: runs of each; the fastest counts, since other programs only ever add time.

    Returns:
        A row for each: photos a second, and processor time of a photo.
    """
    num_photos = len(list(photos.glob("*.jpg")))
    cores = num_cores()
    ways: dict[str, tuple[int, Callable[[Path], None]]] = {
        "whole prepare: hash, find, cut, manifest, contact sheet": (cores, lambda to: _prepare(photos, to, detector)),
        "plain loop: OpenCV, one photo at a time, crops alone": (1, lambda to: _plain(photos, to, detector)),
    }
    best: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory(prefix="prepared_") as folder:
        for number in range(num_rounds):
            for name, (_, way) in ways.items():
                seconds, processor = _timed(way, Path(folder, f"{len(name)}_{number}"))
                before = best.get(name, (seconds, processor))
                best[name] = min(before[0], seconds), min(before[1], processor)
    return [
        {
            "what": name,
            "threads": ways[name][0],
            "photos": num_photos,
            "photos/s": round(num_photos / seconds, 1),
            "processor ms a photo": round(1000 * processor / num_photos, 1),
        }
        for name, (seconds, processor) in best.items()
    ]


def _timed(work: Callable[[Path], None], to: Path) -> tuple[float, float]:
    """Seconds by the clock and by the processor."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    work(to)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter() - begin, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _prepare(photos: Path, to: Path, detector: Path) -> None:
    source = CalibrationSource(str(photos), str(to))
    cutting = Cutting(open_finder(detector), ScreenGeometry())
    prepare(read_calibration_folder(photos), source, cutting)


def _plain(photos: Path, to: Path, detector: Path) -> None:
    """What a short script does."""
    to.mkdir()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(detector), options, providers=["CPUExecutionProvider"])
    for path in sorted(photos.glob("*.jpg")):
        photo = np.asarray(cv2.imread(str(path)))
        height, width = photo.shape[:2]
        small = (cv2.resize(photo[..., ::-1], (320, 240)).astype(np.float32) - 127) / 128
        scores, boxes = session.run(["scores", "boxes"], {"input": small.transpose(2, 0, 1)[None]})
        faces = faces_of(boxes[0] * [width, height, width, height], scores[0, :, 1], min_confidence=0.7)
        if faces:
            part = window_of(faces[0], width_px=width, height_px=height)
            crop = photo[part.top : part.top + part.height, part.left : part.left + part.width]
            cv2.imwrite(str(to / path.name), cv2.resize(crop, (_SIZE_PX, _SIZE_PX)), (cv2.IMWRITE_JPEG_QUALITY, 95))
