"Films: what comes out is what went in, at the rate that was asked; what stands still goes; broken films are one line."
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.ndimage import gaussian_filter, shift

from cpcdr.core import DataError
from cpcdr.video import choose_frames, chosen_images, is_video, motion, pick_frames, read_video, small_grey, tile_motion, video_info, write_video


def scene(width=320, height=160, seed=0):
    "Blobs on a wide canvas."
    rng = np.random.default_rng(seed)
    x = gaussian_filter(rng.normal(size=(height, width)), 2) + gaussian_filter(rng.normal(size=(height, width)), 6)*3
    x = (x - x.min()) / np.ptp(x) * 220
    return np.dstack([x, .8*x + 20, 255 - x]).astype(np.uint8)


def panned(n=12, step=4, width=160, height=90):
    "Views of a canvas, each `step` pixels further."
    canvas = scene(width + n*abs(step) + 8, height)
    return [np.ascontiguousarray(canvas[:, k*step:k*step + width]) for k in range(n)]


@pytest.mark.parametrize('suffix', ['.mp4', '.avi', '.mov'])
@pytest.mark.parametrize('fps', [10, 29.97])
def test_there_and_back(tmp_path, suffix, fps):
    images = panned()
    write_video(tmp_path / f'a{suffix}', images, fps)
    times, found = zip(*read_video(tmp_path / f'a{suffix}'))
    assert is_video(tmp_path / f'a{suffix}') and len(found) == len(images)
    assert np.allclose(np.diff(times), 1/fps, atol=2e-3) and times[0] == 0
    for a, b in zip(images, found): assert a.shape == b.shape and abs(a.astype(float) - b).mean() < 12
    # each picture is itself and not its neighbour
    near = [int(np.argmin([abs(a.astype(float) - b).mean() for a in images])) for b in found]
    assert near == list(range(len(images)))
    info = video_info(tmp_path / f'a{suffix}')
    assert (info.width, info.height) == (160, 90) and np.isclose(info.fps, fps, rtol=1e-3) and np.isclose(info.seconds, 12/fps, rtol=.1)


def test_odd_sizes_and_mixed_sizes(tmp_path):
    write_video(tmp_path / 'odd.mp4', [scene(101, 61)]*2)
    assert next(read_video(tmp_path / 'odd.mp4'))[1].shape == (60, 100, 3)
    with pytest.raises(ValueError, match='images: expected 100x60 as the first, got 80x60'): write_video(tmp_path / 'b.mp4', [scene(100, 60), scene(80, 60)])
    with pytest.raises(ValueError, match='at least one'): write_video(tmp_path / 'b.mp4', [])
    assert [p.name for p in tmp_path.iterdir()] == ['odd.mp4']


def test_sideways_films_come_upright(tmp_path, monkeypatch):
    import av
    write_video(tmp_path / 'a.mp4', [scene(160, 90)])
    straight = next(read_video(tmp_path / 'a.mp4'))[1]
    from cpcdr import video
    class Turned:
        rotation = -90 # the phone says: turn clockwise
    assert np.array_equal(video._upright(Turned, straight), straight.transpose(1, 0, 2)[:, ::-1])


@pytest.mark.parametrize('spoil, says', [(lambda b: b'', 'is empty (0 bytes)'), (lambda b: b[:len(b)//2], 'is no film, or broken'), (lambda b: b'words', 'is no film, or broken'),
                                         (lambda b: bytes(4000), 'is no film, or broken')])
def test_broken_films_are_one_line(tmp_path, spoil, says):
    write_video(tmp_path / 'whole.mp4', panned())
    bad = tmp_path / 'bad.mp4'
    bad.write_bytes(spoil((tmp_path / 'whole.mp4').read_bytes()))
    for reader in (video_info, choose_frames, lambda p: list(read_video(p))):
        with pytest.raises(DataError) as e: reader(bad)
        assert says in str(e.value) and str(bad) in str(e.value) and '\n' not in str(e.value) and e.value.mend


def test_a_torn_film_never_ends_in_a_traceback(tmp_path):
    "An avi needs no index: it may open and break off, but only in words."
    write_video(tmp_path / 'a.avi', panned(30))
    whole = (tmp_path / 'a.avi').read_bytes()
    rng = np.random.default_rng(0)
    for k in range(12):
        torn = bytearray(whole[:len(whole)*(k + 1)//13])
        for at in rng.integers(200, len(torn), 200) if len(torn) > 400 else []: torn[at] = rng.integers(256)
        (tmp_path / 'b.avi').write_bytes(torn)
        try: assert len(choose_frames(tmp_path / 'b.avi')) >= 1
        except DataError as e: assert str(tmp_path / 'b.avi') in str(e) and '\n' not in str(e)


def test_damage_is_told_and_left_out(tmp_path):
    images = panned(20)
    for kind in ('avi', 'mp4'): write_video(tmp_path / f'a.{kind}', images)
    whole = (tmp_path / 'a.avi').read_bytes()
    (tmp_path / 'cut.avi').write_bytes(whole[:len(whole)*3//4])
    with pytest.warns(UserWarning, match=r'cut.avi: 1 broken picture left out, at [\d.]+ s'): assert 1 < len(choose_frames(tmp_path / 'cut.avi')) < 19
    film = bytearray((tmp_path / 'a.mp4').read_bytes())
    inside = film.index(b'mdat') + 100, film.index(b'moov') - 100
    for at in np.random.default_rng(0).integers(*inside, 60): film[at] = 255
    (tmp_path / 'torn.mp4').write_bytes(film)
    with pytest.warns(UserWarning, match=r'torn.mp4: \d+ broken pictures? left out, at '): picks = choose_frames(tmp_path / 'torn.mp4')
    assert 5 < len(picks) < 20
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert [len(choose_frames(tmp_path / f'a.{kind}')) for kind in ('avi', 'mp4')] == [20, 20]
        assert [p.index for p, _ in chosen_images(tmp_path / 'torn.mp4', picks)] == [p.index for p in picks] # told once, when they are chosen


def test_other_wrong_inputs(tmp_path, monkeypatch):
    with pytest.raises(DataError, match='is not there'): video_info(tmp_path / 'none.mp4')
    with pytest.raises(DataError, match='is a folder'): video_info(tmp_path)
    import av
    with av.open(str(tmp_path / 'sound.mp4'), 'w') as f:
        s = f.add_stream('aac', rate=8000)
        s.layout = 'mono'
        a = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format='fltp', layout='mono')
        a.sample_rate = 8000
        f.mux(s.encode(a)); f.mux(s.encode())
    with pytest.raises(DataError, match='holds no pictures'): video_info(tmp_path / 'sound.mp4')
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(DataError, match='pip install av'): video_info(tmp_path / 'sound.mp4')


@given(st.floats(-1.2, 1.2), st.floats(-1.2, 1.2), st.integers(0, 3))
@settings(max_examples=25)
def test_motion_is_the_shift(dx, dy, seed):
    a = small_grey(scene(640, 320, seed))
    m, true = motion(a, shift(a, (dy, dx), mode='nearest')), np.hypot(dx, dy)*1000/160
    assert abs(m - true) < .3*true + .3


def test_motion_asks_the_camera_not_the_traffic():
    rng, view = np.random.default_rng(0), scene(640, 320)
    noisy = [small_grey(np.clip(view + rng.normal(0, 8, view.shape), 0, 255).astype(np.uint8)) for _ in range(2)]
    assert motion(*noisy) < .3
    passing = view.copy()
    passing[160:260, 100:300] = scene(200, 100, 9) # a third of the width changes altogether
    assert motion(small_grey(view), small_grey(passing)) < .3
    assert motion(small_grey(view), small_grey((view*.6).astype(np.uint8))) < .3
    assert motion(small_grey(view), small_grey(scene(640, 320, 1))) > 3 # a cut
    assert np.isnan(tile_motion(noisy[0]*0, noisy[0]*0)).all() and motion(noisy[0]*0, noisy[0]*0) == 0


def test_clock_and_still(tmp_path):
    moving = panned(20, 3)
    film = moving[:8] + [moving[7]]*9 + moving[8:]
    write_video(tmp_path / 'a.mp4', film, 20, quality=4)
    index = lambda **k: [p.index for p in choose_frames(tmp_path / 'a.mp4', **k)]
    assert index() == list(range(29))
    assert index(fps=10) == list(range(0, 29, 2)) and index(fps=1000) == list(range(29))
    assert index(still=2) == [*range(8), *range(17, 29)]
    assert index(fps=10, start=.5, end=1) == [10, 12, 14, 16, 18, 20]
    picks = choose_frames(tmp_path / 'a.mp4', still=2)
    assert all(p.motion >= 2 for p in picks[1:]) and picks[0].motion == 0
    every = [x for _, x in read_video(tmp_path / 'a.mp4')]
    for p, image in chosen_images(tmp_path / 'a.mp4', picks[::3]): assert np.array_equal(image, every[p.index])
    with pytest.raises(DataError, match='no picture between'): choose_frames(tmp_path / 'a.mp4', start=50)
    for bad in (dict(fps=0), dict(fps=-1), dict(still=-1), dict(still=float('nan'))):
        with pytest.raises(ValueError, match=next(iter(bad))): choose_frames(tmp_path / 'a.mp4', **bad)


def test_a_creeping_camera_is_not_lost():
    a = small_grey(scene(640, 320))
    crept = pick_frames(((k, k/10, shift(a, (0, .02*k), mode='nearest')) for k in range(100)), still=1)
    assert 8 <= len(crept) <= 17 and crept[-1].index > 80


def test_real_slow_drive(real):
    from cpcdr.data import open_folder
    folder = open_folder(real / 'kitti_raw')
    greys = [small_grey(folder.frame(n, ()).image) for n in folder.names]
    assert min(motion(a, b) for a, b in zip(greys, greys[1:])) > 1.5
