"Training on video: resume is exact, also after kill -9; NaN never reaches the weights; bad video is told in words."
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import cpcdr.selfdepth as selfdepth
from cpcdr.checkpoints import checkpoint_path, list_checkpoints, load_checkpoint
from cpcdr.core import DataError, read_weights, write_weights
from cpcdr.data import samples
from cpcdr.depth import CameraMotion, corner_depths
from cpcdr.frame import Camera, Frame
from cpcdr.monodepth import EYE, ray_map, reproject, road_under, warp
from cpcdr.selfdepth import Clip, Learner, SelfDepthParams, chain, fit, load_depth, predict, split_drives, stray, take_batch
from cpcdr.town import drive

SMALL = SelfDepthParams(steps=6, batch=2, height=64, width=96, save_every=2, keep=2, warmup=2, mask_from=3)


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    "Small work on a machine that other tests share."
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def frames(): return [f.replace(disp=None, right=None, baseline=None, pose=None) for f in samples('clip')[:8]]


@pytest.fixture(scope='module')
def whole(frames, tmp_path_factory):
    run = tmp_path_factory.mktemp('whole')
    return run, fit(frames, run, SMALL, quiet=True)


def weights(run):
    "Everything that the newest checkpoint holds, by name."
    folder = checkpoint_path(run, list_checkpoints(run)[-1])
    return {f'{p.stem}.{k}': v for p in sorted(folder.glob('*.safetensors')) for k, v in read_weights(p)[0].items()}


def exported(run): return read_weights(run/'model.safetensors')[0]


def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_leaves_what_was_promised(whole):
    run, report = whole
    assert report['status'] == 'done' and report['step'] == 6 and report['triplets'] == 6
    assert {'config.toml', 'model.safetensors', 'log.jsonl', 'report.json', 'checkpoints', 'look'} <= {p.name for p in run.iterdir()}
    assert list_checkpoints(run) == [4, 6] and SelfDepthParams.load(run/'config.toml') == SMALL
    assert json.loads((run/'report.json').read_text())['loss_last'] == report['loss_last']
    assert not list(run.rglob('*.part-*'))


def test_resume_gives_the_same_bits(whole, frames, tmp_path):
    assert fit(frames, tmp_path, SMALL, quiet=True, until=3)['status'] == 'stopped'
    assert fit(frames, tmp_path, SMALL, quiet=True, resume=True)['status'] == 'done'
    assert same(weights(whole[0]), weights(tmp_path))
    lines = lambda run: [{k: v for k, v in json.loads(l).items() if k != 'seconds'} for l in (run/'log.jsonl').read_text().splitlines()]
    assert lines(tmp_path)[-1]['step'] == 6
    assert same(exported(whole[0]), exported(tmp_path))


def test_kill_minus_nine_and_on(whole, tmp_path):
    code = ('import sys, torch; torch.set_num_threads(1); from cpcdr.data import samples; from tests.test_selfdepth import SMALL; from cpcdr.selfdepth import fit\n'
            'frames = [f.replace(disp=None, right=None, baseline=None, pose=None) for f in samples("clip")[:8]]; fit(frames, sys.argv[1], SMALL, quiet=True)')
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    env = {**os.environ, 'PYTHONPATH': root}
    child = subprocess.Popen([sys.executable, '-c', code, str(tmp_path)], env=env, cwd=root)
    deadline = time.time() + 600
    while not list_checkpoints(tmp_path) and child.poll() is None and time.time() < deadline: time.sleep(.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert list_checkpoints(tmp_path) and (child.returncode == -signal.SIGKILL or list_checkpoints(tmp_path)[-1] == 6)
    fit([f.replace(disp=None, right=None, baseline=None, pose=None) for f in samples('clip')[:8]], tmp_path, SMALL, quiet=True, resume=True)
    assert same(weights(whole[0]), weights(tmp_path))


def test_another_seed_is_another_run(whole, frames, tmp_path):
    fit(frames, tmp_path, SMALL.replace(seed=1), quiet=True)
    assert not same(weights(whole[0]), weights(tmp_path))


def test_a_used_folder_is_not_overwritten(whole, frames):
    with pytest.raises(DataError, match='holds a training'): fit(frames, whole[0], SMALL, quiet=True)
    with pytest.raises(DataError, match='other settings'): fit(frames, whole[0], SMALL.replace(lr=.5), quiet=True, resume=True)
    with pytest.raises(DataError, match='another video'): fit(frames[1:], whole[0], SMALL, quiet=True, resume=True)


def test_a_half_checkpoint_is_named_and_passed_over(whole, tmp_path, frames):
    fit(frames, tmp_path, SMALL, quiet=True, until=4)
    def halve(step):
        path = checkpoint_path(tmp_path, step)/'nets.safetensors'
        path.write_bytes(path.read_bytes()[:1000])
    halve(4)
    with pytest.warns(UserWarning, match='000004.nets.safetensors.*passed over'): fit(frames, tmp_path, SMALL, quiet=True, resume=True)
    assert same(weights(whole[0]), weights(tmp_path))
    halve(4); halve(6)
    with pytest.warns(UserWarning, match='passed over'), pytest.raises(DataError, match='none of its 2 checkpoints'): fit(frames, tmp_path, SMALL, quiet=True, resume=True)


def test_a_learner_remembers_in_the_layout_of_its_weights(whole, frames):
    "The fused optimiser walks through memory: what it remembers has to lie as the weights do."
    learner = Learner(SMALL)
    assert selfdepth.take_up(learner, whole[0]) and learner.step == 6
    for w, kept in learner.opt.state.items(): assert kept['exp_avg'].stride() == kept['exp_avg_sq'].stride() == w.stride()


def test_nan_stops_and_the_last_good_stays(frames, tmp_path, monkeypatch):
    real = selfdepth.depth_loss
    calls = []
    def poisoned(*args, **kwargs):
        calls.append(1)
        loss, parts = real(*args, **kwargs)
        return (loss*float('nan') if len(calls) > 3 else loss), parts
    monkeypatch.setattr(selfdepth, 'depth_loss', poisoned)
    report = fit(frames, tmp_path, SMALL.replace(steps=30), quiet=True)
    assert report['status'] == 'diverged' and report['step'] == 2
    assert all(torch.isfinite(v).all() for v in weights(tmp_path).values()) and np.isfinite(predict(load_depth(tmp_path), frames[0])).all()


@pytest.mark.parametrize('bad', [dict(lr=.1), dict(lr=.02, mask=False)]) # nothing teaches any more; depth becomes a wall
def test_a_run_that_fails_in_finite_numbers_stops(frames, tmp_path, bad):
    params = SMALL.replace(steps=60, save_every=4, warmup=30, motion='network', **bad)
    report = fit(frames, tmp_path, params, quiet=True)
    assert report['status'] == 'diverged' and report['step'] < 60
    disp = predict(load_depth(tmp_path), frames[0])
    assert disp.max() > 1.05*disp.min()


def test_one_nan_step_changes_nothing(frames, monkeypatch):
    clip, learner = Clip(frames, SMALL), Learner(SMALL)
    batch = take_batch(clip, 0)
    learner.learn(batch)
    remembered = lambda: [v for part in (learner.nets.parameters(), learner.mean.parameters(), *(s.values() for s in learner.opt.state.values())) for v in part]
    before = [v.clone() for v in remembered()]
    got = learner.learn({**batch, 'target': batch['target']*float('nan')})
    assert got['fault'] and all(torch.equal(a, b) for a, b in zip(before, remembered()))
    assert not learner.learn(take_batch(clip, 1))['fault']


def test_prediction_fits_any_frame(whole, frames):
    model = load_depth(whole[0])
    for f in (frames[0], frames[0].resize(300, 111), frames[0].replace(camera=None), frames[0].crop(10, 10, 120, 60)):
        d = predict(model, f)
        assert d.dtype == np.float32 and d.shape == f.image.shape[:2] and (d > 0).all() and (d <= 1).all()
    assert np.array_equal(predict(model, frames[0]), predict(model, frames[0]))


def test_prediction_of_a_mirror_is_the_mirror(whole, frames):
    model = load_depth(whole[0])
    a, b = predict(model, frames[0]), predict(model, frames[0].flip())
    assert np.abs(a - b[:, ::-1]).max() < 1e-4*a.max() + 1e-5


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(DataError, match='no trained depth'): load_depth(tmp_path)
    (tmp_path/'model.safetensors').write_bytes(b'nonsense')
    with pytest.raises(DataError, match='model.safetensors'): load_depth(tmp_path)
    write_weights(tmp_path/'model.safetensors', dict(w=torch.ones(2)))
    with pytest.raises(DataError, match='no depth network of this project'): load_depth(tmp_path)


def test_batches_depend_on_seed_and_step_alone(frames):
    clip = Clip(frames, SMALL)
    a, b = take_batch(clip, 5), (take_batch(clip, 1), take_batch(clip, 5))[1]
    assert all(torch.equal(a[k], b[k]) for k in a) and not torch.equal(a['target'], take_batch(clip, 4)['target'])
    whole, zoomed = (take_batch(clip_of(frames, zoom=z), 5) for z in (1., 2.))
    assert (zoomed['K'][:, 0] > whole['K'][:, 0]).all() and zoomed['target'].shape == whole['target'].shape


def test_learning_rate_goes_up_and_down():
    learner, rates = Learner(SMALL.replace(steps=100, warmup=10, lr=1.)), []
    for learner.step in range(100): rates.append(learner.rate())
    assert 0 < rates[0] <= .1 and abs(max(rates) - 1) < .01 and rates[-1] < .02 and rates.index(max(rates)) in range(8, 12)


# ---- bad video

def clip_of(frames, **changes): return Clip(frames, SMALL.replace(**changes))


def test_frames_are_put_in_order_as_numbers():
    assert split_drives(['a/10', 'a/9', 'b/1', 'a/100']) == {'a': ['a/9', 'a/10', 'a/100'], 'b': ['b/1']}


def test_two_frames_are_too_few(frames):
    with pytest.raises(DataError, match='no three frames in a row'): clip_of(frames[:2])


def test_a_standing_camera_is_told(frames):
    still = [frames[0].replace(name=f'x/{k}') for k in range(6)]
    with pytest.raises(DataError, match='stands still.*x/1, x/2, x/3 and 2 more'): clip_of(still)
    mixed = clip_of(frames[:4] + [frames[3].replace(name='town0058/0000035')] + frames[4:])
    assert len(mixed) == 6 and 'town0058/0000035' in mixed.notes[0]


def test_a_camera_stands_in_spite_of_noise_and_traffic(frames):
    rng, waits = np.random.default_rng(0), []
    for k in range(8):
        image = frames[0].image*(1 + rng.uniform(-.04, .04)) + rng.normal(0, 4, frames[0].image.shape)
        image[60:90, 25*k:25*k + 40] = 40 # a car crosses
        waits.append(frames[0].replace(name=f'x/{k}', image=np.clip(image, 0, 255).astype(np.uint8)))
    with pytest.raises(DataError, match='stands still.*x/1, x/2, x/3 and 4 more'): clip_of(waits)


def test_every_change_of_street_is_a_cut(frames):
    streets = [f.replace(name=f'x/{k}', disp=None, labels=None, instances=None, pose=None) for k, f in enumerate(samples('scenes'))]
    for order in (streets, streets[::-1], streets[::2] + streets[1::2]):
        clip = clip_of(frames + order)
        assert [len(r) for r in clip.runs] == [8] + [1]*len(streets)


def test_a_cut_is_found(frames):
    other = [f.replace(name=f'town0058/1{k:05}', image=np.ascontiguousarray(f.image[::-1])) for k, f in enumerate(frames)]
    clip = clip_of(frames + other)
    assert [len(r) for r in clip.runs] == [8, 8] and any('cut before: town0058/100000' in n for n in clip.notes)


def test_a_jump_of_exposure_is_no_cut(frames):
    dim = [f.replace(image=(f.image*(.6 if k > 3 else 1.)).astype(np.uint8)) for k, f in enumerate(frames)]
    clip = clip_of(dim)
    assert len(clip.runs) == 1 and any(n.startswith('the exposure jumps at: town0058/000004') for n in clip.notes)
    row = next(r for r in clip.triplets if r[0] == 3)
    lit = selfdepth._lit(clip, row[2], row[0]).mean()
    assert abs(lit - clip.frames[row[0]].mean()) < .05*lit


def test_a_missing_or_odd_camera_is_told(frames):
    assert any('guessed' in n for n in clip_of([f.replace(camera=None) for f in frames]).notes)
    odd = [f.replace(camera=Camera(9., 9., 128, 64, 256, 128)) for f in frames]
    assert any('camera looks wrong' in n for n in clip_of(odd).notes)
    for shift in (dict(cx=-900.), dict(cy=4000.)):
        aside = [f.replace(camera=dataclasses.replace(f.camera, **shift)) for f in frames]
        assert any('camera looks wrong' in n and 'looking at column' in n for n in clip_of(aside).notes)
    assert not clip_of(frames).notes


def test_mixed_sizes_are_two_runs(frames):
    clip = clip_of(frames[:4] + [f.resize(128, 64) for f in frames[4:]])
    assert [len(r) for r in clip.runs] == [4, 4] and any('another size begins at: town0058/000004' in n for n in clip.notes)
    assert len({f.shape for f in clip.frames}) == 1


def test_notes_reach_the_user(frames, tmp_path):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        report = fit([f.replace(camera=None) for f in frames], tmp_path, SMALL.replace(steps=1), quiet=True)
    assert any('guessed' in str(w.message) for w in said) and 'guessed' in report['notes'][0]


def test_starting_from_other_weights(whole, frames, tmp_path):
    fit(frames, tmp_path, SMALL.replace(steps=1, lr=0.), quiet=True, init=whole[0])
    a, b = exported(whole[0]), exported(tmp_path)
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a if 'running' not in k and 'tracked' not in k)


def test_weights_that_know_depth_are_masked_from_the_first_step(whole, frames):
    batch = take_batch(Clip(frames, SMALL), 0)
    kept = [learner.learn(batch)['kept'] for learner in (Learner(SMALL), Learner(SMALL, load_depth(whole[0]).nets.state_dict()))]
    assert kept[0] > .95 and kept[1] < .9


def test_straying_is_counted_whatever_the_scale():
    d, told = torch.tensor([1., 2., 4., 4.]).view(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    assert torch.allclose(stray(d, told), torch.tensor(.75*math.log(2)))                         # logs 0, 1, 2, 2 beside their mean 5/4
    assert stray(7*d, d) < 1e-6 and torch.allclose(stray(3*d, told), stray(d, told))
    assert torch.allclose(stray(torch.cat([d, 5*told]), torch.cat([told, told])), stray(d, told)/2) # each picture has its own scale


def test_the_answer_of_known_weights_is_held(whole, frames):
    start, p = load_depth(whole[0]).nets.state_dict(), SMALL.replace(warmup=0, lr=3e-3)
    assert Learner(p).first is None and Learner(p.replace(hold=0), start).first is None
    batch, went = take_batch(Clip(frames, p), 0), {}
    for hold in (1e-9, 10.):
        learner = Learner(p.replace(hold=hold), start)
        rows = [learner.learn(batch) for _ in range(8)]
        went[hold] = rows[-1]['held']/hold
        assert all(torch.equal(v, start[f'depth.{k}']) for k, v in learner.first.state_dict().items())
    assert went[10.] < .5*went[1e-9]


def test_a_training_from_known_weights_resumes_to_the_same_bits(whole, frames, tmp_path):
    fit(frames, tmp_path/'a', SMALL, quiet=True, init=whole[0])
    fit(frames, tmp_path/'b', SMALL, quiet=True, init=whole[0], until=3)
    fit(frames, tmp_path/'b', SMALL, quiet=True, init=whole[0], resume=True)
    assert same(weights(tmp_path/'a'), weights(tmp_path/'b'))


# ---- what corners tell

@pytest.fixture(scope='module')
def told(frames): return Clip(frames, SMALL)


def test_corners_tell_motion_and_horizon(told):
    exact = [np.linalg.inv(b.pose) @ a.pose for a, b in zip(samples('clip'), list(samples('clip'))[1:8])]
    assert sorted(told.moved) == list(range(1, 8))
    steps = np.array([np.linalg.norm(told.moved[i][:3, 3])/np.linalg.norm(exact[i - 1][:3, 3]) for i in told.moved])
    assert steps.std() < .15*steps.mean() and 1 < EYE/steps.mean() < 2    # the camera's height in metres, the same for all
    for i, T in told.moved.items():
        ways = [x[:3, 3]/np.linalg.norm(x[:3, 3]) for x in (T, exact[i - 1])]
        assert ways[0] @ ways[1] > math.cos(math.radians(3)) and abs(T[:3, :3] - exact[i - 1][:3, :3]).max() < .003
    assert set(told.horizon) == set(range(8)) and len(set(told.horizon.values())) == 1
    assert np.allclose(chain(told.moved, 2, 5), told.moved[5] @ told.moved[4] @ told.moved[3], atol=1e-6)
    assert chain({1: np.eye(4)}, 0, 2) is None


def test_depth_of_corners_by_hand():
    camera, length = Camera(100., 90., 32., 24., 64, 48), .12
    X = np.array([[1., .5, 4], [-2, .3, 9], [.4, -1, 6]])                                        # metres, if a step is one
    R, step = Rotation.from_rotvec([.02, -.03, .01]).as_matrix(), np.array([.1, -.2, -1])/np.linalg.norm([.1, -.2, -1])
    Y = X @ R.T + step
    at, to = (p[:, :2]/p[:, 2:]*[camera.fx, camera.fy] + [camera.cx, camera.cy] for p in (X, Y))
    motion = CameraMotion(R, step, at, to, 1/X[:, 2], np.array([1., 1, .01]), 3)                 # the last one hardly moved
    for points, P in zip(corner_depths(motion, camera, length), (X, Y)):
        assert np.allclose(points[:, :2], P[:2, :2]/P[:2, 2:], atol=1e-6) and np.allclose(points[:, 2], 1/(length*P[:2, 2])) and (points[:, 3] == 1).all()


def test_corners_of_a_drive_have_the_depth_of_their_pixels():
    frames = [f.replace(name=f'd/{i}') for i, f in enumerate(drive(5, 3, 256, 128, fps=8.))]
    clip = Clip(frames, SMALL)
    for i, f in enumerate(frames):
        x, y, q, sure = clip.corners[i].T
        u, v = np.round(x*f.camera.fx + f.camera.cx).astype(int), np.round(y*f.camera.fy + f.camera.cy).astype(int)
        ratio = (q/f.disp[v, u])[(sure > .9) & (f.instances[v, u] == 0) & (f.disp[v, u] > 1/60)]
        assert len(ratio) > 200 and np.median(abs(ratio/np.median(ratio) - 1)) < .15 and 1/.2 < np.median(ratio) < 1.6/.2


def test_a_mirrored_triplet_has_a_mirrored_motion(frames):
    batches = {flip: take_batch(clip_of(frames, batch=6, flip=flip, zoom=1.), 0) for flip in (True, False)}
    turned = (batches[True]['target'] != batches[False]['target']).flatten(1).any(1)
    a, b, mirror = batches[True]['T'], batches[False]['T'], torch.diag(torch.tensor([-1., 1, 1, 1]))
    assert 0 < turned.sum() < 6 and torch.equal(a[:, ~turned], b[:, ~turned]) and torch.allclose(a[:, turned], mirror @ b[:, turned] @ mirror)
    rays = [x['corners'][x['corners'][:, 0] == int(turned.nonzero()[0])] for x in batches.values()]
    assert torch.allclose(rays[0][:, 1], -rays[1][:, 1]) and torch.allclose(rays[0][:, 2:], rays[1][:, 2:])


def test_an_enlarged_part_keeps_its_geometry(frames):
    "The road is fetched as well from the sources of a part as from those of the whole."
    left = {}
    for zoom in (1., 3.):
        b = take_batch(clip_of(frames, batch=6, zoom=zoom, jitter=0., height=128, width=256), 0)
        down, floor = road_under(ray_map(b['K'], 128, 256), b['horizon'])
        uv, inside = reproject(floor, b['T'][1], b['K'])
        road = (down > .1) & inside
        off = lambda x: float((x - b['target']).abs().mean(1, keepdim=True)[road].mean())
        left[zoom] = off(warp(b['sources'][1], uv))/off(b['sources'][1])
    assert left[1.] < .5 and left[3.] < .5


def test_triplets_without_a_told_motion_keep_the_networks(frames):
    clip, learner = Clip(frames, SMALL), Learner(SMALL)
    del clip.moved[4]
    batch = take_batch(clip, 0)
    silent = {**batch, 'told': torch.zeros_like(batch['told'])}
    disps, six = selfdepth.run_nets(learner.nets, silent, 3)
    T, extra = selfdepth.learn_told(learner, {**silent, 'corners': torch.zeros(0, 5)}, disps[0], six)
    assert torch.equal(T, selfdepth.source_motions(six)) and all(float(v.detach()) < 1e-8 for v in extra.values())
    whole = [take_batch(clip, k)['told'] for k in range(3)]               # an epoch: six triplets, of which two need the missing link
    assert int(torch.cat(whole).sum()) == 6 - 2


def test_a_drive_whose_corners_are_silent_is_told_and_trains(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(selfdepth, '_moved', lambda a, b: None)
    with pytest.warns(UserWarning, match='corners do not tell how the camera moved in 6 of 6 triplets'):
        report = fit(frames, tmp_path, SMALL, quiet=True)
    assert report['status'] == 'done' and 'told' not in take_batch(clip_of(frames), 0)


def test_without_opencv_one_line_says_so_before_anything_is_learned(frames, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv2', None)
    for changes in (dict(), dict(motion='network', zoom=1.5)):
        with pytest.raises(DataError, match='pip install opencv-python-headless'): fit(frames, tmp_path, SMALL.replace(**changes), quiet=True)
    assert clip_of(frames, motion='network', zoom=1.).moved == {} and not any(tmp_path.iterdir())


def test_each_frame_of_a_drive_has_its_own_camera(told, frames):
    "A drive whose camera is known from its fourth frame on: the step across is not told, those after it are as in a drive of their own."
    mixed = Clip([f.replace(camera=None) if k < 3 else f for k, f in enumerate(frames)], SMALL)
    assert sorted(mixed.moved) == [1, 2, 4, 5, 6, 7] and any('guessed' in x for x in mixed.notes)
    for i in (5, 6, 7): assert np.allclose(mixed.moved[i][:3, 3]/np.linalg.norm(mixed.moved[i][:3, 3]), told.moved[i][:3, 3]/np.linalg.norm(told.moved[i][:3, 3]), atol=1e-6)
    assert np.allclose(mixed.corners[7][:, :2], told.corners[7][:, :2]) and .7 < np.linalg.norm(mixed.moved[6][:3, 3])/np.linalg.norm(told.moved[6][:3, 3]) < 1.4


def test_a_road_is_as_far_below_as_its_horizon_says():
    K, line = torch.tensor([100., 100, 47.5, 15.5]), .04
    _, floor = road_under(ray_map(K[None], 48, 96), torch.tensor([line]))
    assert abs(selfdepth.ground_height(floor[0, 0].numpy(), K, line) - EYE) < 1e-6


def test_motion_of_the_network_alone(frames, tmp_path):
    report = fit(frames, tmp_path, SMALL.replace(motion='network'), quiet=True)
    assert report['status'] == 'done' and 'road' not in json.loads((tmp_path/'log.jsonl').read_text().splitlines()[-1])


def test_learning_helps(frames):
    "A few dozen steps bring the error down; with the clock's order of frames reversed it would not be about depth."
    p = SMALL.replace(steps=40, lr=2e-3, mask=False, jitter=0., flip=False)
    clip, learner = Clip(frames, p), Learner(p)
    losses = [learner.learn(take_batch(clip, k))['photo'] for k in range(40)]
    assert np.mean(losses[-8:]) < .9*np.mean(losses[:4])
