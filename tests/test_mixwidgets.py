"The three copy-paste screens without a browser: what a stroke, a slider, a step and a click do."
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cpcdr.copypaste import MixParams, mix
from cpcdr.core import DataError, make_rng
from cpcdr.data import FolderWriter
from cpcdr.frame import Frame
from cpcdr.mixdata import finish
from cpcdr.mixview import PLAIN, Film, Hand, MixScene, Streets, all_partners, hand_mask, step_picture
from cpcdr.mixwidgets import drag, on_drag, on_hand, on_mix, on_nudge, on_rules, on_step, partners, steps

WIDE, HIGH = 128, 64
SMALL = MixParams(images=3, width=WIDE, height=HIGH, min_height=4, min_width=3, min_side=6, margin=4, least=2, jitter=4)


def street(seed, post=True):
    "Sky, ground, a box at 8 m whose colour depends on the seed, and a post at 4 m."
    y, x = np.mgrid[:HIGH, :WIDE]
    disp = np.clip((y + .5 - HIGH/2)/(1.5*HIGH), 1/65535, 1)
    ids = np.where(y < HIGH/2, 1, 0)
    for k, (left, right, top, foot, z) in enumerate([(56, 76, 20, 44, 8.), (100, 110, 4, 56, 4.)][:1 + post]):
        m = (x >= left) & (x < right) & (y >= top) & (y < foot)
        disp[m], ids[m] = 1/z, 2 + k
    image = make_rng(seed, 'street').integers(30, 220, (4, 3))[ids] + make_rng(seed, 'grain').normal(0, 9, (HIGH, WIDE, 1))
    return Frame(f'street{seed}', image.clip(0, 255).astype(np.uint8), disp=disp.astype(np.float32), regions=ids.astype(np.int32))


FRAMES = [street(k) for k in range(4)]
BOX = (66, 30) # a pixel of it


def held(**changes):
    hand = Hand(FRAMES[0], FRAMES[1], SMALL.replace(**changes))
    hand.pick(*BOX)
    return hand


@pytest.fixture(scope='module')
def one_drag(): return drag(FRAMES, SMALL)


@pytest.fixture
def d(one_drag):
    one_drag.params = SMALL
    one_drag.parts['view'].value, one_drag.parts['ghost'].value = 'with depth', True
    one_drag.go(0, 1)
    one_drag.pick(*BOX)
    one_drag.place(distance=8., column=66., mirror=False)
    return one_drag


@pytest.fixture(scope='module')
def one_steps(): return steps(FRAMES, SMALL, 5)


@pytest.fixture
def t(one_steps):
    one_steps.set(SMALL, SMALL, seed=5, first=0)
    one_steps.parts['twin'].value, one_steps.parts['view'].value = False, 'picture'
    one_steps.go(0, 0)
    return one_steps


def stroke(d, start, to, number=1, rest=False, **more): on_drag(d, dict(stroke=number, start=list(start), to=list(to), rest=rest), **more)
def slide(t, rest=True, **changes): on_mix(t, dict(values={**t.params.to_dict(), **changes}, rest=rest))
def said(t): return re.sub('<[^>]*>', '', t.parts['say'].value)
def at(hand, u, v, params=None): a, tx, s, ty = hand.affine(params); return np.array([a*u + tx, s*v + ty])


# ---- a region in the hand

@settings(max_examples=60)
@given(st.floats(57, 75), st.floats(38, 43), st.floats(-40, 40), st.floats(-8, 8), st.booleans())
def test_the_pixel_under_the_finger_stays_there(u, v, du, dv, flip):
    hand = held()
    hand.flip = flip
    before = hand.affine()
    start = at(hand, u, v)
    to = np.clip(start + [du, dv], [30, 34], [90, 62])
    hand.move(start, to, before)
    if .2 < hand.s < 2: np.testing.assert_allclose(at(hand, u, v), to, atol=1e-6)


@pytest.mark.parametrize('s', [.25, .5, 1., 1.7])
@pytest.mark.parametrize('horizon', [.4, .5])
def test_distance_changes_about_the_horizon(s, horizon):
    hand = held(horizon=horizon, depth_test=False)
    hand.s = s
    row = horizon*HIGH - .5
    np.testing.assert_allclose(at(hand, 0, row)[1], row)
    assert hand.depth == pytest.approx(8/s)
    hand.picture()
    part, own, seen = hand_mask(hand, hand.params)
    mine = hand.canvas.ids == hand.region*hand.params.views + 2
    assert mine.sum() == seen.sum() > 0
    inner = mine.copy(); inner[1:-1, 1:-1] &= mine[:-2, 1:-1] & mine[2:, 1:-1] & mine[1:-1, :-2] & mine[1:-1, 2:] & mine[:-2, :-2] & mine[2:, 2:] & mine[:-2, 2:] & mine[2:, :-2]
    assert s < .3 or inner.any()
    np.testing.assert_allclose(hand.canvas.disp[inner], s/8, rtol=1e-4) # disparity is scaled with size


def test_it_hides_behind_what_is_nearer_and_nothing_else():
    hand = held()
    hand.u = 104.5
    seen = {}
    for z in (30., 10., 5., 4.5, 3.9):
        hand.s = 8/z
        part, own, visible = hand_mask(hand, hand.params)
        columns = np.arange(WIDE)[part[1]]
        behind_post = own[:, (columns >= 100) & (columns < 110)]
        seen[z] = visible[:, (columns >= 100) & (columns < 110)].sum() / max(behind_post.sum(), 1)
    assert seen[30.] == seen[10.] == seen[5.] == seen[4.5] == 0 and seen[3.9] == 1


def test_plain_copy_paste_neither_shrinks_nor_hides():
    hand = held()
    plain = hand.params.replace(**PLAIN)
    hand.u, sizes = 104.5, []
    for s in (.3, 1., 1.6):
        hand.s = s
        rgb, seen = hand.picture(plain)
        sizes.append((hand.canvas.ids == hand.region*plain.views + 2).sum())
        assert seen == 1 and hand.affine(plain)[2] == 1
        foot = 43.5
        np.testing.assert_allclose(at(hand, 0, foot, plain)[1], at(hand, 0, foot)[1]) # the same spot on the ground
    assert len(set(sizes)) == 1


def test_the_ghost_shows_the_hidden_part_and_only_that():
    hand = held()
    hand.u, hand.s = 104.5, .8
    with_ghost, without = hand.picture()[0], hand.picture(ghost=False)[0]
    part, own, seen = hand_mask(hand, hand.params)
    differs = (with_ghost != without).any(-1)
    inside = np.zeros_like(differs); inside[part] = own & ~seen
    assert differs.any() and not (differs & ~inside).any()


def test_frames_of_other_sizes_are_brought_to_the_street_below():
    wide = Frame('wide', FRAMES[0].image[16:48], disp=FRAMES[0].disp[16:48], regions=FRAMES[0].regions[16:48])
    hand = Hand(wide, FRAMES[1], SMALL)
    assert hand.size == (WIDE, HIGH) and hand.picture()[0].shape == (HIGH, WIDE, 3)


def test_all_that_lies_between_may_get_lost(d):
    start = at(d.hand, 66, 40)
    for k in range(1, 11): stroke(d, start, start + [2.*k, .4*k], 1)
    end = d.hand.affine().copy()
    d.place(distance=8., column=66.)
    stroke(d, start, start + [20., 4.], 2)
    np.testing.assert_allclose(d.hand.affine(), end)


def test_a_stroke_is_quick_while_it_moves_and_exact_when_it_rests(d):
    picture, start = d.parts['picture'].data, at(d.hand, 66, 40)
    stroke(d, start, start + [9, 3], 3)
    assert d.parts['picture'].data != picture and d.parts['picture'].data[:2] == b'\xff\xd8'
    assert d.hand.s > 1 and float(d.parts['hand'].values['distance']) == pytest.approx(d.hand.depth, rel=.01) # the slider follows
    assert f'{d.hand.s:.2f}' in d.parts['numbers'].value
    stroke(d, start, start + [9, 3], 3, rest=True)
    assert d.parts['picture'].data[:4] == b'\x89PNG'


def test_a_stroke_over_the_plain_picture_moves_both(d):
    d.parts['view'].value = 'side by side'
    left, right = d.parts['picture'].data, d.parts['plain'].data
    start = np.array([66., 40.])
    stroke(d, start, start + [10, 5], 4, plain=True)
    assert d.parts['picture'].data != left and d.parts['plain'].data != right
    plain = d.hand.params.replace(**PLAIN)
    assert d.hand.s > 1 and at(d.hand, 65.5, 43.5, plain)[0] == pytest.approx(76) and at(d.hand, 65.5, 43.5, plain)[1] == pytest.approx(48.5)


def test_arrow_keys_count_from_the_last_message(d):
    s, u = d.hand.s, d.hand.u
    on_nudge(d, dict(right=2, up=-3, rest=False))
    assert d.hand.u == pytest.approx(u + 8) and d.hand.s == pytest.approx(s*1.03**3)
    on_nudge(d, dict(right=2, up=0, rest=True))
    assert d.hand.u == pytest.approx(u + 8) and d.hand.s == pytest.approx(s)
    d._keys = (0, 0)


def test_the_distance_slider(d):
    on_hand(d, dict(values=dict(distance=16., column=30., mirror=True), rest=True))
    assert d.hand.s == pytest.approx(.5) and d.hand.u == 30 and d.hand.affine()[0] == pytest.approx(-.5)
    on_hand(d, dict(values=dict(distance=-4., column=30., mirror=True), rest=True))
    assert 'distance' in said(d) and d.hand.s == pytest.approx(.5)


def test_a_click_takes_the_region(d):
    d.parts['home'].click = dict(u=104, v=30, count=1)
    assert d.hand.home_depth == pytest.approx(4) and d.error is None
    d.parts['home'].click = dict(u=5000, v=30, count=2)
    assert 'pixel' in said(d) and d.hand.home_depth == pytest.approx(4)


def test_rules_change_the_picture_and_say_what_rests(d):
    d.place(column=104.5)
    assert d.seen < 1
    on_rules(d, dict(values={**d.params.to_dict(), 'depth_test': False}, rest=True))
    assert d.seen == 1
    on_rules(d, dict(values={**d.params.to_dict(), 'move': False}, rest=True))
    assert 'smallest' in d.parts['panel'].idle and d.hand.affine()[2] == 1
    before = d.params
    on_rules(d, dict(values={**d.params.to_dict(), 'edge': 99.}, rest=True))
    assert 'edge' in said(d) and d.params == before


def test_streets_change(d):
    d.parts['target_on'].click()
    assert d.hand.homes.names == ('street2', 'street0')
    d.parts['source'].value = 3
    assert d.hand.homes.names == ('street2', 'street3')
    d.parts['place'].value = '/no/such/folder'; d.parts['open'].click()
    assert '/no/such/folder' in said(d) and d.hand.homes.names == ('street2', 'street3')


def test_what_has_no_depth_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(DataError, match='cpcdr depth'): drag([FRAMES[0].replace(disp=None)]*2, SMALL)
    Image.fromarray(FRAMES[0].image).save(tmp_path/'photo.png')
    d = drag(FRAMES[:2], SMALL)
    d.parts['place'].value = str(tmp_path); d.parts['open'].click()
    assert 'cpcdr depth' in said(d) and '\n' not in said(d) and d.hand.homes.names == ('street1', 'street0')


def test_regions_are_made_where_there_are_none():
    streets = Streets([FRAMES[0].replace(regions=None, disp=FRAMES[0].disp)], regions='street')
    assert streets[0].regions is not None and streets[0] is streets[0]


# ---- paste by paste

@pytest.mark.parametrize('m', [0, 2, 4])
def test_the_last_step_is_the_mix_whichever_way_it_was_reached(m):
    scene = MixScene(Streets(FRAMES), SMALL, 7)
    real = mix(FRAMES[:3], SMALL, 7)
    film = Film(scene, m, every=3)
    states = [(film.go(k).canvas.ids.copy(), film.canvas.image) for k in range(len(film) + 1)]
    for k in make_rng(m, 'jumps').integers(0, len(film) + 1, 12):
        film.go(k)
        assert (film.canvas.ids == states[k][0]).all() and (film.canvas.image == states[k][1]).all()
    assert (states[-1][1] == real.rgb[m]).all() and (states[-1][0] == real.ids[m]).all()
    assert (scene.mixed.rgb == real.rgb).all()
    assert (scene.finished.rgb == finish(real, SMALL, make_rng(7, 'finish', 0)).rgb).all()


def test_steps_forward_back_and_all(t):
    t.go(0, 4)
    home = t.parts['picture'].data
    t.parts['on'].click()
    assert t.k == 1 and 'Paste 1 of' in t.parts['card'].value
    t.parts['end'].click()
    assert t.k == len(t.scene.film(4)) > 1 and t.parts['picture'].data != home
    t.parts['back'].click()
    assert t.k == len(t.scene.film(4)) - 1
    t.go(0)
    assert t.parts['picture'].data == home
    t.go(-5); assert t.k == 0


def test_play_draws_each_step(t):
    t.go(0, 3)
    seen = set()
    for k in range(1, 5):
        t.parts['step'].value = k    # what the player does
        seen.add((t.parts['picture'].data, t.parts['card'].value))
    assert len(seen) == 4 and t.error is None


def test_the_card_tells_what_the_plan_says(t):
    t.go(3, 5)
    film = t.scene.film(5)
    r, s = film.plan.region[2], film.plan.affine[2, 2]
    text = t.parts['card'].value
    assert t.scene.homes.names[t.scene.homes.frame_of[r]] in text and f'{s:.2f}' in text
    assert ('mirrored' in text) == (film.plan.affine[2, 0] < 0) and ('Nothing' in text) == (film.seen == 0)


def test_a_slider_makes_the_mix_that_code_makes(t):
    t.go(6, 3)
    before = t.parts['picture'].data
    slide(t, False, smallest=.6, jitter=0)
    assert t.parts['picture'].data[:2] == b'\xff\xd8'
    slide(t, True, smallest=.6, jitter=0)
    assert t.parts['picture'].data != before and t.k == 6
    assert (t.scene.mixed.rgb == mix(FRAMES[:3], SMALL.replace(smallest=.6, jitter=0), 5).rgb).all()
    assert (t.scene.film(3).go(6).canvas.image == Film(MixScene(Streets(FRAMES), t.params, 5), 3).go(6).canvas.image).all()


def test_one_constant_leaves_the_other_draws(t):
    flips = t.scene.plan().affine[:, 0] < 0
    slide(t, True, smallest=.5)
    assert ((t.scene.plan().affine[:, 0] < 0) == flips).all()
    plain = t.scene.plan(t.scene.plain)
    assert (plain.region == t.scene.plan().region).all() and (plain.affine[:, 2] == 1).all()


def test_without_depth_nothing_hides(t):
    t.parts['twin'].value = True
    t.go(5, 5)
    film = t.scene.film(5, plain=True)
    assert t.parts['plain'].data != t.parts['picture'].data and film.params.depth_test is False
    late = Film(t.scene, 5, plain=True)
    for k in range(1, len(late) + 1): assert late.go(k).seen > 0 or not inside(late)   # the latest paste always lies on top


def inside(film):
    "Whether any of the latest paste lies in the image."
    a, tx, s, ty = film.plan.affine[film.k - 1]
    box = film.homes.boxes[film.plan.region[film.k - 1]]
    u, v = sorted((a*(box[0] - .5) + tx, a*(box[2] - .5) + tx)), (s*(box[1] - .5) + ty, s*(box[3] - .5) + ty)
    return u[1] > .5 and u[0] < WIDE - 1.5 and v[1] > .5 and v[0] < HIGH - 1.5


@pytest.mark.parametrize('wrong', [dict(images=40), dict(smallest=7.), dict(nobody=1), dict(fit='magic')])
def test_a_wrong_value_is_one_plain_line(t, wrong):
    slide(t, False, **wrong)
    assert t.params == SMALL and next(iter(wrong)) in said(t) and '\n' not in said(t)
    slide(t, True, flip=0.)
    assert said(t) == '' and t.error is None


def test_fewer_frames_than_the_preset_asks_for_are_said():
    t = steps(FRAMES, SMALL.replace(images=8))
    assert t.params.images == 4 and '4 frames' in said(t)


def test_presets_fit_the_frames_there_are(t):
    t.parts['presets']['flat'].click()
    assert t.error is None and t.params.depth_test is False and t.params.images == 4 and 'horizon' in t.parts['panel'].idle
    assert t.parts['presets']['flat'].button_style == 'primary' and t.parts['panel'].base == t.params.to_dict()


def test_other_frames_images_and_seeds(t):
    t.parts['first'].value = 2
    assert t.scene.homes.names == ('street2', 'street3', 'street0') and t.error is None
    t.parts['image'].value = 5
    assert t.m == 5 and 'round 2' in t.scene.title(5)
    before = t.parts['picture'].data
    t.go(4)
    seed5 = t.parts['picture'].data
    t.parts['seed'].value = 6
    assert t.parts['picture'].data != seed5 != before and t.scene.seed == 6


@pytest.mark.parametrize('view', ['picture', 'regions', 'depth', 'finished'])
def test_every_view_draws(t, view):
    t.go(5, 4)
    before = t.parts['picture'].data
    t.parts['view'].value = view
    assert t.error is None and (view == 'picture' or t.parts['picture'].data != before)
    assert step_picture(t.scene, 4, 5, view).shape == (HIGH, WIDE, 3)


def test_saved_is_what_the_command_takes(t, tmp_path):
    slide(t, True, smallest=.4, edge=0.)
    t.parts['path'].value = str(tmp_path/'mine.toml'); t.parts['save'].click()
    assert 'cpcdr mix' in said(t)
    kept = t.params
    t.params = SMALL
    t.parts['load'].click()
    assert t.params == kept and t.parts['panel'].values == kept.to_dict()
    writer = FolderWriter(tmp_path/'streets')
    for f in FRAMES: writer.write(f)
    run = subprocess.run([sys.executable, '-c', 'from cpcdr.cli import main; main()', 'mix', str(tmp_path/'streets'), str(tmp_path/'out'), '--items', '1', '--params', str(tmp_path/'mine.toml')], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert MixParams.load(tmp_path/'out'/'mix.toml') == kept


# ---- partners

@pytest.mark.parametrize('finished', [False, True])
def test_partners_are_where_the_matrices_say(finished):
    scene = MixScene(Streets(FRAMES), SMALL.replace(edge=0.), 3)
    item = scene.finished if finished else scene.mixed
    states = set()
    for m, v, u in make_rng(0, 'spots').integers(0, [len(item.ids), HIGH, WIDE], (60, 3)):
        found = all_partners(scene, m, u, v, finished)
        r, own = divmod(int(item.ids[m, v, u]), item.views)
        home = np.linalg.inv(item.matrix[r, own]) @ [u, v, 1]
        assert found['region'] == r and found['own'] == own and found['views'][own]['state'] == 'seen'
        for w in found['views']:
            np.testing.assert_allclose(w['uv'], (item.matrix[r, w['view']] @ home)[:2], atol=1e-9)
            states.add(w['state'])
            x, y = np.floor(np.array(w['uv']) + .5).astype(int)
            here = 0 <= x < WIDE and 0 <= y < HIGH
            if w['state'] == 'seen': assert item.ids[w['image'], y, x] == r*item.views + w['view']
            if w['state'] == 'hidden': assert w['nearer'] <= w['depth']*1.001 and item.ids[w['image'], y, x]//item.views == w['behind']
            if not finished: assert here or w['state'] in ('outside', 'not made')
    assert {'seen', 'hidden', 'outside'} <= states
    assert finished or 'painted over' not in states # hard edges keep depth in order


def test_a_click_on_a_partner_finds_the_same_place(t):
    q = partners(t)
    home = q.found['home']
    pins = [m['pin'] for m in q.parts['sheet'].marks if 'pin' in m and m['kind'] == '']
    assert len(pins) + 1 == sum(w['state'] == 'seen' for w in q.found['views']) > 2
    region = q.found['region']
    for u, v in pins:
        q.parts['sheet'].click = dict(u=int(u), v=int(v), count=np.random.randint(1e9))
        assert q.error is None and q.found['region'] == region
        scale = q.found['views'][q.found['own']]['scale']
        assert np.abs(np.subtract(q.found['home'], home)).max() < 1.5/scale + 1


def test_hidden_partners_are_shown_as_such(t):
    q = partners(t)
    for _ in range(12):
        q.another()
        if any(w['state'] == 'hidden' for w in q.found['views']): break
    marks = q.parts['sheet'].marks
    hidden = [w for w in q.found['views'] if w['state'] in ('hidden', 'painted over', 'beside')]
    assert hidden and len(hidden) == sum('pin' in m and m['kind'] == 'gone' for m in marks) == sum('path' in m and m['kind'] == 'gone' for m in marks)
    assert 'hidden' in q.parts['card'].value


def test_near_to_far(t):
    q = partners(t)
    q.parts['order'].value = 'near to far'
    depths = [w['depth'] for w in q.tiles]
    assert depths == sorted(depths) and len(depths) == SMALL.views
    q.parts['close'].value = 'close up'
    assert all(w['window'][2] <= WIDE for w in q.tiles) and min(w['window'][2] for w in q.tiles) < WIDE and q.error is None


def test_partners_follow_the_mix(t):
    q = partners(t)
    sheet = q.parts['sheet'].data
    slide(t, True, first=1, second=1)
    assert q.parts['sheet'].data != sheet and len(q.tiles) == 4 and q.scene is t.scene
    q.parts['stage'].value = 'finished'
    assert q.error is None and q.is_finished
    t.watchers.clear()


def test_a_mix_without_pastes_still_shows_its_homes():
    q = partners(FRAMES, SMALL.replace(first=0, second=0))
    assert len(q.tiles) == 2 and [w['state'] for w in q.found['views']] == ['seen', 'seen']


# ---- all of them

def test_static_pages_get_a_photograph(t, d):
    for w in (d, t, partners(t)):
        bundle = w._repr_mimebundle_()
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        assert data['image/png'][:4] == b'\x89PNG' and 'application/vnd.jupyter.widget-view+json' in data
    t.watchers.clear()


def test_sliders_know_all_constants(t, d):
    assert {f['name'] for f in t.parts['panel'].fields} == {f.name for f in MixParams.fields()}
    assert all(f['doc'] and f['step'] > 0 for f in t.parts['panel'].fields + d.parts['panel'].fields)
    groups = [f['group'] for f in t.parts['panel'].fields]
    assert all(groups.index(g) + groups.count(g) - 1 == len(groups) - 1 - groups[::-1].index(g) for g in groups) # each heading once


@pytest.mark.parametrize('name, off', [('horizon', dict(move=False)), ('hue', dict(paste_color=0., whole_color=0.)), ('blur_to', dict(paste_blur=0., whole_blur=0.))])
def test_what_is_greyed_out_does_nothing(name, off):
    from cpcdr.mixwidgets import idle_in_mix
    p = SMALL.replace(**off)
    assert name in idle_in_mix(p) and name not in idle_in_mix(SMALL)
    a, b = (MixScene(Streets(FRAMES), x, 2) for x in (p, p.replace(**{name: .3})))
    assert (a.finished.rgb == b.finished.rgb).all()
