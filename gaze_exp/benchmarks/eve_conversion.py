"""EVE's videos to crop files beside decoding alone; and our crop reader beside a seek into the videos a sample."""

import hashlib
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

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
_NOISES = {"smooth": (2.0, 3), "grainy": (3.0, 1)}
"""Standard deviation, and channels that differ: grain in the brightness survives the codec, coloured grain does not.

180 GB for 50 persons, shared out by pixels, leave the two small videos of a camera about 0.4 Mbit/s: grainy ones.
"""


def run(machine: Hardware) -> list[dict[str, Any]]:
    """Measure on two steps of 12 s, in a temporary folder, on one core."""
    del machine  # one core is what is measured
    with tempfile.TemporaryDirectory(prefix="eve_conversion_") as temporary:
        folder = Path(temporary)
        steps = {noise: folder / noise / "train01" / "step001_video_benchmark" for noise in _NOISES}
        recordings = {noise: write_step(path, noise=noise) for noise, path in steps.items()}
        rows = [row for noise, each in recordings.items() for row in measure_conversion(folder / noise, each, folder)]
        rows += measure_parts(recordings["grainy"], folder)
        return rows + measure_reading(folder / "smooth", recordings["smooth"], folder)


def write_step(folder: Path, *, noise: str = "smooth") -> Recording:
    """Write one labelled step: a few rendered frames in turn, each with noise of its own, as a sensor gives it.

    Args:
        folder: of the step.
        noise: `smooth` or `grainy`.
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
        _write_video(folder / f"basler_{name}.mp4", pictures, *_NOISES[noise])
    return Recording(folder, "basler")


def _write_video(path: Path, pictures: np.ndarray, deviation: float, channels: int) -> None:
    random = np.random.default_rng(0)
    height, width = pictures.shape[1:3]
    with VideoWriter(path, width_px=width, height_px=height, fps=_FPS) as video:
        for i in range(_NUM_FRAMES):
            # A picture stays for half a second, as in a fixation.
            picture = pictures[i * 2 // _FPS % len(pictures)]
            noisy = picture + random.normal(0.0, deviation, (height, width, channels))
            video.append(noisy.clip(0, 255).astype(np.uint8)[None])


def measure_conversion(source: Path, recording: Recording, folder: Path) -> list[dict[str, Any]]:
    """Time decoding alone and our whole conversion in turn, in seconds of processor time.

    Args:
        source: the release.
        recording: the one that is in it.
        folder: for the results.

    Returns:
        A row for each: frames of the camera a second and core where it took least, and the median over the rounds
        of what decoding takes of its time.
    """
    videos = [recording.path("_face.mp4"), recording.path("_eyes.mp4")]
    # With a program and its start, or a library, whichever decodes faster: that is the bound.
    jobs: dict[str, Callable[[], object]] = {"decode alone, PyAV": lambda: _decode(videos)}
    if shutil.which("ffmpeg"):
        jobs["decode alone, ffmpeg"] = lambda: _ffmpeg(videos)
    for hz in (10, _FPS):
        jobs[f"ours, {hz} Hz: decode, resize, write, join, hash"] = lambda hz=hz: _convert(source, folder, hz)
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(_NUM_ROUNDS):
        for name, job in jobs.items():
            seconds[name].append(_cpu_seconds_of(job))
    fastest = min((name for name in jobs if name.startswith("decode")), key=lambda name: min(seconds[name]))
    rate = sum(path.stat().st_size for path in videos) * 8 * _FPS / _NUM_FRAMES / 1e6
    return [
        {
            "videos": f"{rate:.2f} Mbit/s",
            "what": name,
            "frames/s a core": round(_NUM_FRAMES / min(values)),
            "of decoding alone": round(float(np.median(np.divide(seconds[fastest], values))), 2),
        }
        for name, values in seconds.items()
    ]


def measure_parts(recording: Recording, folder: Path) -> list[dict[str, Any]]:
    """Time what a kept frame cannot do without, each part alone and at its best: the bound of keeping all of them.

    Args:
        recording: whose frames.
        folder: for a file.

    Returns:
        A row for each, in microseconds of processor time a kept frame.
    """
    videos = [recording.path("_face.mp4"), recording.path("_eyes.mp4")]
    decoded = [list(islice(_frames(path), 64)) for path in videos]
    to_rgb = [VideoReformatter() for _ in videos]
    faces, pairs = ([frame.to_ndarray(format="rgb24") for frame in each] for each in decoded)
    rows = [
        np.concatenate([crop.ravel() for crop in _crops(face, pair)]) for face, pair in zip(faces, pairs, strict=True)
    ]
    content = np.concatenate(rows).tobytes()

    def convert_colour() -> None:
        for each, converter in zip(decoded, to_rgb, strict=True):
            for frame in each:
                converter.reformat(frame, format="rgb24", threads=1)

    jobs: dict[str, Callable[[], object]] = {
        "colours, swscale": convert_colour,
        "three crops, OpenCV": lambda: [_crops(face, pair) for face, pair in zip(faces, pairs, strict=True)],
        "written once": lambda: (folder / "content").write_bytes(content),
        "SHA-256": lambda: hashlib.sha256(content),
    }
    least = {name: min(_cpu_seconds_of(job) for _ in range(4 * _NUM_ROUNDS)) for name, job in jobs.items()}
    micros = {name: 1e6 * seconds / len(faces) for name, seconds in least.items()}
    decoding = min(_cpu_seconds_of(lambda: _decode(videos)) for _ in range(_NUM_ROUNDS))
    micros = {"decoded": 1e6 * decoding / _NUM_FRAMES, **micros}
    return [{"part of a kept frame": name, "us": round(value, 1)} for name, value in micros.items()]


def _cpu_seconds_of(job: Callable[[], object]) -> float:
    begin = _cpu_seconds()
    job()
    return _cpu_seconds() - begin


def _cpu_seconds() -> float:
    """Processor time of this process and of those that it waited for."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usage)


def _decode(videos: list[Path]) -> None:
    for path in videos:
        assert sum(1 for _ in _frames(path)) == _NUM_FRAMES


def _frames(path: Path) -> Iterator[VideoFrame]:
    with av.open(str(path)) as file:
        file.streams.video[0].codec_context.thread_count = 1
        yield from file.decode(video=0)


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
    return _crops(*pictures)


def _crops(face: np.ndarray, eyes: np.ndarray) -> list[np.ndarray]:
    return [cv2.resize(face, (224, 224)), *(cv2.resize(half, (112, 112)) for half in np.split(eyes, 2, axis=1))]


def _rate(num: int, job: Callable[[], object]) -> float:
    begin = time.perf_counter()
    job()
    return num / (time.perf_counter() - begin)
