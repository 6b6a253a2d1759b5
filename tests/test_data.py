"Readers and writers: what goes in comes out, in every dialect, and what is wrong is refused in one line that names the file."
import json
import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cpcdr.core import DataError
from cpcdr.data import FolderWriter, list_folder, open_folder, samples
from cpcdr.files import (FAR, read_depth, read_disp, read_image, read_instances, read_labels,
                         read_regions, region_note, write_depth, write_disp, write_image, write_instances, write_labels, write_regions)
from cpcdr.frame import Camera, Classes, Frame
from cpcdr.geometry import depth_to_disp

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=12)


def a_frame(name='town/000000', width=24, height=16, seed=0):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(2, 60, (height, width)).astype(np.float32)
    depth[:3] = 0
    labels = rng.integers(0, 19, (height, width)).astype(np.uint8)
    labels[0, 0] = 255
    things = np.where((labels >= 11) & (labels < 255), rng.integers(1, 4, (height, width)), 0).astype(np.int32)
    pose = np.eye(4)
    pose[:3, 3] = rng.normal(size=3)
    disp = np.where(depth > 0, depth_to_disp(depth), np.float32(FAR)).astype(np.float32)
    return Frame(name, rng.integers(0, 255, (height, width, 3)).astype(np.uint8), disp, depth,
                 Camera(20.125, 20.25, 11.5, 7.25, width, height), labels, things,
                 right=rng.integers(0, 255, (height, width, 3)).astype(np.uint8), baseline=.4, pose=pose)


def same_partition(a, b):
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist()))
    return len(pairs) == len({p[0] for p in pairs}) == len({p[1] for p in pairs})


def one_line(call, *words):
    "The call ends in a DataError of one line with these words, after 'file: problem; mend'."
    with pytest.raises(DataError) as e: call()
    text = str(e.value)
    assert '\n' not in text and e.value.problem and e.value.mend, text
    for word in words: assert str(word) in text, text


def save(path, array, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **kwargs)
    return path


# what goes in comes out

@given(arrays(np.float32, SHAPES, elements=st.floats(0, 1, width=32)).filter(lambda x: x.max() > 0))
@settings(deadline=None, max_examples=40)
def test_disp_comes_back_to_half_a_step(disp):
    with tempfile.TemporaryDirectory() as d:
        write_disp(f'{d}/a.png', disp)
        back = read_disp(f'{d}/a.png')
    assert back.dtype == np.float32 and ((back > 0) == (disp > 0)).all()
    assert np.abs(back - disp).max() <= 1/65535


@given(arrays(np.float32, SHAPES, elements=st.floats(0, 300, width=32)).filter(lambda x: x.max() > 0))
@settings(deadline=None, max_examples=40)
def test_depth_comes_back_to_half_a_step(depth):
    with tempfile.TemporaryDirectory() as d:
        write_depth(f'{d}/a.png', depth)
        back = read_depth(f'{d}/a.png')
    assert ((back > 0) == (depth > 0)).all() and np.abs(back - np.minimum(depth, 65535/256)).max() <= 1/256


@given(arrays(np.int32, SHAPES, elements=st.integers(0, 2**31 - 1)), st.sampled_from(['', 'c0ffee00']))
@settings(deadline=None, max_examples=40)
def test_ids_come_back_exactly(ids, note):
    with tempfile.TemporaryDirectory() as d:
        for x in (ids, ids % 65536, ids % 256):
            path = write_regions(f'{d}/a.v2.png', x, note)
            assert len(os.listdir(d)) == 1 and path.name.startswith('a.v2.')
            back = read_regions(path)
            assert back.dtype == np.int32 and (back == x).all()
            assert region_note(path) == (note if path.suffix == '.png' else '')
            assert (read_instances(write_instances(f'{d}/a.v2.png', x)) == x).all()


@given(arrays(np.uint8, SHAPES, elements=st.sampled_from([*range(19), 255])))
@settings(deadline=None, max_examples=30)
def test_labels_come_back_exactly(labels):
    with tempfile.TemporaryDirectory() as d:
        write_labels(f'{d}/a.png', labels)
        assert (read_labels(f'{d}/a.png') == labels).all()


@pytest.mark.parametrize('layout', ['plain', 'cityscapes', 'kitti'])
@pytest.mark.parametrize('size', [(24, 16), (1, 1)])
def test_folders_come_back(tmp_path, layout, size):
    writer = FolderWriter(tmp_path, layout)
    frames = {}
    for i in range(3):
        f = a_frame(f'town/{i:06}', *size, seed=i)
        if size == (1, 1): f = f.replace(depth=f.depth + 5, disp=depth_to_disp(f.depth + 5), labels=f.labels * 0, instances=f.instances * 0)
        frames[writer.write(f)] = f
    folder = open_folder(str(tmp_path) + '/')
    assert folder.kind == {'kitti': 'kitti_odometry'}.get(layout, layout)
    assert folder.names == sorted(frames) and len(folder) == 3
    for back in folder:
        f = frames[back.name]
        for key in ('image', 'right', 'labels'): assert (getattr(back, key) == getattr(f, key)).all()
        assert np.allclose(back.camera.K, f.camera.K) and np.isclose(back.baseline, .4)
        assert same_partition(back.instances * 32 + back.labels, f.instances * 32 + f.labels)
        assert ((back.instances > 0) == (f.instances > 0)).all()
        close = 1.05 * f.depth**2 / (f.camera.fx * .4 * 512) + 1e-3 if layout == 'cityscapes' else 1/512 + 1e-5
        assert (np.abs(back.depth - f.depth) <= close).all()
        if layout != 'kitti': assert ((back.disp > 0) == (f.disp > 0)).all() and np.abs(back.disp - f.disp).max() < 2e-3
        if layout != 'cityscapes': assert np.allclose(back.pose, f.pose, atol=1e-9)


def test_writing_twice_changes_nothing(tmp_path):
    content = lambda: {p: p.read_bytes() for p in sorted(tmp_path.rglob('*')) if p.is_file()}
    for layout in ('plain', 'cityscapes', 'kitti'):
        FolderWriter(tmp_path/layout, layout).write(a_frame())
    first = content()
    for layout in ('plain', 'cityscapes', 'kitti'):
        FolderWriter(tmp_path/layout, layout).write(a_frame())
    assert content() == first


def test_own_cameras_and_classes(tmp_path):
    writer, f = FolderWriter(tmp_path), a_frame('b/1')
    two = Classes(('no', 'yes'), ((0, 0, 0), (255, 255, 255)))
    f = f.replace(classes=two, labels=f.labels % 2)
    writer.write(f)
    writer.write(f.crop(2, 0, 20, 10).replace(name='a/1'))
    folder = open_folder(tmp_path)
    assert folder['b/1'].camera == f.camera and folder['a/1'].camera == f.crop(2, 0, 20, 10).camera
    assert folder[0].classes == two
    one_line(lambda: writer.write(a_frame('c')), 'classes.json')


def test_a_big_count_of_regions_goes_to_npy(tmp_path):
    f = a_frame().replace(regions=np.arange(384, dtype=np.int32).reshape(16, 24) + 65500)
    FolderWriter(tmp_path, fingerprint='12345678').write(f)
    assert (tmp_path/'region/town/000000.npy').is_file()
    assert (open_folder(tmp_path)[0].regions == f.regions).all()


def test_folder_is_a_sequence(tmp_path):
    for i in range(5): FolderWriter(tmp_path).write(a_frame(f'{i}'))
    folder = open_folder(tmp_path)
    assert folder[-1].name == '4' and folder['2'].name == '2' and '3' in folder and '9' not in folder
    assert folder[1:3].names == ['1', '2'] and folder[1:3][0].name == '1'
    assert pickle.loads(pickle.dumps(folder)).names == folder.names
    assert folder._repr_png_()[:4] == b'\x89PNG' and 'plain, 5 frames' in repr(folder)
    with pytest.raises(IndexError): folder[5]
    with pytest.raises(KeyError): folder['9']
    f = folder.frame('0', {'labels'})
    assert f.labels is not None and f.disp is None and f.camera is None
    assert folder.has == {'image', 'right', 'disp', 'depth', 'labels', 'instances', 'camera', 'pose'}


# recognising

def test_the_same_kitti_from_any_height(tmp_path):
    FolderWriter(tmp_path, 'kitti').write(a_frame('07/000003'))
    for inside, name in (('', '07/000003'), ('sequences', '07/000003'), ('sequences/07', '000003')):
        folder = open_folder(tmp_path/inside)
        assert folder.names == [name] and folder[0].pose is not None and folder[0].baseline


def test_kitti_raw(tmp_path):
    f = a_frame()
    drive = tmp_path/'2011_09_26'/'2011_09_26_drive_0001_sync'
    for cam, image in (('02', f.image), ('03', f.right)): save(drive/f'image_{cam}'/'data'/'0000000007.png', image)
    rows = {'P_rect_02': [20, 0, 11, 4, 0, 21, 7, .2, 0, 0, 1, .003], 'P_rect_03': [20, 0, 11, -6, 0, 21, 7, .2, 0, 0, 1, .003]}
    (drive.parent/'calib_cam_to_cam.txt').write_text('calib_time: 09-Jan-2012 13:57:47\n' + ''.join(f'{k}: {" ".join(map(str, v))}\n' for k, v in rows.items()))
    for root, name in ((tmp_path, '2011_09_26/2011_09_26_drive_0001_sync/0000000007'), (drive.parent, '2011_09_26_drive_0001_sync/0000000007'), (drive, '0000000007')):
        folder = open_folder(root)
        assert folder.kind == 'kitti_raw' and folder.names == [name]
        assert folder[0].camera == Camera(20, 21, 11, 7, 24, 16) and folder[0].baseline == .5 and (folder[0].right == f.right).all()


def test_kitti_semantics(tmp_path):
    save(tmp_path/'training/image_2/000000_10.png', a_frame().image)
    ids = np.zeros((16, 24), np.uint8)
    ids[:8] = 26
    save(tmp_path/'training/semantic/000000_10.png', ids)
    save(tmp_path/'training/instance/000000_10.png', ids.astype(np.uint16) * 256 + (ids > 0) * np.uint16(3))
    for root in (tmp_path, tmp_path/'training'):
        folder = open_folder(root)
        f = folder[0]
        assert folder.kind == 'kitti_semantics' and set(np.unique(f.labels)) == {13, 255} and set(np.unique(f.instances)) == {0, 26*256 + 3}


def test_cityscapes_images_or_snippets(tmp_path):
    f = a_frame()
    for kind, number in (('leftImg8bit', 19), ('leftImg8bit_sequence', 18), ('leftImg8bit_sequence', 19)):
        save(tmp_path/kind/'train'/'aachen'/f'aachen_000000_{number:06}_leftImg8bit.png', f.image)
    save(tmp_path/'gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png', np.full((16, 24), 7, np.uint8))
    assert open_folder(tmp_path).names == ['train/aachen/aachen_000000_000019']
    snippets = open_folder(tmp_path/'leftImg8bit_sequence')
    assert len(snippets) == 2 and snippets[0].labels is None and (snippets[1].labels == 0).all()


def test_photos_are_seen_upright(tmp_path):
    wide = np.zeros((8, 20, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path/'sub'/'phone.jpg', wide, exif=exif)
    save(tmp_path/'grey.png', wide[..., 0])
    (tmp_path/'notes.txt').write_text('hello')
    (tmp_path/'.hidden.png').write_bytes(b'')
    folder = open_folder(tmp_path)
    assert folder.kind == 'photos' and folder.names == ['grey', 'sub/phone'] and folder.has == {'image'}
    assert folder['sub/phone'].size == (8, 20)
    assert open_folder(tmp_path/'sub'/'phone.jpg').names == ['phone']


def test_links_are_followed(tmp_path):
    FolderWriter(tmp_path/'a').write(a_frame('x/1'))
    (tmp_path/'b').mkdir()
    (tmp_path/'b'/'rgb').mkdir()
    (tmp_path/'b'/'rgb'/'linked').symlink_to(tmp_path/'a'/'rgb'/'x')
    (tmp_path/'b'/'rgb'/'round').symlink_to(tmp_path/'b')
    assert 'linked/1' in open_folder(tmp_path/'b').names


def test_what_is_no_data_folder_is_refused(tmp_path):
    one_line(lambda: open_folder(tmp_path/'gone'), 'gone', 'not there')
    one_line(lambda: open_folder(tmp_path), 'nothing', 'leftImg8bit')
    (tmp_path/'notes.txt').write_text('x')
    one_line(lambda: open_folder(tmp_path/'notes.txt'), 'neither')
    one_line(lambda: open_folder(tmp_path), 'notes.txt')
    (tmp_path/'rgb').mkdir()
    one_line(lambda: open_folder(tmp_path), 'holds no image')
    save(tmp_path/'leftImg8bit/train/a/a_000000_000000_leftImg8bit.png', a_frame().image)
    one_line(lambda: open_folder(tmp_path), 'plain and as cityscapes')


def test_names_must_be_one_and_meet(tmp_path):
    f = a_frame()
    for name in ('a.png', 'a.jpg'): save(tmp_path/'rgb'/name, f.image)
    one_line(lambda: open_folder(tmp_path), 'one name')
    (tmp_path/'rgb'/'a.jpg').unlink()
    write_disp(tmp_path/'disp'/'a_disp.png', f.disp)
    one_line(lambda: open_folder(tmp_path), "'a_disp'", "'a'")


@given(st.lists(st.lists(st.sampled_from(['rgb', 'disp', 'sequences', '07', 'image_2', 'image_02', 'data', 'training', 'semantic', 'leftImg8bit', 'train', 'x.png', 'calib.txt', 'camera.json']),
                         min_size=1, max_size=4), max_size=6))
@settings(deadline=None, max_examples=80)
def test_any_tree_is_read_or_refused(paths):
    with tempfile.TemporaryDirectory() as d:
        for parts in paths:
            path = Path(d, *parts)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text('{}') if path.suffix else path.mkdir(exist_ok=True)
            except OSError: pass
        try: assert list_folder(d)[1]['image']
        except DataError as e: assert '\n' not in str(e)


# laying over

def test_overlay(tmp_path):
    base = FolderWriter(tmp_path/'base')
    cut = FolderWriter(tmp_path/'cut', fingerprint='12345678')
    for i in range(3):
        f = a_frame(f's/{i}', seed=i)
        base.write(f, {'image', 'camera'})
        if i < 2: cut.write(f.replace(regions=f.labels.astype(np.int32)), {'regions', 'disp'})
    folder = open_folder(tmp_path/'base', overlay=[tmp_path/'cut'])
    assert folder.has == {'image', 'camera', 'disp', 'regions'} and len(folder) == 3
    assert (folder[1].regions == a_frame(seed=1).labels).all()
    one_line(lambda: folder[2], 's/2', '1 of 3', 'cut')
    assert folder.frame('s/2', {'camera'}).camera is not None
    assert open_folder(tmp_path/'base', tmp_path/'cut').has == folder.has
    FolderWriter(tmp_path/'other').write(a_frame('q').replace(regions=f.labels.astype(np.int32)), {'regions'})
    one_line(lambda: open_folder(tmp_path/'base', [tmp_path/'other']), 'none of its 1 names', "'q'")
    one_line(lambda: open_folder(tmp_path/'base', [tmp_path/'gone']), 'not there')
    (tmp_path/'empty').mkdir()
    one_line(lambda: open_folder(tmp_path/'base', [tmp_path/'empty']), 'nothing to lay over')


def test_overlay_on_kitti(tmp_path):
    "The laid-over folder brings its own camera.json; poses still go by the sequence's calibration."
    f = a_frame('00/000000')
    FolderWriter(tmp_path/'kitti', 'kitti').write(f)
    FolderWriter(tmp_path/'depth').write(f, {'disp', 'depth', 'camera', 'baseline'})
    back = open_folder(tmp_path/'kitti', [tmp_path/'depth'])[0]
    assert np.allclose(back.pose, f.pose) and back.camera == f.camera and back.baseline == .4 and np.allclose(back.disp, f.disp, atol=1e-5)


def test_sparse_depth_is_no_disparity(tmp_path):
    f = a_frame('00/000000')
    depth = np.where(np.arange(24) % 5 == 0, f.depth, 0).astype(np.float32)
    FolderWriter(tmp_path, 'kitti').write(f.replace(depth=depth, disp=None, labels=None, instances=None))
    assert 'disp' not in open_folder(tmp_path).has and open_folder(tmp_path)[0].disp is None
    FolderWriter(tmp_path, 'kitti').write(f)
    folder = open_folder(tmp_path)
    assert 'disp' in folder.has and folder.frame('00/000000', {'disp'}).depth is None
    assert np.allclose(folder[0].disp, depth_to_disp(folder[0].depth))


# bad input

@given(st.integers(0, 10**6), st.binary(max_size=8), st.sampled_from(['.png', '.jpg', '.npy']))
@settings(deadline=None, max_examples=150)
def test_broken_files_never_surprise(where, bytes_, suffix):
    "Cut or overwritten anywhere, a file is read or refused by name; nothing else happens."
    with tempfile.TemporaryDirectory() as d:
        path = Path(d)/f'a{suffix}'
        x = np.random.default_rng(0).integers(0, 255, (9, 13)).astype(np.uint8)
        np.save(path, x/255) if suffix == '.npy' else save(path, np.dstack([x, x, x]) if suffix == '.jpg' else x.astype(np.uint16)*257)
        good = path.read_bytes()
        at = where % len(good)
        path.write_bytes(good[:at] + bytes_ + (good[at + len(bytes_):] if bytes_ else b''))
        for read in (read_image, read_disp, read_depth, read_labels, read_instances, read_regions):
            if suffix == '.npy' and read is read_image: continue
            try: assert read(path).size
            except DataError as e: assert str(path) in str(e) and '\n' not in str(e)


def test_truncated_and_empty(tmp_path):
    good = save(tmp_path/'good.png', a_frame().image).read_bytes()
    (tmp_path/'cut.png').write_bytes(good[:len(good)//2])
    (tmp_path/'empty.png').write_bytes(b'')
    one_line(lambda: read_image(tmp_path/'cut.png'), 'cut.png', 'truncated')
    one_line(lambda: read_image(tmp_path/'empty.png'), 'empty.png', '0 bytes')
    one_line(lambda: read_image(tmp_path/'none.png'), 'none.png', 'not there')
    one_line(lambda: read_image(tmp_path), 'directory')


def test_amounts_that_cannot_be(tmp_path):
    one_line(lambda: read_disp(save(tmp_path/'a.png', np.full((2, 2), 9, np.uint8))), '8-bit', '65535')
    one_line(lambda: read_depth(save(tmp_path/'a.png', np.full((2, 2), 9, np.uint8))), '8-bit', '256')
    one_line(lambda: read_disp(save(tmp_path/'a.png', np.zeros((2, 2, 3), np.uint8))), 'colour picture')
    one_line(lambda: read_depth(save(tmp_path/'a.png', np.zeros((2, 2), np.uint16))), 'no depth at all')
    for bad in (np.nan, -1, np.inf):
        np.save(tmp_path/'a.npy', np.array([[1., bad]]))
        one_line(lambda: read_depth(tmp_path/'a.npy'), 'a.npy', '1 of 2')
    np.save(tmp_path/'a.npy', np.array([[.5, 2]]))
    one_line(lambda: read_disp(tmp_path/'a.npy'), 'up to 2')
    for x in (np.zeros((2, 3, 4)), np.zeros((0, 3)), np.array([[1j]]), np.array(['a'])):
        np.save(tmp_path/'a.npy', x)
        one_line(lambda: read_depth(tmp_path/'a.npy'), '(H, W)')
    np.save(tmp_path/'a.npy', np.array([[{}]], object), allow_pickle=True)
    one_line(lambda: read_depth(tmp_path/'a.npy'), 'numpy.save')
    np.save(tmp_path/'a.npy', np.array([[-1, 2]]))
    one_line(lambda: read_depth(tmp_path/'a.npy'), 'int64')
    np.save(tmp_path/'a.npy', np.ones((1, 2, 3)))
    assert read_depth(tmp_path/'a.npy').shape == (2, 3)


def test_sizes_that_differ(tmp_path):
    f = a_frame('a')
    FolderWriter(tmp_path).write(f)
    write_labels(tmp_path/'label/a.png', f.labels[:8])
    one_line(lambda: open_folder(tmp_path)['a'], 'label', '24x8', '24x16')
    write_labels(tmp_path/'label/a.png', f.labels)
    (tmp_path/'camera.json').write_text(json.dumps(f.camera.resize(48, 32).to_dict()))
    assert np.allclose(open_folder(tmp_path)['a'].camera.K, f.camera.K)
    (tmp_path/'camera.json').write_text(json.dumps(f.camera.to_dict() | {'height': 99}))
    one_line(lambda: open_folder(tmp_path)['a'], 'camera.json', '24x99', '24x16')


@pytest.mark.parametrize('text', ['', '[1]', '{"fx": 1}', '{"fx": "wide", "fy": 1, "cx": 0, "cy": 0}', '{"fx": -1, "fy": 1, "cx": 0, "cy": 0}', '{"fx": NaN, "fy": 1, "cx": 0, "cy": 0}', '{"fx": 1'])
def test_bad_cameras(tmp_path, text):
    save(tmp_path/'rgb/a.png', a_frame().image)
    (tmp_path/'camera.json').write_text(text)
    one_line(lambda: open_folder(tmp_path)[0], 'camera.json')


def test_bad_kitti(tmp_path):
    FolderWriter(tmp_path, 'kitti').write(a_frame('00/000000'))
    calib, poses = tmp_path/'sequences/00/calib.txt', tmp_path/'poses/00.txt'
    good = calib.read_text()
    calib.write_text('P0: 1 2 3\n')
    one_line(lambda: open_folder(tmp_path)[0], 'calib.txt', 'P2')
    calib.write_text(good)
    poses.write_text('1 2 3\n')
    one_line(lambda: open_folder(tmp_path)[0], '00.txt', '12')


def test_images_of_all_kinds(tmp_path):
    grey = np.arange(0, 256, 16, np.uint8).reshape(4, 4)
    one_line(lambda: read_image(save(tmp_path/'a.tif', grey.astype(np.float32))), 'floating')
    assert (read_image(save(tmp_path/'a.png', grey)) == grey[..., None]).all()
    assert (read_image(save(tmp_path/'a.png', grey.astype(np.uint16)*257)) == grey[..., None]).all()
    assert (read_image(save(tmp_path/'a.png', grey > 100)) == np.where(grey > 100, 255, 0)[..., None]).all()
    half = np.dstack([grey*0 + 200]*3 + [grey*0 + 128])
    assert np.abs(read_image(save(tmp_path/'a.png', half)).astype(int) - 100).max() <= 1
    Image.fromarray(np.dstack([grey]*3)).convert('CMYK').save(tmp_path/'a.jpg')
    assert read_image(tmp_path/'a.jpg').shape == (4, 4, 3)
    x = read_image(save(tmp_path/'one.png', grey[:1, :1]))
    assert x.shape == (1, 1, 3) and x.flags.writeable and x.flags.c_contiguous


def test_a_very_large_image_is_refused_before_it_is_decoded(tmp_path):
    Image.new('1', (20000, 10000)).save(tmp_path/'huge.png')
    one_line(lambda: read_image(tmp_path/'huge.png'), 'huge.png', 'million pixels')
    one_line(lambda: open_folder(tmp_path)[0], 'huge.png', 'million pixels')


def test_labels_and_regions_of_another_kind(tmp_path):
    one_line(lambda: read_labels(save(tmp_path/'a.png', np.full((2, 2), 26, np.uint8))), '26', 'LABEL_TO_TRAIN')
    one_line(lambda: read_labels(save(tmp_path/'a.png', np.zeros((2, 2, 3), np.uint8))), 'ids, not colours')
    one_line(lambda: read_labels(save(tmp_path/'a.png', np.full((2, 2), 300, np.uint16))), '300')
    assert (read_labels(save(tmp_path/'a.png', np.full((2, 2), 300 - 45, np.uint16))) == 255).all()
    palette = Image.fromarray(np.array([[0, 5]], np.uint8), 'P')
    palette.putpalette([9]*768)
    palette.save(tmp_path/'p.png')
    assert (read_labels(tmp_path/'p.png') == [[0, 5]]).all()
    note = PngInfo()
    note.add_text('cpcdr-region', '7 12345678')
    one_line(lambda: read_regions(save(tmp_path/'a.png', np.zeros((2, 2), np.uint16), pnginfo=note)), 'a.png', 'format 7')
    one_line(lambda: read_regions(save(tmp_path/'a.png', np.zeros((2, 2, 3), np.uint8), pnginfo=note)), 'format 7')
    one_line(lambda: region_note(tmp_path/'a.png'), 'format 7')
    assert (read_regions(save(tmp_path/'a.png', np.full((2, 2), 56, np.uint8))) == 56).all()
    np.save(tmp_path/'r.npy', np.array([[-1, 2]]))
    one_line(lambda: read_regions(tmp_path/'r.npy'), '-1')
    np.save(tmp_path/'r.npy', np.array([[.5, 2]]))
    one_line(lambda: read_regions(tmp_path/'r.npy'), 'whole numbers')


def test_writers_refuse_what_they_cannot_hold(tmp_path):
    f = a_frame()
    for layout in ('cityscapes', 'kitti'):
        w = FolderWriter(tmp_path/layout, layout)
        with pytest.raises(ValueError, match='regions'): w.write(f.replace(regions=f.instances))
        with pytest.raises(ValueError, match='depth in metres'): w.write(f.replace(depth=None))
        with pytest.raises(ValueError, match='number at the end'): w.write(f.replace(name='town'))
        with pytest.raises(ValueError, match='labels'): w.write(f.replace(labels=None))
        assert not (tmp_path/layout).exists()
    for name in ('', '/a', '../a', 'a/../b'):
        with pytest.raises(ValueError, match='relative path'): FolderWriter(tmp_path).write(f.replace(name=name))
    with pytest.raises(ValueError, match='layout'): FolderWriter(tmp_path, 'nuscenes')
    with pytest.raises(ValueError, match=r'\[0, 1\]'): write_disp(tmp_path/'a.png', f.disp * 99)
    with pytest.raises(ValueError, match='metres'): write_depth(tmp_path/'a.png', f.depth * np.nan)
    with pytest.raises(ValueError, match='from 0'): write_regions(tmp_path/'a.png', f.instances - 9)
    one_line(lambda: (w := FolderWriter(tmp_path/'k', 'kitti')).write(a_frame('00/1')) and w.write(a_frame('00/2').replace(camera=Camera.guess(24, 16))), 'calib.txt')
    one_line(lambda: (w := FolderWriter(tmp_path/'c', 'cityscapes')).write(a_frame('a/b/1')) and w.write(a_frame('a-b/1')), 'would both become')


def test_nothing_half_written_stays(tmp_path):
    (tmp_path/'rgb').write_text('a file in the way')
    one_line(lambda: FolderWriter(tmp_path).write(a_frame()), 'rgb')
    assert not [p for p in tmp_path.rglob('*') if '.part-' in p.name]


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='this system has no /dev/full')
def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(self, fp, *args, **kwargs):
        with open('/dev/full', 'wb', buffering=0) as f: f.write(b'x')
    monkeypatch.setattr(Image.Image, 'save', full)
    one_line(lambda: write_image(tmp_path/'a.png', a_frame().image), 'a.png', 'no space', 'free some space')
    assert not list(tmp_path.iterdir())


# the samples and real frames

@pytest.mark.parametrize('part', ['scenes', 'clip'])
def test_samples(part, root):
    if not (root/'data_samples'/part).is_dir(): pytest.skip(f'data_samples/{part} is not in this checkout')
    folder = samples(part)
    assert folder.kind == 'plain' and len(folder) > 1 and folder.has >= {'image', 'disp', 'camera', 'pose', *(('right',) if part == 'clip' else ('labels', 'instances'))}
    f = folder[0]
    assert f.camera and (f.disp > 0).all() and (part == 'scenes' or f.pose is not None)


def test_samples_say_where_they_should_be(root):
    if (root/'data_samples').is_dir(): one_line(lambda: samples('nothing'), 'nothing', 'seen')

def test_real_frames(real):
    raw, odo, sem = (open_folder(real/k) for k in ('kitti_raw', 'kitti_odometry', 'kitti_semantics'))
    assert [x.kind for x in (raw, odo, sem)] == ['kitti_raw', 'kitti_odometry', 'kitti_semantics']
    assert [len(x) for x in (raw, odo, sem)] == [30, 4, 3]
    assert np.isclose(raw[0].camera.fx, 721.5377) and raw[0].size == (1242, 375)
    f = odo['07/000168']
    assert np.isclose(f.baseline, .5379, atol=1e-4) and np.isclose(f.camera.fx, 707.0912) and f.right.shape == f.image.shape
    assert .15 < (f.depth > 0).mean() < .22 and 3 < f.depth[f.depth > 0].min() and f.disp is None and 'disp' not in odo.has
    assert odo['07/000000'].depth is None
    step = np.linalg.inv(odo['07/000168'].pose) @ odo['07/000169'].pose
    assert .1 < step[2, 3] < 3 and abs(step[0, 3]) < .2   # ahead, not sideways
    assert set(np.unique(sem[0].labels)) <= {*range(19), 255} and (sem[0].labels == 0).mean() > .1 and sem[0].instances.max() > 0


def test_real_frames_in_our_layouts(real, tmp_path):
    f = open_folder(real/'kitti_odometry')['07/000168']
    for layout in ('plain', 'kitti', 'cityscapes'):
        FolderWriter(tmp_path/layout, layout).write(f)
        back = open_folder(tmp_path/layout)[0]
        assert (back.image == f.image).all() and (back.right == f.right).all() and np.allclose(back.camera.K, f.camera.K)
        assert layout == 'cityscapes' or (np.abs(back.depth - f.depth).max() < 1e-3 and np.allclose(back.pose, f.pose))
