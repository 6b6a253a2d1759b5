"The feature explorer without a browser: what a click, a frame and a view do."
import numpy as np
import pytest
from streets import street

from cpcdr.core import DataError
from cpcdr.data import FolderWriter, open_folder
from cpcdr.encoder import Encoder, EncoderParams, save_encoder
from cpcdr.featureview import (VIEWS, Seen, alike_in_classes, cell_of, enlarged, explore, feature_colours, heat_picture, main_directions, on_go, on_pick,
                               start_of, study)
from cpcdr.segment import cluster_pixels, rival_features

FRAMES = [street('a'), street('b', 160, 96), street('c', labelled=False), street('d', 96, 96)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp('streets')
    writer = FolderWriter(out)
    for f in FRAMES[:2] + FRAMES[3:]: writer.write(f.replace(disp=None))
    return open_folder(out)


@pytest.fixture(scope='module')
def studied(folder):
    seen = Seen(folder, rival_features)
    return study(seen, cluster_pixels(seen.source, folder, 6))


@pytest.fixture
def e(studied): return explore(study=studied, others=2)


def test_a_click_asks_and_paints_everywhere(e):
    before = [p.data for p in (e.parts['picture'], *e.parts['others'])]
    on_pick(e, 0, dict(u=100, v=90))
    assert e.error is None and e.parts['view'].value == 'alike' and e.pin == (0, 100, 90)
    assert all(p.data != x and p.data[:2] == b'\xff\xd8' for p, x in zip((e.parts['picture'], *e.parts['others']), before))
    assert e.parts['picture'].marks == [dict(pin=[100, 90], name='A')] and not any(p.marks for p in e.parts['others'])
    assert 'Pixel (100, 90) of a' in e.parts['card'].value and 'road' in e.parts['card'].value and 'called' in e.parts['card'].value


def test_a_click_in_a_small_picture_goes_there(e):
    on_pick(e, e.shown[0], dict(u=3, v=80))
    assert e.number == 1 and e.pin == (1, 3, 80) and e.shown == [2, 0] and e.parts['frame'].value == 1
    assert e.parts['picture'].size == [160, 96] and [p.size for p in e.parts['others']] == [[96, 96], [192, 96]]


def test_what_was_asked_stays_asked(e):
    e.click(100, 90); query = e.query
    e.parts['on'].click()
    assert e.number == 1 and e.query is query and not e.parts['picture'].marks
    e.parts['back'].click(); e.parts['back'].click()
    assert e.number == 2
    e.parts['frame'].value = 0
    assert e.number == 0 and e.parts['picture'].marks


@pytest.mark.parametrize('view', VIEWS)
def test_every_view(e, view):
    e.click(50, 50)
    e.parts['view'].value = view
    assert e.error is None and e.still().rgb.shape[1] == 540


def test_outside_is_said_not_thrown(e):
    on_pick(e, 0, dict(u=5000, v=0))
    assert 'outside' in str(e.error) and 'outside' in e.parts['say'].value
    on_go(e, 1)
    assert e.error is None and e.number == 1


def test_without_labels_and_alone():
    e = explore(FRAMES[2], rival_features)
    assert list(e.parts['view'].options) == ['alike', 'image', 'directions'] and e.shown == []
    e.click(9, 9)
    assert 'No labels here' in e.parts['card'].value and e.still().rgb.ndim == 3
    mixed = explore(FRAMES, rival_features)
    mixed.go(2); assert 'truth' not in mixed.parts['view'].options
    mixed.go(0); assert 'truth' in mixed.parts['view'].options


def test_a_run_by_its_folder(folder, tmp_path):
    save_encoder(Encoder(EncoderParams.preset('tiny')), tmp_path)
    s = study(Seen(folder, tmp_path, height=64))
    assert s.clusters.kind == 'prototypes' and s.clusters.k == 19 and 'mIoU' in repr(s)
    assert s.prototypes().rgb.shape[2] == 3 and s.matching().rgb.shape[2] == 3
    with pytest.raises(DataError, match='is not there|no such file'): Seen(folder, tmp_path / 'nothing')


def test_study_counts_what_score_counts(folder, studied):
    from cpcdr.segment import evaluate
    again = evaluate(rival_features, studied.clusters, folder)
    assert again['miou'] == studied.result['miou'] > .1 and list(again['frames']) == list(studied.result['frames'])
    assert studied.worst(2)._repr_png_()[:4] == b'\x89PNG'


def test_similarity_in_frames_of_mixed_size_starts_together():
    maps = [np.linspace(0, 1, 100).reshape(10, 10), np.zeros((4, 5))]
    assert 0 < start_of(maps) < 1 and start_of([np.ones((3, 3))]) < 1
    grey = heat_picture(np.full((20, 30, 3), 200, np.uint8), np.zeros((4, 5)), .5)
    assert (grey == 90).all()


def test_cells_and_edges():
    x = np.arange(24).reshape(4, 6)[..., None]
    assert cell_of(x, (60, 40), 59, 39) == 23 and cell_of(x, (60, 40), 0, 0) == 0 and cell_of(x, (60, 40), 10, 9) == 1
    for u, v in ((60, 0), (0, 40), (-1, 0)):
        with pytest.raises(ValueError, match='outside'): cell_of(x, (60, 40), u, v)
    assert enlarged(np.array([[0, 1.]]), 4, 1).tolist() == [[0, .25, .75, 1]]


def test_colours_mean_the_same_in_every_frame():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(8, 8, 5)), rng.normal(size=(8, 8, 5))
    d = main_directions([a, b])
    b[0, 0] = a[3, 3]
    pick = lambda x: feature_colours(x, d, 8, 8)
    assert np.array_equal(pick(a)[3, 3], pick(b)[0, 0])


def test_shares_of_classes(folder):
    seen = Seen(folder, lambda f: np.eye(3)[np.select([f.labels[2::4, 2::4] == 0, f.labels[2::4, 2::4] == 10], [0, 1], 2)])
    assert alike_in_classes(seen, range(3), np.array([0, 1, 0]), .05) == [('sky', 1.)]
