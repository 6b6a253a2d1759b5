"Counting, matching and protocols, against counts by hand and against the official Cityscapes script."
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cpcdr.core import DataError
from cpcdr.data import FolderWriter, open_folder
from cpcdr.frame import CITYSCAPES, LABEL_TO_27, LABEL_TO_TRAIN, Classes, Frame
from cpcdr.score import (AS_CLASSES, CITYSCAPES27, PROTOCOLS, best_class, class_iou, cluster_iou, combined, confusion, count_folder, hungarian,
                         judge, labelled, look_at, name_clusters, protocol_for, read_truth, result_text, scores, told, truth_frame)


def label_maps(k, drop=()):
    "Label ids 0 to 33 in blocks, and a prediction that is right in some 60 % of pixels."
    v, u = np.mgrid[:48, :96]
    truth = ((v // 6) * 5 + (u // 8) * 3 + k * 11) % 34
    pred = np.where((v * 31 + u * 17 + k * 7) % 10 < 6, truth, (truth * 5 + u // 5 + v // 7) % 34)
    return np.where(np.isin(truth, drop), 7, truth).astype(np.uint8), pred.astype(np.uint8)


# what the official script (cityscapesscripts 2.3.0, evalPixelLevelSemanticLabeling, evaluateImgLists) says of these maps
OFFICIAL = {(): 0.5106129511745526, (31, 32, 25): 0.41196312035360133}
OFFICIAL_CLASSES = {'road': 0.45229007633587787, 'car': 0.4732824427480916, 'train': 0.5220729366602687, 'bicycle': 0.4969450101832994}
OFFICIAL_VOID = 0.4993545791706045   # no train in the truth, trains predicted as unlabelled


def total(pairs, table=LABEL_TO_TRAIN, n=19):
    return sum(confusion(table[p], table[t], n) for t, p in pairs)


@pytest.mark.parametrize('drop', OFFICIAL)
def test_miou_is_the_official_one(drop):
    s = scores(total([label_maps(k, drop) for k in range(3)]), CITYSCAPES.names)
    assert abs(s['miou'] - OFFICIAL[drop]) < 1e-6
    if not drop: assert all(abs(s['per_class'][c] - x) < 1e-6 for c, x in OFFICIAL_CLASSES.items())


def test_void_predictions_are_misses_as_in_the_official_one():
    pairs = [(label_maps(k, (31,))[0], np.where(label_maps(k)[1] == 31, 0, label_maps(k)[1]).astype(np.uint8)) for k in range(3)]
    s = scores(total(pairs), CITYSCAPES.names)
    assert abs(s['miou'] - OFFICIAL_VOID) < 1e-6
    assert s['per_class']['train'] is None


def test_official_script_itself(tmp_path):
    "Where the package is installed, it is asked."
    np.in1d = getattr(np, 'in1d', np.isin)
    official = pytest.importorskip('cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling')
    rng, pairs, files = np.random.default_rng(3), [], ([], [])
    for k in range(4):
        truth = rng.integers(0, 34, (40, 64)).astype(np.uint8)
        pred = np.where(rng.random(truth.shape) < .5, truth, rng.integers(0, 34, truth.shape)).astype(np.uint8)
        pairs.append((truth, pred))
        for x, names, what in ((pred, files[0], 'p'), (truth, files[1], 't')):
            Image.fromarray(x).save(tmp_path / f'{what}{k}.png')
            names.append(str(tmp_path / f'{what}{k}.png'))
    official.args.evalInstLevelScore = official.args.evalPixelAccuracy = official.args.JSONOutput = False
    official.args.quiet = True
    assert abs(scores(total(pairs), CITYSCAPES.names)['miou'] - official.evaluateImgLists(*files, official.args)['averageScoreClasses']) < 1e-6


def test_void_never_counts_as_false_positive():
    truth = np.array([[0, 0, 255, 255], [1, 1, 255, 255]], np.uint8)
    worst = np.where(truth == 255, 1, truth).astype(np.uint8)   # class 1 everywhere in void
    assert np.array_equal(confusion(worst, truth, 2), confusion(truth, truth, 2))
    assert scores(confusion(worst, truth, 2), 'ab')['miou'] == 1


def test_by_hand():
    truth = np.array([[0, 0, 0, 1, 1, 2, 2, 255]], np.uint8)
    pred = np.array([[0, 0, 1, 1, 2, 2, 255, 0]], np.uint8)
    counts = confusion(pred, truth, 3)
    assert counts.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    s = scores(counts, 'abc')
    assert np.allclose([s['per_class'][c] for c in 'abc'], [2/3, 1/3, 1/3])
    assert np.isclose(s['pixel_accuracy'], 4/7) and np.isclose(s['mean_accuracy'], (2/3 + 1/2 + 1/2)/3)


def test_nothing_known():
    counts = confusion(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8), 3)
    assert scores(counts, 'abc') == dict(miou=None, pixel_accuracy=None, mean_accuracy=None, per_class=dict(a=None, b=None, c=None))
    assert 'mIoU -' in result_text(judge({'a': counts}, PROTOCOLS['folder'].__class__('toy', Classes(tuple('abc'), ((0, 0, 0),)*3))))


counts_of = lambda n, k: st.lists(st.lists(st.integers(0, 50), min_size=k + 1, max_size=k + 1), min_size=n, max_size=n).map(np.array)


@given(counts_of(4, 6), st.permutations(range(6)))
@settings(max_examples=60)
def test_order_of_clusters_means_nothing(counts, order):
    value = lambda c: np.nansum(class_iou(name_clusters(c, hungarian(c))))
    assert np.isclose(value(counts), value(counts[:, [*order, 6]]))


@given(counts_of(3, 4))
@settings(max_examples=60)
def test_hungarian_is_the_best_of_all_matchings(counts):
    from itertools import permutations
    iou = cluster_iou(counts)
    best = max(sum(iou[c, k] for c, k in enumerate(p)) for p in permutations(range(4), 3))
    owner = hungarian(counts)
    assert sorted(owner) == [0, 1, 2, 255]
    assert np.isclose(sum(iou[c, k] for k, c in enumerate(owner) if c != 255), best)


@given(counts_of(4, 7))
@settings(max_examples=60)
def test_pixels_are_neither_lost_nor_made(counts):
    for match in (hungarian, best_class):
        named = name_clusters(counts, match(counts))
        assert named.shape == (4, 5) and np.array_equal(named.sum(1), counts.sum(1))


def test_more_clusters_than_classes_are_told_apart():
    truth = np.repeat(np.array([0, 1], np.uint8), 50)[None]
    pred = np.repeat(np.arange(4, dtype=np.uint8), 25)[None]
    toy = PROTOCOLS['folder'].__class__('toy', Classes(('a', 'b'), ((0, 0, 0),)*2))
    r = judge({'x': confusion(pred, truth, 2, 4)}, toy)
    assert r['miou'] == .5 and r['many_to_one'] == dict(miou=1., pixel_accuracy=1.) and r['clusters'] == 4
    assert sorted(map(str, r['called'])) == ['None', 'None', 'a', 'b']
    assert 'many_to_one' not in judge({'x': confusion(truth, truth, 2)}, toy, AS_CLASSES)


def test_fewer_clusters_than_classes():
    counts = np.array([[9, 0, 0], [0, 9, 0], [5, 0, 0]])
    assert sorted(hungarian(counts)) == [0, 1]
    assert np.allclose(class_iou(name_clusters(counts, hungarian(counts))), [9/14, 1, 0])


def test_worst_frames_first_and_draws_combined():
    toy = PROTOCOLS['folder'].__class__('toy', Classes(('a', 'b'), ((0, 0, 0),)*2))
    good, bad = np.array([[5, 0, 0], [0, 5, 0]]), np.array([[1, 4, 0], [4, 1, 0]])
    r = judge({'good': good, 'bad': bad}, toy, AS_CLASSES)
    assert list(r['frames']) == ['bad', 'good']
    two = combined([r, judge({'good': good, 'bad': good}, toy, AS_CLASSES)])
    assert np.isclose(two['miou'], (r['miou'] + 1)/2) and two['spread'] == [r['miou'], 1] and two['draws'] == 2
    json.dumps(two | told(toy, '0'))


# protocols ----------------------------------------------------------------------------------------------------------

def town(labels, name='a/000001', **more):
    return Frame(name, np.zeros((*labels.shape, 3), np.uint8), labels=labels, **more)


@pytest.fixture
def cityscapes(tmp_path):
    "One Cityscapes frame whose label file holds every label id."
    folder = tmp_path / 'city'
    FolderWriter(folder, 'cityscapes').write(town(np.zeros((48, 96), np.uint8)))
    path = next((folder / 'gtFine').rglob('*labelIds.png'))
    Image.fromarray(label_maps(0)[0]).save(path)
    return open_folder(folder)


def test_19_and_27_classes_come_from_label_ids(cityscapes):
    ids, name = label_maps(0)[0], cityscapes.names[0]
    t19, t27 = (read_truth(protocol_for(p, cityscapes), cityscapes, name) for p in ('cityscapes19', 'cityscapes27'))
    assert np.array_equal(t19, LABEL_TO_TRAIN[ids]) and np.array_equal(t27, LABEL_TO_27[ids])
    assert {CITYSCAPES27.names[t27[ids == i][0]] for i in (14, 29, 30)} == {'guard rail', 'caravan', 'trailer'}
    assert (t19[ids == 14] == 255).all() and (t27[ids < 7] == 255).all()
    for i in range(34):
        if LABEL_TO_TRAIN[i] != 255: assert CITYSCAPES.names[LABEL_TO_TRAIN[i]] == CITYSCAPES27.names[LABEL_TO_27[i]]


def test_crop_is_the_middle(cityscapes):
    f = truth_frame(protocol_for('crop27', cityscapes), cityscapes, cityscapes.names[0])
    assert f.size == (320, 320)
    whole = read_truth(protocol_for('cityscapes27', cityscapes), cityscapes, cityscapes.names[0])
    rows, cols = ((np.arange(320) + .5)*48/320).astype(int), ((np.arange(160, 480) + .5)*96/640).astype(int)
    assert np.array_equal(f.labels, whole[rows][:, cols])


@pytest.mark.parametrize('size', [(320, 640), (375, 1242), (100, 90), (320, 320)])
def test_crop_of_any_size(size):
    assert look_at(town(np.zeros(size, np.uint8)), 320).size == (320, 320)


def test_plain_folder(tmp_path):
    FolderWriter(tmp_path / 'p').write(town(np.array([[0, 13], [255, 10]], np.uint8)))
    folder = open_folder(tmp_path / 'p')
    assert read_truth(protocol_for('cityscapes19', folder), folder, folder.names[0]).tolist() == [[0, 13], [255, 10]]
    assert protocol_for('folder', folder).classes.names == CITYSCAPES.names
    for p in ('cityscapes27', 'crop27'):
        with pytest.raises(DataError, match='train ids'): protocol_for(p, folder)
    (tmp_path / 'p' / 'classes.json').unlink()
    with pytest.raises(DataError, match='no classes.json'): protocol_for('folder', open_folder(tmp_path / 'p'))


def test_own_classes(tmp_path):
    classes = Classes(('ground', 'rest'), ((9, 9, 9), (1, 1, 1)))
    FolderWriter(tmp_path / 'p').write(town(np.array([[0, 1], [255, 1]], np.uint8), classes=classes))
    folder = open_folder(tmp_path / 'p')
    assert len(protocol_for('folder', folder)) == 2
    with pytest.raises(DataError, match='ground'): protocol_for('cityscapes19', folder)


def test_mixed_sizes_and_missing_labels(tmp_path):
    writer = FolderWriter(tmp_path / 'p')
    for k, size in enumerate([(4, 6), (8, 5), (3, 3)]): writer.write(town(np.full(size, k, np.uint8), f'a/{k:06}'))
    (tmp_path / 'p' / 'label' / 'a' / '000002.png').unlink()
    folder = open_folder(tmp_path / 'p')
    assert labelled(folder) == ['a/000000', 'a/000001']
    (table,), data = count_folder(lambda f: [f.labels], folder, protocol_for('cityscapes19', folder), [19])
    assert sum(table.values()).sum() == 24 + 40 and data['frames'] == 2 and len(data['images']) == 8
    with pytest.raises(DataError, match='nothing can be scored'): count_folder(lambda f: [f.labels], folder, protocol_for('cityscapes19', folder), [19], [])


def test_labels_of_another_size_are_named(cityscapes):
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(cityscapes.files['labels'][cityscapes.names[0]])
    with pytest.raises(DataError, match='labelIds.png: is 10x10'): truth_frame(protocol_for('cityscapes19', cityscapes), cityscapes, cityscapes.names[0])
