"Stereo and motion: a shifted picture has that shift; wrong pairs are told apart from hard ones; KITTI's own truth."
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from cpcdr.core import DataError
from cpcdr.data import open_folder
from cpcdr.depth import camera_motion, follow_corners, horizon_row, step_length, stereo_depth, stereo_disparity
from cpcdr.frame import Camera, Frame
from cpcdr.judge import depth_errors
from cpcdr.town import drive


def texture(height=80, width=240, seed=0):
    rng = np.random.default_rng(seed)
    grain = gaussian_filter(rng.normal(size=(height, width)), 1) + gaussian_filter(rng.normal(size=(height, width)), 4)
    grain = (grain - grain.min()) / np.ptp(grain) * 255
    return np.dstack([grain, grain[:, ::-1] * .2 + grain * .8, grain]).astype(np.uint8)


def a_pair(shift=12, baseline=.5):
    big = texture()
    return Frame('pair', big[:, :200], camera=Camera.guess(200, 80), right=np.ascontiguousarray(big[:, shift:200 + shift]), baseline=baseline)


@pytest.mark.parametrize('shift', [1, 5, 12, 21])
def test_a_shifted_picture_has_that_disparity(shift):
    f = a_pair(shift)
    d = stereo_disparity(f.image, f.right, most=32)
    seen = d[:, shift + 4:-4]
    assert d.dtype == np.float32 and (seen > 0).mean() > .97 and np.abs(seen[seen > 0] - shift).max() < .5
    assert (d[:, :max(0, shift - 1)] == 0).all() # the right eye cannot see these
    depth = stereo_depth(f, most=32)
    z = f.camera.fx * .5 / shift
    assert np.isclose(np.median(depth.depth[depth.depth > 0]), z, rtol=.05) and ((depth.disp > 0) == (depth.depth > 0)).all()


@given(st.integers(1, 20), st.integers(1, 20))
@settings(deadline=None, max_examples=15)
def test_any_size(width, height):
    x = texture(height, width)
    d = stereo_disparity(x, x)
    assert d.shape == (height, width) and np.isfinite(d).all() and (d >= 0).all()


def test_wrong_pairs():
    f = a_pair()
    for changes, words in ((dict(right=None), 'no right image'), (dict(baseline=None), 'baseline'), (dict(baseline=0.), 'baseline'), (dict(baseline=float('nan')), 'baseline'),
                           (dict(baseline=-.5), 'swapped'), (dict(camera=None), 'camera'), (dict(image=f.right, right=f.image), 'swapped'),
                           (dict(right=f.image), 'match'), (dict(right=np.ascontiguousarray(texture(seed=9)[:, :200])), 'match')):
        with pytest.raises(DataError, match=words) as e: stereo_depth(f.replace(**changes), most=32)
        assert '\n' not in str(e.value) and e.value.mend
    with pytest.raises(ValueError, match='one size'): stereo_disparity(f.image, f.right[:9])


def test_missing_opencv_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv2', None)
    with pytest.raises(DataError, match='pip install opencv-python-headless'): stereo_depth(a_pair())


def points_of_a_drive(turn=(.002, .01, -.003), step=(.02, -.01, -.8), n=400, seed=0):
    "A cloud before a camera that moves, and what it sees of it."
    rng, camera = np.random.default_rng(seed), Camera(200., 200., 127.5, 63.5, 256, 128)
    depth = rng.uniform(4, 40, n)
    at = np.c_[rng.uniform(0, 255, n), rng.uniform(0, 127, n)]
    X = np.c_[(at - [camera.cx, camera.cy])/[camera.fx, camera.fy], np.ones(n)]*depth[:, None]
    R = Rotation.from_rotvec(turn).as_matrix()
    Y = X @ R.T + step
    return camera, depth, at, Y[:, :2]/Y[:, 2:]*[camera.fx, camera.fy] + [camera.cx, camera.cy], R, np.array(step)


@pytest.mark.parametrize('step', [(.02, -.01, -.8), (.02, -.01, .8), (.8, .05, .1), (0, .004, -.1)])
def test_exact_corners_give_exact_motion(step, monkeypatch):
    camera, depth, at, to, R, step = points_of_a_drive(step=step)
    to[::7] += np.random.default_rng(1).uniform(-30, 30, (len(to[::7]), 2)) # what moves by itself
    monkeypatch.setattr('cpcdr.depth.follow_corners', lambda a, b, most: (at.astype(np.float32), to.astype(np.float32)))
    frame, length = Frame('a', np.zeros((128, 256, 3), np.uint8), camera=camera), np.linalg.norm(step)
    m = camera_motion(frame, frame.replace(name='b'), .05)
    assert np.abs(m.R - R).max() < 1e-4 and m.step @ step/length > np.cos(np.radians(.3))
    assert m.followed == len(at) and len(at)*.8 < len(m.at) <= len(at)*.9
    where = {tuple(p): z for p, z in zip(at.astype(np.float32), depth)}
    true = np.array([where[tuple(p)] for p in m.at])
    assert np.median(np.abs(m.inverse_depth*true/length - 1)) < .01
    y = (m.to - [camera.cx, camera.cy])/camera.fx
    np.testing.assert_allclose(m.parallax, np.hypot(*(y*m.step[2] - m.step[:2]).T), rtol=1e-5)
    if abs(step[2]) > .5*length: assert abs(horizon_row([m], camera) - (camera.cy + camera.fy*step[1]/step[2])) < .3
    else: assert np.isnan(horizon_row([m], camera)) # sideways there is no focus of expansion


@pytest.mark.parametrize('seed', [3, 11])
def test_motion_horizon_and_speed_of_a_drive(seed):
    frames = list(drive(seed, 6, 256, 128, fps=8))
    motions = [camera_motion(a, b) for a, b in zip(frames, frames[1:])]
    back = camera_motion(frames[1], frames[0])
    camera, off, ratios = frames[0].camera, [], []
    road = (frames[0].labels == 0) & (frames[0].disp > 1/30)
    v, u = np.nonzero(road)
    a, b, c = np.linalg.lstsq(np.c_[u, v, np.ones(len(u))], frames[0].disp[road], rcond=None)[0]
    row, height = horizon_row(motions, camera), 1/b/camera.fy
    for m, f, g in zip(motions, frames, frames[1:]):
        T = np.linalg.inv(g.pose) @ f.pose
        off.append(np.degrees(np.arccos(np.clip(m.step @ T[:3, 3]/np.linalg.norm(T[:3, 3]), -1, 1))))
        ratios.append(step_length(m, camera, row, height)/np.linalg.norm(T[:3, 3]))
    assert np.median(off) < 1.5 and abs(np.log(np.median(ratios))) < .15, (off, ratios)
    assert abs(row + (c + a*camera.cx)/b) < 3
    assert -(motions[0].R.T @ motions[0].step) @ back.step > np.cos(np.radians(3))


def test_motion_of_what_cannot_tell():
    frame, later = drive(3, 2, 256, 128, fps=8)
    camera, rng = frame.camera, np.random.default_rng(0)
    dark = frame.replace(name='dark', image=np.zeros_like(frame.image))
    v, u = np.mgrid[:128, :256]
    ray = np.stack([(u - camera.cx)/camera.fx, (v - camera.cy)/camera.fy, np.ones(u.shape)], -1) @ Rotation.from_euler('y', 1, degrees=True).as_matrix().T
    rows, columns = ray[..., 1]/ray[..., 2]*camera.fy + camera.cy, ray[..., 0]/ray[..., 2]*camera.fx + camera.cx
    turned = np.stack([map_coordinates(frame.image[..., k].astype(float), [rows, columns], order=3, mode='nearest') for k in range(3)], -1)
    turned = frame.replace(name='turned', image=turned.clip(0, 255).round().astype(np.uint8))
    other = frame.replace(name='other', image=rng.integers(0, 255, frame.image.shape, dtype=np.uint8))
    for b, words in ((frame.replace(name='same'), 'no motion'), (dark, 'corners'), (next(drive(3, 1, 128, 64)), 'size'), (turned, 'only turned'),
                     (later.replace(camera=Camera.guess(256, 128)), 'another camera')):
        with pytest.raises(DataError, match=words) as e: camera_motion(frame, b)
        assert '\n' not in str(e.value) and e.value.mend
    with pytest.raises(DataError): camera_motion(other, other.replace(image=rng.permutation(other.image))) # noise: too few corners, or no agreement
    with pytest.raises(DataError, match='no camera'): camera_motion(frame.replace(camera=None), later)
    with pytest.raises(ValueError, match='slack'): camera_motion(frame, later, 0)
    for a, b, most, words in ((frame.image, frame.image[:9], 9, 'b: expected shape'), (frame.image, frame.image/255, 9, 'uint8'), (frame.image, frame.image, 0, 'most')):
        with pytest.raises(ValueError, match=words): follow_corners(a, b, most)
    assert len(follow_corners(dark.image, frame.image)[0]) == 0 and np.isnan(horizon_row([], camera))
    motion = camera_motion(frame, later)
    assert np.isnan(step_length(motion, camera, 127)) # no corner lies below that horizon
    with pytest.raises(ValueError, match='height'): step_length(motion, camera, 60, 0)


def test_corners_of_a_disagreeing_crowd_are_refused(monkeypatch):
    rng = np.random.default_rng(0)
    at, to = rng.uniform(0, 127, (2, 300, 2)).astype(np.float32)
    monkeypatch.setattr('cpcdr.depth.follow_corners', lambda a, b, most: (at, to))
    frame = Frame('a', np.zeros((128, 256, 3), np.uint8), camera=Camera.guess(256, 128))
    with pytest.raises(DataError, match='agree on no motion'): camera_motion(frame, frame.replace(name='b'))


@pytest.mark.parametrize('width, height', [(8, 8), (40, 128), (600, 90), (1900, 300)])
def test_corners_of_any_size(width, height):
    x = texture(height, width + 2)
    at, to = follow_corners(np.ascontiguousarray(x[:, :-2]), np.ascontiguousarray(x[:, 2:]))
    assert at.shape == to.shape and (width < 40 or len(at) > 20 and np.abs(np.median(to - at, 0) - [-2, 0]).max() < .1)


def test_kitti_horizon_is_where_the_laser_has_it(real):
    frames = [f for _, f in zip(range(8), open_folder(real/'kitti_raw'))]
    camera, motions = frames[0].camera, [camera_motion(a, b) for a, b in zip(frames, frames[1:])]
    row = horizon_row(motions, camera)
    assert 172 < row < 180                   # planes through two scans: 177.3 and 174.3
    steps = [step_length(m, camera, row, 1.65) for m in motions]
    assert .25 < min(steps) and max(steps) < .45 # metres in a tenth of a second: a queue at 12 km/h


def test_kitti_stereo(real):
    pytest.importorskip('cv2')
    frames = open_folder(real/'kitti_odometry')
    for name in ('07/000168', '07/000169', '07/000170'):
        e = depth_errors(stereo_depth(frames[name]).depth, frames[name].depth)
        assert e['abs_rel'] <= .03 and e['delta1'] >= .99 and e['cover'] > .9, (name, e)
    assert (stereo_depth(frames['07/000000']).depth > 0).mean() > .7
    f = frames['07/000168']
    with pytest.raises(DataError, match='swapped'): stereo_depth(f.replace(image=f.right, right=f.image))
