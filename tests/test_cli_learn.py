"`cpcdr segment` and `cpcdr evaluate`: what they write, what they refuse, and that both tell the same score."
import json

import numpy as np
import pytest
from PIL import Image

from cpcdr import cli
from cpcdr.data import FolderWriter, open_folder, read_labels
from cpcdr.encoder import Encoder, EncoderParams, save_encoder
from cpcdr.frame import TRAIN_TO_LABEL, Frame


def here(*words):
    return cli.run_command(list(map(str, words)))


def error_line(capsys):
    lines = [l for l in capsys.readouterr().err.strip().splitlines() if l.startswith('cpcdr: ')]
    assert len(lines) == 1, lines
    return lines[0]


def scene(k, size=(96, 64), name='town/{:06}', labelled=True, **more):
    rng = np.random.default_rng(k)
    labels = np.kron(rng.integers(0, 19, (size[1]//16, size[0]//16)), np.ones((16, 16), int)).astype(np.uint8)
    labels[:16, :16], labels[16:32, :16] = 255, 0
    image = (labels[..., None].astype(int)*[7, 11, 13] % 200 + rng.integers(0, 30, (*labels.shape, 3))).astype(np.uint8)
    regions = np.kron(np.arange(labels.size//256).reshape(labels.shape[0]//16, -1), np.ones((16, 16))).astype(np.int32)
    return Frame(name.format(k), image, labels=labels if labelled else None, regions=regions, **more)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp('run')
    save_encoder(Encoder(EncoderParams.preset('tiny'), seed=0), out)
    return out


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp('data')
    writer = FolderWriter(out)
    for k, size in enumerate([(96, 64), (128, 64), (96, 64), (64, 96)]): writer.write(scene(k, size))
    return out


def scored(capsys, *words):
    capsys.readouterr()
    assert here('evaluate', *words, '--json') == 0
    return json.loads(capsys.readouterr().out)


def test_label_maps_at_full_size_and_twice_the_same(run, data, tmp_path, capsys):
    assert here('segment', run, data, tmp_path / 'o', '--json') == 0
    report = json.loads(capsys.readouterr().out)
    assert (report['done'], report['clusters']) == (4, 19) and 1 <= report['used'] <= 19
    for f in open_folder(data):
        x = np.array(Image.open(tmp_path / 'o' / 'label' / f'{f.name}.png'))
        assert x.dtype == np.uint8 and x.shape == f.labels.shape and x.max() < 19
    before = (tmp_path / 'o' / 'label' / 'town' / '000001.png').read_bytes()
    (tmp_path / 'o' / 'label' / 'town' / '000001.png').unlink()
    assert here('segment', run, data, tmp_path / 'o', '--json') == 0
    report = json.loads(capsys.readouterr().out)
    assert (report['done'], report['kept']) == (1, 3)
    assert (tmp_path / 'o' / 'label' / 'town' / '000001.png').read_bytes() == before


def test_other_words_other_folder(run, data, tmp_path, capsys):
    assert here('segment', run, data, tmp_path / 'o') == 0
    assert here('segment', run, data, tmp_path / 'o', '--k', 5) == 1
    assert 'was made otherwise' in error_line(capsys)
    assert here('segment', run, data, tmp_path / 'o', '--k', 5, '--overwrite') == 0
    assert np.array(Image.open(tmp_path / 'o' / 'label' / 'town' / '000000.png')).max() < 5


def test_photos_without_labels_are_segmented_but_not_scored(run, tmp_path, capsys):
    (tmp_path / 'photos').mkdir()
    Image.fromarray(scene(0).image).save(tmp_path / 'photos' / 'a.jpg')
    assert here('segment', run, tmp_path / 'photos', tmp_path / 'o') == 0
    assert (tmp_path / 'o' / 'label' / 'a.png').exists()
    assert here('evaluate', run, tmp_path / 'photos', '--protocol', 'cityscapes19') == 1
    assert 'has no labels' in (line := error_line(capsys)) and 'cpcdr segment' in line


def test_run_and_its_label_maps_score_the_same(run, data, tmp_path, capsys):
    assert here('segment', run, data, tmp_path / 'o') == 0
    a = scored(capsys, run, data, '--protocol', 'cityscapes19')
    b = scored(capsys, data, '--predictions', tmp_path / 'o', '--protocol', 'cityscapes19')
    assert a['matching'] == b['matching'] == 'one-to-one'
    assert a['miou'] == b['miou'] and a['per_class'] == b['per_class'] and a['data']['labels'] == b['data']['labels'] and 'images' in a['data']
    assert set(a['rivals']) == {f'k-means on {w}' for w in ('colour', 'colour + position', 'colour + (|x|, y)')} and 'rivals' not in b


def test_regions_need_frames_to_fit_and_tell_their_spread(run, data, capsys):
    assert here('evaluate', run, data, '--protocol', 'cityscapes19', '--clusters', 'regions') == 2
    assert '--fit' in error_line(capsys)
    r = scored(capsys, run, data, '--protocol', 'cityscapes19', '--clusters', 'regions', '--fit', data, '--no-rivals')
    assert r['draws'] == 5 and r['spread'][0] <= r['miou'] <= r['spread'][1] and 'rivals' not in r


def test_more_clusters_than_classes(run, data, capsys):
    r = scored(capsys, run, data, '--protocol', 'cityscapes19', '--k', 30, '--no-rivals')
    assert r['clusters'] == 30 and r['many_to_one']['miou'] >= 0 and len(r['called']) == 30 and r['called'].count(None) >= 11
    assert here('evaluate', run, data, '--protocol', 'cityscapes19', '--k', 33, '--no-rivals') == 2   # tiny has 32 prototypes
    assert 'prototypes' in error_line(capsys)


def test_probe_and_result_file(run, data, tmp_path, capsys):
    r = scored(capsys, run, data, '--protocol', 'cityscapes19', '--probe', data, '--no-rivals', '--result', tmp_path / 'r.json')
    assert r['linear_probe']['matching'] == 'ids are classes' and json.loads((tmp_path / 'r.json').read_text())['miou'] == r['miou']


def test_a_frame_without_regions_is_left_out(run, data, tmp_path, capsys):
    "As in training: told, and not held against the others."
    writer = FolderWriter(tmp_path / 'fit')
    for k in range(4): writer.write(scene(k) if k != 2 else scene(k).replace(regions=None))
    assert here('segment', run, data, tmp_path / 'o', '--clusters', 'regions', '--fit', tmp_path / 'fit', '--k', 5) == 0
    assert '1 of 4 frames have no regions and are left out: town/000002' in error_line(capsys)
    for p in (tmp_path / 'fit' / 'region').rglob('*.png'): p.unlink()
    assert here('segment', run, data, tmp_path / 'p', '--clusters', 'regions', '--fit', tmp_path / 'fit', '--k', 5) == 1
    assert 'has no regions' in error_line(capsys)


def test_clusters_without_names_are_said_to_be(run, data, tmp_path, capsys):
    assert here('segment', run, data, tmp_path / 'o', '--k', 5) == 0
    assert '5 clusters without names (--names LABELLED names them)' in capsys.readouterr().out
    assert here('segment', run, data, tmp_path / 'p', '--names', data) == 0
    assert 'without names' not in capsys.readouterr().out
    FolderWriter(tmp_path / 'plain').write(scene(0, labelled=False))
    assert here('segment', run, data, tmp_path / 'q', '--names', tmp_path / 'plain') == 1
    line = error_line(capsys)
    assert 'has no labels' in line and 'cpcdr segment' not in line and '--names' in line


def test_named_clusters_are_train_ids(run, data, tmp_path):
    assert here('segment', run, data, tmp_path / 'o', '--names', data) == 0
    assert json.loads((tmp_path / 'o' / 'classes.json').read_text())['names'][0] == 'road'
    for name in open_folder(data).names: read_labels(tmp_path / 'o' / 'label' / f'{name}.png')


# label maps of others ------------------------------------------------------------------------------------------------

def write_predictions(out, data, change, end=''):
    for f in open_folder(data):
        path = out / f'{f.name}{end}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(change(f.labels).astype(np.uint8)).save(path)
    return out


to_label_ids = lambda x: np.where(x == 255, 0, TRAIN_TO_LABEL[np.minimum(x, 18)])


def test_truth_scores_one(data, tmp_path, capsys):
    write_predictions(tmp_path / 'p', data, lambda x: x)
    r = scored(capsys, data, '--predictions', tmp_path / 'p', '--protocol', 'cityscapes19')
    assert r['miou'] == r['pixel_accuracy'] == 1 and r['ids'] == 'train'
    write_predictions(tmp_path / 'q', data, to_label_ids, '_pred')
    assert scored(capsys, data, '--predictions', tmp_path / 'q', '--protocol', 'cityscapes19', '--ids', 'label')['miou'] == 1


def test_score_by_hand(tmp_path, capsys):
    FolderWriter(tmp_path / 'd').write(Frame('a', np.zeros((1, 6, 3), np.uint8), labels=np.array([[0, 0, 0, 13, 13, 255]], np.uint8)))
    (tmp_path / 'p').mkdir()
    Image.fromarray(np.array([[0, 0, 13, 13, 255, 13]], np.uint8)).save(tmp_path / 'p' / 'a.png')
    r = scored(capsys, tmp_path / 'd', '--predictions', tmp_path / 'p', '--protocol', 'cityscapes19')
    assert np.isclose(r['per_class']['road'], 2/3) and np.isclose(r['per_class']['car'], 1/3)
    assert np.isclose(r['miou'], .5) and np.isclose(r['pixel_accuracy'], 3/5) and r['per_class']['sky'] is None


@pytest.mark.parametrize('change, says', [
    (to_label_ids, '--ids label'), (lambda x: np.where(x == 255, 255, x % 4 + 7), 'could be train ids or label ids'), (lambda x: x[:-1], 'but its image is')])
def test_ambiguous_and_misfit_are_refused(data, tmp_path, capsys, change, says):
    write_predictions(tmp_path / 'p', data, change)
    assert here('evaluate', data, '--predictions', tmp_path / 'p', '--protocol', 'cityscapes19') == 1
    assert says in error_line(capsys)


def test_clusters_of_others_are_matched(data, tmp_path, capsys):
    shuffle = np.append(np.random.default_rng(0).permutation(200)[:19], np.zeros(237)).astype(np.uint8)
    write_predictions(tmp_path / 'p', data, lambda x: shuffle[x])
    r = scored(capsys, data, '--predictions', tmp_path / 'p', '--protocol', 'cityscapes19', '--match')
    assert r['miou'] == 1 and r['matching'] == 'one-to-one'


def test_missing_prediction_is_named(data, tmp_path, capsys):
    write_predictions(tmp_path / 'p', data, lambda x: x)
    (tmp_path / 'p' / 'town' / '000002.png').unlink()
    assert here('evaluate', data, '--predictions', tmp_path / 'p', '--protocol', 'cityscapes19') == 1
    assert "'town/000002'" in error_line(capsys)


def test_27_classes_want_words(tmp_path, capsys):
    data = tmp_path / 'city'
    writer = FolderWriter(data, 'cityscapes')
    for k in range(2): writer.write(scene(k).replace(regions=None))
    for p in (data / 'gtFine').rglob('*labelIds.png'):
        x = np.array(Image.open(p))
        x[:, :16] = 14   # guard rail: one of the 27, none of the 19
        Image.fromarray(x).save(p)
        target = tmp_path / 'p' / p.name
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(x).save(target)
    for protocol in ('cityscapes27', 'crop27'):
        assert here('evaluate', data, '--predictions', tmp_path / 'p', '--protocol', protocol) == 1
        assert '--ids' in error_line(capsys)
        r = scored(capsys, data, '--predictions', tmp_path / 'p', '--protocol', protocol, '--ids', 'label')
        assert r['miou'] == 1 and r['classes'] == 27
    assert scored(capsys, data, '--predictions', tmp_path / 'p', '--protocol', 'cityscapes27', '--ids', 'label')['per_class']['guard rail'] == 1
    assert scored(capsys, data, '--predictions', tmp_path / 'p', '--protocol', 'cityscapes19', '--ids', 'label')['pixel_accuracy'] == 1


@pytest.mark.parametrize('words', [['--protocol', 'cityscapes19'], ['x', 'y', 'z', '--protocol', 'folder'], ['x', 'y'], ['x', 'y', '--protocol', 'cityscapes20'],
                                   ['x', '--predictions', 'p', '--protocol', 'folder', '--ids', 'label', '--match'], ['x', 'y', '--protocol', 'folder', '--ids', 'train']])
def test_wrong_words(words, capsys):
    assert here('evaluate', *words) == 2
    error_line(capsys)


def test_no_such_device(run, data, tmp_path, capsys):
    assert here('segment', run, data, tmp_path / 'o', '--device', 'abacus') == 2
    assert 'abacus' in error_line(capsys)


def test_no_run_and_a_cut_one(run, data, tmp_path, capsys):
    assert here('segment', tmp_path / 'nothing', data, tmp_path / 'o') == 1
    error_line(capsys)
    for p in run.iterdir(): (tmp_path / p.name).write_bytes(p.read_bytes()[:2000])
    assert here('segment', tmp_path, data, tmp_path / 'o') == 1
    assert 'model.safetensors' in error_line(capsys)


# training --------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def streets(tmp_path_factory):
    out = tmp_path_factory.mktemp('streets')
    writer = FolderWriter(out)
    for k in range(4):
        disp = np.repeat(np.linspace(.01, .3, 64, dtype=np.float32)[:, None], 128, 1)
        writer.write(scene(k, (128, 64)).replace(disp=disp))
    return out


def test_train_then_segment_then_evaluate(streets, tmp_path, capsys):
    run = tmp_path / 'run'
    assert here('train', streets, run, '--preset', 'tiny', '--steps', 2, '--device', 'cpu', '--json') == 0
    report = json.loads(capsys.readouterr().out)
    assert report['finished'] and report['step'] == 2 and (run / 'model.safetensors').is_file()
    assert here('segment', run, streets, tmp_path / 'o', '--json') == 0
    capsys.readouterr()
    assert json.loads((tmp_path / 'o' / 'report.json').read_text())['recipe']['height'] == 78   # 64 rows, at the middle of a zoom from 1 to 2
    assert scored(capsys, run, streets, '--protocol', 'cityscapes19', '--no-rivals')['config']['height'] == 78
    assert here('train', streets, run, '--preset', 'tiny', '--steps', 2) == 1
    assert '--resume' in error_line(capsys)
    assert here('train', streets, run, '--resume') == 0                                         # with its own settings
    assert here('train', streets, run, '--resume', '--seed', 3) == 1
    assert 'trained otherwise' in error_line(capsys)


def test_results_tell_how_they_came_about(streets, tmp_path, capsys):
    run, p = tmp_path / 'run', ('--protocol', 'cityscapes19', '--no-rivals')
    assert here('train', streets, run, '--preset', 'tiny', '--steps', 1, '--seed', 3, '--device', 'cpu', '--json') == 0
    a = scored(capsys, run, streets, *p, '--probe', streets)
    assert a['seed'] == a['config']['training']['seed'] == 3 and a['config']['training']['steps'] == 1 and a['draw_seed'] is None
    assert a['linear_probe']['draw_seed'] == 0 and 'seed' not in a['linear_probe']
    b = scored(capsys, run, streets, *p, '--clusters', 'regions', '--fit', streets)
    assert (b['seed'], b['draw_seed']) == (3, 0) and b['config'] == a['config']
    assert here('segment', run, streets, tmp_path / 'o') == 0
    c = scored(capsys, streets, '--predictions', tmp_path / 'o', '--protocol', 'cityscapes19')
    assert c['seed'] is None and c['config']['predictions'] == str((tmp_path / 'o').resolve())
    assert c['config']['made_by']['weights'] == a['config']['weights']
    write_predictions(tmp_path / 'p', streets, lambda x: x)
    d = scored(capsys, streets, '--predictions', tmp_path / 'p', '--protocol', 'cityscapes19')
    assert d['config']['made_by'] is None and d['config']['maps'] != c['config']['maps']


def test_a_bare_network_does_not_say_how_it_was_trained(run, data, capsys):
    r = scored(capsys, run, data, '--protocol', 'cityscapes19', '--no-rivals')
    assert r['seed'] is None and r['config']['training'] is None


def test_train_says_what_it_lacks(data, streets, tmp_path, capsys):
    assert here('train', data, tmp_path / 'run', '--preset', 'tiny') == 1
    assert 'cpcdr depth' in error_line(capsys)
    assert here('train', streets, tmp_path / 'run', '--preset', 'tiny', '--device', 'abacus') == 2
    error_line(capsys)
