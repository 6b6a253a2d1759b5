"Show, beyond what its lesson asserts: slow versions written by hand, odd sizes, nothing global."
import io
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from cpcdr import show

RNG = np.random.default_rng(0)


def blocks(height=40, width=60, side=10):
    "Square ids, an image, and edges of the squares."
    labels = (np.arange(height)[:, None]//side * (width//side) + np.arange(width)[None]//side).astype(np.int32)
    return RNG.integers(0, 256, (height, width, 3), np.uint8), labels, show.touching(labels)


def slow_overlay(image, labels, alpha, colors, edge):
    out = image.copy()
    a = int(round(alpha*256))
    for y, x in np.ndindex(labels.shape):
        out[y, x] = (image[y, x].astype(int)*(256 - a) + colors[labels[y, x]].astype(int)*a) >> 8
    for y, x in np.ndindex(labels.shape):
        if labels[y, x] != labels[min(y + 1, len(labels) - 1), x] or labels[y, x] != labels[y, min(x + 1, labels.shape[1] - 1)]: out[y, x] = edge
    return out


def test_overlay_agrees_with_the_slow_version():
    image, labels, _ = blocks()
    colors = RNG.integers(0, 256, (labels.max() + 1, 3), np.uint8)
    assert (show.overlay(image, labels, .4, colors, (9, 8, 7)) == slow_overlay(image, labels, .4, colors, (9, 8, 7))).all()


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'int32', 'int64'])
def test_labels_of_any_integer_type_and_stride(dtype):
    image, labels, _ = blocks()
    want = show.overlay(image, labels)
    assert (show.overlay(image, labels.astype(dtype)) == want).all()
    assert (show.overlay(image, np.asfortranarray(labels.astype(dtype))) == want).all()


@pytest.mark.parametrize('shape', [(1, 1), (1, 7), (7, 1), (2, 2)])
def test_smallest_pictures(shape):
    image, labels = np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.int32)
    assert show.overlay(image, labels).shape == image.shape
    assert (show.boundaries(image, labels) == image).all()
    assert len(show.touching(labels)) == 0
    assert show.outline(image, labels, 0).shape == image.shape
    assert show.Picture(image)._repr_png_()[:4] == b'\x89PNG'


def test_every_edge_is_painted_in_its_own_colour():
    image, labels, edges = blocks()
    image[:] = 0
    cost = np.linspace(.2, 1, len(edges))
    picture, scale = show.edge_picture(image, labels, edges, cost), show.color_scale('inferno')
    for (a, b), c in zip(edges, cost):
        level = int(c*255)
        seen = {tuple(p) for p in picture[labels == a]}
        assert tuple((scale[level].astype(int)*level//255).tolist()) in {tuple(int(x) for x in p) for p in seen}, (a, b)


@given(st.integers(2, 30), st.data())
@settings(max_examples=40, deadline=None)
def test_neighbours_never_share_a_colour_while_colours_last(n, data):
    pairs = data.draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] != p[1]), max_size=60))
    pairs = np.array(pairs, np.int64).reshape(-1, 2)
    degree = np.bincount(pairs.ravel(), minlength=n).max() if len(pairs) else 0
    wish = data.draw(arrays(np.int64, n, elements=st.integers(0, 200)))
    got = show.pick_colors(n, pairs, np.ones(n), wish, n_colors=min(63, int(degree) + 1))
    assert ((0 <= got) & (got < min(63, degree + 1))).all()
    assert all(got[a] != got[b] for a, b in pairs)


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=20).map(lambda s: (*s, 3))))
@settings(max_examples=25, deadline=None)
def test_png_keeps_every_pixel(rgb):
    assert (np.asarray(Image.open(io.BytesIO(show.to_png(rgb)))) == rgb).all()
    assert np.asarray(Image.open(io.BytesIO(show.to_jpeg(rgb)))).shape == rgb.shape


def test_palette_is_readable_for_all_eyes():
    for eye in (0, 1, 2):
        colors = show.seen_by(show.palette(8), eye).astype(int)
        gaps = np.abs(colors[:, None] - colors[None]).sum(-1) + 999*np.eye(8, dtype=int)
        assert gaps.min() > 30, (eye, gaps.min())


def test_clouds_carry_numbers_and_stay_small():
    points = np.stack([RNG.normal(0, 5, 300_000), RNG.normal(0, 2, 300_000), RNG.uniform(1, 90, 300_000)], -1)
    colors = RNG.integers(0, 256, (300_000, 3), np.uint8)
    start = time.perf_counter()
    figure = show.cloud(points, colors, most=100_000)
    assert time.perf_counter() - start < 10
    trace = figure.data[0]
    assert len(trace.x) <= 100_000 and trace.marker.color.dtype.kind == 'f'
    assert trace.y.max() <= 80
    assert (show.sample_points(points, 1000, seed=1) != show.sample_points(points, 1000, seed=2)).any()


def test_unknown_depth_is_left_out():
    points = np.zeros((4, 5, 3)); points[0, 0] = (1, 2, 3); points[1, 1] = np.nan
    assert show.sample_points(points).tolist() == [0]
    assert len(show.cloud(points, np.zeros((4, 5, 3), np.uint8)).data[0].x) == 1
    assert len(show.cloud(np.zeros((4, 5, 3))).data[0].x) == 0


def test_import_is_light_and_nothing_global_changes():
    code = ('import sys, cpcdr.show\nfor m in ("matplotlib", "plotly", "ipywidgets", "torch"): assert m not in sys.modules, m\n'
            'import numpy as np\ncpcdr.show.grid([np.zeros((4, 4, 3), np.uint8)])._repr_png_()\nassert "matplotlib.pyplot" not in sys.modules')
    subprocess.run([sys.executable, '-c', code], check=True)


def test_live_curves_do_nothing_where_nothing_can_be_drawn(monkeypatch, capsys):
    import IPython
    from types import SimpleNamespace
    monkeypatch.setattr(IPython, 'get_ipython', lambda: None) # as in a plain Python, whatever other tests have started
    live = show.Live([('loss',)], every=0)
    for k in (1, 2): live(SimpleNamespace(log=[dict(step=k, loss=1.)], picture=np.zeros((4, 4, 3), np.uint8), step=k, steps=2))
    assert not live.handles and not capsys.readouterr().out


def test_a_picture_that_comes_late_is_shown(monkeypatch):
    from types import SimpleNamespace
    shown = []
    monkeypatch.setattr(show, '_in_ipython', lambda: True)
    monkeypatch.setattr(show, '_shown_anew', lambda x: shown.append(x) or SimpleNamespace(update=lambda y: shown.append(y)))
    live = show.Live([('loss',)], every=0)
    for k, picture in enumerate((None, np.zeros((4, 4, 3), np.uint8))): live(SimpleNamespace(log=[dict(step=1, loss=1.)], picture=picture, step=k, steps=9))
    assert [isinstance(x, show.Picture) for x in shown] == [False, False, True]
