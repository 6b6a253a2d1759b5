"cpcdr depth and cpcdr frames, as somebody types them: four ways to one folder, films, and every wrong input in one line."
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from cpcdr import cli, cli_depth
from cpcdr.core import make_rng
from cpcdr.data import FolderWriter, open_folder, read_depth, read_disp
from cpcdr.frame import Camera, Frame
from cpcdr.video import write_video

COMMAND = [sys.executable, '-c', 'import sys; from cpcdr.cli import main\nif __name__ == "__main__": sys.exit(main())']


def here(*words): return cli.run_command(list(map(str, words)))


def report(out): return json.loads((out / 'report.json').read_text())


def contents(folder): return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file() and p.name != 'report.json'}


def line(capsys):
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def pair(k=0, width=192, height=96, baseline=.5):
    "A wall at 12 m and a box at 4 m, seen by two eyes."
    camera, rng = Camera.guess(width, height), make_rng(1, k)
    wall = np.kron(rng.integers(0, 255, (height // 2, width, 3)), np.ones((2, 2, 1))).astype(np.uint8)
    far, near = (round(camera.fx * .5 / z) for z in (12, 4))
    left, right = wall[:, far:far + width].copy(), wall[:, 2*far:2*far + width].copy()
    box = rng.integers(0, 255, (40, 60, 3)).astype(np.uint8)
    left[30:70, 100:160], right[30:70, 100 - near:160 - near] = box, box
    depth = np.full((height, width), camera.fx*.5/far, np.float32)
    depth[30:70, 100:160] = camera.fx*.5/near
    return Frame(f'{k:06}', left, right=right, camera=camera, baseline=baseline, depth=depth)


def write(folder, frames, fields=None, layout='plain'):
    writer = FolderWriter(folder, layout)
    for f in frames: writer.write(f, fields)
    return folder


PAIR = {'image', 'right', 'camera', 'baseline'}


# stereo ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('layout', ['plain', 'cityscapes', 'kitti'])
def test_stereo_from_every_layout(tmp_path, layout):
    data = write(tmp_path / 'data', [pair(k).replace(name=f'town/{k:06}') for k in range(2)], PAIR, layout)
    assert here('depth', data, tmp_path / 'out') == 0
    folder = open_folder(data, overlay=tmp_path / 'out')
    for name, k in zip(folder.names, range(2)):
        found, true = folder[name].depth, pair(k).depth
        assert abs(found - true)[found > 0].mean() < .4 and (found > 0).mean() > .7
    assert report(tmp_path / 'out')['metric'] and .7 < report(tmp_path / 'out')['valid'] < 1


def test_holes_stay_holes_unless_filled(tmp_path):
    data = write(tmp_path / 'data', [pair()], PAIR)
    assert here('depth', data, tmp_path / 'holes') == 0 and here('depth', data, tmp_path / 'filled', '--fill') == 0
    holes, full = (read_disp(tmp_path / d / 'disp/000000.png') for d in ('holes', 'filled'))
    assert (holes == 0).any() and (full > 0).all() and np.array_equal(full[holes > 0], holes[holes > 0])
    depth = read_depth(tmp_path / 'filled/depth/000000.png')
    assert (depth > 0).all() and np.allclose(1/full, depth, rtol=.01)
    assert report(tmp_path / 'filled')['valid'] == report(tmp_path / 'holes')['valid'] # what was found, not what was filled
    assert here('depth', data, tmp_path / 'holes', '--fill') == 1 # other settings, other folder


@pytest.mark.parametrize('spoil, says', [
    (lambda f: f.replace(image=f.right, right=f.image), 'left and right are swapped'), (lambda f: f.replace(right=f.image), 'of the pixels match'),
    (lambda f: f.replace(right=np.ascontiguousarray(pair(9).right)), 'of the pixels match')])
def test_wrong_pairs_are_one_line(tmp_path, capsys, spoil, says):
    data = write(tmp_path / 'data', [spoil(pair())], PAIR)
    assert here('depth', data, tmp_path / 'out') == 1
    said = line(capsys)
    assert says in said and str(data / 'rgb/000000.png') in said
    assert report(tmp_path / 'out')['failed'] == 1 and not list((tmp_path / 'out').rglob('*.png'))


@pytest.mark.parametrize('camera, says', [
    (dict(baseline=0), 'baseline'), (dict(baseline=-.5), 'swapped'), (dict(baseline=None), 'baseline'), (dict(fx=0), 'fx'), (dict(fx=float('nan')), 'fx'), (dict(width=64), 'is for 64x96'),
    (dict(cx='left'), 'camera.json'), (None, 'camera')])
def test_wrong_cameras_are_one_line(tmp_path, capsys, camera, says):
    data = write(tmp_path / 'data', [pair()], PAIR)
    given = json.loads((data / 'camera.json').read_text())
    if camera is None: (data / 'camera.json').unlink()
    else: (data / 'camera.json').write_text(json.dumps(given | camera))
    assert here('depth', data, tmp_path / 'out') == 1
    assert says in line(capsys)


def test_mixed_sizes(tmp_path, capsys):
    data = write(tmp_path / 'data', [pair(0), pair(1, 256, 128)], PAIR)
    assert here('depth', data, tmp_path / 'out') == 0 # each pair by itself is fine, and keeps its camera
    folder = open_folder(data, overlay=tmp_path / 'out')
    assert [f.disp.shape for f in folder] == [(96, 192), (128, 256)] and folder[1].camera.width == 256
    capsys.readouterr()
    Image.fromarray(pair().right[:80]).save(data / 'right/000000.png')
    assert here('depth', data, tmp_path / 'two') == 1
    assert 'both must have one size' in line(capsys) and report(tmp_path / 'two')['done'] == 1


# files -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('layout', ['plain', 'cityscapes', 'kitti'])
def test_files_of_every_layout(tmp_path, layout):
    true = pair().replace(name='town/000003')
    data = write(tmp_path / 'data', [true], PAIR | {'depth'}, layout)
    assert here('depth', data, tmp_path / 'out', '--source', 'files') == 0
    found = open_folder(data, overlay=tmp_path / 'out')[0]
    assert abs(found.depth - true.depth).max() < .05 and abs(found.disp - 1/true.depth).max() < .002 and found.camera == open_folder(data)[0].camera


def scanned(tmp_path):
    "A KITTI raw drive of three frames, the second with a scan."
    drive = tmp_path / 'kitti/2011_09_26/2011_09_26_drive_0001_sync'
    for k in range(3):
        (drive / 'image_02/data').mkdir(parents=True, exist_ok=True)
        Image.fromarray(pair(k).image).save(drive / f'image_02/data/{k:010}.png')
    camera, z = Camera.guess(192, 96), np.float32(8)
    u, v = np.meshgrid(np.arange(0, 192, 3), np.arange(30, 90, 6))
    points = camera.unproject(np.full((96, 192), z))[v.ravel(), u.ravel()]
    (drive / 'velodyne_points/data').mkdir(parents=True)
    np.column_stack([points[:, 2], -points[:, 0], -points[:, 1], points[:, 0]*0]).astype(np.float32).tofile(drive / 'velodyne_points/data/0000000001.bin')
    row = lambda name, m: f'{name}: ' + ' '.join(f'{x:.9e}' for x in np.asarray(m).ravel()) + '\n'
    (tmp_path / 'kitti/calib_object.txt').write_text(row('P2', np.column_stack([camera.K, [0, 0, 0]])) + row('R0_rect', np.eye(3)) + row('Tr_velo_to_cam', [[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]]))
    return tmp_path / 'kitti'


def test_files_of_a_laser(tmp_path):
    data, name = scanned(tmp_path), '2011_09_26/2011_09_26_drive_0001_sync/0000000001'
    assert here('depth', data, tmp_path / 'out', '--source', 'files') == 0
    r = report(tmp_path / 'out')
    assert (r['done'], r['without']) == (1, 2) # the frames without a scan are not failures
    depth = read_depth(tmp_path / f'out/depth/{name}.png')
    assert abs(depth[depth > 0] - 8).max() < .01 and .02 < (depth > 0).mean() < .1
    assert here('depth', data, tmp_path / 'full', '--source', 'files', '--fill') == 0
    assert np.allclose(read_disp(tmp_path / f'full/disp/{name}.png'), 1/8, atol=1e-4)


@pytest.mark.parametrize('form', ['stack.npy', 'stack.npz', 'each', 'each_disp'])
def test_arrays_as_networks_leave_them(tmp_path, form):
    frames = [pair(k).replace(name=f'd/{k:06}') for k in range(3)]
    data = write(tmp_path / 'data', frames, {'image', 'camera'})
    small = [np.array(Image.fromarray(f.depth + 3*k).resize((96, 48), Image.Resampling.NEAREST)) for k, f in enumerate(frames)]
    sigmoid = np.stack([(1/d - .01) / 9.99 for d in small]).astype(np.float32)
    arrays = tmp_path / form
    if form == 'stack.npy': np.save(arrays, sigmoid[:, None])
    elif form == 'stack.npz': np.savez_compressed(arrays, data=sigmoid)
    else:
        arrays.mkdir()
        for f, s in zip(frames, sigmoid): np.save(arrays / (f.name.split('/')[1] + ('_disp.npy' if form == 'each_disp' else '.npy')), s[None, None])
    words = ('depth', data, tmp_path / 'out', '--source', 'files', '--arrays', arrays, '--reading', 'sigmoid')
    assert here(*words, '--scale', 1) == 0
    for k, f in enumerate(frames):
        found = read_depth(tmp_path / f'out/depth/{f.name}.png')
        assert found.shape == f.depth.shape and np.median(abs(found - (f.depth + 3*k))) < .1
    assert here(*words[:2], tmp_path / 'relative', *words[3:]) == 0
    assert not (tmp_path / 'relative/depth').exists() and not report(tmp_path / 'relative')['metric']


def test_arrays_that_do_not_fit(tmp_path, capsys):
    data = write(tmp_path / 'data', [pair(k) for k in range(2)], {'image'})
    np.save(tmp_path / 'a.npy', np.random.default_rng(0).uniform(.1, .9, (2, 24, 48)))
    np.save(tmp_path / 'three.npy', np.ones((3, 24, 48)))
    (tmp_path / 'other').mkdir()
    np.save(tmp_path / 'other/x.npy', np.ones((4, 4)))
    for arrays, says in (('a.npy', '--reading inverse|sigmoid'), ('three.npy', 'holds 3 maps but'), ('other', 'none of its arrays is named like an image'), ('none.npy', 'is not there')):
        assert here('depth', data, tmp_path / 'out', '--source', 'files', '--arrays', tmp_path / arrays) == 1
        assert says in line(capsys) and not (tmp_path / 'out').exists()


def test_no_depth_says_what_was_looked_for(tmp_path, capsys):
    data = write(tmp_path / 'data', [pair()], {'image'})
    assert here('depth', data, tmp_path / 'out', '--source', 'files') == 1
    assert 'velodyne_points' in (said := line(capsys)) and '--arrays' in said


# words -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('words, says', [
    (['--model', 'x'], 'belongs to --source pretrained, not to stereo'), (['--source', 'files', '--most', '64'], 'belongs to --source stereo'), (['--source', 'pretrained'], 'needs --model'),
    (['--source', 'monodepth', '--checkpoint', 'r', '--resume'], 'leave out'), (['--source', 'monodepth', '--checkpoint', 'r', '--init', 'r'], 'leave out'), (['--source', 'files', '--scale', '5.4'], 'are for --arrays'), (['--source', 'stereo', '--fit'], 'pretrained and monodepth')])
def test_words_of_another_source(tmp_path, capsys, words, says):
    assert here('depth', tmp_path, tmp_path / 'out', *words) == 2
    assert says in line(capsys)


def test_help_names_units_and_defaults(capsys):
    assert here('depth', '--help') == 0
    text = ' '.join(capsys.readouterr().out.split())
    for w in ('stereo|files|pretrained|monodepth', '[px]', '[1/s]', 'an eighth of the width', 'default: 10', 'degrees', 'metres to a unit', '(cpu)', 'OUT/monodepth'): assert w in text, w


# films -----------------------------------------------------------------------------------------------------------

@pytest.fixture
def film(tmp_path):
    canvas = np.kron(make_rng(3).integers(0, 255, (24, 90, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    canvas = np.array(Image.fromarray(canvas).resize((360, 96), Image.Resampling.BICUBIC))
    moving = [np.ascontiguousarray(canvas[:, 4*k:4*k + 192]) for k in range(20)]
    write_video(tmp_path / 'drive.mp4', moving[:10] + [moving[9]]*8 + moving[10:], 10, quality=4)
    return tmp_path / 'drive.mp4'


def test_frames_of_a_film(film, tmp_path, capsys):
    assert here('frames', film, tmp_path / 'all', '--json') == 0
    assert json.loads(capsys.readouterr().out)['taken'] == 28
    folder = open_folder(tmp_path / 'all')
    assert folder.names == [f'drive/{k:06}' for k in range(28)] and folder[0].camera is None
    assert here('frames', film, tmp_path / 'some', '--skip-still', '--fov', 60, '--fps', 5) == 0
    some = open_folder(tmp_path / 'some')
    assert len(some) == 11 and abs(some[0].camera.fx - 96/np.tan(np.radians(30))) < 1
    assert list(json.loads((tmp_path / 'some/times.json').read_text()).values())[:3] == [0, .2, .4]
    assert np.array_equal(some[1].image, folder[2].image)
    assert here('frames', film, tmp_path / 'part', '--start', .5, '--end', 1) == 0
    assert len(open_folder(tmp_path / 'part')) == 6


def test_frames_go_on_where_they_stopped(film, tmp_path):
    assert here('frames', film, tmp_path / 'a') == 0 == here('frames', film, tmp_path / 'b')
    for k in (3, 4, 20): (tmp_path / f'b/rgb/drive/{k:06}.png').unlink()
    assert here('frames', film, tmp_path / 'b') == 0
    assert report(tmp_path / 'b')['done'] == 3 and report(tmp_path / 'b')['kept'] == 25
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')
    assert here('frames', film, tmp_path / 'b', '--fps', 5) == 1


def test_frames_of_a_folder(film, tmp_path):
    assert here('frames', film, tmp_path / 'all') == 0
    assert here('frames', tmp_path / 'all', tmp_path / 'thin', '--rate', 10, '--fps', 5, '--skip-still') == 0
    assert open_folder(tmp_path / 'thin').names == [f'drive/{k:06}' for k in (0, 2, 4, 6, 8, 10, 18, 20, 22, 24, 26)]
    data = write(tmp_path / 'pairs', [pair(k) for k in range(4)])
    assert here('frames', data, tmp_path / 'half', '--fps', 5) == 0
    half = open_folder(tmp_path / 'half')
    assert half.names == ['000000', '000002'] and np.array_equal(half[1].right, pair(2).right) and half[1].baseline == .5 and abs(half[1].depth - pair(2).depth).max() < .01


@pytest.mark.parametrize('spoil', [lambda b: b'', lambda b: b[:len(b)//3], lambda b: b'no film at all'])
@pytest.mark.parametrize('command', ['frames', 'depth'])
def test_broken_films_are_one_line(film, tmp_path, capsys, spoil, command):
    bad = tmp_path / 'bad.mp4'
    bad.write_bytes(spoil(film.read_bytes()))
    assert here(command, bad, tmp_path / 'out') == 1
    assert str(bad) in line(capsys) and not (tmp_path / 'out').exists()


def test_films_elsewhere_say_frames(film, tmp_path, capsys):
    assert here('regions', film, tmp_path / 'out') == 1
    assert 'cpcdr frames FILM OUT' in line(capsys)
    assert here('frames', film, film) == 1 and here('frames', film, tmp_path / 'o', '--start', 2, '--end', 1) == 2


# pretrained ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='session')
def network(tmp_path_factory):
    pytest.importorskip('transformers')
    from test_pretrained import save
    return save(tmp_path_factory.mktemp('net') / 'tiny', given=dict(size=dict(height=56, width=56)))


def test_pretrained_relative_metric_and_fitted(network, tmp_path, capsys, monkeypatch):
    data = write(tmp_path / 'data', [pair(k) for k in range(2)], {'image', 'camera', 'depth'})
    assert here('depth', data / 'rgb', tmp_path / 'out', '--source', 'pretrained', '--model', network) == 0 # bare photos
    assert (tmp_path / 'out/disp/000001.png').exists() and not (tmp_path / 'out/depth').exists() and not (tmp_path / 'out/camera.json').exists()
    assert here('depth', data, tmp_path / 'metric', '--source', 'pretrained', '--model', network, '--output', 'metric') in (0, 1)
    from cpcdr import pretrained
    monkeypatch.setattr(pretrained, 'raw_answer', lambda net, image, fx=None: 7/pair(0).depth + 1 + (image.sum(-1) > 380)*.01) # as if it were trained
    capsys.readouterr()
    assert here('depth', data, tmp_path / 'fitted', '--source', 'pretrained', '--model', network, '--fit') == 0
    found = read_depth(tmp_path / 'fitted/depth/000000.png')
    assert abs(found/pair(0).depth - 1).mean() < .02
    assert here('depth', data / 'rgb', tmp_path / 'x', '--source', 'pretrained', '--model', network, '--fit') == 1
    assert 'has no depth' in line(capsys)


def test_pretrained_offline(tmp_path, capsys, monkeypatch):
    from cpcdr import pretrained
    monkeypatch.setattr(pretrained, '_is_online', lambda: False)
    data = write(tmp_path / 'data', [pair()], {'image'})
    assert here('depth', data, tmp_path / 'out', '--source', 'pretrained', '--model', 'somebody/depth-net') == 1
    assert 'model.safetensors' in (said := line(capsys)) and 'cannot be reached' in said and not (tmp_path / 'out').exists()


# monodepth -------------------------------------------------------------------------------------------------------

@pytest.fixture
def toml(tmp_path):
    from cpcdr.selfdepth import SelfDepthParams
    SelfDepthParams.preset('tiny').replace(steps=6, batch=1, height=32, save_every=1).save(tmp_path / 'own.toml')
    return tmp_path / 'own.toml'


def test_monodepth_from_a_film(film, tmp_path, toml, capsys):
    words = ('depth', film, tmp_path / 'out', '--source', 'monodepth', '--preset', toml, '--fov', 60, '--skip-still')
    assert here(*words) == 0
    out = tmp_path / 'out'
    folder = open_folder(out)
    assert len(folder) == 20 and folder[3].disp is not None and folder[3].disp.shape == (96, 192) and not (out / 'depth').exists()
    assert (out / 'monodepth/model.safetensors').exists() and report(out)['earlier']['frames']['taken'] == 20
    first = contents(out / 'disp')
    capsys.readouterr()
    assert here(*words) == 0 # all is there already
    assert report(out)['kept'] == 20 and 'trained already' in capsys.readouterr().err
    assert here('depth', out, tmp_path / 'again', '--source', 'monodepth', '--checkpoint', out / 'monodepth') == 0
    assert contents(tmp_path / 'again/disp') == first
    assert here('depth', out, tmp_path / 'none', '--source', 'monodepth', '--checkpoint', tmp_path / 'nothing') == 1


def test_monodepth_begins_with_weights(film, tmp_path, toml, capsys):
    from cpcdr.data import sample_path
    from cpcdr.selfdepth import SelfDepthParams, load_depth
    frames, run = tmp_path / 'frames', tmp_path / 'run'
    assert here('frames', film, frames, '--fov', 60) == 0
    still = tmp_path / 'still.toml' # nothing is learned: what comes out is what went in
    SelfDepthParams.load(toml).replace(steps=1, lr=0.).save(still)
    words = 'depth', frames, tmp_path / 'out', '--source', 'monodepth', '--run', run
    given = sample_path('networks/depth')
    assert here(*words, '--preset', still, '--init', given) == 0
    a, b = (load_depth(x).nets.state_dict() for x in (given, run))
    assert all(torch.equal(a[k], b[k]) for k in a if 'running' not in k and 'tracked' not in k)
    capsys.readouterr()
    assert here(*words, '--preset', still, '--init', given) == 0 and 'trained already' in capsys.readouterr().err
    assert here(*words, '--preset', still) == 1 and 'holds a training already' in capsys.readouterr().err # another beginning is another training
    large = tmp_path / 'large.toml'
    SelfDepthParams.load(toml).replace(net='large').save(large)
    assert here('depth', frames, tmp_path / 'new', '--source', 'monodepth', '--preset', large, '--init', given) == 1
    assert 'holds a small network' in capsys.readouterr().err


def test_monodepth_killed_goes_on_to_the_same(film, tmp_path, toml):
    frames, run = tmp_path / 'frames', tmp_path / 'run'
    assert here('frames', film, frames, '--skip-still', '--fov', 60) == 0
    assert here('depth', frames, tmp_path / 'straight', '--source', 'monodepth', '--preset', toml) == 0
    words = ['depth', frames, tmp_path / 'out', '--source', 'monodepth', '--preset', toml, '--run', run]
    alike = {**os.environ, 'OMP_NUM_THREADS': str(torch.get_num_threads())} # another number of threads adds up in another order
    process = subprocess.Popen([*COMMAND, *map(str, words)], env=alike, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    until = time.time() + 120
    while process.poll() is None and time.time() < until and not list(run.glob('checkpoints/0*/state.json')): time.sleep(.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if list(run.glob('checkpoints/0*/state.json')) and not (run / 'report.json').exists(): assert here(*words) == 1 # not by chance
    assert here(*words, '--resume') == 0
    assert contents(tmp_path / 'out/disp') == contents(tmp_path / 'straight/disp')


def test_monodepth_of_two_frames_is_one_line(tmp_path, toml, capsys):
    data = write(tmp_path / 'data', [pair(k) for k in range(2)], {'image', 'camera'})
    assert here('depth', data, tmp_path / 'out', '--source', 'monodepth', '--preset', toml) == 1
    said = [x for x in capsys.readouterr().err.splitlines() if x.startswith('cpcdr: ')]
    assert len(said) == 1 and 'no three frames in a row' in said[0] and not (tmp_path / 'out').exists()


def test_monodepth_that_fails_says_so_everywhere(film, tmp_path, toml, capsys):
    from cpcdr.selfdepth import SelfDepthParams
    SelfDepthParams.load(toml).replace(steps=60, height=64, save_every=2, lr=.1, warmup=20).save(toml)
    words = 'depth', film, tmp_path / 'out', '--source', 'monodepth', '--preset', toml, '--run', tmp_path / 'run'
    assert here(*words) == 1
    said = capsys.readouterr().err
    assert 'training failed after step' in said and 'another --run' in said and 'Triggered internally' not in said
    training = report(tmp_path / 'out')['training']
    assert training['status'] == 'diverged' and training['report'] == str(tmp_path / 'run/report.json') and 'guessed' in training['notes'][0]
    assert open_folder(tmp_path / 'out')[0].disp is not None


def test_a_guessed_camera_is_written(film, tmp_path, capsys):
    from cpcdr.data import sample_path
    from cpcdr.frame import Camera
    frames = tmp_path / 'frames'
    assert here('frames', film, frames) == 0
    words = '--source', 'monodepth', '--checkpoint', sample_path('networks/depth')
    capsys.readouterr()
    for data in (frames, film):
        out = tmp_path / f'out of {data.stem}'
        assert here('depth', data, out, *words) == 0
        said = capsys.readouterr().err
        assert said.count('guessed 75 degrees') == 1
        assert json.loads((out / 'camera.json').read_text())['fx'] == pytest.approx(Camera.guess(192, 96).fx)
