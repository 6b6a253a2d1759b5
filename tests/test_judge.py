"Judging depth: every number against a slow version by hand, scaling, caps and crops, rivals, what is refused."
import json
import math

import numpy as np
import pytest
from hypothesis import Phase, given, settings, strategies as st

from streets import street
from cpcdr.cli import run_command
from cpcdr.core import DataError
from cpcdr.data import FolderWriter, open_folder
from cpcdr.judge import (crop_mask, colour_error, curve_means, depth_errors, error_picture, errors_by_distance, fit_plane, judge, judge_disp,
                         judge_folder, median_ratio, plane_depth, region_curve, rivals, row_depth, scored)
from cpcdr.regions import RegionParams


def a_truth(height=24, width=48, seed=0, known=1.):
    rng = np.random.default_rng(seed)
    z = np.exp(rng.uniform(np.log(2), np.log(120), (height, width)))
    return np.where(rng.random((height, width)) < known, z, 0)


def by_hand(pred, truth, cap, least, scale):
    "The textbook, pixel by pixel."
    pairs = [(p, t) for p, t in zip(pred.ravel().tolist(), truth.ravel().tolist()) if least < t <= cap and p > 0]
    asked = sum(least < t <= cap for t in truth.ravel().tolist())
    if scale == 'median':
        middle = lambda x: sorted(x)[len(x)//2] if len(x) % 2 else sum(sorted(x)[len(x)//2 - 1:len(x)//2 + 1])/2
        scale = middle([t for _, t in pairs]) / middle([p for p, _ in pairs])
    pairs = [(min(max(p*scale, least), cap), t) for p, t in pairs]
    mean = lambda f: sum(f(p, t) for p, t in pairs)/len(pairs)
    return dict(abs_rel=mean(lambda p, t: abs(p - t)/t), sq_rel=mean(lambda p, t: (p - t)**2/t), rmse=math.sqrt(mean(lambda p, t: (p - t)**2)),
                rmse_log=math.sqrt(mean(lambda p, t: (math.log(p) - math.log(t))**2)),
                **{f'delta{n}': mean(lambda p, t: max(p/t, t/p) < 1.25**n) for n in (1, 2, 3)}, cover=len(pairs)/asked, scale=scale, pixels=len(pairs))


@pytest.mark.parametrize('scale', [1., 3.7, 'median'])
@pytest.mark.parametrize('cap, least', [(80., .001), (50., 4.), (200., 0.)])
def test_numbers_against_the_slow_version(scale, cap, least):
    truth, rng = a_truth(known=.7), np.random.default_rng(1)
    pred = truth * np.exp(rng.normal(0, .4, truth.shape)) * (rng.random(truth.shape) < .8)
    assert depth_errors(pred, truth, cap, least, scale=scale) == pytest.approx(by_hand(pred, truth, cap, least, scale))


def test_float32_and_whole_numbers_are_fine():
    truth = a_truth()
    assert depth_errors((truth*1.1).astype(np.float32), truth.astype(np.float32))['abs_rel'] == pytest.approx(depth_errors(truth*1.1, truth)['abs_rel'], rel=1e-5)
    assert depth_errors(np.full((2, 2), 4), np.full((2, 2), 5))['abs_rel'] == pytest.approx(.2)


@given(st.floats(.5, 2).filter(lambda s: min(abs(s - x) for x in (1.25, .8, 1.25**2, .8**2)) > 1e-6))
def test_errors_of_a_scaled_depth(scale):
    truth = np.linspace(1, 39, 50).reshape(5, 10)
    e = depth_errors(truth * scale, truth)
    assert np.isclose(e['abs_rel'], abs(scale - 1)) and np.isclose(e['rmse'], np.sqrt((truth**2).mean()) * abs(scale - 1)) and np.isclose(e['rmse_log'], abs(np.log(scale)))
    assert e['delta1'] == (max(scale, 1/scale) < 1.25) and e['delta2'] == (max(scale, 1/scale) < 1.25**2) and e['cover'] == 1
    assert np.isclose(depth_errors(truth * scale, truth, scale='median')['abs_rel'], 0, atol=1e-12)


def test_errors_ask_only_where_both_know():
    truth = np.array([[10., 0, 90, 20]])
    e = depth_errors(np.array([[11., 5, 5, 0]]), truth)
    assert e == pytest.approx(dict(abs_rel=.1, sq_rel=.1, rmse=1, rmse_log=math.log(1.1), delta1=1, delta2=1, delta3=1, cover=.5, scale=1, pixels=1))


def test_caps_and_crops():
    truth = np.array([[5., 79, 80, 81, 200]])
    assert scored(truth).tolist() == [[True, True, True, False, False]] and scored(truth, cap=100, least=5).tolist() == [[False, True, True, True, False]]
    assert depth_errors(np.full((1, 5), 1000.), truth)['rmse'] == pytest.approx(np.sqrt((75**2 + 1)/3))   # clipped to the cap
    assert crop_mask(375, 1242).all()
    for crop, box in dict(garg=(153, 371, 44, 1197), eigen=(124, 342, 44, 1197)).items():
        v, u = np.nonzero(crop_mask(375, 1242, crop))
        assert (v.min(), v.max() + 1, u.min(), u.max() + 1) == box
    inside = np.where(crop_mask(40, 60, 'garg'), 10., 50.)
    assert depth_errors(inside*0 + 10, inside, crop='garg')['abs_rel'] == 0 < depth_errors(inside*0 + 10, inside)['abs_rel']


@pytest.mark.parametrize('call, words', [
    (lambda t: depth_errors(t*0, t), 'none answered'), (lambda t: depth_errors(t, t*0), 'none of them there'), (lambda t: depth_errors(t, t*1000), 'none of them there'),
    (lambda t: depth_errors(t, t[:, :2]), 'expected shape'), (lambda t: depth_errors(t[0], t), 'pred: expected shape'), (lambda t: depth_errors(t[:0], t[:0]), 'none of them there'),
    (lambda t: depth_errors(t*np.nan, t), 'pred: .*NaN'), (lambda t: depth_errors(t, np.where(t > 9, np.inf, t)), 'truth: .*infinity'), (lambda t: depth_errors(-t, t), 'pred: expected metres from 0'),
    (lambda t: depth_errors(t, t, scale='mean'), "'median' or a factor"), (lambda t: depth_errors(t, t, scale=0), 'factor above 0'), (lambda t: depth_errors(t, t, crop='kitti'), 'garg, eigen'),
    (lambda t: depth_errors(t, t, cap=1, least=2), 'least < cap'), (lambda t: judge([], []), 'at least one'), (lambda t: judge([t], [t, t]), 'as many'),
    (lambda t: judge([t], [t], scaling='median'), 'image, set, none'), (lambda t: judge([t, t*0], [t, t], names=['a', 'b/7']), 'b/7: pred'),
    (lambda t: errors_by_distance(t, t, (5,)), 'growing'), (lambda t: rivals([]), 'one size'), (lambda t: rivals([t, t[1:]]), 'one size'),
    (lambda t: fit_plane([t*0]), 'got none'), (lambda t: row_depth([t*0]), 'got none'), (lambda t: colour_error(t, -1), 'most'), (lambda t: error_picture(t*0, t), 'none answered')])
def test_what_is_refused_in_one_line(call, words):
    with pytest.raises(ValueError, match=words) as e: call(a_truth())
    assert '\n' not in str(e.value)


def test_median_scaling_per_image_and_per_set():
    truths, factors = [a_truth(seed=s) for s in range(5)], np.array([2., 2, 2, 4, 1])
    preds = [t/f for t, f in zip(truths, factors)]
    assert median_ratio(preds[3], truths[3]) == pytest.approx(4)
    each, whole, raw = (judge(preds, truths, s) for s in ('image', 'set', 'none'))
    assert each.mean['abs_rel'] == pytest.approx(0) and np.allclose(each.ratios, factors) and each.breathing == pytest.approx(np.std(factors)/2)
    assert [r['abs_rel'] < 1e-9 for r in whole.rows] == [True]*3 + [False]*2 and all(r['scale'] == 2 for r in whole.rows)
    assert raw.mean['abs_rel'] > whole.mean['abs_rel'] and whole.to_dict()['scale'] == 2 and len(whole.to_dict()['per_frame']) == 5
    assert 'one median scale for the set' in str(whole) and '5 frames' in str(whole)


def test_means_are_over_images():
    few, many = np.full((1, 1), 10.), np.full((10, 10), 10.)
    j = judge([few*1.2, many*1.1], [few, many], 'none')
    assert j.mean['abs_rel'] == pytest.approx(.15) and j.spread['abs_rel'] == pytest.approx(.05)


def test_bands():
    truth = a_truth()
    bands = errors_by_distance(np.where(truth < 20, truth*1.1, truth*.5), truth, (0, 20, 80))
    assert [b['abs_rel'] for b in bands] == pytest.approx([.1, .5]) and [b['bias'] for b in bands] == pytest.approx([.1, -.5]) and sum(b['share'] for b in bands) == pytest.approx(1)
    assert errors_by_distance(truth*0 + 5, truth*0 + 5, (0, 4, 8))[0]['bias'] is None


@settings(max_examples=6, derandomize=True, phases=[Phase.generate])
@given(st.floats(-.2, .1), st.floats(-.09, .09), st.floats(.02, .2))
def test_the_plane_is_found_again(horizon, tilt, wall):
    road = plane_depth(64, 128, horizon, tilt, wall)
    assert depth_errors(plane_depth(64, 128, *fit_plane([road])), road, scale='median')['abs_rel'] < .05


def test_rivals_are_no_worse_than_they_need_be():
    "Any other constant, or any other depth of a row, has a larger abs rel."
    truth = a_truth(known=.3)
    maps = rivals([truth])
    assert set(maps) == {'constant', 'rows', 'ground'} and all(m.shape == truth.shape and (m > 0).all() for m in maps.values())
    for c in np.linspace(1, 80, 60): assert depth_errors(maps['constant'], truth)['abs_rel'] <= depth_errors(truth*0 + c, truth)['abs_rel'] + 1e-9
    for f in (.8, .95, 1.05, 1.2): assert depth_errors(maps['rows'], truth)['abs_rel'] <= depth_errors(maps['rows']*f, truth)['abs_rel']


def test_the_picture_says_too_near_in_blue_and_too_far_in_red():
    truth = np.full((40, 90), 10.)
    pred = truth.copy(); pred[:, :30] *= .5; pred[:, 60:] *= 2
    rgb = error_picture(pred, truth)[:40].astype(int)
    assert (rgb[:, :30, 2] > rgb[:, :30, 0] + 90).all() and (rgb[:, 30:60] == 255).all() and (rgb[:, 60:, 0] > rgb[:, 60:, 2] + 90).all()
    assert (error_picture(np.where(pred > 15, 0, pred), truth)[:40, 60:] == 110).all()


def test_sparse_points_are_thick_and_near_ones_on_top():
    truth = np.zeros((60, 120)); truth[30, 60], truth[30, 62] = 40, 5
    pred = np.where(truth == 5, 10., truth)
    rgb = error_picture(pred, truth, np.zeros((60, 120, 3), np.uint8), thick=7)[:60].astype(int)
    red = (rgb[..., 0] > rgb[..., 1] + 90).sum()
    assert red == 49 and (rgb == 255).all(-1).sum() == 2*7


# what the regions feel

def test_a_disparity_map_as_depth_and_as_regions():
    frame, params = street(), RegionParams(n_superpixels=300, min_size=2)
    row = judge_disp(frame, frame.disp*.25, params)   # another unit: median scaling forgives it
    assert row['abs_rel'] == pytest.approx(0, abs=1e-6) and row['scale'] == pytest.approx(.25) and {'purity', 'ari', 'boundary_f', 'count', 'delta1', 'cover'} <= row.keys()
    assert judge_disp(frame, frame.disp*.25, params, scaling=1.)['abs_rel'] == pytest.approx(3, rel=.5)
    bare = judge_disp(street(labelled=False), frame.disp, params)
    assert 'abs_rel' in bare and 'purity' not in bare
    assert 'abs_rel' not in judge_disp(frame.replace(disp=None), frame.disp, params)
    with pytest.raises(ValueError, match='none answered'): judge_disp(frame, frame.disp*0, params)


def test_more_noise_more_error_and_worse_regions():
    frames, params = [street('a'), street('b')], RegionParams(n_superpixels=400, min_size=2)
    def spoil(disp, seed, strength): return np.clip(disp*np.exp(strength*np.random.default_rng(seed).normal(size=disp.shape)), 1/65535, 1)
    rows = region_curve(frames, spoil, (0, .1, .3, 1), params, seeds=(0, 1))
    assert len(rows) == 2*(1 + 3*2) and {r['frame'] for r in rows} == {'a', 'b'}
    strengths, error, spread = curve_means(rows, 'abs_rel')
    assert strengths == [0, .1, .3, 1] and max(error[0], spread[0]) < 1e-6 and (np.diff(error) > 0).all()
    ari = curve_means(rows, 'ari')[1]
    assert ari[0] > ari[1] > ari[-1]


# folders

def a_folder(path, frames, fields):
    writer = FolderWriter(path)
    for f in frames: writer.write(f, fields)
    return path


def test_a_folder_against_a_folder(tmp_path):
    frames = [street(f'drive/{i}') for i in range(3)]
    frames = [f.replace(disp=np.clip(f.disp, .01, 1)) for f in frames]
    truth = a_folder(tmp_path/'truth', frames, {'image', 'disp'})
    half = a_folder(tmp_path/'half', [f.replace(disp=f.disp/1.6) for f in frames[:2]], {'disp'})
    raw, scaled = judge_folder(half, truth), judge_folder(half, truth, 'image')
    assert [r['name'] for r in raw.rows] == ['drive/0', 'drive/1'] and raw.skipped == {'drive/2': 'no prediction'} and '1 skipped' in str(raw)
    assert raw.mean['delta1'] < .3 and scaled.mean['abs_rel'] < .01 and np.allclose(raw.ratios, .625, rtol=.02)
    assert 'not in metres' not in str(raw) and 'not in metres' in str(judge_folder(a_folder(tmp_path/'tenth', [f.replace(disp=f.disp/10) for f in frames], {'disp'}), truth))
    assert judge_folder(half, truth, 'set').rows[0]['scale'] == pytest.approx(.625, rel=.02)


def test_metric_depth_wins_and_sizes_may_differ(tmp_path):
    frame = street().replace(labels=None)
    frame = frame.replace(depth=np.clip(1/frame.disp, 0, 70).astype(np.float32), disp=None)
    truth = a_folder(tmp_path/'truth', [frame], {'image', 'depth'})
    both = a_folder(tmp_path/'both', [frame.replace(disp=np.full(frame.depth.shape, .5, np.float32))], {'depth', 'disp'})
    assert judge_folder(both, truth).mean['abs_rel'] < .001
    small = a_folder(tmp_path/'small', [frame.resize(96, 48)], {'depth'})
    assert judge_folder(small, truth).mean['abs_rel'] < .1
    holes = np.where(np.arange(96) < 48, frame.resize(96, 48).depth, 0).astype(np.float32)
    j = judge_folder(a_folder(tmp_path/'holes', [frame.resize(96, 48).replace(depth=holes)], {'depth'}), truth)
    assert j.mean['abs_rel'] < .1 and .4 < j.mean['cover'] < .6


def test_folders_that_cannot_be_judged(tmp_path):
    frame = street()
    bare, full = a_folder(tmp_path/'bare', [frame], {'image'}), a_folder(tmp_path/'full', [frame], {'image', 'disp'})
    other, labels = a_folder(tmp_path/'other', [street('x')], {'disp'}), a_folder(tmp_path/'labels', [frame], {'labels'})
    pred = a_folder(tmp_path/'pred', [frame], {'disp'})
    for p, t, words in ((pred, bare, 'no depth to judge by'), (other, full, 'none of its 1 names'), (labels, full, 'neither depth/ nor disp/'), (tmp_path/'no', full, 'is not there'), (pred, tmp_path/'no', 'is not there')):
        with pytest.raises(DataError, match=words) as e: judge_folder(p, t)
        assert '\n' not in str(e.value)
    (pred/'disp'/'toy.png').write_bytes(b'no picture')
    with pytest.raises(DataError, match='toy.png'): judge_folder(pred, full)


def test_kitti_annotated_depth(real, tmp_path):
    pytest.importorskip('cv2')
    from cpcdr.depth import stereo_depth
    folder = open_folder(real/'kitti_odometry')
    found = [stereo_depth(folder.frame(n, {'right', 'camera'})) for n in ('07/000168', '07/000169')]
    j = judge_folder(a_folder(tmp_path, found, {'depth', 'disp'}), real/'kitti_odometry')
    assert len(j.rows) == 2 and list(j.skipped) == ['07/000170'] and j.mean['abs_rel'] <= .03 and j.mean['delta1'] >= .99 and j.mean['cover'] > .9


def test_the_kept_network_against_laser_scans(real, root):
    "On a real street that it never saw it must beat a fitted road and itself untrained."
    from cpcdr.selfdepth import DepthModel, load_depth, make_nets, predict
    folder = open_folder(real/'kitti_raw')
    scanned = [folder.frame(n, {'depth', 'camera'}) for n in folder.names if n in folder.files['depth']]
    model = load_depth(root/'data_samples/networks/depth')
    untrained = DepthModel(make_nets(model.params), model.params, model.size, model.scale)
    error = lambda pred, f: depth_errors(pred, f.depth, scale='median')['abs_rel']
    assert len(scanned) == 2
    for f in scanned:
        kept = error(1/predict(model, f), f)
        assert kept < .9*error(rivals([f.depth])['ground'], f) and kept < .5*error(1/predict(untrained, f), f)


# the command

def here(*words): return run_command([str(w) for w in words])


def test_judge_depth_by_command(tmp_path, capsys):
    frames = [street(f'drive/{i}') for i in range(2)]
    truth, pred = a_folder(tmp_path/'truth', frames, {'image', 'disp'}), a_folder(tmp_path/'pred', [f.replace(disp=f.disp/2) for f in frames], {'disp'})
    assert here('judge-depth', pred, truth, '--json', '--result', tmp_path/'a.json') == 0
    said = capsys.readouterr().out
    raw = json.loads(said)
    assert raw == json.loads((tmp_path/'a.json').read_text()) and raw['delta1'] < .3 and raw['scaling'] == 'none' and raw['frames'] == 2 and raw['cap'] == 80
    assert here('judge-depth', pred, truth, '--median', '--cap', 40, '--crop', 'garg', '--json') == 0
    scaled = json.loads(capsys.readouterr().out)
    assert scaled['abs_rel'] < .02 and (scaled['scaling'], scaled['cap'], scaled['crop']) == ('image', 40, 'garg')
    assert here('judge-depth', pred, truth, '--one-scale') == 0 and 'one median scale for the set' in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.json', 'pred', 'truth']


@pytest.mark.parametrize('words, code, said', [(['--median', '--one-scale'], 2, 'give one of them'), (['--cap', '1', '--least', '2'], 2, '--cap'), (['--crop', 'kitti'], 2, 'kitti'), (['--cap', 'far'], 2, '--cap')])
def test_wrong_words_for_judge_depth(words, code, said, tmp_path, capsys):
    data = a_folder(tmp_path/'d', [street()], {'image', 'disp'})
    assert here('judge-depth', data, data, *words) == code
    err = capsys.readouterr().err.strip()
    assert said in err and '\n' not in err and err.startswith('cpcdr: ')


def test_trouble_with_folders_is_one_line(tmp_path, capsys):
    data = a_folder(tmp_path/'d', [street()], {'image', 'disp'})
    assert here('judge-depth', tmp_path/'no', data) == 1 and here('judge-depth', data, tmp_path/'no') == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
