"The town: the same from the same seed, everything in it, and depth, pose, labels and traffic that agree."
import numpy as np
import pytest

from cpcdr.core import make_rng
from cpcdr.frame import CITYSCAPES
from cpcdr.town import CHUNK, Town, camera_for, degrade, drive, own_s, parked, render, traffic

STILL = [CITYSCAPES.names.index(n) for n in ('road', 'sidewalk', 'building', 'wall', 'terrain')]


@pytest.fixture(scope='module')
def frames():
    return [render(Town(seed), t, 256, 128) for seed in (1, 5, 8, 12, 23, 34) for t in (0., 6., 14.)]


@pytest.fixture(scope='module')
def pair():
    return list(drive(7, 2, 256, 128, fps=5, stereo=True))


def same(a, b):
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ('image', 'depth', 'disp', 'labels', 'instances', 'pose'))


def test_a_seed_means_one_town():
    town = Town(3)
    first = [render(town, t, 64, 32) for t in (0., 30.)]
    # the second moment alone, in a new town, without what came before
    assert same(render(Town(3), 30., 64, 32), first[1])
    assert same(render(town, 0., 64, 32), first[0])
    assert not same(render(Town(4), 0., 64, 32), first[0])


def test_a_drive_is_a_row_of_renders():
    frames = list(drive(2, 3, 64, 32, fps=10))
    assert [f.name for f in frames] == [f'town0002/{k:06}' for k in range(3)]
    assert same(frames[2], render(Town(2), .2, 64, 32))


def test_every_class_appears(frames):
    seen = np.bincount(np.concatenate([f.labels.ravel() for f in frames]), minlength=256)
    missing = [n for n, k in zip(CITYSCAPES.names, seen) if not k]
    assert not missing
    assert seen[255] / seen.sum() < .03
    assert seen[:19].max() / seen.sum() < .5


def test_things_have_one_class_and_stuff_no_id(frames):
    for f in frames:
        thing = np.isin(f.labels, list(CITYSCAPES.things))
        np.testing.assert_array_equal(thing, f.instances > 0)
        for k in np.unique(f.instances[thing]):
            assert len(np.unique(f.labels[f.instances == k])) == 1


def test_ids_stay_in_a_drive(pair):
    a, b = pair
    both = np.intersect1d(a.instances, b.instances)
    assert len(both) > .5 * len(np.unique(a.instances))
    for k in both[both > 0]: assert a.labels[a.instances == k][0] == b.labels[b.instances == k][0]


def test_sky_is_infinitely_far(frames):
    for f in frames:
        sky = f.labels == CITYSCAPES.names.index('sky')
        np.testing.assert_array_equal(sky, f.depth == 0)
        np.testing.assert_allclose(f.disp[sky], 1/65535)
        np.testing.assert_allclose(f.disp[~sky], np.clip(1/f.depth[~sky], 1/65535, 1), rtol=1e-6)


def test_camera_and_pose(pair):
    a, b = pair
    assert a.camera == camera_for(256, 128) and 45 < a.camera.hfov < 60
    for f in pair:
        R = f.pose[:3, :3]
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(R) > 0 and R[1, 1] > .9      # y points down
    ahead = np.linalg.inv(a.pose) @ b.pose[:, 3]
    assert .3 < ahead[2] < 3 and abs(ahead[0]) < .2       # metres in a fifth of a second


def lookup(values, uv):
    "Values between pixels, bilinear; uv (n, 2) inside the picture."
    u, v = np.floor(uv).astype(int).T
    a, b = ((uv - np.floor(uv)).T if values.ndim == 2 else (uv - np.floor(uv)).T[..., None])
    return (values[v, u]*(1 - a) + values[v, u + 1]*a)*(1 - b) + (values[v + 1, u]*(1 - a) + values[v + 1, u + 1]*a)*b


def inside(f, uv):
    return (uv >= 0).all(-1) & (uv[:, 0] < f.size[0] - 1) & (uv[:, 1] < f.size[1] - 1)


def test_depth_and_pose_agree_between_frames(pair):
    a, b = pair
    still = np.isin(a.labels, STILL) & (a.depth > 2) & (a.depth < 60)
    P = a.camera.unproject(a.depth)[still] @ (M := np.linalg.inv(b.pose) @ a.pose)[:3, :3].T + M[:3, 3]
    P = P[P[:, 2] > 1]
    uv = b.camera.project(P)
    ok = inside(b, uv)
    u, v = np.round(uv[ok]).astype(int).T
    # inverse depth is linear across a plane, so that it may be interpolated
    inverse = np.where(b.depth > 0, 1/np.maximum(b.depth, 1e-3), 0)
    wrong = np.abs(lookup(inverse, uv[ok]) * P[ok, 2] - 1)[np.isin(b.labels[v, u], STILL)]
    assert len(wrong) > 5000
    assert np.median(wrong) < .001 and np.quantile(wrong, .9) < .005


def test_the_right_eye_sees_what_disparity_says(pair):
    f = pair[0]
    near = np.isin(f.labels, STILL) & (f.depth > 4) & (f.depth < 30)
    v, u = np.nonzero(near)
    shift = f.baseline * f.camera.fx / f.depth[near]
    uv = np.stack([u - shift, v], -1)
    ok = inside(f, uv)
    left = f.image[near][ok].astype(float)
    warped, plain = lookup(f.right.astype(float), uv[ok]), f.right[near][ok]
    assert np.abs(left - warped).mean() < .75 * np.abs(left - plain).mean()


def boxes(town, t):
    "Everything with wheels or legs near the camera: (s, x, half length, half width)."
    out = [(own_s(town, t), town.style.half + (town.style.own + .5)*town.style.lane, 2., .9)]
    out += [(m.s, m.x, m.length/2, m.width/2) for m in traffic(town, t, 25., 120.)]
    now = int(out[0][0] // CHUNK)
    out += [(s, x, length/2, width/2) for i in range(now - 1, now + 3) for s, x, _, length, width, _, _ in parked(town, i)]
    return np.array(out)


@pytest.mark.parametrize('seed', range(16))
def test_nobody_runs_into_anybody(seed):
    town = Town(seed)
    for t in make_rng(seed, 'when').uniform(0, 120, 10):
        b = boxes(town, t)
        close = np.abs(b[:, None, :2] - b[None, :, :2]) < b[:, None, 2:] + b[None, :, 2:]
        hits = np.argwhere(np.triu(close.all(-1), 1))
        assert not len(hits), [(b[i].round(2), b[j].round(2)) for i, j in hits[:3]]


def test_nothing_stands_in_the_camera(frames):
    for f in frames: assert f.depth[f.depth > 0].min() > .8


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match='seed'): Town(-1)
    with pytest.raises(ValueError, match='size'): render(Town(0), 0., 1, 1)
    with pytest.raises(ValueError, match='t:'): render(Town(0), -1.)
    with pytest.raises(ValueError, match='frames'): next(drive(0, 0))
    with pytest.raises(ValueError, match='fps'): next(drive(0, 1, fps=0))


@pytest.mark.parametrize('kind', ['stereo', 'network'])
def test_degraded_disparity(frames, kind):
    disp = frames[0].disp
    np.testing.assert_array_equal(degrade(disp, 0, kind, 0), disp)
    a, b, worse = degrade(disp, 0, kind), degrade(disp, 1, kind), degrade(disp, 0, kind, 2.)
    np.testing.assert_array_equal(a, degrade(disp, 0, kind))
    assert a.dtype == np.float32 and a.min() >= 0 and a.max() <= 1 and not np.array_equal(a, b)
    error = lambda d: np.median(np.abs(np.log(np.maximum(d, 1e-4)/disp))[(d > 0) & (disp > 2/65535)])
    assert 0 < error(a) < .15 and error(a) < error(worse)
    assert (a == 0).mean() == 0 if kind == 'network' else .02 < (a == 0)[disp > 2/65535].mean() < .4


def test_degrade_refuses():
    disp = np.ones((8, 8), np.float32)
    with pytest.raises(ValueError, match='kind'): degrade(disp, 0, 'sonar')
    with pytest.raises(ValueError, match='strength'): degrade(disp, 0, strength=-1)
    with pytest.raises(ValueError, match='disp'): degrade(disp[0], 0)
