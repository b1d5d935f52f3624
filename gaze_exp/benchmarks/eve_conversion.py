"""EVE's videos to crop files beside decoding alone; and our crop reader beside a seek into the videos a sample."""

import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from gaze_exp.data.batch_loader import BatchLoader
from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.data.sources.eve_convert import convert, person_files
from gaze_exp.data.sources.eve_release import Recording, find_recordings
from gaze_exp.data.sources.eve_step import Settings
from gaze_exp.data.synthetic.eve_labels import write_labels
from gaze_exp.data.synthetic.motion import draw_sequence
from gaze_exp.data.synthetic.person import draw_person
from gaze_exp.data.synthetic.renderer import render
from gaze_exp.data.synthetic.rigs import EVE_RIGS
from gaze_exp.data.synthetic.video import VideoWriter
from gaze_exp.data.synthetic.views import eye_views, face_view
from gaze_exp.hardware import Hardware

_FPS, _NUM_FRAMES, _NUM_RENDERED = 60, 720, 4
_NUM_ROUNDS = 5
_NUM_SEEKS = 60


def run(machine: Hardware) -> list[dict[str, Any]]:
    """Measure on one step of 12 s, in a temporary folder, on one core."""
    del machine  # one core is what is measured
    with tempfile.TemporaryDirectory(prefix="eve_conversion_") as folder:
        source = Path(folder) / "release"
        recording = write_step(source / "train01" / "step001_video_benchmark")
        return measure_conversion(source, recording, Path(folder)) + measure_reading(source, recording, Path(folder))


def write_step(folder: Path) -> Recording:
    """Write one labelled step: a few rendered frames in turn, each with noise of its own, as a sensor gives it.

    Args:
        folder: of the step.
    """
    folder.mkdir(parents=True)
    person = draw_person(0, number=1)
    scene = draw_sequence(person, rig=EVE_RIGS["basler"], num_frames=_NUM_FRAMES, fps=_FPS, seed=0, kind="video")
    write_labels(folder / "basler.h5", scene, has_gaze=True)
    stamps = [round(i * 1e9 / _FPS) for i in range(_NUM_FRAMES)]
    (folder / "basler.timestamps.txt").write_text("".join(f"{stamp}\n" for stamp in stamps))
    part = scene.frames(0, _NUM_RENDERED)
    faces = render(part, face_view(part), size_px=256).numpy()
    left, right = (render(part, view, size_px=128).numpy() for view in eye_views(part))
    for name, pictures in (("face", faces), ("eyes", np.concatenate((right, left), axis=2))):
        _write_video(folder / f"basler_{name}.mp4", pictures)
    return Recording(folder, "basler")


def _write_video(path: Path, pictures: np.ndarray) -> None:
    noise = np.random.default_rng(0)
    with VideoWriter(path, width_px=pictures.shape[2], height_px=pictures.shape[1], fps=_FPS) as video:
        for i in range(_NUM_FRAMES):
            # A picture stays for half a second, as in a fixation.
            picture = pictures[i * 2 // _FPS % len(pictures)]
            noisy = picture + noise.normal(0.0, 2.0, picture.shape)
            video.append(noisy.clip(0, 255).astype(np.uint8)[None])


def measure_conversion(source: Path, recording: Recording, folder: Path) -> list[dict[str, Any]]:
    """Time decoding alone and our whole conversion in turn, in seconds of processor time; the least counts.

    Args:
        source: the release.
        recording: the one that is in it.
        folder: for the results.

    Returns:
        A row for each, with frames of the camera a second and core.
    """
    videos = [recording.path("_face.mp4"), recording.path("_eyes.mp4")]
    # With a program and its start, or a library, whichever decodes faster: that is the bound.
    jobs: dict[str, Callable[[], None]] = {"decode alone, PyAV": lambda: _decode(videos)}
    if shutil.which("ffmpeg"):
        jobs["decode alone, ffmpeg"] = lambda: _ffmpeg(videos)
    for hz in (10, _FPS):
        jobs[f"ours, {hz} Hz: decode, resize, write, join, hash"] = lambda hz=hz: _convert(source, folder, hz)
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(_NUM_ROUNDS):
        for name, job in jobs.items():
            begin = _cpu_seconds()
            job()
            seconds[name].append(_cpu_seconds() - begin)
    rates = {name: _NUM_FRAMES / min(values) for name, values in seconds.items()}
    fastest = max(rate for name, rate in rates.items() if name.startswith("decode"))
    return [
        {"what": name, "frames/s a core": round(rate), "of decoding alone": round(rate / fastest, 2)}
        for name, rate in rates.items()
    ]


def _cpu_seconds() -> float:
    """Processor time of this process and of those that it waited for."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usage)


def _decode(videos: list[Path]) -> None:
    for path in videos:
        with av.open(str(path)) as file:
            file.streams.video[0].codec_context.thread_count = 1
            assert sum(1 for _ in file.decode(video=0)) == _NUM_FRAMES


def _ffmpeg(videos: list[Path]) -> None:
    for path in videos:
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-threads", "1", "-i", str(path), "-f", "null", "-"]
        subprocess.run(command, check=True)


def _convert(source: Path, folder: Path, hz: int) -> None:
    root = folder / "crops"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    files = person_files(find_recordings(source, camera="basler"), root)
    convert(files, root=root, settings=Settings(sample_hz=hz), workers=0)


def measure_reading(source: Path, recording: Recording, folder: Path) -> list[dict[str, Any]]:
    """Time random samples from our crop file, and from the videos with one open and seek a sample.

    Args:
        source: the release.
        recording: the one that is in it.
        folder: for the crop file.

    Returns:
        A row for each, with samples a second.
    """
    _convert(source, folder, 10)
    crops = CropDataset(sorted((folder / "crops").glob("*/*/*.h5")))
    rows = np.random.default_rng(0).permutation(np.resize(crops.usable, 20 * len(crops)))
    loader = BatchLoader(crops, batch_size=64, num_workers=0, rows=rows)
    ours = max(_rate(len(rows), lambda: [None for _ in loader]) for _ in range(_NUM_ROUNDS))
    frames = np.random.default_rng(0).integers(0, _NUM_FRAMES, _NUM_SEEKS).tolist()
    seeks = max(_rate(len(frames), lambda: [_seek(recording, frame) for frame in frames]) for _ in range(2))
    rates = {"OpenCV, open and seek a sample": seeks, "our crop reader, random order, no workers": ours}
    return [
        {"what": name, "samples/s": round(rate, 1 if rate < 100 else None), "times seeking": round(rate / seeks, 1)}
        for name, rate in rates.items()
    ]


def _seek(recording: Recording, frame: int) -> list[np.ndarray]:
    """One sample as it used to be read: face and both eyes, RGB, at the sizes of the model."""
    pictures = []
    for name in ("face", "eyes"):
        capture = cv2.VideoCapture(str(recording.path(f"_{name}.mp4")))
        capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
        found, picture = capture.read()
        capture.release()
        assert found
        pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    face, eyes = pictures
    return [cv2.resize(face, (224, 224)), *(cv2.resize(half, (112, 112)) for half in np.split(eyes, 2, axis=1))]


def _rate(num: int, job: Callable[[], object]) -> float:
    begin = time.perf_counter()
    job()
    return num / (time.perf_counter() - begin)
