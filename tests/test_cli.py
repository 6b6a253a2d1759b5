"The command, as somebody types it: exit codes, one-line errors, batches that go on, the same regions everywhere."
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cpcdr import batch, cli
from cpcdr.command import command_names
from cpcdr.core import PART, make_rng
from cpcdr.data import FolderWriter, open_folder, read_regions
from cpcdr.frame import Camera, Frame
from cpcdr.regions import RegionFinder, RegionParams

COMMAND = [sys.executable, '-c', 'import sys; from cpcdr.cli import main\nif __name__ == "__main__": sys.exit(main())']
PARAMS = RegionParams(n_superpixels=150)


def street(k, width=96, height=48, right=False):
    "A small made-up frame: a plane, a box before it, coloured blocks."
    rng, camera = make_rng(0, k), Camera.guess(width, height)
    image = np.kron(rng.integers(0, 255, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    disp = np.repeat(np.linspace(.01, .3, height, dtype=np.float32)[:, None], width, 1).copy()
    left = 10 + 3 * k % 40
    disp[15:40, left:left + 25] = .28
    image[15:40, left:left + 25] = rng.integers(0, 255, 3)
    return Frame(f'town/a{k:04}', image, disp=disp, camera=camera)


def write_streets(folder, n, fields=('image', 'disp', 'camera')):
    writer = FolderWriter(folder)
    for k in range(n): writer.write(street(k), fields)
    return folder


@pytest.fixture
def data(tmp_path):
    return write_streets(tmp_path / 'data', 6)


@pytest.fixture
def params(tmp_path):
    PARAMS.save(tmp_path / 'tuned.toml')
    return tmp_path / 'tuned.toml'


def run(*words, **kwargs):
    "The command in a process of its own."
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, **kwargs)


def here(*words):
    "The command in this process: its exit code."
    return cli.run_command(list(map(str, words)))


def contents(folder):
    "All result files with their bytes."
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file() and p.name != 'report.json'}


def report(out):
    return json.loads((out / 'report.json').read_text())


def error_line(capsys):
    "The only line on the error stream."
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


# what is typed ---------------------------------------------------------------------------------------------------

def test_start_is_quick():
    "Seconds of the processor, so that a busy machine does not count."
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    seconds = []
    for _ in range(3):
        before = used()
        assert run('--help').returncode == 0
        seconds.append(used() - before)
    assert min(seconds) < 1, seconds


def test_nothing_slow_is_imported():
    code = 'import sys, cpcdr.cli; print([m for m in ("torch", "matplotlib", "numba", "scipy", "open3d", "plotly", "ipywidgets") if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'


@pytest.mark.parametrize('command', command_names())
def test_help_tells_of_every_option(command, capsys):
    assert here(command, '--help') == 0
    text = capsys.readouterr().out
    assert '--json' in text and (command in ('doctor', 'evaluate', 'frames', 'judge-depth', 'train') or '--jobs' in text)
    if command == 'regions': assert '[default: (street; flat with --flat)]' in ' '.join(text.split()) and 'processes' in text


@pytest.mark.parametrize('words', [
    [], ['region'], ['regions'], ['regions', 'a'], ['regions', 'a', 'b', '--jobs', 'x'], ['regions', 'a', 'b', '--jobs', '-1'],
    ['regions', 'a', 'b', '--fast'], ['--fast'], ['depth', 'a', 'b', '--source', 'guess'], ['depth', 'a', 'b', '--model', 'x'],
    ['depth', 'a', 'b', '--source', 'pretrained']], ids=' '.join)
def test_wrong_words_exit_2(words, capsys):
    assert here(*words) == 2
    if words: assert error_line(capsys).startswith('cpcdr: ')


def test_version(capsys):
    assert here('--version') == 0
    assert capsys.readouterr().out.strip() == cli.__version__


def test_doctor(capsys):
    assert here('doctor', '--json') == 0
    found = json.loads(capsys.readouterr().out)
    assert found['ok'] and found['packages']['numpy'] == np.__version__
    assert here('doctor') == 0
    assert 'numpy' in capsys.readouterr().out


# regions ---------------------------------------------------------------------------------------------------------

def test_regions_equal_the_notebook_bit_for_bit(data, params, tmp_path, capsys):
    "What was tuned and saved gives the same regions here."
    assert here('regions', data, tmp_path / 'out', '--params', params, '--json') == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed['finished'] and printed['done'] == printed['frames'] == 6
    assert RegionParams.load(tmp_path / 'out/regions.toml') == PARAMS
    for frame in open_folder(data):
        cut = read_regions(tmp_path / f'out/region/{frame.name}.png')
        assert np.array_equal(cut, RegionFinder(frame)(RegionParams.load(params)).labels)


@pytest.mark.parametrize('jobs', [3, 0])
def test_regions_do_not_depend_on_jobs(data, params, tmp_path, jobs):
    assert here('regions', data, tmp_path / 'one', '--params', params, '--overlays') == 0
    done = run('regions', data, tmp_path / 'many', '--params', params, '--overlays', '--jobs', jobs)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / 'one') == contents(tmp_path / 'many')
    assert len(contents(tmp_path / 'one')) == 6 + 6 + 1


def test_output_is_input(data, params, tmp_path, capsys):
    assert here('regions', data, tmp_path / 'out', '--params', params) == 0
    folder = open_folder(data, overlay=tmp_path / 'out')
    assert folder[0].regions is not None and folder[0].disp is not None
    # laid over again: disparity from one folder, images from another
    shutil.copytree(data / 'rgb', tmp_path / 'photos')
    assert here('regions', tmp_path / 'photos', tmp_path / 'out2', '--params', params, '--with', data) == 0
    assert {k: v for k, v in contents(tmp_path / 'out').items() if 'region/' in k} == {k: v for k, v in contents(tmp_path / 'out2').items() if 'region/' in k}


def test_images_without_depth_say_how_to_get_it(data, params, tmp_path, capsys):
    assert here('regions', data / 'rgb', tmp_path / 'out', '--params', params) == 1
    assert '`cpcdr depth`' in error_line(capsys)
    assert not (tmp_path / 'out').exists()
    assert here('regions', data / 'rgb', tmp_path / 'out', '--params', params, '--flat') == 0


def test_one_broken_file_does_not_stop_the_others(data, params, tmp_path, capsys):
    bad = data / 'disp/town/a0002.png'
    whole = bad.read_bytes()
    bad.write_bytes(whole[:200])
    assert here('regions', data, tmp_path / 'out', '--params', params) == 1
    assert str(bad) in error_line(capsys)
    found = report(tmp_path / 'out')
    assert (found['done'], found['failed'], found['finished']) == (5, 1, False)
    assert found['skipped'][0]['name'] == 'town/a0002' and found['skipped'][0]['file'] == str(bad) and found['skipped'][0]['mend']
    bad.write_bytes(whole)
    assert here('regions', data, tmp_path / 'out', '--params', params) == 0
    assert (report(tmp_path / 'out')['kept'], report(tmp_path / 'out')['done']) == (5, 1)


def save8(path): Image.fromarray(np.full((48, 96), 9, np.uint8)).save(path)
def save_small(path): Image.fromarray(np.full((4, 6), 900, np.uint16)).save(path)
def save_zero(path): Image.fromarray(np.zeros((48, 96), np.uint16)).save(path)
def save_empty(path): path.write_bytes(b'')
def save_text(path): path.write_text('no picture')


@pytest.mark.parametrize('spoil', [save8, save_small, save_zero, save_empty, save_text])
@pytest.mark.parametrize('jobs', [1, 2])
def test_each_trouble_names_its_file(data, params, tmp_path, spoil, jobs):
    bad = data / 'disp/town/a0003.png'
    spoil(bad)
    done = run('regions', data, tmp_path / 'out', '--params', params, '--jobs', jobs)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1 and len(lines) == 1 and str(bad) in lines[0] and '; ' in lines[0], done.stderr
    assert report(tmp_path / 'out')['done'] == 5
    assert not list(tmp_path.rglob(f'*{PART}*'))


@pytest.mark.parametrize('text, says', [('plain = 3', "did you mean 'plane'"), ('n_superpixels = "many"', 'expected int'), ('n_superpixels = 0', 'expected a number from 1'),
                                        ('jump = [1', 'is not TOML'), ('format = 99', 'another version')])
def test_wrong_parameters(data, tmp_path, text, says, capsys):
    (tmp_path / 'bad.toml').write_text(text)
    assert here('regions', data, tmp_path / 'out', '--params', tmp_path / 'bad.toml') == 1
    line = error_line(capsys)
    assert str(tmp_path / 'bad.toml') in line and says in line


def test_other_settings_are_refused_with_the_mend(data, params, tmp_path, capsys):
    out = tmp_path / 'out'
    assert here('regions', data, out, '--params', params) == 0
    first = contents(out)
    capsys.readouterr()
    other = PARAMS.replace(plane=3.)
    other.save(tmp_path / 'other.toml')
    for _ in range(2): # being refused must not change the answer
        assert here('regions', data, out, '--params', tmp_path / 'other.toml') == 1
        line = error_line(capsys)
        assert '--overwrite' in line and f'parameters.plane {PARAMS.plane}, now 3.0' in line
    assert contents(out) == first
    assert here('regions', data, out, '--params', tmp_path / 'other.toml', '--overwrite') == 0
    assert RegionParams.load(out / 'regions.toml') == other
    assert contents(out).keys() == first.keys() and contents(out) != first


def test_changed_input_is_cut_again(data, params, tmp_path):
    out = tmp_path / 'out'
    assert here('regions', data, out, '--params', params) == 0
    shutil.copy(data / 'disp/town/a0001.png', data / 'disp/town/a0000.png')
    later = time.time() + 5
    os.utime(data / 'disp/town/a0000.png', (later, later))
    assert here('regions', data, out, '--params', params) == 0
    assert (report(out)['done'], report(out)['kept']) == (1, 5)


def test_data_folder_as_output(data, params, tmp_path, capsys):
    "A plain folder may receive its own regions; photos and other data sets stay as they are."
    assert here('regions', data, data, '--params', params) == 0
    assert open_folder(data)[0].regions is not None
    assert here('regions', data, data, '--params', params) == 0
    assert report(data)['kept'] == 6
    capsys.readouterr()
    photos = tmp_path / 'photos'
    shutil.copytree(data / 'rgb', photos)
    assert here('regions', photos, photos / 'out', '--flat', '--params', params) == 1
    assert 'lies where the data is read' in error_line(capsys) and not (photos / 'out').exists()


def test_foreign_files_are_not_touched(data, params, tmp_path, capsys):
    out = tmp_path / 'out'
    (out / 'region').mkdir(parents=True)
    (out / 'region/mine.png').write_bytes(b'mine')
    for words in ([], ['--overwrite']):
        assert here('regions', data, out, '--params', params, *words) == 1
        assert 'not from cpcdr regions' in error_line(capsys)
    assert (out / 'region/mine.png').read_bytes() == b'mine'
    tuned = tmp_path / 'tuned'
    RegionParams.preset('paper').save((tuned.mkdir(), tuned / 'regions.toml')[1])
    assert here('regions', data, tuned, '--params', params) == 1
    assert 'holds other parameters' in error_line(capsys)
    assert RegionParams.load(tuned / 'regions.toml') == RegionParams.preset('paper')


def test_no_folder_where_a_file_stands(data, params, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert here('regions', data, tmp_path / 'file/out', '--params', params) == 1
    assert 'a file stands where a folder is needed' in error_line(capsys)


# killed, stopped, full -------------------------------------------------------------------------------------------

def started(*words):
    return subprocess.Popen([*COMMAND, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_files(out, n, process, seconds=120, pattern='region/**/[!.]*.png'):
    until = time.time() + seconds
    while process.poll() is None and time.time() < until:
        if len(list(out.glob(pattern))) >= n: return
        time.sleep(.005)


@pytest.mark.parametrize('jobs', [1, 2])
def test_killed_at_any_moment_it_goes_on(tmp_path, params, jobs):
    data, out, straight = write_streets(tmp_path / 'data', 40), tmp_path / 'out', tmp_path / 'straight'
    assert run('regions', data, straight, '--params', params, '--overlays', '--jobs', 2).returncode == 0
    words = ('regions', data, out, '--params', params, '--overlays', '--jobs', jobs)
    for n in (1, 9, 20):
        process = started(*words)
        wait_for_files(out, n, process)
        process.kill() # the parent alone: its workers must notice
        process.communicate()
        assert set(contents(out)) - {p for p in contents(out) if PART in p} <= set(contents(straight))
    (out / 'region/town').mkdir(parents=True, exist_ok=True)
    (out / f'region/town/.a0039{PART}12345678.png').write_bytes(b'half')
    time.sleep(1) # workers of the killed parent are ending
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert contents(out) == contents(straight)
    assert report(out)['kept'] >= 20 and report(out)['finished']


@pytest.mark.parametrize('jobs', [1, 2])
@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_says_so_and_goes_on(tmp_path, params, jobs, how):
    data, out = write_streets(tmp_path / 'data', 60), tmp_path / 'out'
    words = ('regions', data, out, '--params', params, '--jobs', jobs)
    process = started(*words)
    wait_for_files(out, 2, process)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.strip().splitlines() == ['cpcdr: stopped; what is finished is kept, and the same command goes on'], err
    assert report(out)['finished'] is False and report(out)['done'] >= 2
    assert run(*words).returncode == 0
    assert report(out)['kept'] >= 2 and not list(out.rglob(f'*{PART}*'))


SLOW = '''
import sys, time
from pathlib import Path
from cpcdr.batch import batch

class Slow:
    command, folders, files, recipe, names = 'slow', (), (), {}, list('abcd')
    def __init__(self, out): self.out = out
    def prepare(self): pass
    def kept(self, name): return None
    def make(self, name): (self.out/name).write_text(''); time.sleep(600)
    def summary(self, notes): return {}

if __name__ == '__main__':
    try: batch(Slow(Path(sys.argv[1])), 2)
    except KeyboardInterrupt: sys.exit(130)
'''


def test_asked_twice_it_does_not_wait_for_what_has_begun(tmp_path):
    out = tmp_path / 'out'
    (tmp_path / 'slow.py').write_text(SLOW)
    process = subprocess.Popen([sys.executable, tmp_path / 'slow.py', out], start_new_session=True)
    wait_for_files(out, 2, process, pattern='[ab]')
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired): process.wait(2)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130 and report(out)['finished'] is False and not (out / 'c').exists()


@pytest.mark.parametrize('number, says', [(errno.ENOSPC, 'free some space'), (errno.EROFS, 'read-only'), (errno.EACCES, 'may not write there')])
def test_full_or_forbidden_disk(data, params, tmp_path, number, says, monkeypatch, capsys):
    "It stops with one line, keeps what is whole, leaves nothing half, and goes on when there is room."
    out, calls, save = tmp_path / 'out', [], Image.Image.save
    def save_until_full(self, path, *args, **kwargs):
        calls.append(path)
        if len(calls) < 3: return save(self, path, *args, **kwargs)
        Path(path).write_bytes(b'half')
        raise OSError(number, os.strerror(number))
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, 'save', save_until_full)
        assert here('regions', data, out, '--params', params) == 1
    line = error_line(capsys)
    assert says in line and 'a0002.png' in line
    assert report(out)['done'] == 2 and not list(out.rglob(f'*{PART}*')) and len(list(out.glob('region/*/*.png'))) == 2
    assert here('regions', data, out, '--params', params) == 0
    assert report(out)['kept'] == 2


def test_two_at_once_are_refused(data, params, tmp_path, capsys):
    lock = batch.claim(tmp_path / 'out', ['region'])
    assert here('regions', data, tmp_path / 'out', '--params', params) == 1
    assert 'another cpcdr is writing there' in error_line(capsys)
    os.close(lock)
    assert here('regions', data, tmp_path / 'out', '--params', params) == 0


def test_memory_stays_flat(tmp_path):
    "Frames leave nothing behind; tools/memory.py runs a thousand."
    import memory
    early, late = memory.growth(tmp_path, frames=160, first=60)
    assert late - early < 15, f'{early:.0f} MB after 60 frames, {late:.0f} MB after 160'


# town ----------------------------------------------------------------------------------------------------------

TOWN = ('--scenes', 1, '--frames', 3, '--size', '64x32', '--seed', 5)


@pytest.mark.parametrize('layout, kind', [('plain', 'plain'), ('cityscapes', 'cityscapes'), ('kitti', 'kitti_odometry')])
def test_town_is_the_same_with_any_jobs(tmp_path, layout, kind):
    words = (*TOWN, '--layout', layout, '--stereo')
    assert here('town', tmp_path / 'one', *words) == 0
    done = run('town', tmp_path / 'two', *words, '--jobs', 2)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / 'one') == contents(tmp_path / 'two')
    folder = open_folder(tmp_path / 'one')
    assert (folder.kind, len(folder)) == (kind, 3)
    assert {'image', 'right', 'disp', 'depth', 'labels', 'instances', 'camera'} <= folder.has
    assert folder[0].size == (64, 32)


@pytest.mark.parametrize('layout', ['plain', 'kitti'])
def test_town_goes_on_where_it_stopped(tmp_path, layout):
    words = (*TOWN, '--layout', layout)
    assert here('town', tmp_path / 'straight', *words) == 0
    process = started('town', tmp_path / 'out', *words)
    wait_for_files(tmp_path / 'out', 1, process, pattern='**/[!.]*.png')
    process.kill()
    process.communicate()
    assert here('town', tmp_path / 'out', *words) == 0
    assert contents(tmp_path / 'out') == contents(tmp_path / 'straight')


def test_a_later_drive_is_the_same_street_later(tmp_path):
    assert here('town', tmp_path / 'all', '--frames', '5', '--fps', '2', '--size', '64x32', '--seed', '3') == 0
    assert here('town', tmp_path / 'end', '--frames', '2', '--fps', '2', '--start', '1.5', '--size', '64x32', '--seed', '3') == 0
    for part in ('rgb', 'disp', 'pose'):
        whole, end = (sorted((tmp_path / d / part).rglob('*.*')) for d in ('all', 'end'))
        assert [p.read_bytes() for p in end] == [p.read_bytes() for p in whole[3:]] and len(end) == 2
    assert here('town', tmp_path / 'end', '--frames', '2', '--fps', '2', '--size', '64x32', '--seed', '3') == 1


@pytest.mark.parametrize('size', ['10', '0x5', '4x', 'axb', '1e3x5', '-8x8', '64x32x1'])
def test_town_size_is_checked(tmp_path, size, capsys):
    assert here('town', tmp_path / 'out', f'--size={size}') == 2
    assert '--size' in error_line(capsys)
    assert not (tmp_path / 'out').exists()


# depth -----------------------------------------------------------------------------------------------------------

def write_pairs(folder, n=2, width=256, height=96):
    "Textured walls at 4 and 12 m seen by two eyes half a metre apart."
    camera, writer = Camera.guess(width, height), FolderWriter(folder)
    for k in range(n):
        rng = make_rng(1, k)
        wall = np.kron(rng.integers(0, 255, (height // 2, width, 3)), np.ones((2, 2, 1))).astype(np.uint8)
        far, near = round(camera.fx * .5 / 12), round(camera.fx * .5 / 4)
        left, right = wall[:, far:far + width].copy(), wall[:, 2 * far:2 * far + width].copy()
        right = wall[:, far + far:far + far + width].copy()
        box = rng.integers(0, 255, (40, 80, 3)).astype(np.uint8)
        left[30:70, 120:200], right[30:70, 120 - near:200 - near] = box, box
        writer.write(Frame(f'{k:06}', left, right=right, camera=camera, baseline=.5))
    return folder


def test_depth_then_regions(tmp_path, params, capsys):
    data, depth, out = write_pairs(tmp_path / 'pairs'), tmp_path / 'depth', tmp_path / 'out'
    assert here('depth', data, depth, '--source', 'stereo') == 0
    assert {p.name for p in depth.iterdir()} == {'disp', 'depth', 'camera.json', 'report.json'}
    frame = open_folder(data, overlay=depth)[0]
    assert abs(np.median(frame.depth[35:65, 130:190]) - 4) < .3
    assert frame.camera == Camera.guess(256, 96)
    assert here('regions', data, out, '--with', depth, '--params', params) == 0
    assert here('depth', data, depth) == 0 and report(depth)['kept'] == 2
    one, two = contents(depth), tmp_path / 'two'
    assert run('depth', data, two, '--jobs', 2).returncode == 0
    assert contents(two) == one


def test_depth_and_regions_in_one_folder(tmp_path, params):
    data, out = write_pairs(tmp_path / 'pairs'), tmp_path / 'out'
    assert here('depth', data, out) == 0
    assert here('regions', data, out, '--with', out, '--params', params) == 0
    assert report(out)['command'] == 'regions' and report(out)['earlier']['depth']['done'] == 2
    assert here('depth', data, out) == 0 and report(out)['kept'] == 2


def test_depth_without_a_right_eye(data, tmp_path, capsys):
    assert here('depth', data, tmp_path / 'out') == 1
    assert 'no right images' in error_line(capsys)


# real frames -----------------------------------------------------------------------------------------------------

def test_real_stereo(real, tmp_path):
    "KITTI odometry: depth, then regions, as the manual says."
    data = real / 'kitti_odometry'
    assert run('depth', data, tmp_path / 'depth').returncode == 0
    done = run('regions', data, tmp_path / 'out', '--with', tmp_path / 'depth', '--json')
    assert done.returncode == 0, done.stderr
    assert 20 < json.loads(done.stdout)['regions']['median'] < 400
