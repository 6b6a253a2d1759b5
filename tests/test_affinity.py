import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from cpcdr.affinity import (TERMS, distance_term, edge_terms, edge_weights, ground_height, ground_likeness, ground_plane, jump_term,
                            plane_normals, plane_term, prepare_disp, support_term, surfaces)
from cpcdr.frame import Camera
from cpcdr.superpixels import superpixels

few = settings(max_examples=30, deadline=None)
disps = hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.one_of(st.just(0.), st.floats(2**-15, 1, width=32)))


def row_by_hand(row, far):
    "The farther of the two known neighbours along a row, or None where the row knows nothing."
    out = []
    for k, d in enumerate(row):
        if d > 0: out.append(max(d, far)); continue
        left = next((x for x in row[:k][::-1] if x > 0), None)
        right = next((x for x in row[k + 1:] if x > 0), None)
        known = [x for x in (left, right) if x is not None]
        out.append(max(min(known), far) if known else None)
    return out


@few
@given(disps)
def test_holes_take_the_farther_neighbour_in_their_row(disp):
    if not (disp > 0).any():
        with pytest.raises(ValueError, match='no pixel is known'): prepare_disp(disp)
        return
    far = np.float32(.01)
    got = prepare_disp(disp, float(far))
    assert got.dtype == np.float32 and (got >= far).all() and (got[disp > far] == disp[disp > far]).all()
    for row, out in zip(disp, got):
        want = row_by_hand(row, far)
        if want[0] is not None: np.testing.assert_allclose(out, np.array(want, np.float32))
    assert (prepare_disp(disp, .01, 'far') == np.maximum(disp, far)).all()


def test_bad_disparity():
    x = np.ones((3, 3), np.float32)
    with pytest.raises(ValueError, match='NaN'): prepare_disp(np.where(np.eye(3) > 0, np.nan, x))
    with pytest.raises(ValueError, match='fill'): prepare_disp(x, fill='up')
    with pytest.raises(ValueError, match='H W'): prepare_disp(x[0])


def plane_frame(a, b, c, W=80, H=60):
    "Disparity a u + b v + c on superpixels of noise."
    v, u = np.mgrid[:H, :W]
    image = np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)
    return superpixels(image, 60), (a*u + b*v + c).astype(np.float32), Camera(60, 60, (W - 1)/2, (H - 1)/2, W, H)


@few
@given(st.floats(-.001, .001), st.floats(-.001, .001), st.floats(.2, .8))
def test_a_plane_costs_no_plane_term_and_no_jump(a, b, c):
    sp, disp, cam = plane_frame(a, b, c)
    s = surfaces(sp, disp, cam)
    np.testing.assert_allclose(s.disp, a*sp.centers[:, 0] + b*sp.centers[:, 1] + c, atol=1e-4)
    assert plane_term(s, sp.centers, sp.edges, 0.).max() < 2e-3
    assert jump_term(sp.labels, disp, sp.edges, s.disp, 0.).max() < .01


def test_normals_of_known_planes():
    cam = Camera(100, 100, 50, 40, 101, 81)
    # a wall straight ahead at 4 m; a road 2 m below; a wall 3 m to the right
    planes = np.array([[0, 0, .25], [0, 1/200, 20/200], [1/300, 0, 30/300]])
    normals = plane_normals(planes, np.array([[10., 10], [50, 60], [80, 40]]), cam)
    np.testing.assert_allclose(normals, [[0, 0, -1], [0, -1, 0], [-1, 0, 0]], atol=1e-6)


def test_common_plane_against_numpy():
    "The term from running sums equals three least-squares fits by lstsq."
    rng = np.random.default_rng(1)
    labels = np.repeat([[0]*6 + [1]*6], 8, 0).astype(np.int32)
    disp = (rng.random((8, 12))*.2 + .3).astype(np.float32)
    v, u = np.mgrid[:8, :12]
    def squares(m):
        A = np.stack([u[m], v[m], np.ones(m.sum())], 1)
        return ((disp[m] - A @ np.linalg.lstsq(A, disp[m], rcond=None)[0])**2).sum()
    from cpcdr.affinity import _common_plane, _fit_all, _moments
    centers = np.array([[2.5, 3.5], [8.5, 3.5]])
    sums = _moments(labels, disp, disp, 1., centers, np.ones(2), np.zeros(2))[0]
    error = _fit_all(sums, 0.)[1]
    extra = _common_plane(sums, centers, np.array([[0, 1]], np.int32), error, 0.)[0]
    both, one, two = squares(labels >= 0), squares(labels == 0), squares(labels == 1)
    np.testing.assert_allclose(extra**2, (both - one - two)/96, rtol=1e-4)


@few
@given(st.floats(.5, 2.5), st.floats(-.1, .1), st.integers(0, 5))
def test_ground_is_found_under_things_that_stand_on_it(height, roll, seed):
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(0, 200, 600), rng.uniform(0, 100, 600)
    f, cx, cy = 120, 100, 40
    road = np.maximum((v - cy)/f/height + roll*(u - cx)/f/height, 0)
    stands = rng.random(600) < .35
    disp = np.where(stands, np.maximum(road*1.5, .08/height), road) + rng.normal(0, .001, 600)
    disp = np.maximum(disp, .002)
    plane = ground_plane(np.stack([u, v], 1), disp, np.ones(600), 50, .002)
    np.testing.assert_allclose(plane[:2], [roll/f/height, 1/f/height], atol=.08/f/height)
    h = ground_height(plane, np.stack([u, v], 1), disp)
    near = ~stands & (v > 70)
    assert np.abs(h[near]).max() < .15
    like = ground_likeness(h, np.full(600, plane[1]), disp, plane[1], .002)
    assert like[near].mean() > .8 > .3 > like[stands & (v > 70)].mean()


def test_terms_do_not_depend_on_the_scale_of_disparity():
    sp, disp, cam = plane_frame(.001, .004, .02)
    disp[20:40, 30:50] += .1
    one, half = edge_terms(sp, disp, cam), edge_terms(sp, disp/2, cam)
    for name in TERMS: np.testing.assert_allclose(one[name], half[name], atol=1e-4, err_msg=name)


def test_holes_are_left_to_colour():
    sp, disp, cam = plane_frame(.001, .004, .02)
    measured = disp.copy()
    measured[:, :40] = 0
    terms = edge_terms(sp, prepare_disp(measured), cam, measured=measured, filled=0.)
    blind = (np.bincount(sp.labels.ravel(), measured.ravel()) == 0)[sp.edges].any(1)
    assert blind.any() and all(terms[t][blind].max() < .02 for t in TERMS if t != 'colour') and terms['colour'][blind].any()


@few
@given(st.integers(0, 10**6))
def test_terms_and_weights_are_sane(seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
    sp, disp = superpixels(image, 40), rng.random((20, 30)).astype(np.float32)*.9 + .1
    terms = edge_terms(sp, disp, None)
    assert set(terms) == set(TERMS)
    for t in terms.values(): assert t.shape == (len(sp.edges),) and np.isfinite(t).all() and (t >= 0).all()
    w = edge_weights(terms, {t: float(rng.random()*500) for t in TERMS}, -4.)
    assert ((w > 0) & (w < 1)).all()
    more = edge_weights(terms, {'colour': 3.}, -4.)
    assert (more >= edge_weights(terms, {'colour': 2.}, -4.)).all()


def test_published_distance_by_hand():
    points, spread = np.array([[0., 0, 2], [4, 0, 2]]), np.array([4., 1, 2])
    np.testing.assert_allclose(distance_term(points, spread, np.array([[0, 1]])), [1/2])   # one spread apart, z of 1 + 1 spreads
    np.testing.assert_allclose(edge_weights({'distance': np.array([.5])}, {'distance': 48}, -4), [1/(1 + np.exp(-20))])


def test_support_counts_below_the_horizon_only():
    normals, edges = np.array([[0., -1, 0], [0, 0, -1]]), np.array([[0, 1]])
    assert support_term(normals, np.array([[0., 10], [1, 20]]), edges, 50, 100)[0] == 0
    np.testing.assert_allclose(support_term(normals, np.array([[0., 99], [1, 60]]), edges, 50, 100), [1])
