"A street of three planes and a box, small enough that tests are quick."
import numpy as np

from cpcdr.frame import Camera, Frame


def street(name='toy', width=192, height=96, labelled=True):
    "A road, a wall, a box: small enough that a step takes a blink."
    v, u = np.mgrid[:height, :width].astype(np.float32)
    f, y = width*.6, v - height*.45
    depth = np.where(y > 1, 1.6*f/np.maximum(y, 1), 60).astype(np.float32)
    depth = np.minimum(depth, np.where(u < width*.3, 3*f/np.maximum(width*.5 - u, 1), 60)).astype(np.float32)
    box = (abs(u - width*.65) < width*.1) & (abs(v - height*.55) < height*.15)
    depth[box] = 6
    labels = np.where(box, 13, np.where(y > 1, 0, 10)).astype(np.uint8)
    image = np.stack([np.where(box, 200, 90), 60 + u*.4, 90 + v*.5], -1) + np.random.default_rng(0).normal(0, 5, (height, width, 3))
    return Frame(name, np.clip(image, 0, 255).astype(np.uint8), disp=np.clip(1/depth, 1/65535, 1).astype(np.float32),
                 camera=Camera.guess(width, height), labels=labels if labelled else None)
