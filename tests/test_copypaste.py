"Copy-paste: colours against kornia, matrices against coordinates painted as colours, and all that can be wrong with frames."
import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpcdr.copypaste import (MixParams, Plan, carry_out, fit_frame, make_homes, make_levels, mix, number_regions,
                             paste_affine, pasteable, plan_pastes, scale_limits)
from cpcdr.core import DataError, make_rng
from cpcdr.data import FolderWriter, open_folder
from cpcdr.frame import Camera, Frame
from cpcdr.mixdata import (EpochSampler, MixData, PreparedData, collate, find_partners, finish, mixed_frames, open_prepared,
                           partner_picture, pick_pixels, read_views, view_counts, view_strip, write_views)
from cpcdr.recolour import ColorParams, draw_recipes, recolour

seeds = st.integers(0, 10**6)


def toy(seed, width=96, height=48, boxes=6):
    "A ground plane, a wall and boxes on the ground; regions are what they are."
    rng = make_rng(seed, 'toy')
    y, x = np.mgrid[:height, :width]
    row = height/2
    disp = np.clip((y - row)/width/.75, 1/80, 1)
    ids = np.where(disp > 1/80, 0, 1 + (y < height*.25))
    for k in range(boxes):
        near = rng.uniform(.02, .3)
        half, tall, foot = near*width*rng.uniform(.2, .8), near*width*rng.uniform(.4, 2), row + near*width*.75
        m = (abs(x - rng.uniform(0, width)) < half) & (y < foot) & (y > foot - tall) & (near > disp)
        disp[m], ids[m] = near, 3 + k
    image = rng.integers(30, 220, (boxes + 3, 3))[ids] + rng.normal(0, 12, (height, width, 1))
    return Frame(f'toy/{seed:06}', image.clip(0, 255).astype(np.uint8), disp=disp.astype(np.float32), regions=ids.astype(np.int32))


SMALL = MixParams(images=3, width=96, height=48, min_height=4, min_width=3, min_side=6, margin=4, least=3, jitter=4)


def same(a, b):
    assert a.rgb.dtype == b.rgb.dtype
    for k in ('rgb', 'ids', 'image', 'matrix', 'frame_of', 'names_of'): np.testing.assert_array_equal(getattr(a, k), getattr(b, k), k)
    assert a.names == b.names


# ---- colour

def by_kornia(rgb, r):
    import kornia
    import torch
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    light = torch.tensor([1 + r[11], 1, 1 + r[12]], dtype=torch.float32)[:, None, None]
    steps = [lambda x: (x * light * float(r[1])).clamp(max=1),
             lambda x: kornia.enhance.adjust_contrast_with_mean_subtraction(x, float(r[2])),
             lambda x: kornia.enhance.adjust_saturation_with_gray_subtraction(x, float(r[3])),
             lambda x: kornia.enhance.adjust_hue(x, float(r[4]) * 2 * math.pi)]
    if r[0]:
        for k in r[5:9]: x = steps[int(k)](x)
    if r[9]: x = kornia.filters.gaussian_blur2d(x, (5, 5), (float(r[9]),) * 2)
    if r[10]: x = kornia.color.rgb_to_grayscale(x).expand(-1, 3, -1, -1)
    return x[0].permute(1, 2, 0).numpy()


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(3, 40), st.integers(3, 40))
def test_recipes_do_what_kornia_does_and_tint_besides(seed, height, width):
    rng = np.random.default_rng(seed)
    rgb = rng.random((height, width, 3), dtype=np.float32)
    rgb[rng.random((height, width)) < .2] = rng.choice([0, .5, 1]) # greys and clipped colours
    for recipe in draw_recipes(rng, 3, .9, .5, .2, ColorParams(tint=rng.choice([0, .3]))): np.testing.assert_allclose(recolour(rgb, recipe), by_kornia(rgb, recipe), atol=3e-5)


def test_recipes_are_drawn_as_kornia_draws():
    import torch
    from kornia.augmentation.random_generator import ColorJitterGenerator
    torch.manual_seed(0)
    theirs = ColorJitterGenerator(.5, .5, .5, .2)((20000,))
    ours = draw_recipes(np.random.default_rng(0), 20000, .8, .2, .1)
    for k, name in enumerate(('brightness', 'contrast', 'saturation', 'hue'), 1):
        q = np.linspace(0, 1, 11)
        np.testing.assert_allclose(np.quantile(ours[:, k], q), np.quantile(theirs[f'{name}_factor'], q), atol=.02)
    assert {tuple(o) for o in ours[:, 5:9]} == {tuple(p) for p in np.array(np.meshgrid(*[range(4)]*4)).reshape(4, -1).T if len(set(p)) == 4}
    sigma = ours[:, 9][ours[:, 9] > 0]
    np.testing.assert_allclose([sigma.min(), sigma.max(), sigma.mean(), len(sigma)/20000], [.1, 2, 1.05, .2], atol=.03)


@pytest.mark.parametrize('size', [(1, 1), (1, 7), (2, 2), (5, 1)])
def test_tiny_pictures_are_recoloured(size):
    r = np.array([1, 1.2, .8, 1.3, .1, 1, 0, 2, 3, 1.5, 1], np.float32)
    out = recolour(np.full((*size, 3), 100, np.uint8), r)
    assert out.shape == (*size, 3) and np.isfinite(out).all()


def test_recolour_leaves_its_input_alone():
    rgb = np.random.default_rng(0).random((1, 5, 3), dtype=np.float32)
    kept = rgb.copy()
    recolour(rgb, draw_recipes(np.random.default_rng(0), 1, 1, 1, 1)[0])
    np.testing.assert_array_equal(rgb, kept)


@pytest.mark.parametrize('where', ['paste_color', 'whole_color'])
@pytest.mark.parametrize('what', ['brightness', 'contrast', 'saturation', 'hue', 'tint'])
def test_every_change_of_colour_reaches_the_items(where, what):
    "Both ways that colours take: with a paste, and over the whole image."
    frames, quiet = [toy(j) for j in range(3)], dict(brightness=0., contrast=0., saturation=0., hue=0., tint=0.)
    off = dict(paste_color=0., paste_blur=0., paste_grey=0., whole_color=0., whole_blur=0., whole_grey=0.)
    item = lambda **changes: MixData(frames, SMALL.replace(**(quiet | off | changes)))[0].rgb
    assert abs(item(**{where: 1., what: .2}) - item(**{where: 1.})).mean() > .003


# ---- the proof

def calm(ids):
    out = np.zeros(ids.shape, bool)
    inner = ids[:, 2:-2, 2:-2]
    out[:, 2:-2, 2:-2] = True
    for dy in range(5):
        for dx in range(5): out[:, 2:-2, 2:-2] &= ids[:, dy:ids.shape[1] - 4 + dy, dx:ids.shape[2] - 4 + dx] == inner
    return out


def painted(homes, params):
    J, H, W, _ = homes.rgb.shape
    v, u = np.mgrid[:H, :W].astype(np.float32)
    rgb = np.stack([np.stack([u/W, v/H, np.full_like(u, j/J)], -1) for j in range(J)])
    return homes.replace(rgb=rgb, levels=make_levels(rgb, params.smallest))


def off_by(item, J):
    "For every calm pixel, what its colour says against what its matrix says, in pixels."
    m, v, u = np.nonzero(calm(item.ids))
    number, (H, W) = item.ids[m, v, u], item.ids.shape[1:]
    M, c = item.matrix[number//item.views, number % item.views], item.rgb[m, :, v, u]
    np.testing.assert_array_equal(np.rint(c[:, 2]*J), item.frame_of[number//item.views])
    return np.hypot(M[:, 0, 0]*c[:, 0]*W + M[:, 0, 2] - u, M[:, 1, 1]*c[:, 1]*H + M[:, 1, 2] - v)


def exact_item(homes, params, seed):
    mixed = carry_out(homes, plan_pastes(homes, params, make_rng(seed, 'plan')), params)
    return mixed, finish(mixed, params, make_rng(seed, 'finish'), mean=(0, 0, 0), std=(1, 1, 1))


def test_matrices_are_exact_over_thousands_of_mixed_images():
    params, worst, images, pixels = MixParams.preset('exact').replace(**{k: getattr(SMALL, k) for k in ('width', 'height', 'min_height', 'min_width', 'min_side', 'margin', 'least', 'jitter')}), 0, 0, 0
    for k in range(40):
        J = 2 + k % 5
        homes = painted(make_homes([toy(10*k + j) for j in range(J)], params), params)
        for seed in range(8):
            _, item = exact_item(homes, params, seed)
            off = off_by(item, J)
            worst, images, pixels = max(worst, off.max()), images + len(item.rgb), pixels + len(off)
    assert images > 2000 and pixels > 10**6
    assert worst < .25


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(16, 120), st.integers(16, 90), st.floats(0, 1), st.floats(.05, 1), st.floats(1, 4), st.floats(1, 2), st.integers(0, 40), st.booleans())
def test_matrices_are_exact_whatever_the_parameters(seed, width, height, horizon, smallest, largest, zoom, jitter, depth_test):
    params = MixParams.preset('exact').replace(width=width, height=height, horizon=horizon, smallest=smallest, largest=largest, zoom=zoom, jitter=jitter,
                                         depth_test=depth_test, min_height=2, min_width=2, min_side=2, margin=0, least=2, first=1, second=3)
    homes = painted(make_homes([toy(seed + j, 64 + 7*j, 40 + 3*j) for j in range(3)], params), params)
    mixed, item = exact_item(homes, params, seed)
    off = off_by(item, 3)
    if len(off): assert off.max() < .5 and np.median(off) < 1e-3
    # before the last touch every pixel lies in its region, to the pixel
    m, v, u = np.nonzero(np.ones(mixed.ids.shape, bool))
    number = mixed.ids[m, v, u]
    r, M = number//mixed.views, mixed.matrix[number//mixed.views, number % mixed.views]
    hu, hv = np.floor((u - M[:, 0, 2])/M[:, 0, 0] + .5), np.floor((v - M[:, 1, 2])/M[:, 1, 1] + .5)
    hu, hv = np.clip(hu, 0, width - 1).astype(int), np.clip(hv, 0, height - 1).astype(int)
    np.testing.assert_array_equal(homes.ids[homes.frame_of[r], hv, hu], r)
    np.testing.assert_array_equal(mixed.image[r, number % mixed.views], m)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_partners_show_the_same_place(seed):
    params = MixParams.preset('exact').replace(**{k: getattr(SMALL, k) for k in ('width', 'height', 'min_height', 'min_width', 'min_side', 'margin', 'least', 'jitter')})
    homes = painted(make_homes([toy(seed + j) for j in range(3)], params), params)
    _, item = exact_item(homes, params, seed)
    m, u, v = pick_pixels(item, 400, make_rng(seed), 2)
    to, uv, seen = find_partners(item, m, u, v)
    own = item.ids[m, v, u] % item.views
    assert seen[np.arange(len(m)), own].all()
    k, t = np.nonzero(seen)
    at = np.clip(np.floor(uv[k, t] + .5).astype(int), 0, [95, 47])
    pure = calm(item.ids) # elsewhere sampling mixes a neighbour in
    pure = pure[m, v, u][k] & pure[to[k, t], at[:, 1], at[:, 0]]
    r = item.ids[m, v, u][k]//item.views
    # colours of the partner pixel and of the pixel are home coordinates: they differ by the rounding to whole pixels alone
    there, here = item.rgb[to[k, t], :, at[:, 1], at[:, 0]][pure], item.rgb[m[k], :, v[k], u[k]][pure]
    np.testing.assert_allclose(there[:, 2], here[:, 2], atol=1e-5)
    s = item.matrix[r, t, 1, 1][pure]
    assert (np.abs(there - here)[:, 0]*96*s < .75).all() and (np.abs(there - here)[:, 1]*48*s < .75).all()
    # and a partner finds its way back
    back_to, back, ok = find_partners(item, to[k, t], at[:, 0], at[:, 1])
    s = item.matrix[r, own[k], 1, 1] / item.matrix[r, t, 1, 1]
    assert (back_to[np.arange(len(k)), own[k]] == m[k]).all()
    assert (np.abs(back[np.arange(len(k)), own[k]] - np.stack([u[k], v[k]], -1)).max(-1) <= .5*s + 1e-6).all()


def test_nearer_things_hide_pastes_and_flat_ones_do_not():
    frames = [toy(j) for j in range(3)]
    hidden = lambda p: (view_counts(x := mix(frames, p, 0))[:, 2:][x.image[:, 2:] >= 0] == 0).mean()
    assert hidden(SMALL) > hidden(SMALL.replace(move=False, depth_test=False))


def test_a_region_that_comes_nearer_is_larger_lower_and_nearer():
    homes = make_homes([toy(j) for j in range(2)], SMALL.replace(images=2))
    r = int(np.flatnonzero(pasteable(homes.boxes, SMALL) & (homes.boxes[:, 3] > 28) & (homes.frame_of == 1))[-1])
    alone = homes.replace(disp=np.where(homes.ids == r, homes.disp, np.float32(1e-6)))
    seen = []
    for s in (.5, 1., 1.5):
        plan = Plan(np.array([r], np.int32), np.array([0], np.int32), np.array([2], np.int32), paste_affine(homes.boxes[[r]], s, 30, 0, False, SMALL), np.zeros((1, 13), np.float32))
        x = carry_out(alone, plan, SMALL.replace(edge=0.), keep_disp=True)
        v, u = np.nonzero(x.ids[0] == r*8 + 2)
        seen.append((len(v), v.max(), x.disp[0][v, u].max()/alone.disp[1][alone.ids[1] == r].max()))
    assert seen[0][0] < seen[1][0] < seen[2][0] and seen[0][1] < seen[1][1] <= seen[2][1]
    np.testing.assert_allclose([x[2] for x in seen], [.5, 1, 1.5], rtol=1e-5)


# ---- odd input

def test_regions_of_every_odd_shape():
    f, y, x = toy(0), *np.mgrid[:48, :96]
    odd = {
        'one fills the frame': np.zeros((48, 96)),
        'stripes touch both borders': x//8,
        'several pieces': (x//8 + y//8) % 2,
        'a ring with a hole': ((abs(x - 48) < 30) & (abs(y - 24) < 18)).astype(int) - ((abs(x - 48) < 15) & (abs(y - 24) < 9)),
        'every pixel its own': x + 96*y,
        'gaps and large ids': (x//10) * 1000003,
    }
    for what, regions in odd.items():
        frames = [f.replace(regions=regions.astype(np.int32), name=f'f{k}') for k in range(3)]
        item = finish(mix(frames, SMALL, 0), SMALL, make_rng(0))
        assert item.ids.min() >= 0 and item.ids.max() < item.image.size, what
        assert np.isfinite(item.rgb).all(), what


def test_regions_that_vanish_on_resizing_get_no_number():
    f = toy(0, 192, 96)
    regions = f.regions.copy()
    regions[0, 0] = 77
    homes = make_homes([f.replace(regions=regions)] * 2, SMALL)
    assert 77 not in homes.names_of and len(homes.boxes) == len(np.unique(homes.ids))


def test_frames_of_any_size_and_camera_mix():
    frames = [toy(0, 200, 40), toy(1, 31, 77), toy(2, 96, 48)]
    for fit in ('stretch', 'cut'):
        x = mix(frames, SMALL.replace(fit=fit), 1)
        assert x.rgb.shape == (6, 48, 96, 3)
    assert fit_frame(frames[0], 96, 48, 'cut').size == (96, 48)
    one = Frame('dot', np.full((1, 1, 3), 9, np.uint8), disp=np.ones((1, 1), np.float32), regions=np.zeros((1, 1), np.int32))
    assert mix([one, frames[0], frames[1]], SMALL, 0).rgb[0].max() >= 9


def test_frames_with_other_cameras_or_none_mix_alike():
    bare = [toy(0, 200, 40), toy(1, 31, 77), toy(2)]
    cameras = [Camera.guess(200, 40, 60), Camera.guess(31, 77, 110), None]
    same(mix([f.replace(camera=c) for f, c in zip(bare, cameras)], SMALL, 1), mix(bare, SMALL, 1))


def test_frames_whose_regions_nearly_all_vanish():
    y, x = np.mgrid[:480, :960]
    fine = Frame('fine', np.zeros((480, 960, 3), np.uint8), disp=np.full((480, 960), .1, np.float32), regions=(x + 960*y).astype(np.int32))
    homes = make_homes([fine, toy(1), toy(2)], SMALL)
    assert (homes.frame_of == 0).sum() == 48*96 and not pasteable(homes.boxes, SMALL)[homes.frame_of == 0].any()
    item = finish(mix([fine, toy(1), toy(2)], SMALL, 0), SMALL, make_rng(0))
    assert item.ids.max() < item.image.size and np.isfinite(item.rgb).all()


def test_disparity_with_holes_is_far_not_near():
    frames = [toy(j) for j in range(3)]
    holes = [f.replace(disp=np.where(make_rng(j).random(f.disp.shape) < .3, np.float32(0), f.disp)) for j, f in enumerate(frames)]
    assert make_homes(holes, SMALL).disp.min() == np.float32(1e-6)
    assert make_homes(holes, SMALL.replace(fill='row')).disp.min() > 1e-3
    none = [f.replace(disp=np.zeros_like(f.disp)) for f in frames]
    for fill in ('far', 'row'): assert np.isfinite(mix(none, SMALL.replace(fill=fill), 0).rgb).all()
    assert np.isfinite(mix(none, SMALL, 0).rgb).all() and np.isfinite(finish(mix(holes, SMALL, 0), SMALL, make_rng(0)).rgb).all()


def test_more_than_65535_regions_never_wrap(tmp_path):
    W, H = 384, 192
    f = Frame('many', np.zeros((H, W, 3), np.uint8), disp=np.full((H, W), .1, np.float32), regions=np.arange(H*W, dtype=np.int32).reshape(H, W))
    params = SMALL.replace(images=2, width=W, height=H)
    x = mix([f, f.replace(name='too')], params, 0)
    assert len(x.image) == 2*H*W and x.ids.max() == 2*H*W*8 - 7 and len(np.unique(x.ids)) == 4*H*W
    writer = FolderWriter(tmp_path)
    for frame in mixed_frames(x, '000000'): writer.write(frame)
    write_views(tmp_path/'views'/'000000.npz', x)
    same(PreparedData(open_folder(tmp_path), params, 0, 1, 1).mixed(0), x)


@pytest.mark.parametrize('bad, says', [
    (lambda f: f.replace(regions=None), 'has no regions'),
    (lambda f: f.replace(disp=None), 'has no disparity'),
    (lambda f: f.replace(regions=f.regions - 5), 'regions: expected'),
])
def test_what_is_missing_is_said_in_one_line(bad, says):
    with pytest.raises(ValueError, match=says) as e: mix([toy(0), bad(toy(1)), toy(2)], SMALL, 0)
    assert '\n' not in str(e.value)


def test_no_depth_is_needed_for_flat_mixes():
    frames = [toy(j).replace(disp=None) for j in range(3)]
    assert len(mix(frames, SMALL.replace(depth_test=False, move=False), 0).rgb) == 6


@pytest.mark.parametrize('n', [0, 2])
def test_too_few_frames(n):
    with pytest.raises(DataError, match=f'has {n} frames, but a mix takes 3'): MixData([toy(j) for j in range(n)], SMALL)


def test_an_empty_folder_is_one_line(tmp_path, capsys):
    for folder in ('nothing', 'bare/rgb'): (tmp_path/folder).mkdir(parents=True)
    for folder in ('nothing', 'bare', 'missing'):
        with pytest.raises(DataError) as e: MixData(open_folder(tmp_path/folder), SMALL)
        assert folder in str(e.value) and '\n' not in str(e.value)
        assert command('mix', tmp_path/folder, tmp_path/'out') == 1
        error = capsys.readouterr().err.strip()
        assert folder in error and error.count('\n') == 0 and not (tmp_path/'out').exists()


def test_no_region_travels():
    x = mix([toy(j) for j in range(3)], SMALL.replace(min_height=1000), 0)
    assert (x.image[:, 2:] == -1).all() and (x.image[:, :2] >= 0).all()
    assert (x.rgb[:3] == x.rgb[3:]).all()


def test_scale_limits_keep_a_row_inside():
    params = MixParams()
    rng = np.random.default_rng(0)
    l, t = rng.integers(0, 700, 3000), rng.integers(0, 350, 3000)
    boxes = np.stack([l, t, np.minimum(l + rng.integers(6, 400, 3000), 768), np.minimum(t + rng.integers(16, 380, 3000), 384)], 1)
    low, high = scale_limits(boxes, params)
    ok = high > low
    last, top = (boxes[:, 3] - 1 - 192)*high + 192, (boxes[:, 1] - 192)*high + 192
    assert (last[ok] >= -1e-6).all() and (top[ok] <= 383 + 1e-6).all()
    assert (low[ok] >= .2).all() and (high[ok] <= 2).all()
    side = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    assert (low*side >= 8 - 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_regions_are_numbered_in_order(seed):
    rng = np.random.default_rng(seed)
    old = rng.choice(rng.integers(0, 1 << rng.integers(2, 31), 9), (rng.integers(1, 20), rng.integers(1, 20))).astype(np.int32)
    ids, names, boxes = number_regions(old)
    np.testing.assert_array_equal(names[ids], old)
    for r, (l, t, rr, b) in enumerate(boxes):
        v, u = np.nonzero(ids == r)
        assert (l, t, rr, b) == (u.min(), v.min(), u.max() + 1, v.max() + 1)


def test_parameters_keep_and_refuse(tmp_path):
    p = SMALL.replace(hue=.1, depth_test=False)
    p.save(tmp_path/'mix.toml')
    assert MixParams.load(tmp_path/'mix.toml') == p
    assert {f.group for f in MixParams.fields()} >= {'mix', 'distance', 'placement', 'colour'}
    for f in dataclasses.fields(ColorParams): assert getattr(MixParams(), f.name) == getattr(ColorParams(), f.name)
    with pytest.raises(DataError, match='smalest.*smallest'): MixParams.from_toml('smalest = 0.3')


# ---- training

def test_items_depend_on_seed_and_key_alone():
    data = MixData([toy(j) for j in range(7)], SMALL, seed=3)
    later = data[5]
    again = MixData([toy(j) for j in range(7)], SMALL, seed=3)
    for k in range(4): again[k]
    same(again[5], later)
    assert not (MixData(data.frames, SMALL, seed=4)[5].rgb == later.rgb).all()
    assert len(data) == 2 and len(list(data)) == 2
    assert len({tuple(sorted(data.partners(2*e))) for e in range(12)}) > 4


def test_any_number_of_workers_gives_the_same(monkeypatch):
    from torch.utils.data import DataLoader
    data = MixData([toy(j) for j in range(12)], SMALL, seed=1)

    def epochs(workers):
        sampler = EpochSampler(data)
        loader = DataLoader(data, batch_size=2, sampler=sampler, collate_fn=collate, num_workers=workers, persistent_workers=workers > 0)
        out = []
        for e in range(2):
            sampler.set_epoch(e)
            out += list(loader)
        return out
    alone = epochs(0)
    assert [k for b in alone[:2] for k in b['keys']] != [k - 4 for b in alone[2:] for k in b['keys']]
    for workers in (1, 2):
        for a, b in zip(alone, epochs(workers), strict=True):
            assert a['keys'] == b['keys'] and (a['rgb'] == b['rgb']).all() and (a['ids'] == b['ids']).all() and (a['matrix'] == b['matrix']).all()


def test_sampler_shares_out():
    data = MixData([toy(j) for j in range(15)], SMALL, seed=1)
    shares = [EpochSampler(data, rank, 2) for rank in (0, 1)]
    for s in shares: s.set_epoch(4)
    keys = [list(s) for s in shares]
    assert len(keys[0]) == len(keys[1]) == len(shares[0]) == 2
    assert not set(keys[0]) & set(keys[1]) and set(keys[0] + keys[1]) <= set(range(20, 25))


def test_batches_keep_ids_apart_and_partners_together():
    data = MixData([toy(j) for j in range(9)], SMALL, seed=1)
    items = [data[k] for k in range(3)]
    b = collate(items)
    T, M = b['views'], 6
    ids, image, matrix = (b[k].numpy() for k in ('ids', 'image', 'matrix'))
    sets = [set(np.unique(ids[M*k:M*k + M])) for k in range(3)]
    assert not sets[0] & sets[1] and not sets[1] & sets[2] and not sets[0] & sets[2]
    number = ids[:, 10, 20]
    np.testing.assert_array_equal(image[number//T, number % T], np.arange(3*M))
    np.testing.assert_array_equal(b['item'].numpy()[number//T], np.arange(3*M)//M)
    whole = type('Batch', (), dict(ids=ids, image=image, matrix=matrix, views=T))
    at = pick_pixels(items[1], 50, make_rng(0), 2)
    lone, joint = find_partners(items[1], *at), find_partners(whole, at[0] + M, at[1], at[2])
    np.testing.assert_array_equal(joint[0][lone[2]], lone[0][lone[2]] + M)
    np.testing.assert_array_equal(joint[1], lone[1])
    np.testing.assert_array_equal(joint[2], lone[2])
    other = finish(mix([toy(0), toy(1), toy(2)], SMALL.replace(first=1), 0), SMALL, make_rng(0))
    with pytest.raises(ValueError, match='one number of views'): collate([items[0], other])


# ---- prepared items

@pytest.fixture()
def prepared(tmp_path):
    data = MixData([toy(j) for j in range(7)], SMALL, seed=5)
    writer = FolderWriter(tmp_path)
    for k in range(3):
        x = data.mixed(k)
        for f in mixed_frames(x, f'{k:06}'): writer.write(f)
        write_views(tmp_path/'views'/f'{k:06}.npz', x)
    SMALL.save(tmp_path/'mix.toml')
    (tmp_path/'mix.json').write_text('{"format": 1, "seed": 5, "items": 3, "length": 2}')
    return tmp_path, data


def test_prepared_items_equal_those_mixed_on_the_fly(prepared):
    out, data = prepared
    kept = open_prepared(open_folder(out))
    assert len(kept) == len(data) and kept.params == data.params
    for k in range(3): same(kept[k], data[k])
    same(kept.mixed(4), data.mixed(1))
    assert not (kept[4].rgb == kept[1].rgb).all()
    # and they hold numbers and text alone
    with np.load(out/'views'/'000000.npz', allow_pickle=False) as z: assert all(z[k].dtype.kind in 'iufU' for k in z)


@pytest.mark.parametrize('spoil, says', [
    (lambda d: (d/'mix.json').unlink(), 'give a folder that `cpcdr mix` wrote'),
    (lambda d: (d/'mix.json').write_text('{'), 'is not JSON'),
    (lambda d: (d/'mix.json').write_text('{"format": 2}'), 'another version'),
    (lambda d: (d/'views'/'000001.npz').unlink(), 'goes on where it stopped'),
    (lambda d: (d/'views'/'000001.npz').write_bytes(b'PK\3\4'), 'cannot be read'),
    (lambda d: (d/'region'/'000001'/'02.png').write_bytes(b''), 'is empty'),
    (lambda d: np.savez(d/'views'/'000001.npz', format=9, image=0, matrix=0, frame_of=0, names_of=0, names=''), 'another version'),
])
def test_spoilt_items_are_named(prepared, spoil, says):
    out, _ = prepared
    spoil(out)
    with pytest.raises(DataError, match=says) as e: open_prepared(open_folder(out))[1]
    assert '\n' not in str(e.value)


def test_pictures_are_pictures():
    item = finish(mix([toy(j) for j in range(3)], SMALL, 0), SMALL, make_rng(0))
    sheet = partner_picture(item, pick_pixels(item, 5, make_rng(0), 2), columns=3, width=64)
    assert sheet.dtype == np.uint8 and sheet.shape == (2*36 - 4, 3*68 - 4, 3)
    for r in range(0, len(item.image), 5): assert view_strip(item, r, 40).shape[0] == 40


def test_read_views_tells_of_a_folder(tmp_path):
    with pytest.raises(DataError, match='is not there'): read_views(tmp_path/'views'/'000000.npz')


# ---- cpcdr mix

@pytest.fixture()
def street_folder(tmp_path):
    writer = FolderWriter(tmp_path/'data')
    for j in range(7): writer.write(toy(j))
    SMALL.save(tmp_path/'small.toml')
    return tmp_path


def command(*words):
    from cpcdr.cli import run_command
    return run_command([str(w) for w in words])


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file() and p.name != 'report.json'}


def test_mix_command_goes_on_where_it_stopped(street_folder, capsys):
    d = street_folder
    line = 'mix', d/'data', d/'out', '--items', 3, '--params', d/'small.toml', '--seed', 5
    assert command(*line) == 0
    whole = files(d/'out')
    data = MixData(open_folder(d/'data'), SMALL, seed=5)
    kept = open_prepared(open_folder(d/'out'))
    for k in range(3): same(kept[k], data[k])
    (d/'out'/'views'/'000001.npz').unlink()
    (d/'out'/'views'/'000002.npz').write_bytes(b'half')
    (d/'out'/'rgb'/'000000'/'03.png').unlink()
    assert command(*line, '--jobs', 2) == 0 and files(d/'out') == whole
    capsys.readouterr()
    assert command(*line, '--json') == 0 and '"kept": 3' in capsys.readouterr().out
    assert command(*line[:3], '--items', 4, *line[5:]) == 0
    assert open_prepared(open_folder(d/'out')).items == 4


def test_mix_command_says_what_is_wrong(street_folder, capsys):
    d = street_folder
    def says(*words):
        assert command('mix', *words) == 1
        error = capsys.readouterr().err.strip()
        assert error.count('\n') == 0
        return error
    assert 'has 7 frames, but a mix takes 8' in says(d/'data', d/'out')
    assert 'neither' in (e := says(d/'data', d/'out', '--params', 'cube')) or 'no such file' in e
    FolderWriter(d/'bare').write(toy(0), {'image', 'disp'})
    assert 'has no regions' in says(d/'bare', d/'out') and not (d/'out').exists()
    FolderWriter(d/'nodisp').write(toy(0), {'image', 'regions'})
    assert 'has no disparity' in says(d/'nodisp', d/'out')
    assert command('mix', d/'data', d/'out', '--items', 1, '--params', d/'small.toml') == 0
    capsys.readouterr()
    assert 'seed 0, now 1' in says(d/'data', d/'out', '--items', 1, '--params', d/'small.toml', '--seed', 1)


def test_one_bad_frame_spoils_its_item_alone(street_folder, capsys):
    d = street_folder
    (d/'data'/'disp'/'toy'/'000003.png').write_bytes(b'')
    data = MixData(open_folder(d/'data'), SMALL, seed=5)
    spoilt = [k for k in range(4) if 3 in data.partners(k)]
    assert spoilt and len(spoilt) < 4
    assert command('mix', d/'data', d/'out', '--items', 4, '--params', d/'small.toml', '--seed', 5) == 1
    assert '000003.png' in capsys.readouterr().err
    assert {p.stem for p in (d/'out'/'views').glob('*.npz')} == {f'{k:06}' for k in range(4) if k not in spoilt}
