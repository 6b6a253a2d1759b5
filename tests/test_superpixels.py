"Superpixels: connected, contiguous, repeatable, and at home at any size."
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import ndimage
from cpcdr.superpixels import (adjacency, boundary_recall, describe, region_means, rgb_to_lab, seed_grid, slic, superpixels,
                               undersegmentation)


def picture(h, w, seed=0, flat=False):
    "Coloured blocks with noise, or one grey."
    if flat: return np.full((h, w, 3), 128, np.uint8)
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (h // 9 + 1, w // 9 + 1, 3)).repeat(9, 0).repeat(9, 1)[:h, :w]
    return np.clip(blocks + rng.normal(0, 12, (h, w, 3)), 0, 255).astype(np.uint8)


def pieces(labels):
    "Number of 4-connected pieces, counted by scipy one id at a time."
    return sum(ndimage.label(labels == k)[1] for k in np.unique(labels))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 5000), st.floats(.1, 1000), st.sampled_from([0., .5, 1., 3.]),
       st.integers(1, 4), st.integers(0, 9), st.booleans())
def test_any_picture_is_cut_into_connected_contiguous_pieces(h, w, n, compactness, sigma, iterations, seed, flat):
    image = picture(h, w, seed, flat)
    labels = slic(image, n, compactness, sigma, iterations)
    assert labels.shape == (h, w) and labels.dtype == np.int32
    ids = np.unique(labels)
    assert np.array_equal(ids, np.arange(len(ids)))
    assert pieces(labels) == len(ids)
    assert np.array_equal(labels, slic(image.copy(), n, compactness, sigma, iterations))


@pytest.mark.parametrize('h,w', [(1, 1), (1, 5000), (5000, 1), (2, 3), (375, 1242), (17, 400)])
@pytest.mark.parametrize('n', [1, 7, 400, 10**6])
def test_odd_sizes(h, w, n):
    labels = slic(picture(h, w), n)
    assert labels.shape == (h, w) and labels.min() == 0
    assert len(np.unique(labels)) == labels.max() + 1


def test_flat_picture_gives_the_grid():
    labels = slic(picture(64, 128, flat=True), 128)
    rows, cols = seed_grid(64, 128, 128)
    assert (rows, cols) == (8, 16)
    assert np.array_equal(labels, np.arange(128).reshape(8, 16).repeat(8, 0).repeat(8, 1))


def test_number_is_about_what_was_asked():
    labels = slic(picture(256, 512), 2500)
    assert .85 < (labels.max() + 1) / 2500 < 1.15


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 12), st.integers(0, 99))
def test_adjacency_against_slow_loop(h, w, n, seed):
    labels = np.random.default_rng(seed).integers(0, n, (h, w))
    want = {}
    for y in range(h):
        for x in range(w):
            for yy, xx in ((y, x + 1), (y + 1, x)):
                if yy < h and xx < w and labels[y, x] != labels[yy, xx]:
                    key = tuple(sorted((labels[y, x], labels[yy, xx])))
                    want[key] = want.get(key, 0) + 1
    got = adjacency(labels, n)
    assert [tuple(e) for e in got.edges] == sorted(want)
    assert got.lengths.tolist() == [want[k] for k in sorted(want)]


def test_adjacency_finds_room_for_many_edges():
    labels = np.random.default_rng(0).integers(0, 60, (200, 200))
    assert len(adjacency(labels, 60).edges) == 60 * 59 // 2


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 8), st.integers(0, 99))
def test_means_against_numpy(h, w, n, seed):
    rng = np.random.default_rng(seed)
    labels, flat, planes = rng.integers(0, n, (h, w)), rng.normal(size=(h, w)), rng.integers(0, 9, (2, h, w))
    holes = rng.random((h, w)) < .6
    a, b = region_means(labels, n, flat, planes)
    c, = region_means(labels, n, flat, weights=holes)
    for k in range(n):
        here = labels == k
        if here.any():
            assert np.isclose(a[k], flat[here].mean(), atol=1e-6) and np.allclose(b[k], planes[:, here].mean(1))
        else: assert np.isnan(a[k])
        assert np.isclose(c[k], flat[here & holes].mean(), atol=1e-6) if (here & holes).any() else np.isnan(c[k])


def test_superpixels_describe_their_labels():
    image = picture(90, 120)
    s = superpixels(image, 200)
    v, u = np.mgrid[:90, :120]
    assert s.sizes.sum() == 90 * 120 and s.n == s.labels.max() + 1
    assert np.allclose(s.centers, np.stack(region_means(s.labels, s.n, u, v), 1))
    again = describe(s.labels, s.n, rgb_to_lab(image, 1))
    assert np.array_equal(again.lab, s.lab) and np.array_equal(again.edges, s.edges)


def test_measures():
    truth = np.zeros((40, 40), np.uint8)
    truth[:, 20:] = 1
    shifted = np.zeros((40, 40), int)
    shifted[:, 23:] = 1
    assert boundary_recall(shifted, truth, 1) == 0
    assert boundary_recall(shifted, truth, 3) == 1
    assert undersegmentation(shifted, truth) == pytest.approx(2 * 3 * 40 / 1600)
    truth[:] = 255
    assert boundary_recall(shifted, truth) == 1 and undersegmentation(shifted, truth) == 0


@pytest.mark.parametrize('image,word', [(np.zeros((4, 4), np.uint8), 'H W 3'), (np.zeros((4, 4, 4), np.uint8), 'H W 3'),
                                        (np.zeros((4, 4, 3)), 'uint8'), (np.zeros((0, 4, 3), np.uint8), 'one pixel')])
def test_wrong_pictures(image, word):
    with pytest.raises(ValueError, match=word): slic(image)


@pytest.mark.parametrize('words', [dict(n=0), dict(compactness=0), dict(compactness=float('nan')), dict(iterations=0), dict(sigma=-1)])
def test_wrong_numbers(words):
    with pytest.raises(ValueError, match=next(iter(words))): slic(picture(8, 8), **words)
