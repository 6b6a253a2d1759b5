"Training that can be stopped anywhere: what goes on must be what would have been, to the last bit."
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cpcdr.batch import claim
from cpcdr.checkpoints import cut_log, list_checkpoints, newest_checkpoint, read_log, save_checkpoint
from cpcdr.cli import MixWork, batch as run_batch
from cpcdr.core import DataError
from cpcdr.data import FolderWriter, open_folder
from cpcdr.encoder import load_encoder
from cpcdr.training import ARMS, TrainParams, batches, learning_rate, make_run, open_training, prototype_colors, prototype_use, train, train_step
from streets import street

torch.set_num_threads(1)


def frames(n=5, size=(64, 32)):
    "Streets with a region for each label, cut once more by columns."
    made = [street(f's{k}', *size) for k in range(n)]
    for k, f in enumerate(made):
        column = np.arange(size[0])*3//size[0]
        made[k] = f.replace(image=np.roll(f.image, 5*k, 1), regions=(f.labels.astype(np.int32)*3 + column).astype(np.int32))
    return made


MICRO = TrainParams.preset('tiny').replace(
    steps=8, save_every=2, log_every=2, look_every=4, looks=2, precision='float32', workers=1,
    mix=dict(images=2, width=64, height=32, min_height=4, min_side=6), encoder=dict(width=.125, prototypes=8), contrast=dict(pixels=40, regions=40))


def weights(run): return load_encoder(run).state_dict()


def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "A run that nobody disturbed."
    run = tmp_path_factory.mktemp('whole')/'run'
    train(frames(), run, MICRO, quiet=True)
    return run


def stop_at(step):
    def watch(run):
        if run.step == step: raise KeyboardInterrupt
    return watch


# parameters

def test_parameters_survive_the_file():
    for name in TrainParams.PRESETS:
        p = TrainParams.preset(name)
        assert TrainParams.from_toml(p.to_toml()) == p


def test_a_file_may_start_from_a_preset():
    p = TrainParams.from_toml('preset = "cpu"\nlr = 0.5\nencoder = "tiny"\n[mix]\nfirst = 0\n')
    cpu = TrainParams.preset('cpu')
    assert (p.lr, p.mix.first, p.mix.second, p.mix.width, p.steps) == (.5, 0, cpu.mix.second, cpu.mix.width, cpu.steps)
    assert p.encoder == TrainParams.preset('tiny').encoder


@pytest.mark.parametrize('text, says', [('ls = 3', "'ls'"), ('[mix]\nfirts = 1', 'first'), ('lr = -1', 'lr'), ('[encoder]\nwidth = "a"', 'width'),
                                        ('preset = "x"', 'preset'), ('mix = "nix"', 'nix'), ('steps = [', 'TOML')])
def test_wrong_files_are_refused(text, says):
    with pytest.raises(ValueError, match=says.replace('[', r'\[')): TrainParams.from_toml(text, 'my.toml')


def test_presets_are_those_of_the_paper():
    p = TrainParams.preset('paper')
    assert (p.optimiser, p.lr, p.momentum, p.weight_decay, p.epochs, p.warmup*p.epochs, p.lr_end) == ('sgd', .1, .9, 1e-4, 25, 2, 1e-5)
    assert (p.mix.width, p.mix.height, p.mix.views, p.encoder.prototypes, p.contrast.pixels, p.contrast.regions) == (768, 384, 8, 1000, 4000, 7200)


# schedule and measures

def test_learning_rate_by_known_values():
    rates = [learning_rate(s, 11, 2, 1., .1) for s in range(11)]
    assert rates[:3] == [.5, 1., 1.]
    assert rates[-1] == pytest.approx(.1) and rates[6] == pytest.approx(.55)
    assert all(a >= b for a, b in zip(rates[1:], rates[2:]))
    assert learning_rate(0, 1, 0, .3, 0) == .3


def test_prototype_use():
    assert prototype_use(np.array([5, 0, 0])) == pytest.approx(1)
    assert prototype_use(np.full(7, 3)) == pytest.approx(7)
    assert prototype_use(np.array([2, 2, 0])) == pytest.approx(2)


def test_prototype_colors_take_any_number():
    for k, d in ((2, 2), (3, 64), (40, 8)):
        x = np.random.default_rng(0).normal(size=(k, d)).astype(np.float32)
        c, axes = prototype_colors(x)
        assert c.shape == (k, 3) and c.dtype == np.uint8
        turned = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0] @ axes
        if d > 3: assert np.allclose(prototype_colors(x, turned)[1], turned, atol=1e-5)     # looks as it did before


# stream

def test_batches_do_not_depend_on_the_workers():
    data, p, _ = open_training(frames(7), MICRO)
    runs = [[(b['keys'], b['rgb'], b['ids']) for b in batches(data, 2, 9, 2, w)] for w in (0, 1, 3)]
    for other in runs[1:]:
        assert len(other) == 7
        for a, b in zip(runs[0], other): assert a[0] == b[0] and torch.equal(a[1], b[1]) and torch.equal(a[2], b[2])


def test_each_epoch_brings_other_partners():
    data, p, _ = open_training(frames(8), MICRO)
    keys = [b['keys'][0] for b in batches(data, 0, 12, 1, 0)]
    assert sorted(keys) == list(range(12))                    # every item of three epochs once
    pairs = [{frozenset(map(int, data.partners(k))) for k in range(4*e, 4*e + 4)} for e in range(3)]
    assert all(len(frozenset.union(*p)) == 8 for p in pairs)  # every frame, every epoch
    assert pairs[0] != pairs[1]


def test_stream_begins_anywhere():
    data, p, _ = open_training(frames(6), MICRO)
    keys = lambda first, last: [b['keys'] for b in batches(data, first, last, 2, 1)]
    assert keys(0, 9)[4:] == keys(4, 9)


def test_prepared_items_train_the_same(tmp_path, whole):
    writer = FolderWriter(tmp_path/'data')
    for f in frames(): writer.write(f)
    folder = open_folder(tmp_path/'data')
    assert run_batch(MixWork(folder, tmp_path/'mixed', MICRO.mix, 8, MICRO.seed, {}))['finished']
    train(tmp_path/'data', tmp_path/'a', MICRO, quiet=True)
    train(tmp_path/'mixed', tmp_path/'b', MICRO, quiet=True)
    assert same(weights(tmp_path/'a'), weights(tmp_path/'b'))


# the run

def test_run_folder_tells_all(whole):
    report, log = json.loads((whole/'report.json').read_text()), read_log(whole)
    assert report['finished'] and report['step'] == 8 and report['parameters'] > 1000
    assert [r['step'] for r in log] == [2, 4, 6, 8] and all(np.isfinite(r['loss']) for r in log)
    assert TrainParams.load(whole/'config.toml') == MICRO
    assert list_checkpoints(whole) == [4, 6, 8]
    assert sorted(p.name for p in (whole/'looks').iterdir()) == ['000004.png', '000008.png']


def test_looks_fall_where_they_were_asked_for(tmp_path):
    "Between lines of the log, too, and each shows the network of its own step."
    train(frames(), tmp_path/'r', MICRO.replace(steps=6, log_every=6, look_every=2), quiet=True)
    looks = [p.read_bytes() for p in sorted((tmp_path/'r'/'looks').iterdir())]
    assert len(looks) == 3 and len(set(looks)) == 3


def test_training_learns(tmp_path):
    p = MICRO.replace(steps=60, log_every=10, save_every=1000, look_every=1000)
    train(frames(8), tmp_path/'r', p, quiet=True)
    losses = [r['loss'] for r in read_log(tmp_path/'r')]
    assert losses[-1] < losses[0] - .05


def test_same_seed_same_weights(tmp_path, whole):
    train(frames(), tmp_path/'again', MICRO.replace(workers=0, save_every=3, log_every=1), quiet=True)
    assert same(weights(whole), weights(tmp_path/'again'))
    train(frames(), tmp_path/'other', MICRO.replace(seed=1), quiet=True)
    assert not same(weights(whole), weights(tmp_path/'other'))


@pytest.mark.parametrize('changes', [{}, dict(optimiser='sgd', lr=.05)])
def test_resume_is_bit_for_bit(tmp_path, changes):
    p = MICRO.replace(log_every=3, **changes)                # a checkpoint falls between two lines of the log
    train(frames(), tmp_path/'whole', p, quiet=True)
    with pytest.raises(KeyboardInterrupt): train(frames(), tmp_path/'cut', p, watch=stop_at(6), quiet=True)
    assert list_checkpoints(tmp_path/'cut')[-1] == 4          # step 5 and 6 are lost and made again
    train(frames(), tmp_path/'cut', p, resume=True, quiet=True)
    assert same(weights(tmp_path/'whole'), weights(tmp_path/'cut'))
    drop = lambda rows: [{k: v for k, v in r.items() if k != 'seconds'} for r in rows]
    assert drop(read_log(tmp_path/'whole')) == drop(read_log(tmp_path/'cut'))


KILLED = '''
import sys, torch
sys.path[:0] = [{tests!r}]
torch.set_num_threads(1)
from test_training import MICRO, frames, train
train(frames(), {run!r}, MICRO.replace(steps=8), quiet=True, watch=lambda run: print(run.step, flush=True) or run.step == 6 and sys.stdin.read())
'''


def test_kill_9(tmp_path, whole):
    code = KILLED.format(tests=str(Path(__file__).parent), run=str(tmp_path/'r'))
    p = subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in p.stdout:
        if line.strip() == '6': break
    with pytest.raises(DataError, match='another cpcdr is writing'): train(frames(), tmp_path/'r', MICRO, resume=True, quiet=True)
    p.send_signal(signal.SIGKILL)
    p.wait()
    assert list_checkpoints(tmp_path/'r')[-1] < 8
    (tmp_path/'r'/'checkpoints'/'.encoder.part-12345678.safetensors').write_bytes(b'half')
    assert train(frames(), tmp_path/'r', MICRO, resume=True, quiet=True)['finished']
    assert same(weights(whole), weights(tmp_path/'r'))
    assert not list((tmp_path/'r').rglob('.*part-*'))


def test_polite_kill_keeps_the_last_step(tmp_path):
    def watch(run):
        if run.step == 6: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt): train(frames(), tmp_path/'r', MICRO.replace(save_every=100), watch=watch, quiet=True)
    assert list_checkpoints(tmp_path/'r')[-1] in (6, 7)


# trouble

def test_nan_stops_and_keeps_the_last_good_state(tmp_path):
    def poison(run):
        if run.step == 6: run.encoder.prototypes.data.fill_(float('nan'))
    with pytest.raises(DataError, match='nan at step 7.*after step 4 are kept'): train(frames(), tmp_path/'r', MICRO.replace(save_every=4), watch=poison, quiet=True)
    assert list_checkpoints(tmp_path/'r')[-1] == 4
    assert all(torch.isfinite(v).all() for v in weights(tmp_path/'r').values())
    assert json.loads((tmp_path/'r'/'report.json').read_text())['finished'] is False


def test_nan_is_never_saved(tmp_path):
    def poison(run):
        if run.step == 4: run.encoder.prototypes.data.fill_(float('nan'))
    with pytest.raises(DataError, match='prototypes is not finite after step 4'): train(frames(), tmp_path/'r', MICRO, watch=poison, quiet=True)
    assert list_checkpoints(tmp_path/'r')[-1] == 2


def test_run_in_use_is_refused(tmp_path):
    lock = claim(tmp_path/'r', ())
    with pytest.raises(DataError, match='another cpcdr is writing'): train(frames(), tmp_path/'r', MICRO, quiet=True)
    os.close(lock)


def test_other_settings_are_refused_by_name(tmp_path):
    with pytest.raises(KeyboardInterrupt): train(frames(), tmp_path/'r', MICRO, watch=stop_at(4), quiet=True)
    before = sorted((p, p.stat().st_mtime_ns) for p in (tmp_path/'r').rglob('*') if p.is_file())
    with pytest.raises(DataError, match=r'params.lr 0.001, now 0.01'): train(frames(), tmp_path/'r', MICRO.replace(lr=.01), resume=True, quiet=True)
    with pytest.raises(DataError, match='params.mix.first 2, now 1'): train(frames(), tmp_path/'r', MICRO.replace(mix=dict(first=1)), resume=True, quiet=True)
    with pytest.raises(DataError, match='data.frames 5, now 4'): train(frames(4), tmp_path/'r', MICRO, resume=True, quiet=True)
    other = [f.replace(regions=f.regions//2) for f in frames()]
    with pytest.raises(DataError, match='data.first.*; other regions of 0 s0; other regions of 1 s1 and 3 more'): train(other, tmp_path/'r', MICRO, resume=True, quiet=True)
    with pytest.raises(DataError, match='go on with --resume'): train(frames(), tmp_path/'r', MICRO, quiet=True)
    assert before == sorted((p, p.stat().st_mtime_ns) for p in (tmp_path/'r').rglob('*') if p.is_file())
    assert train(frames(), tmp_path/'r', MICRO.replace(workers=3, keep=1), resume=True, quiet=True)['finished']


def test_finished_run_is_left_alone(whole):
    before = (whole/'model.safetensors').stat().st_mtime_ns
    assert train(frames(), whole, MICRO, resume=True, quiet=True)['step'] == 8
    assert (whole/'model.safetensors').stat().st_mtime_ns == before


def stopped(run, step=6):
    "A training that was killed after a step."
    with pytest.raises(KeyboardInterrupt): train(frames(), run, MICRO, watch=stop_at(step), quiet=True)
    return run


def alter(path, change):
    "A JSON file, changed."
    x = json.loads(path.read_text())
    change(x)
    path.write_text(json.dumps(x))


def listing(run): return sorted((p, p.stat().st_mtime_ns) for p in run.rglob('*') if p.is_file())


@pytest.mark.parametrize('lose', [lambda p: p.write_bytes(p.read_bytes()[:200]), lambda p: p.write_text('[]'), lambda p: p.unlink()])
def test_a_lost_report_is_made_anew(tmp_path, whole, lose, capsys):
    run = stopped(tmp_path/'r')
    lose(run/'report.json')
    left = (run/'report.json').read_bytes() if (run/'report.json').exists() else None
    before = listing(run)
    with pytest.raises(DataError, match='holds 4 steps of this training; go on with --resume'): train(frames(), run, MICRO, quiet=True)
    with pytest.raises(DataError, match='params.lr 0.001, now 0.01'): train(frames(), run, MICRO.replace(lr=.01), resume=True, quiet=True)
    with pytest.raises(DataError, match='data.names'): train(frames()[::-1], run, MICRO, resume=True, quiet=True)
    assert listing(run) == before
    report = train(frames(), run, MICRO, resume=True, quiet=True)
    assert same(weights(whole), weights(run)) and 'made anew from the checkpoints' in capsys.readouterr().err
    timeless = lambda r: {k: v for k, v in r.items() if k != 'seconds'}
    assert timeless(json.loads((run/'report.json').read_text())) == timeless(json.loads((whole/'report.json').read_text())) == timeless(report)
    assert left is None or (run/'report.broken.json').read_bytes() == left


def test_a_lost_report_of_a_finished_run(tmp_path, whole):
    run = shutil.copytree(whole, tmp_path/'r')
    (run/'report.json').unlink()
    assert train(frames(), run, MICRO, resume=True, quiet=True)['finished']
    assert same(weights(whole), weights(run))
    assert (run/'report.json').read_text() == (whole/'report.json').read_text()


def test_checkpoints_that_tell_no_recipe(tmp_path, whole, capsys):
    "Those of older versions: config.toml has the settings."
    run = stopped(tmp_path/'r')
    (run/'report.json').unlink()
    for p in run.glob('checkpoints/*/state.json'): alter(p, lambda s: s['about'].pop('recipe'))
    (run/'data.json').unlink()
    with pytest.raises(DataError, match='params.lr 0.001, now 0.01'): train(frames(), run, MICRO.replace(lr=.01), resume=True, quiet=True)
    train(frames(), run, MICRO, resume=True, quiet=True)
    assert same(weights(whole), weights(run)) and 'taken on trust' in capsys.readouterr().err


def test_a_report_that_is_not_of_a_training(tmp_path, whole):
    run = shutil.copytree(whole, tmp_path/'r')
    (run/'report.json').write_text('{"command": "regions"}')
    with pytest.raises(DataError, match='not from cpcdr train'): train(frames(), run, MICRO, resume=True, quiet=True)
    shutil.rmtree(run/'checkpoints')
    (run/'report.json').write_text('{"comm')
    with pytest.raises(DataError, match='is no report of cpcdr'): train(frames(), run, MICRO, resume=True, quiet=True)


@pytest.mark.parametrize('name', ['model.safetensors', 'encoder.toml'])
@pytest.mark.parametrize('damage', [lambda p: p.write_bytes(p.read_bytes()[:200]), lambda p: p.unlink()])
def test_weights_of_a_finished_run_are_written_anew(tmp_path, whole, name, damage, capsys):
    run = shutil.copytree(whole, tmp_path/'r')
    damage(run/name)
    assert train(frames(), run, MICRO, resume=True, quiet=True)['finished']
    assert same(weights(whole), weights(run)) and 'written anew from the checkpoints' in capsys.readouterr().err
    newest = run/'checkpoints'/'000008'/'encoder.safetensors'
    damage(run/name), newest.write_bytes(newest.read_bytes()[:1000])
    train(frames(), run, MICRO, resume=True, quiet=True)          # makes the last steps again
    assert same(weights(whole), weights(run)) and json.loads((run/'report.json').read_text())['finished']
    damage(run/name), shutil.rmtree(run/'checkpoints')
    with pytest.raises(DataError, match='no checkpoint is left'): train(frames(), run, MICRO, resume=True, quiet=True)


def test_weights_of_an_untrained_run_are_written_anew(tmp_path):
    p = MICRO.replace(**ARMS['random'])
    train(frames(), tmp_path/'r', p, quiet=True)
    before = weights(tmp_path/'r')
    (tmp_path/'r'/'model.safetensors').unlink()
    train(frames(), tmp_path/'r', p, resume=True, quiet=True)
    assert same(weights(tmp_path/'r'), before)


def test_killed_between_the_last_checkpoint_and_the_weights(tmp_path, whole):
    run = shutil.copytree(whole, tmp_path/'r')
    alter(run/'report.json', lambda r: r.update(finished=False))
    (run/'model.safetensors').write_bytes((stopped(tmp_path/'early')/'model.safetensors').read_bytes())
    assert not same(weights(whole), weights(run))
    train(frames(), run, MICRO, resume=True, quiet=True)
    assert same(weights(whole), weights(run))


# other data

def written(out, made):
    writer = FolderWriter(out)
    for f in made: writer.write(f)
    return out


def touched(f, field):
    "One value is another."
    x = getattr(f, field).copy()
    x[5, 5] = 1 - x[5, 5] if field == 'disp' else x[5, 5] + 1
    return f.replace(**{field: x})


@pytest.mark.parametrize('field', ['image', 'regions', 'disp'])
def test_any_other_frame_is_noticed(tmp_path, field, whole):
    data, run = written(tmp_path/'data', frames()), stopped(tmp_path/'listed')
    with pytest.raises(DataError, match=f'trained otherwise: other {field} of 3 s3; .*same settings and data'):
        train([touched(f, field) if f.name == 's3' else f for f in frames()], run, MICRO, resume=True, quiet=True)
    with pytest.raises(KeyboardInterrupt): train(data, tmp_path/'r', MICRO, watch=stop_at(6), quiet=True)
    before = listing(tmp_path/'r')
    FolderWriter(data).write(touched(frames()[3], field))
    with pytest.raises(DataError, match=f'trained otherwise: other {field} of s3;'): train(data, tmp_path/'r', MICRO, resume=True, quiet=True)
    (tmp_path/'r'/'data.json').rename(tmp_path/'data.json')
    with pytest.raises(DataError, match='trained otherwise: data.files'): train(data, tmp_path/'r', MICRO, resume=True, quiet=True)
    (tmp_path/'data.json').rename(tmp_path/'r'/'data.json')
    assert listing(tmp_path/'r') == before
    FolderWriter(data).write(frames()[3])
    train(shutil.copytree(data, tmp_path/'copy', copy_function=shutil.copyfile), tmp_path/'r', MICRO, resume=True, quiet=True) # the same bytes elsewhere
    assert same(weights(whole), weights(tmp_path/'r'))


def test_what_is_not_read_may_change(tmp_path):
    data, p = written(tmp_path/'data', frames()), MICRO.replace(**ARMS['pixels'])
    with pytest.raises(KeyboardInterrupt): train(data, tmp_path/'r', p, watch=stop_at(6), quiet=True)
    written(data, [f.replace(regions=f.regions//2, labels=f.labels*0, disp=f.disp/2) for f in frames()])
    assert train(data, tmp_path/'r', p, resume=True, quiet=True)['finished']


def test_other_prepared_items_are_noticed(tmp_path):
    run_batch(MixWork(open_folder(written(tmp_path/'data', frames())), tmp_path/'mixed', MICRO.mix, 8, MICRO.seed, {}))
    with pytest.raises(KeyboardInterrupt): train(tmp_path/'mixed', tmp_path/'r', MICRO, watch=stop_at(6), quiet=True)
    views = tmp_path/'mixed'/'views'/'000005.npz'
    views.write_bytes(views.read_bytes() + b' ')
    with pytest.raises(DataError, match='other views of 000005'): train(tmp_path/'mixed', tmp_path/'r', MICRO, resume=True, quiet=True)


@pytest.mark.parametrize('finished', [False, True])
def test_runs_that_knew_the_first_frame_only(tmp_path, whole, finished):
    "Older ones go on as they did."
    run = shutil.copytree(whole, tmp_path/'r') if finished else stopped(tmp_path/'r')
    (run/'data.json').unlink()
    alter(run/'report.json', lambda r: r['recipe']['data'].pop('files'))
    for p in run.glob('checkpoints/*/state.json'): alter(p, lambda s: s['about'].pop('recipe'))
    with pytest.raises(DataError, match='data.first'): train([touched(f, 'image') if f.name == 's0' else f for f in frames()], run, MICRO, resume=True, quiet=True)
    assert train(frames(), run, MICRO, resume=True, quiet=True)['finished']
    assert same(weights(whole), weights(run)) and (run/'data.json').exists() != finished # what goes on is marked from then on


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path/'thesis.tex').write_text('years of work')
    with pytest.raises(DataError, match='not from cpcdr train'): train(frames(), tmp_path, MICRO, quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ['thesis.tex']


def test_cut_checkpoint_is_passed_over(tmp_path, whole, capsys):
    with pytest.raises(KeyboardInterrupt): train(frames(), tmp_path/'r', MICRO, watch=stop_at(6), quiet=True)
    newest = tmp_path/'r'/'checkpoints'/'000004'
    (newest/'encoder.safetensors').write_bytes((newest/'encoder.safetensors').read_bytes()[:1000])
    train(frames(), tmp_path/'r', MICRO, resume=True, quiet=True)
    err = capsys.readouterr().err
    assert 'cut or damaged' in err and 'passed over' in err
    assert same(weights(whole), weights(tmp_path/'r'))


@pytest.mark.parametrize('damage', [lambda p: p.write_bytes(p.read_bytes()[:-2]), lambda p: p.write_bytes(p.read_bytes()[:-1] + b'\x7f'), lambda p: p.unlink(), lambda p: p.write_bytes(b'')])
@pytest.mark.parametrize('name', ['encoder.safetensors', 'state.json'])
def test_damage_is_found(tmp_path, damage, name):
    for step in (1, 2): save_checkpoint(tmp_path, step, dict(encoder=dict(w=torch.full((4,), 1.7))), dict(n=step))
    damage(tmp_path/'checkpoints'/'000002'/name)
    found = newest_checkpoint(tmp_path, lambda line: None)
    assert found[0] == 1 and torch.equal(found[1]['encoder']['w'], torch.full((4,), 1.7))


def test_no_whole_checkpoint_at_all(tmp_path):
    save_checkpoint(tmp_path, 1, dict(encoder=dict(w=torch.ones(4))), {})
    (tmp_path/'checkpoints'/'000001'/'encoder.safetensors').write_bytes(b'')
    with pytest.raises(DataError, match='none of its 1 checkpoints'): newest_checkpoint(tmp_path, lambda line: None)
    assert newest_checkpoint(tmp_path/'elsewhere') is None


def test_log_is_cut_to_the_checkpoint(tmp_path):
    (tmp_path/'log.jsonl').write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    assert [r['step'] for r in cut_log(tmp_path, 2)] == [1, 2]
    assert (tmp_path/'log.jsonl').read_text() == '{"step": 1}\n{"step": 2}\n'


# odd data

def test_frames_without_regions_are_left_out(tmp_path, capsys):
    fs = frames(6)
    fs[2], fs[4] = fs[2].replace(regions=None), fs[4].replace(disp=None)
    report = train(fs, tmp_path/'r', MICRO.replace(steps=2))
    assert report['recipe']['data']['frames'] == 4
    assert '1 of 6 frames have no regions and are left out: s2' in capsys.readouterr().err
    with pytest.raises(DataError, match='has no regions; make them'): train([f.replace(regions=None) for f in fs], tmp_path/'q', MICRO, quiet=True)
    with pytest.raises(DataError, match='has no disparity; make them'): train([f.replace(disp=None) for f in fs], tmp_path/'q', MICRO, quiet=True)


def test_too_few_frames_that_lack_nothing(tmp_path):
    "The error says which frames there would be, and what they lack."
    fs = frames(5)
    for k in (1, 2, 3): fs[k] = fs[k].replace(regions=None)
    fs[4] = fs[4].replace(disp=None)
    with pytest.raises(DataError, match='has 1 frames, but a mix takes 2; 3 of 5 frames have no regions and are left out: s1, s2, s3; 1 of 5 frames have no disparity and are left out: s4'):
        train(fs, tmp_path/'r', MICRO, quiet=True)


def test_one_frame(tmp_path):
    with pytest.raises(DataError, match='has 1 frames, but a mix takes 2.*images = 1'): train(frames(1), tmp_path/'r', MICRO, quiet=True)
    assert train(frames(1), tmp_path/'r', MICRO.replace(steps=2, mix=dict(images=1)), quiet=True)['finished']


@pytest.mark.parametrize('change', [
    lambda f: f.replace(regions=np.zeros_like(f.regions)),            # one region only
    lambda f: f.replace(labels=None),                                 # nobody knows anything
    lambda f: f if f.name != 's1' else f.resize(96, 48),              # another size among them
])
def test_odd_frames_train(tmp_path, change):
    report = train([change(f) for f in frames()], tmp_path/'r', MICRO.replace(steps=2), quiet=True)
    assert report['finished'] and np.isfinite(report['loss'])


def test_more_prototypes_than_samples(tmp_path):
    p = MICRO.replace(steps=2, encoder=dict(prototypes=500), contrast=dict(pixels=2, regions=2))
    assert np.isfinite(train(frames(), tmp_path/'r', p, quiet=True)['loss'])


@pytest.mark.parametrize('arm', ARMS)
def test_arms_run(tmp_path, arm):
    p = MICRO.replace(**ARMS[arm])
    if arm != 'random': p = p.replace(steps=3)
    fs = [f.replace(disp=None, regions=None) for f in frames()] if arm in ('random', 'pixels') else frames()
    report = train(fs, tmp_path/'r', p, quiet=True)
    assert report['finished'] and report['step'] == (0 if arm == 'random' else 3)
    assert ('region' in report) == (arm in ('regions', 'flat', 'full'))
    means = weights(tmp_path/'r')['projector.1.running_mean']
    assert means.abs().sum() > 0                              # even untrained weights know their means


def test_damaged_frame_keeps_what_was_learned(tmp_path):
    writer = FolderWriter(tmp_path/'data')
    for f in frames(6): writer.write(f)
    (tmp_path/'data'/'rgb'/'s3.png').write_bytes(b'no picture')
    p = MICRO.replace(save_every=100, looks=1, workers=0)
    with pytest.raises(DataError, match='s3.png'): train(tmp_path/'data', tmp_path/'r', p, quiet=True)
    assert len(list_checkpoints(tmp_path/'r')) >= 1
    writer.write(frames(6)[3])
    writer.write(touched(frames(6)[4], 'image'))
    with pytest.raises(DataError, match='trained otherwise: other image of s4;'): train(tmp_path/'data', tmp_path/'r', p, resume=True, quiet=True)
    writer.write(frames(6)[4])
    assert train(tmp_path/'data', tmp_path/'r', p, resume=True, quiet=True)['finished'] # what was mended may be another


def test_tensorboard_tells_what_the_log_tells(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    report = train(frames(), tmp_path/'r', MICRO.replace(tensorboard=True, log_every=1, look_every=2), quiet=True)
    board = EventAccumulator(str(tmp_path/'r'/'tensorboard')).Reload()
    rows = [json.loads(line) for line in (tmp_path/'r'/'log.jsonl').read_text().splitlines()]
    for k in ('loss', 'pixel', 'region', 'use', 'lr'):
        assert [(e.step, pytest.approx(e.value, rel=1e-5)) for e in board.Scalars(k)] == [(r['step'], r[k]) for r in rows], k
    assert board.Images('look')[-1].step == report['steps']


def test_tensorboard_is_optional(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    with pytest.raises(DataError, match='pip install .cpcdr.tensorboard'): train(frames(), tmp_path/'r', MICRO.replace(tensorboard=True), quiet=True)


def test_clipping_and_bfloat16_run(tmp_path):
    report = train(frames(), tmp_path/'r', MICRO.replace(steps=3, clip=.01, precision='bfloat16'), quiet=True)
    assert report['precision'] == 'bfloat16' and np.isfinite(report['loss'])


@pytest.mark.parametrize('clip', [0., .05])
def test_no_step_is_longer_than_the_clip(clip):
    "Plain descent: the step is the gradient times the rate."
    data, p, _ = open_training(frames(), MICRO.replace(optimiser='sgd', momentum=0., weight_decay=0., warmup=0., lr=.5, clip=clip))
    run = make_run(Path('nowhere'), data, p)
    for batch in batches(data, 0, 3, 1, 0):
        before = {k: v.detach().clone() for k, v in run.encoder.named_parameters()}
        told = train_step(run, batch)
        length = torch.cat([v.grad.flatten() for v in run.encoder.parameters()]).norm().item()
        step = torch.cat([(v.detach() - before[k]).flatten() for k, v in run.encoder.named_parameters() if k != 'prototypes']).norm().item()
        assert told['gradient'] > .1 and step > .5*told['lr']*(clip or .1)   # it had something to shorten, and moved
        assert length == pytest.approx(clip or told['gradient'], rel=1e-4)
        assert (step <= told['lr']*clip*1.0001) == bool(clip)
