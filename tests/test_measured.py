"Laser scans land where they belong, from every layout; arrays are read as what they are or not at all."
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from cpcdr.core import DataError
from cpcdr.data import open_folder
from cpcdr.frame import Camera
from cpcdr.measured import (READINGS, array_to_maps, choose_reading, fill_sparse, find_laser_calib, open_arrays, pixel_from_laser, possible_readings, read_scan, read_scan_depth,
                            scan_to_depth, spread)

CAMERA = Camera(100, 110, 63.5, 31.5, 128, 64)
AXES = np.array([[0., -1, 0], [0, 0, -1], [1, 0, 0]])
TURN = np.array([[np.cos(.02), 0, np.sin(.02)], [0, 1, 0], [-np.sin(.02), 0, np.cos(.02)]])
PLACE = np.array([.05, -.1, -.3])


def row(name, m): return f'{name}: ' + ' '.join(f'{x:.12e}' for x in np.asarray(m).ravel()) + '\n'


P2 = np.column_stack([CAMERA.K, [4., 0, 0]])
MOVE = np.column_stack([AXES, PLACE])


def a_scan(n=400, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.uniform(4, 40, n)
    camera_points = np.stack([(rng.uniform(0, 127, n) - 63.5)*z/100, (rng.uniform(0, 63, n) - 31.5)*z/110, z], 1)
    laser = (np.linalg.inv(TURN) @ camera_points.T - PLACE[:, None]).T @ AXES
    return np.column_stack([laser, rng.uniform(0, 1, n)]).astype(np.float32), camera_points


def write_calib(folder, style):
    folder.mkdir(parents=True, exist_ok=True)
    if style == 'object': (folder / 'calib_object.txt').write_text(row('P2', P2) + row('R0_rect', TURN) + row('Tr_velo_to_cam', MOVE) + row('P3', P2))
    if style == 'odometry':
        T = np.eye(4)
        T[:3] = MOVE
        R = np.eye(4)
        R[:3, :3] = TURN
        (folder / 'calib.txt').write_text(row('P2', P2) + row('Tr', (R @ T)[:3]))
    if style == 'raw':
        (folder / 'calib_cam_to_cam.txt').write_text('calib_time: 09-Jan-2012 13:57:47\n' + row('R_rect_00', TURN) + row('P_rect_02', P2) + row('R_02', np.eye(3)) + row('T_02', [9, 9, 9]))
        (folder / 'calib_velo_to_cam.txt').write_text('calib_time: 15-Mar-2012 11:37:16\n' + row('R', AXES) + row('T', PLACE) + 'delta_f: 0 0\n')
    return folder / dict(object='calib_object.txt', odometry='calib.txt', raw='calib_cam_to_cam.txt')[style]


@pytest.mark.parametrize('style', ['object', 'odometry', 'raw'])
def test_a_point_lands_in_its_pixel(tmp_path, style):
    scan, points = a_scan()
    matrix = pixel_from_laser(write_calib(tmp_path, style))
    for p, c in zip(scan, points):
        q = P2 @ [*c, 1]
        depth = scan_to_depth(p[None], matrix, (128, 64))
        u, v = np.rint(q[:2] / q[2]).astype(int)
        if not (0 <= u < 128 and 0 <= v < 64): assert not depth.any()
        else: assert depth[v, u] == pytest.approx(q[2], rel=1e-4) and (depth > 0).sum() == 1


def test_behind_the_camera_and_hidden_points():
    matrix = P2 @ np.vstack([np.eye(4)])
    away = np.array([[0, 0, -5, 0], [0, 0, .1, 0], [900, 0, 5, 0]], np.float32)
    assert not scan_to_depth(away, matrix, (128, 64)).any()
    both = np.array([[0, 0, 20, 0], [0, 0, 5, 0]], np.float32) # one ray: the near one counts
    assert scan_to_depth(both, np.column_stack([CAMERA.K, [0, 0, 0]]), (128, 64)).max() == 5
    beside = np.array([[.4, 0, 20, 0], [0, 0, 5, 0]], np.float32) # two pixels beside it: seen over its edge
    plain = np.column_stack([CAMERA.K, [0, 0, 0]])
    assert (scan_to_depth(beside, plain, (128, 64)) > 0).sum() == 1 and (scan_to_depth(beside, plain, (128, 64), clear=False) > 0).sum() == 2


@pytest.mark.parametrize('place', ['drive', 'date', 'root', 'above'])
@pytest.mark.parametrize('style', ['object', 'raw'])
def test_raw_folders_with_scans(tmp_path, place, style):
    root = tmp_path / 'kitti'
    drive = root / '2011_09_26/2011_09_26_drive_0001_sync'
    for k in range(3):
        (drive / 'image_02/data').mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((64, 128, 3), 50*k, np.uint8)).save(drive / f'image_02/data/{k:010}.png')
    (drive / 'velodyne_points/data').mkdir(parents=True)
    scan, _ = a_scan()
    scan.tofile(drive / 'velodyne_points/data/0000000001.bin')
    assert 'depth' not in open_folder(root).has # no calibration, no depth, and no trouble with the images
    calib = write_calib(dict(drive=drive, date=drive.parent, root=root, above=tmp_path)[place], style)
    assert find_laser_calib(drive / 'velodyne_points/data/0000000001.bin') == calib
    for at in (root, drive.parent, drive):
        folder = open_folder(at)
        assert folder.kind == 'kitti_raw' and 'depth' in folder.has and 'disp' not in folder.has
        assert folder[0].depth is None and np.array_equal(folder[1].depth, scan_to_depth(scan, pixel_from_laser(calib), (128, 64)))
    # the depth benchmark's maps win
    (drive / 'proj_depth/groundtruth/image_02').mkdir(parents=True)
    Image.fromarray(np.full((64, 128), 2560, np.uint16)).save(drive / 'proj_depth/groundtruth/image_02/0000000002.png')
    assert open_folder(root)[1].depth is None and (open_folder(root)[2].depth == 10).all()


def test_odometry_with_scans(tmp_path):
    seq = tmp_path / 'sequences/00'
    (seq / 'image_2').mkdir(parents=True)
    (seq / 'velodyne').mkdir()
    Image.fromarray(np.zeros((64, 128, 3), np.uint8)).save(seq / 'image_2/000000.png')
    write_calib(seq, 'odometry')
    a_scan()[0].tofile(seq / 'velodyne/000000.bin')
    assert (open_folder(tmp_path)[0].depth > 0).sum() > 100


def test_kitti_stereo_and_object(tmp_path):
    t = tmp_path / 'training'
    for d in ('image_2', 'image_3', 'disp_occ_0', 'calib_cam_to_cam'): (t / d).mkdir(parents=True)
    for d in ('image_2', 'image_3'): Image.fromarray(np.zeros((64, 128, 3), np.uint8)).save(t / d / '000000_10.png')
    (t / 'calib_cam_to_cam/000000_10.txt').write_text(row('P_rect_02', P2) + row('P_rect_03', P2 - np.eye(3, 4, 3)*54))
    disparity = np.zeros((64, 128), np.uint16)
    disparity[10:40] = 5*256
    Image.fromarray(disparity).save(t / 'disp_occ_0/000000_10.png')
    f = open_folder(tmp_path)[0]
    assert open_folder(tmp_path).kind == 'kitti_stereo' and f.right is not None and f.baseline == pytest.approx(.54)
    assert f.depth.max() == pytest.approx(100*.54/5) and (f.depth > 0).sum() == 30*128
    assert open_folder(tmp_path).frame('000000_10', {'depth'}).camera is None
    o = tmp_path / 'object/training'
    for d in ('image_2', 'velodyne', 'calib'): (o / d).mkdir(parents=True)
    Image.fromarray(np.zeros((64, 128, 3), np.uint8)).save(o / 'image_2/000007.png')
    write_calib(o, 'object').rename(o / 'calib/000007.txt')
    a_scan()[0].tofile(o / 'velodyne/000007.bin')
    assert (open_folder(o.parent)[0].depth > 0).sum() > 100


def test_wrong_scans(tmp_path):
    calib = write_calib(tmp_path, 'object')
    scan, _ = a_scan()
    for data, says in ((b'', '0 bytes'), (scan.tobytes()[:-3], 'whole number of points'), (np.full(8, np.nan, np.float32).tobytes(), 'not finite'), (bytes(range(256)), '1000 m|not finite')):
        (tmp_path / 'a.bin').write_bytes(data)
        with pytest.raises(DataError, match=says) as e: read_scan(tmp_path / 'a.bin')
        assert '\n' not in str(e.value) and 'a.bin' in str(e.value)
    with pytest.raises(DataError, match='no such file'): read_scan(tmp_path / 'none.bin')
    (tmp_path / 'data').mkdir()
    (-scan).tofile(tmp_path / 'data/b.bin') # all behind
    with pytest.raises(DataError, match='none of its points'): read_scan_depth(tmp_path / 'data/b.bin', (128, 64))
    for text, says in ((row('P2', P2), 'says nothing of the laser'), (row('R0_rect', TURN) + row('Tr_velo_to_cam', MOVE), 'no P2'), (row('P2', P2) + row('R0_rect', TURN) + row('Tr_velo_to_cam', [1, 2, 3, 4]), 'wrong size')):
        calib.write_text(text)
        with pytest.raises(DataError, match=says): pixel_from_laser(calib)


def test_spread_keeps_dots_and_reach():
    x = np.zeros((40, 40), np.float32)
    x[20, 20], x[20, 30] = 5, 9
    y = spread(x, 4)
    assert y[20, 20] == 5 and y[24, 20] == 5 and y[25, 20] == 0 and y[20, 22] == 5 and y[20, 23] == 0 and y[20, 29] == 9
    assert set(np.unique(y)) == {0, 5, 9}


@given(st.sampled_from(list(READINGS)), st.integers(0, 99))
@settings(max_examples=40)
def test_the_true_reading_is_always_among_the_possible(reading, seed):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(.2, 80, (4, 5)) + 1
    x = dict(metres=depth, inverse=1/depth, sigmoid=(1/depth - .01) / 9.99)[reading]
    assert reading in possible_readings(x)
    back = array_to_maps(x, reading, scale=1)
    assert np.allclose(back['depth'], depth, rtol=1e-4) and np.allclose(back['disp'], 1/depth, rtol=1e-4)
    rel = array_to_maps(x, reading, scale=None)
    assert ('depth' in rel) == (reading == 'metres') and np.array_equal(np.argsort(rel['disp'].ravel()), np.argsort(back['disp'].ravel()))


def test_ambiguous_arrays_name_both_readings():
    x = np.random.default_rng(0).uniform(.05, .9, (3, 4)).astype(np.float32)
    with pytest.raises(DataError, match=r'inverse .* or as sigmoid .*--reading inverse\|sigmoid'): choose_reading('a.npy', x)
    with pytest.raises(DataError, match=r'metres .* or as inverse'): choose_reading('a.npy', x*9)
    assert choose_reading('a_disp.npy', x*9) == 'inverse' and choose_reading('a_depth.npy', x) == 'metres' and choose_reading('a.npy', x*80) == 'metres'
    with pytest.raises(ValueError, match='reading: expected auto'): choose_reading('a.npy', x, 'guess')
    for bad in (-x, x*np.nan, np.ones((2, 2), int), x*0):
        with pytest.raises(DataError): choose_reading('a.npy', bad)
    with pytest.raises(ValueError, match='min_depth'): array_to_maps(x, 'sigmoid', 5, 1)
    with pytest.raises(ValueError, match='scale'): array_to_maps(x, 'sigmoid', scale=-1)


def test_array_files(tmp_path):
    np.savez_compressed(tmp_path / 'a.npz', data=np.ones((3, 4, 5), np.float32))
    np.save(tmp_path / 'b.npy', np.ones((1, 1, 4, 5)))
    assert open_arrays(tmp_path / 'a.npz').shape == (3, 4, 5) and open_arrays(tmp_path / 'b.npy').shape == (1, 4, 5)
    whole = (tmp_path / 'a.npz').read_bytes()
    for name, data in (('cut.npz', whole[:-30]), ('mid.npz', whole[:60]), ('cut.npy', (tmp_path / 'b.npy').read_bytes()[:-9]), ('empty.npy', b''), ('words.npy', b'words')):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError) as e: open_arrays(tmp_path / name)
        assert name in str(e.value) and '\n' not in str(e.value)
    np.save(tmp_path / 'o.npy', np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError): open_arrays(tmp_path / 'o.npy')


def test_real_scans(real):
    folder = open_folder(real / 'kitti_raw')
    scanned = [n for n in folder.names if n in folder.files['depth']]
    assert [n[-2:] for n in scanned] == ['00', '15'] and 'depth' in folder.has and 'disp' not in folder.has
    for n in scanned:
        depth = folder[n].depth
        assert .02 < (depth > 0).mean() < .06 and 2 < depth[depth > 0].min() and depth.max() < 90


def test_the_sky_is_not_the_lorry():
    "A wide near thing at the border must not spread over what is far beside it."
    x = np.zeros((60, 200), np.float32)
    x[20:, :140:3], x[10:, 150::3] = .02, .4
    full = fill_sparse(x)
    assert (full > 0).all() and (full[:8, :130] == np.float32(.02)).all() and (full[:8, 165:] == np.float32(.4)).all() and np.array_equal(full[x > 0], x[x > 0])
    with pytest.raises(ValueError, match='got none'): fill_sparse(x*0)
