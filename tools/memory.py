"""Memory of a batch over many frames: resident size early and late must be equal.

    python tools/memory.py [FRAMES]     1000 by default, 96x48 pixels each
"""
import sys
import tempfile
from pathlib import Path

import numpy as np

from cpcdr.batch import run_all
from cpcdr.cli import RegionsWork
from cpcdr.data import FolderWriter, open_folder
from cpcdr.frame import Camera, Frame
from cpcdr.regions import RegionParams


def resident():
    "Resident memory of this process, MB."
    import psutil
    return psutil.Process().memory_info().rss / 2**20


def write_frames(folder, n, width=96, height=48):
    rng, writer = np.random.default_rng(0), FolderWriter(folder)
    for k in range(n):
        image = np.kron(rng.integers(0, 255, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        disp = np.repeat(np.linspace(.01, .3, height, dtype=np.float32)[:, None], width, 1)
        writer.write(Frame(f'{k:06}', image, disp=disp, camera=Camera.guess(width, height)))
    return open_folder(folder)


def growth(folder, frames=1000, first=100):
    "MB after `first` frames and after all."
    data = write_frames(Path(folder) / 'data', frames)
    work = RegionsWork(data, Path(folder) / 'out', RegionParams(n_superpixels=150))
    for k, outcome in enumerate(run_all(work, data.names), 1):
        assert outcome.state == 'done', outcome.line
        if k == first: early = resident()
    return early, resident()


if __name__ == '__main__':
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder: early, late = growth(folder, n)
    print(f'{early:.1f} MB after 100 frames, {late:.1f} MB after {n}')
