"The tuner's logic without a browser: what a slider, a click and a file do."
import re

import numpy as np
import pytest
from PIL import Image
from streets import street

from cpcdr import widgets
from cpcdr.core import DataError
from cpcdr.regions import RegionParams, find_regions, measures
from cpcdr.widgets import Scene, compare, on_click, on_slider, on_upload, scene_points, tune

FEW = RegionParams(n_superpixels=600, min_size=2)


@pytest.fixture(scope='module')
def shared(): return tune([street('a'), street('b', labelled=False)], FEW, points=2000)


@pytest.fixture
def t(shared):
    shared.go(0); shared.tune(FEW)
    return shared


def slide(t, rest, **changes): on_slider(t, dict(values={**t.params.to_dict(), **changes}, rest=rest))
def cloud_colors(t): return np.array(t.cloud.figure.data[0].marker.color)
def said(t): return re.sub('<[^>]*>', '', t.parts['say'].value)


def test_moving_changes_the_picture_only(t):
    picture, numbers, colors = t.parts['picture'].data, dict(t.measures), cloud_colors(t)
    slide(t, False, colour=80., bias=-1.)
    assert t.parts['picture'].data != picture and t.parts['picture'].data[:2] == b'\xff\xd8' # a quick JPEG
    assert t.measures == numbers and (cloud_colors(t) == colors).all()


def test_resting_changes_everything(t):
    colors, before = cloud_colors(t), t.regions.n
    slide(t, True, colour=80., bias=-1.)
    assert t.regions.n != before and t.measures == measures(t.regions) and str(t.regions.n) in t.parts['measures'].value
    assert t.parts['picture'].data[:4] == b'\x89PNG'
    assert (cloud_colors(t) != colors).any()


def test_same_regions_as_the_batch_call(t):
    slide(t, True, colour=30., go_on=.4)
    assert (t.regions.labels == find_regions(t.frame, t.params).labels).all()


def test_the_same_values_are_not_computed_again(t, monkeypatch):
    slide(t, False, colour=20.)
    monkeypatch.setattr(t.scene, 'finder', lambda params: pytest.fail('computed again'))
    slide(t, True, colour=20.)


@pytest.mark.parametrize('wrong', [dict(go_on=7), dict(n_superpixels=0), dict(bias='x'), dict(engine='magic'), dict(nobody=1)])
def test_a_wrong_value_is_one_plain_line(t, wrong):
    slide(t, False, **wrong)
    assert t.params == FEW and next(iter(wrong)) in said(t) and '\n' not in said(t) and 'Traceback' not in said(t)
    slide(t, True, colour=20.)
    assert said(t) == '' and t.error is None


def test_presets_and_code_move_the_sliders(t):
    t.params = 'paper'
    assert t.params == RegionParams.preset('paper') and t.parts['panel'].values == t.params.to_dict()
    t.parts['presets']['street'].click()
    assert t.params == RegionParams.preset('street') and t.parts['panel'].base == t.params.to_dict()
    assert t.parts['presets']['street'].button_style == 'primary'


def test_first_click_card_second_click_why_third_anew(t):
    on_click(t, dict(u=125, v=52))
    assert 'Region' in t.parts['card'].value and [m['name'] for m in t.parts['picture'].marks] == ['A']
    on_click(t, dict(u=60, v=90))
    assert t.reason is not None and t.reason.verdict.split()[0] in t.parts['card'].value
    assert [list(m)[0] for m in t.parts['picture'].marks if 'path' in m] == ['path']
    on_click(t, dict(u=3, v=3))
    assert t.reason is None and len(t.pins) == 1


def test_shift_keeps_the_first_pixel(t):
    for u, v, shift in ((125, 52, False), (60, 90, False), (3, 3, True)): on_click(t, dict(u=u, v=v, shift=shift))
    assert t.pins == [(125, 52), (3, 3)]


def test_a_point_selects_its_pixel_in_both_views(t):
    _, keep = scene_points(t.scene)
    t.cloud.pick(77)
    u, v = t.pins[0]
    assert v*t.frame.size[0] + u == keep[77]
    chosen = t.cloud.figure.data[1].x
    assert len(chosen) == (t.regions.labels.ravel()[keep] == t.regions.labels[v, u]).sum() > 0


def test_the_card_follows_the_slider(t):
    t.click(125, 52); before = t.parts['card'].value
    slide(t, True, colour=80., bias=-1.)
    assert t.parts['card'].value != before


@pytest.mark.parametrize('view', widgets.VIEWS + ('labels',))
def test_every_view_draws(t, view):
    before = t.parts['picture'].data
    t.parts['view'].value = view
    assert t.error is None and (view == 'regions' or t.parts['picture'].data != before)
    t.parts['view'].value = 'regions'


@pytest.mark.parametrize('by', ['image', 'normals', 'depth', 'regions'])
def test_every_cloud_colouring(t, by):
    t.cloud.by.value = by
    marker = t.cloud.figure.data[0].marker
    assert len(marker.color) == len(scene_points(t.scene)[1]) and np.max(marker.color) <= marker.cmax


def test_frames_change_and_what_they_lack_is_not_offered(t):
    t.parts['on'].click()
    assert t.frame.name == 'b' and 'labels' not in t.parts['view'].options and 'purity' not in t.measures
    t.parts['on'].click()
    assert t.frame.name == 'a' and t.params == FEW
    t.parts['frame'].value = 1
    assert t.frame.name == 'b'


def test_saved_and_loaded_equal(t, tmp_path):
    slide(t, True, go_on=.37)
    t.parts['path'].value = str(tmp_path/'mine.toml')
    t.parts['save'].click()
    assert 'cpcdr regions' in said(t)
    kept = t.params
    t.params = 'paper'
    t.parts['load'].click()
    assert t.params == kept and t.parts['panel'].base == kept.to_dict()


@pytest.mark.parametrize('text, word', [('colour = "red"', 'colour'), ('color = 3', 'colour'), ('= 3', 'TOML'), ('format = 9', 'version')])
def test_a_bad_file_is_one_plain_line(t, tmp_path, text, word):
    path = tmp_path/'bad.toml'; path.write_text(text)
    t.parts['path'].value = str(path); t.parts['load'].click()
    assert word in said(t) and 'bad.toml' in said(t) and '\n' not in said(t) and t.params == FEW


def test_no_place_leaves_everything(t):
    t.parts['place'].value = '/no/such/folder'
    t.parts['open'].click()
    assert '/no/such/folder' in said(t) and t.frame.name == 'a'


def test_a_photo_without_depth_says_so(t, tmp_path):
    path = tmp_path/'photo.jpg'; Image.fromarray(street().image).save(path)
    on_upload(t, [dict(name='photo.jpg', content=path.read_bytes())])
    assert t.scene.flat and 'colour only' in said(t) and t.cloud.none.layout.display is None
    assert 'depth' not in t.parts['view'].options
    t.click(5, 5); assert 'Region' in t.parts['card'].value
    assert t.still().rgb.shape[1] <= 440
    on_upload(t, [dict(name='broken.jpg', content=b'not a picture')])
    assert 'broken.jpg' in said(t) and t.scene.flat
    t.use([street('a'), street('b', labelled=False)])
    assert not t.scene.flat and t.cloud.none.layout.display == 'none'


def test_colour_alone_gets_more_weight_and_gives_it_back():
    plain = street()
    t = tune([plain.replace(disp=None), plain], FEW.replace(colour=.1), points=500)
    assert t.params.colour == widgets.ALONE and 'raised' in said(t)
    t.go(1)
    assert t.params == FEW.replace(colour=.1) and said(t) == ''
    t.go(0); t.params = t.params.replace(bias=-1.); t.go(1)
    assert t.params.bias == -1. and t.params.colour == widgets.ALONE # what a hand changed stays


def test_large_frames_are_thinned_for_the_screen_only():
    frame = street(width=1500, height=750)
    scene = Scene(frame, wide=640)
    regions = scene.find(FEW)
    assert regions.labels.shape == (750, 1500) and scene.picture().shape == (250, 500, 3)


@pytest.mark.parametrize('size', [(1, 1), (3, 2), (17, 1)])
def test_tiny_frames(size):
    tiny = tune(street().resize(*size), points=10)
    assert tiny.error is None and tiny.regions.labels.shape == size[::-1]
    tiny.click(0, 0)


def test_colours_stay_when_numbers_change():
    scene = Scene(street())
    old = scene.find(FEW); before = scene.colors[old.labels]
    new = scene.find(FEW.replace(bias=FEW.bias - .2))
    after = scene.colors[new.labels]
    assert (before == after).all(-1).mean() > .6


def test_static_pages_get_a_photograph(t):
    bundle = t._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert data['image/png'][:4] == b'\x89PNG' and 'application/vnd.jupyter.widget-view+json' in data
    assert len(data['image/png']) < 120*1024


def test_clouds_leave_as_open3d_and_ply(t, tmp_path):
    pytest.importorskip('open3d')
    cloud = t.to_open3d(voxel=.5)
    assert len(cloud.points) > 10 and cloud.has_normals()
    assert t.save_ply(tmp_path/'cloud.ply', voxel=.5).read_bytes()[:3] == b'ply'


def test_compare_shows_both_sides():
    c = compare(street(), FEW, FEW.replace(colour=80., bias=-1.))
    assert [p.data[:4] for p in c.pictures] == [b'\x89PNG']*2 and 'colour' in widgets.compare_html(c) and 'purity' in widgets.compare_html(c)
    c.pictures[0].click = dict(u=10, v=10)
    assert all('Region' in card.value for card in c.cards)
    with pytest.raises(DataError, match='nowhere.toml'): compare(street(), 'paper', 'nowhere.toml')


def test_sliders_know_all_parameters():
    fields = {f['name']: f for f in widgets.slider_fields()}
    assert list(fields) and set(fields) == {f.name for f in RegionParams.fields()}
    assert all(f['doc'] and f['step'] > 0 for f in fields.values())


def test_constants_of_another_engine_are_greyed_out(t):
    assert 'go_on' in t.parts['panel'].idle and 'threshold' not in t.parts['panel'].idle
    before = t.regions.labels
    slide(t, True, go_on=.9)
    assert (t.regions.labels == before).all()   # it truly does nothing
    slide(t, True, engine='mapequation', go_on=.2)
    assert 'go_on' not in t.parts['panel'].idle and 'threshold' in t.parts['panel'].idle
    cut = t.regions.n
    slide(t, True, go_on=.9)
    assert t.regions.n != cut


@pytest.mark.parametrize('engine', ['linkage', 'threshold', 'mapequation'])
def test_what_is_greyed_out_does_nothing_and_the_rest_something(engine):
    finder = widgets.RegionFinder(street())
    p = FEW.replace(engine=engine)
    differ = {name: any((finder(p.replace(**{name: x})).labels != finder(p).labels).any() for x in values)
              for name, values in dict(go_on=(.02, .6, .95), threshold=(.02, .6, .95)).items()}
    assert [n for n in differ if not differ[n]] == [n for n in widgets.idle_fields(p) if n in differ]


def test_nothing_reaches_into_the_network_and_nothing_is_cleared():
    text = ''.join(p.read_text() for p in widgets.SCREEN.iterdir()) + open(widgets.__file__).read()
    assert 'clear_output' not in text and not re.search(r'https?://(?!www\.w3\.org/2000/svg)', text)
