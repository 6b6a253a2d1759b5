"""Make data_samples/: scenes from six towns, a stereo clip of one drive, and the README that says what is what.

    python tools/samples.py [OUT]      default: data_samples beside this folder
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCENES = (51, 52, 53, 55, 61, 67)       # towns: busy centre, tram, suburb, mist, sun, boulevard
SECOND = 3.                             # of each town's drive
CLIP = dict(seed=58, frames=20, width=256, height=128, fps=8., stereo=True)


def scenes():
    "One frame of each town, 1024x512, without depth: the disparity says the same."
    from cpcdr.town import Town, render
    for seed in SCENES: yield render(Town(seed), SECOND, 1024, 512, name=f'town{seed:04}').replace(depth=None)


def clip():
    "A drive of 20 frames with poses and both eyes, 256x128."
    from cpcdr.town import drive
    for frame in drive(**CLIP): yield frame.replace(depth=None, labels=None, instances=None)


def make(out):
    "Write both parts through the project's own writer."
    from cpcdr.core import progress
    from cpcdr.data import FolderWriter
    for part, frames, total in (('scenes', scenes(), len(SCENES)), ('clip', clip(), CLIP['frames'])):
        writer = FolderWriter(Path(out) / part, suffix='.jpg')
        for frame in progress(frames, part, total): writer.write(frame)


if __name__ == '__main__':
    sys.path.insert(0, str(ROOT))
    make(sys.argv[1] if len(sys.argv) > 1 else ROOT / 'data_samples')
