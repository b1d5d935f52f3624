"""How fast people are rendered: crops of three sizes and whole 640x480 frames."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from gaze_exp.data.synthetic.drawing import draw_scene
from gaze_exp.data.synthetic.person import draw_person, random_stream
from gaze_exp.data.synthetic.renderer import frames_at_once, render, render_frame
from gaze_exp.data.synthetic.rigs import ABOVE, LAPTOP
from gaze_exp.data.synthetic.scene import Scene
from gaze_exp.data.synthetic.views import eye_views, face_view
from gaze_exp.hardware import Hardware
from gaze_exp.processes.cores import one_torch_thread

SIZES = ((64, 32), (112, 56), (224, 112))
"""Face and eye crops, px."""


def run(machine: Hardware) -> list[dict[str, Any]]:
    """Measure on the CPU, and on a GPU where the machine has one."""
    devices = ["cpu", "cuda"] if machine.accelerator in {"gpu", "cuda"} else ["cpu"]
    return [row for device in devices for row in measure(torch.device(device), seconds=6.0)]


def measure(device: torch.device, *, seconds: float) -> list[dict[str, Any]]:
    """Render what four persons look like again and again.

    Args:
        device: where the rays are traced.
        seconds: to spend on each row.

    Returns:
        A row for each size: frames a second, and the time that one pixel takes.
    """
    rows = []
    for face_px, eye_px in SIZES:
        triple = _triples(device, face_px=face_px, eye_px=eye_px)
        num_pixels = face_px**2 + 2 * eye_px**2
        rows.append(_row(f"crops, face {face_px}, eyes {eye_px}", device, _rate(triple, device, seconds), num_pixels))
    frames = _frames(device, width_px=640, height_px=480)
    rows.append(_row("frame, 640x480", device, _rate(frames, device, seconds), 640 * 480))
    return rows


def _row(what: str, device: torch.device, rate: float, num_pixels: int) -> dict[str, Any]:
    return {
        "what": what,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "frames/s": round(rate, 1),
        "ns a pixel": round(1e9 / (rate * num_pixels)),
    }


def _rate(render_some: Callable[[int], int], device: torch.device, seconds: float) -> float:
    """Frames a second, after one call to warm up; on the CPU a person a thread, as a data set is written."""
    num_threads = torch.get_num_threads() if device.type == "cpu" else 1
    render_some(0)
    started = time.perf_counter()

    def work(first: int) -> int:
        num_frames, person = 0, first
        while time.perf_counter() - started < seconds:
            num_frames += render_some(person)
            person += num_threads
            if device.type == "cuda":
                torch.cuda.synchronize()
        return num_frames

    with one_torch_thread(), ThreadPoolExecutor(num_threads) as pool:
        num_frames = sum(pool.map(work, range(num_threads)))
    return num_frames / (time.perf_counter() - started)


def _triples(device: torch.device, *, face_px: int, eye_px: int) -> Callable[[int], int]:
    chunk = frames_at_once(face_px)
    scenes = _scenes(device, num_frames=max(chunk, frames_at_once(eye_px)))
    noise = random_stream("benchmark") if device.type == "cpu" else None

    def render_some(person: int) -> int:
        scene = scenes[person % len(scenes)]
        for start in range(0, scene.num_frames, chunk):
            part = scene.frames(start, start + chunk)
            render(part, face_view(part), size_px=face_px, noise=noise)
        for view in eye_views(scene):
            render(scene, view, size_px=eye_px, noise=noise)
        return scene.num_frames

    return render_some


def _frames(device: torch.device, *, width_px: int, height_px: int) -> Callable[[int], int]:
    scenes = _scenes(device, num_frames=2, laptop=True)

    def render_some(person: int) -> int:
        scene = scenes[person % len(scenes)]
        render_frame(scene, width_px=width_px, height_px=height_px)
        return scene.num_frames

    return render_some


def _scenes(device: torch.device, *, num_frames: int, laptop: bool = False) -> list[Scene]:
    rig = LAPTOP if laptop else ABOVE
    return [
        draw_scene(draw_person(0, number=n), rig=rig, num_frames=num_frames, seed=0, number=n).to(device)
        for n in range(1, 5)
    ]
