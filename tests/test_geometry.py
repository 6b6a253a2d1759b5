"Geometry against facts that hold for any plane, any camera and any hole."
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cpcdr import geometry
from cpcdr.core import DataError
from cpcdr.frame import Camera
from cpcdr.show import colour_normals
from cpcdr.geometry import (depth_to_disp, depth_to_points, disp_to_depth, disp_to_metres, fill_holes, open_window,
                            points_to_normals, save_ply, to_open3d, transform_points)

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=12)
HOLED = arrays(np.float32, SHAPES, elements=st.one_of(st.just(0), st.floats(np.float32(.01), 1, width=32)))


@given(st.floats(.01, 5), st.floats(6, 500), st.floats(0, 1))
def test_network_disparity_stays_between_its_limits(near, far, disp):
    z = disp_to_depth(np.array([disp]), near, far)
    assert near * .999 <= z[0] <= far * 1.001
    assert np.isclose(1/z[0], 1/far + (1/near - 1/far)*disp)


@given(arrays(np.float32, SHAPES, elements=st.one_of(st.just(0), st.floats(np.float32(.01), np.float32(1e6), width=32))))
def test_metric_disparity(depth):
    disp = depth_to_disp(depth)
    assert disp.dtype == np.float32 and ((disp > 0) == (depth > 0)).all() and disp.max() <= 1
    inside = (depth >= 1) & (depth <= 200)
    assert np.allclose(disp_to_metres(disp)[inside], depth[inside], rtol=1e-5)
    assert np.allclose(depth_to_disp(torch.from_numpy(depth)).numpy(), disp)


@given(st.integers(2, 30), st.integers(2, 20), st.floats(20, 500), st.floats(.5, 90))
@settings(deadline=None)
def test_points_agree_between_numpy_and_torch(width, height, f, z):
    camera = Camera(f, f * 1.1, width / 3, height / 2, width, height)
    depth = (z + np.arange(width * height).reshape(height, width) % 7).astype(np.float32)
    points = depth_to_points(depth, camera)
    assert np.allclose(camera.project(points)[-1, -1], [width - 1, height - 1], atol=1e-2)
    both = depth_to_points(torch.from_numpy(np.stack([depth, depth])[:, None]), camera)
    assert both.shape == (2, 1, height, width, 3) and np.allclose(both[1, 0].numpy(), points, rtol=1e-4, atol=1e-4)


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(3, 40), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_normals_of_any_plane(a, b, far, step):
    "A plane n.p = d, seen by a camera: every pixel has the same normal, towards the camera."
    camera, n = Camera(300, 300, 19.5, 14.5, 40, 30), np.array([a, b, -2.])
    n /= np.linalg.norm(n)
    rays = camera.unproject(np.ones((30, 40), np.float32))
    depth = (n[2] * far / (rays @ n)).astype(np.float32)
    normals = points_to_normals(depth_to_points(depth, camera), step)
    assert np.degrees(np.arccos((normals @ n).clip(-1, 1))).max() < 2
    assert normals.dtype == np.float32


@given(HOLED, st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_normals_of_anything(disp, step):
    height, width = disp.shape
    depth = np.where(disp > 0, 1 / np.maximum(disp, .01), 0).astype(np.float32)
    points = depth_to_points(depth, Camera(20, 20, width / 2, height / 2, width, height))
    normals = points_to_normals(points, step)
    length = np.linalg.norm(normals, axis=-1)
    assert np.isfinite(normals).all() and (length[depth == 0] == 0).all()
    assert (np.isclose(length, 1, atol=1e-3) | (length == 0)).all()
    assert ((normals * points).sum(-1) <= 1e-4).all()
    assert colour_normals(normals).shape == points.shape


def test_normals_do_not_see_across_a_jump():
    depth = np.full((20, 20), 10, np.float32)
    depth[:, 8:12] = 5
    normals = points_to_normals(depth_to_points(depth, Camera(50, 50, 9.5, 9.5, 20, 20)))
    assert np.allclose(normals, [0, 0, -1], atol=1e-3)


@given(HOLED.filter(lambda x: x.max() > 0))
@settings(deadline=None, max_examples=80)
def test_holes_take_the_farther_end_of_their_row(disp):
    filled = fill_holes(disp)
    assert (filled > 0).all() and (filled[disp > 0] == disp[disp > 0]).all() and filled.dtype == np.float32
    for v, u in np.argwhere(disp == 0):
        left, right = disp[v, :u][disp[v, :u] > 0], disp[v, u+1:][disp[v, u+1:] > 0]
        ends = [*left[-1:], *right[:1]]
        if ends: assert filled[v, u] == min(ends)
    assert (fill_holes(filled) == filled).all()


def test_empty_rows_are_filled_from_above_and_below():
    disp = np.zeros((4, 2), np.float32)
    disp[1], disp[3] = (.5, .4), (.2, .9)
    assert np.allclose(fill_holes(disp), [[.5, .4], [.5, .4], [.2, .4], [.2, .9]])
    assert disp[0].max() == 0 # the argument is left alone
    assert fill_holes(np.ones((1, 1))) == 1
    with pytest.raises(ValueError, match='nothing to fill'): fill_holes(np.zeros((3, 3)))


def test_transform():
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]], [1, 2, 3]
    assert np.allclose(transform_points(np.array([[[1., 0, 0]]]), T), [[[1, 2, 2]]])


def test_open3d_objects(tmp_path):
    camera, rng = Camera(50, 50, 20, 15, 40, 30), np.random.default_rng(0)
    depth = np.full((30, 40), 5, np.float32)
    depth[0, :4] = 0
    points, colors = depth_to_points(depth, camera), rng.integers(0, 255, (30, 40, 3)).astype(np.uint8)
    cloud = to_open3d(points, colors)
    assert len(cloud.points) == 1196 and np.allclose(np.asarray(cloud.normals), [0, 0, -1], atol=1e-6)
    assert np.allclose(np.asarray(cloud.colors)[-1] * 255, colors[-1, -1])
    thin = to_open3d(points, colors, voxel=1)
    assert len(thin.points) < 50 and thin.has_normals() and thin.has_colors()
    import open3d
    assert len(open3d.io.read_point_cloud(str(save_ply(tmp_path/'a.ply', thin))).points) == len(thin.points)
    assert [p.name for p in tmp_path.iterdir()] == ['a.ply']
    with pytest.raises(DataError, match='.ply'): save_ply(tmp_path/'a.xyz', thin)
    with pytest.raises(ValueError, match='voxel'): to_open3d(points, voxel=-1)
    assert len(to_open3d(points * 0).points) == 0


def test_no_desktop_is_one_line(monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    monkeypatch.setattr('sys.platform', 'linux')
    with pytest.raises(DataError, match='no desktop here; save_ply'): open_window(None)


def test_missing_open3d_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'open3d', None)
    with pytest.raises(DataError, match='pip install'): geometry._open3d()
