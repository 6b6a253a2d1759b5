"Stereo: a shifted picture has that shift; wrong pairs are told apart from hard ones; KITTI's own truth."
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.ndimage import gaussian_filter

from cpcdr.core import DataError
from cpcdr.data import open_folder
from cpcdr.depth import stereo_depth, stereo_disparity
from cpcdr.frame import Camera, Frame
from cpcdr.judge import depth_errors


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


def test_kitti_stereo(real):
    pytest.importorskip('cv2')
    frames = open_folder(real/'kitti_odometry')
    for name in ('07/000168', '07/000169', '07/000170'):
        e = depth_errors(stereo_depth(frames[name]).depth, frames[name].depth)
        assert e['abs_rel'] <= .03 and e['delta1'] >= .99 and e['cover'] > .9, (name, e)
    assert (stereo_depth(frames['07/000000']).depth > 0).mean() > .7
    f = frames['07/000168']
    with pytest.raises(DataError, match='swapped'): stereo_depth(f.replace(image=f.right, right=f.image))
