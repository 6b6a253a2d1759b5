"Cameras and frames: properties that hold for any size and any number of changes."
import io

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from cpcdr.frame import CITYSCAPES, LABEL_TO_27, LABEL_TO_TRAIN, Camera, Classes, Frame, colour_disp, colour_regions, random_colors

cameras = st.builds(Camera, st.floats(50, 2000), st.floats(50, 2000), st.floats(0, 500), st.floats(0, 300),
                    st.integers(2, 700), st.integers(2, 400))


def a_frame(width=24, height=16):
    rng = np.random.default_rng(0)
    return Frame('a', rng.integers(0, 255, (height, width, 3)).astype(np.uint8), disp=rng.random((height, width), np.float32),
                 depth=rng.random((height, width), np.float32) * 50, camera=Camera.guess(width, height),
                 labels=rng.integers(0, 19, (height, width)).astype(np.uint8),
                 instances=rng.integers(0, 70000, (height, width)).astype(np.int32),
                 regions=rng.integers(0, 99, (height, width)).astype(np.int32))


@given(cameras, st.floats(.5, 80), st.floats(0, 1), st.floats(0, 1))
def test_points_come_back_to_their_pixels(camera, z, s, t):
    u, v = round(s * (camera.width - 1)), round(t * (camera.height - 1))
    points = camera.unproject(np.full((camera.height, camera.width), z))
    assert np.allclose(camera.project(points[v, u].astype(float)), [u, v], atol=1e-2)


@given(cameras, st.integers(1, 900), st.integers(1, 900))
def test_resized_cameras_see_the_same_directions(camera, width, height):
    new = camera.resize(width, height)
    for old, now in ((-.5, -.5), (camera.width - .5, width - .5)):
        assert np.isclose((old - camera.cx) / camera.fx, (now - new.cx) / new.fx, rtol=1e-6, atol=1e-9)
    assert np.allclose(new.resize(camera.width, camera.height).K, camera.K)


@given(cameras)
def test_two_mirrors_are_none(camera):
    assert np.allclose(camera.flip().flip().K, camera.K)


@settings(max_examples=25)
@given(st.integers(0, 10), st.integers(0, 8), st.integers(1, 14), st.integers(1, 8), st.booleans())
def test_maps_move_with_the_image(left, top, width, height, flip):
    f = a_frame()
    g = f.crop(left, top, width, height)
    g = g.flip() if flip else g
    undo = g.flip() if flip else g
    for key in ('image', 'disp', 'depth', 'labels', 'instances', 'regions'):
        assert (getattr(undo, key) == getattr(f, key)[top:top + height, left:left + width]).all()
    # a 3-D point keeps its height and distance, and its side but for the mirror
    a, b = f.camera.unproject(f.depth)[top, left], g.camera.unproject(g.depth)[0, -1 if flip else 0]
    assert np.allclose(a * [-1 if flip else 1, 1, 1], b, atol=1e-4)


@given(st.integers(1, 90), st.integers(1, 90))
def test_resizing_invents_no_labels_and_no_depths(width, height):
    f = a_frame()
    g = f.resize(width, height)
    assert g.size == (width, height) == (g.camera.width, g.camera.height)
    for key in ('disp', 'depth', 'labels', 'instances', 'regions'):
        assert np.isin(getattr(g, key), getattr(f, key)).all() and getattr(g, key).dtype == getattr(f, key).dtype


def test_a_frame_shows_itself():
    picture = Image.open(io.BytesIO(a_frame()._repr_png_()))
    assert picture.size == (4 * 300, 200)
    assert Frame('one', np.zeros((1, 1, 3), np.uint8)).picture().shape == (200, 200, 3)


def test_frames_do_not_change():
    with pytest.raises(AttributeError): a_frame().image = None


def test_unknown_disparity_is_black_and_nothing_else_is():
    rgb = colour_disp(np.array([[0, 1 / 65535, .2, 1]]))
    assert (rgb.max(-1) > 0).tolist() == [[False, True, True, True]]
    assert not colour_disp(np.zeros((2, 2))).any()


def test_label_tables():
    assert LABEL_TO_TRAIN[[7, 24, 26, 33, 0, 29]].tolist() == [0, 11, 13, 18, 255, 255]
    assert LABEL_TO_27[[7, 33, 6, 34]].tolist() == [0, 26, 255, 255]
    assert [CITYSCAPES.names[i] for i in sorted(CITYSCAPES.things)] == ['person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle']


def test_colours_are_told_apart():
    near = np.abs(np.diff(random_colors(500).astype(int), axis=0)).sum(1)
    assert near.min() > 60
    assert (colour_regions(np.array([[0, 70000]])) != 0).any()


def test_classes_without_colours_get_some():
    assert len(Classes.from_dict({'names': ['sky', 'ground']}).colors) == 2
