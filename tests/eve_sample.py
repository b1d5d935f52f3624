"""A small EVE release with true labels and plain pictures: frame i of every video is `grey(i)` bright."""

import shutil
from pathlib import Path

import av
import h5py
import numpy as np

from gaze_exp.data.synthetic.eve_labels import write_labels
from gaze_exp.data.synthetic.motion import draw_sequence
from gaze_exp.data.synthetic.person import draw_person
from gaze_exp.data.synthetic.rigs import EVE_RIGS
from gaze_exp.data.synthetic.video import VideoWriter

STEPS = ("step008_image_MIT-i2263021117", "step021_video_DIEM-x", "step120_wikipedia_wikipedia-random")
RED, BLUE = (200, 30, 30), (30, 30, 200)


def grey(index):
    return 30 + 8 * (index % 28)


def write_release(root, persons=("train01", "val01", "test01"), *, steps=STEPS[:2], frames=24, cameras=("basler",)):
    for person in persons:
        for number, step in enumerate(steps):
            write_step(root / person / step, seed=10 * number + int(person[-1]), frames=frames, cameras=cameras)
    return root


def write_step(folder: Path, *, seed=0, frames=24, cameras=("basler",)):
    folder.mkdir(parents=True)
    for camera in cameras:
        fps = 60 if camera == "basler" else 30
        num = frames * fps // 60
        kind = folder.name.split("_")[1]
        person = draw_person(seed, number=1)
        scene = draw_sequence(person, rig=EVE_RIGS[camera], num_frames=num, fps=fps, seed=seed, kind=kind)
        write_labels(folder / f"{camera}.h5", scene, has_gaze=not folder.parent.name.startswith("test"))
        stamps = [1_580_000_000_000_000_000 + round(i * 1e9 / fps) for i in range(num)]
        (folder / f"{camera}.timestamps.txt").write_text("".join(f"{stamp}\n" for stamp in stamps))
        write_video(folder / f"{camera}_face.mp4", [plain(grey(i), 256, 256) for i in range(num)], fps=fps)
        write_video(folder / f"{camera}_eyes.mp4", [eyes(i) for i in range(num)], fps=fps)


def plain(level, width, height):
    return np.full((height, width, 3), level, np.uint8)


def eyes(index):
    """Red on the left, blue on the right, with a grey bar that tells the frame."""
    picture = np.zeros((128, 256, 3), np.uint8)
    picture[:, :128], picture[:, 128:] = RED, BLUE
    picture[96:] = grey(index)
    return picture


def write_video(path, frames, *, fps=60):
    with VideoWriter(path, width_px=frames[0].shape[1], height_px=frames[0].shape[0], fps=fps) as video:
        video.append(np.stack(frames))


def index_first(path):
    """Move a video's index to its front, as in files made for streaming: cut short, they still open."""
    moved = path.with_suffix(".moved.mp4")
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    shutil.move(moved, path)


def damage(path, number):
    """Overwrite the data of one packet of a video."""
    with av.open(str(path)) as file:
        packets = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]
    position, size = packets[number]
    content = bytearray(path.read_bytes())
    content[position + 8 : position + size] = bytes(255 for _ in range(size - 8))
    path.write_bytes(content)


def edit(path, group, values=None, *, validity=None):
    """Replace `data` or `validity` of a group in an h5 file."""
    with h5py.File(path, "r+") as file:
        for name, new in (("data", values), ("validity", validity)):
            if new is not None:
                del file[group][name]
                file[group][name] = new
