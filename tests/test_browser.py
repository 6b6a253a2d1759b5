"""JupyterLab in real Chromium: what a visitor sees and does.

Skipped with a reason where Chromium is missing; where CI is set, that is a failure instead.
"""
import os
import re
import shutil
import subprocess
import sys
import zlib

import numpy as np
import pytest
from lab import chromium, fresh_page, lab_server, open_notebook, real_browser, run_all, write_notebook
from streets import street

from cpcdr.copypaste import MixParams
from cpcdr.data import FolderWriter, open_folder, read_regions
from cpcdr.regions import RegionParams, find_regions

pytestmark = pytest.mark.xdist_group('browser')
TUNE = ["from cpcdr.data import open_folder\nfrom cpcdr.widgets import tune\n", "t = tune(open_folder('street'), 'start.toml', points=3000)\nt"]
START = RegionParams(n_superpixels=900, min_size=2)


def missing():
    "Why there is no browser to test with, or nothing."
    try: import playwright  # noqa: F401
    except ImportError: return 'playwright is not installed'
    return None if chromium() else 'Chromium is not installed'


@pytest.fixture(scope='module')
def browser():
    "Chromium, or a plain reason why not."
    if missing() and os.environ.get('CI'): pytest.fail(f'{missing()}, and CI must not go on without it')
    if missing(): pytest.skip(missing())
    with real_browser() as browser: yield browser


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    "A folder with a street, parameters, and a notebook that tunes them."
    folder = tmp_path_factory.mktemp('home')
    writer = FolderWriter(folder/'street')
    for name in 'ab': writer.write(street(name, 512, 256))
    START.save(folder/'start.toml')
    write_notebook(folder/'tune.ipynb', TUNE)
    return folder


@pytest.fixture(scope='module')
def tuner(browser, home):
    "The page with a running tuner, and what the browser's console complained about."
    with lab_server(home) as (url, token), fresh_page(browser) as page:
        complaints = []
        page.on('pageerror', lambda e: complaints.append(str(e)))
        page.goto(f'{url}lab?token={token}'); page.wait_for_timeout(3000)   # a first visit, so that the next one is the second
        open_notebook(page, url, token, 'tune.ipynb')
        state = run_all(page)
        assert not [e for c in state['cells'] for e in c['errors']]
        page.wait_for_selector('.cpcdr-picture canvas[data-drawn]', timeout=60_000)
        page.wait_for_selector('.js-plotly-plot .gl-container canvas', timeout=60_000)
        page.evaluate("() => document.querySelector('.cpcdr').scrollIntoView()")
        page.wait_for_timeout(1000)
        yield page, complaints


def drawn(page): return int(page.get_attribute('.cpcdr-picture canvas', 'data-drawn'))
def pixels(page): return page.evaluate("() => document.querySelector('.cpcdr-picture canvas').toDataURL()")
def cloud(page): return page.evaluate("() => Array.from(document.querySelector('.js-plotly-plot').data[0].marker.color)")
def chosen(page): return page.evaluate("() => document.querySelector('.js-plotly-plot').data[1].x.length")
def words(page, name): return page.locator(name).first.inner_text()
def wait(page, check, seconds=20):
    "Until `check()` holds; pictures come when they come."
    for _ in range(seconds*10):
        if check(): return True
        page.wait_for_timeout(100)
    return False


def drag(page, name, share):
    "Take a slider by its thumb and pull it to `share` of its way."
    slider = page.locator(f'.cpcdr-sliders input[type=range][aria-label={name}]')
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    now = int(slider.input_value()) / 1000
    at = lambda s: box['x'] + 9 + (box['width'] - 18) * s
    y = box['y'] + box['height']/2
    page.mouse.move(at(now), y); page.mouse.down()
    for k in range(1, 9): page.mouse.move(at(now + (share - now)*k/8), y); page.wait_for_timeout(30)
    page.mouse.up()


def click(page, u, v, size=(512, 256)):
    "Click on a pixel of the image."
    box = page.locator('.cpcdr-picture').first.bounding_box()
    page.mouse.click(box['x'] + (u + .5)/size[0]*box['width'], box['y'] + (v + .5)/size[1]*box['height'])


def test_no_dialog_stands_in_the_way(tuner):
    page, _ = tuner
    assert page.locator('.jp-Dialog').count() == 0
    assert page.get_by_text('Build Recommended').count() == 0
    assert page.get_by_text('notified about official Jupyter news').count() == 0


def test_a_slider_changes_the_picture_and_the_cloud(tuner):
    page, _ = tuner
    before, numbers, count = pixels(page), cloud(page), words(page, '.measures')
    drag(page, 'colour', .85)
    assert wait(page, lambda: pixels(page) != before), 'the picture did not change'
    assert wait(page, lambda: cloud(page) != numbers), 'the cloud did not change'
    assert wait(page, lambda: words(page, '.measures') != count), 'the measures did not change'


def test_while_it_moves_nothing_is_cleared(tuner):
    page, _ = tuner
    page.evaluate("""() => { window.gone = 0; const node = document.querySelector('.cpcdr');
        new MutationObserver((all) => { for (const m of all) for (const n of m.removedNodes) if (n.querySelector?.('canvas') || n.tagName === 'CANVAS') window.gone++; })
        .observe(node, {childList: true, subtree: true}); }""")
    box, n = page.locator('.cpcdr-picture').first.bounding_box(), drawn(page)
    drag(page, 'plane', .3)
    assert wait(page, lambda: drawn(page) > n + 1)
    assert page.evaluate('() => window.gone') == 0 and page.locator('.cpcdr-picture').first.bounding_box() == box


def test_the_latest_value_wins(tuner):
    page, _ = tuner
    page.evaluate("""() => { const s = document.querySelector('.cpcdr-sliders input[aria-label=ground][type=range]');
        for (let k = 0; k <= 100; k++) { s.value = 200 + 5*k; s.dispatchEvent(new Event('input', {bubbles: true})); } s.dispatchEvent(new Event('change', {bubbles: true})); }""")
    n = drawn(page)
    page.wait_for_timeout(4000)
    assert 1 <= drawn(page) - n <= 12   # a hundred values, a handful of pictures
    last = float(page.locator('.cpcdr-sliders input[type=number][aria-label=ground]').input_value())
    assert float(kernel(page, 'print(t.params.ground)')) == last


def kernel(page, code):
    "What the kernel prints for this code."
    return page.evaluate("""async (code) => { const k = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel; const f = k.requestExecute({code}); let text = '';
        f.onIOPub = (m) => { if (m.header.msg_type === 'stream') text += m.content.text; if (m.header.msg_type === 'error') text += m.content.evalue; }; await f.done; return text; }""", code).strip()


def test_a_click_opens_the_card_and_a_second_says_why(tuner):
    page, _ = tuner
    click(page, 330, 140)
    assert wait(page, lambda: words(page, '.card').startswith('Region')), words(page, '.card')
    assert 'Neighbours' in words(page, '.card') and 'm, median' in words(page, '.card')
    assert wait(page, lambda: chosen(page) > 0), 'nothing was selected in the cloud'
    click(page, 100, 240)
    assert wait(page, lambda: words(page, '.card').startswith('A and B')), words(page, '.card')
    assert page.locator('.cpcdr-picture polyline').count() == 2 and 'level' in words(page, '.card')
    pins = np.array(eval(kernel(page, 'print(t.pins)')))
    assert abs(pins - [(330, 140), (100, 240)]).max() <= 1   # the mouse goes by whole pixels of the screen


def test_a_point_of_the_cloud_selects(tuner):
    page, _ = tuner
    click(page, 5, 5)
    assert wait(page, lambda: words(page, '.card').startswith('Region'))
    pins = kernel(page, 'print(t.pins)')
    box = page.locator('.js-plotly-plot').first.bounding_box()
    page.locator('.js-plotly-plot').first.scroll_into_view_if_needed()
    box = page.locator('.js-plotly-plot').first.bounding_box()
    for dy in (.75, .65, .55, .85):   # the road lies in the lower half; plotly wants the pointer to rest before a click
        x, y = box['x'] + box['width']*.5, box['y'] + box['height']*dy
        page.mouse.move(x - 3, y); page.wait_for_timeout(300); page.mouse.move(x, y); page.wait_for_timeout(700)
        page.mouse.down(); page.wait_for_timeout(60); page.mouse.up()
        if wait(page, lambda: kernel(page, 'print(t.pins)') != pins, 3): break
    assert kernel(page, 'print(t.pins)') != pins, 'no point was picked'


def test_a_wrong_number_is_one_plain_line(tuner):
    page, _ = tuner
    field = page.locator('.cpcdr-sliders input[type=number][aria-label=threshold]')
    before = field.input_value()
    field.fill('7'); field.press('Enter')
    assert wait(page, lambda: 'threshold' in words(page, '.say')) and 'Traceback' not in page.content()
    assert wait(page, lambda: field.input_value() == before) and words(page, '.say').count('\n') == 0


def test_a_constant_of_another_engine_is_greyed_out(tuner):
    page, _ = tuner
    slider = page.locator('.cpcdr-sliders input[type=range][aria-label=go_on]')
    choice = page.locator('.cpcdr-sliders [data-name=engine] select')
    assert slider.is_disabled()
    choice.select_option('mapequation')
    assert wait(page, slider.is_enabled), 'go_on stayed grey'
    choice.select_option('linkage')
    assert wait(page, slider.is_disabled), 'go_on stayed awake'


def test_what_was_saved_is_what_the_command_uses(tuner, home):
    page, _ = tuner
    drag(page, 'bias', .6)
    page.wait_for_timeout(2500)
    page.get_by_role('button', name='Save', exact=True).click()
    path = home/'regions.toml'
    assert wait(page, path.is_file), words(page, '.say')
    shown = kernel(page, 'import zlib; print([zlib.crc32(t.regions.labels.tobytes()), t.regions.n])')
    subprocess.run([sys.executable, '-c', 'from cpcdr.cli import main; main()', 'regions', str(home/'street'), str(home/'out'), '--params', str(path)], check=True, capture_output=True)
    written = read_regions(home/'out'/'region'/'a.png').astype(np.int32)
    assert str([zlib.crc32(written.tobytes()), int(written.max()) + 1]) == shown
    assert RegionParams.load(home/'out'/'regions.toml') == RegionParams.load(path)
    assert (find_regions(open_folder(home/'street')['a'], RegionParams.load(path)).labels == written).all()


def test_the_console_stays_silent(tuner):
    _, complaints = tuner
    assert not complaints


def test_a_saved_notebook_holds_no_state(tuner, home):
    page, _ = tuner
    page.evaluate("() => { window.jupyterapp.commands.execute('docmanager:save'); }")
    page.wait_for_timeout(2500)
    text = (home/'tune.ipynb').read_text()
    assert 'application/vnd.jupyter.widget-state+json' not in text and len(text) < 400_000


# ---- copy-paste

MIX = ["from cpcdr.copypaste import MixParams\nfrom cpcdr.data import open_folder\nfrom cpcdr.mixwidgets import drag, partners, steps\n",
       "d = drag(open_folder('streets'))\nd.go(0, 1); d.pick(332, 140); d.place(column=120)\nd",
       "t = steps(open_folder('streets'), MixParams(images=3, width=384, height=192))\nt", "q = partners(t)\nq"]


@pytest.fixture(scope='module')
def mixer(browser, tmp_path_factory):
    "The page with the three copy-paste screens, what its console complained about, and its folder."
    folder = tmp_path_factory.mktemp('mixing')
    writer = FolderWriter(folder/'streets')
    for k, name in enumerate('abc'):
        f = street(name, 512, 256)
        regions = np.where(f.labels == 13, 2, np.where(f.labels == 0, 0, np.where(np.arange(512) < 150, 3, 1))).astype(np.int32)
        writer.write(f.replace(image=np.roll(f.image, k, 2), labels=None, regions=regions))
    write_notebook(folder/'mix.ipynb', MIX)
    with lab_server(folder) as (url, token), fresh_page(browser) as page:
        complaints = []
        page.on('pageerror', lambda e: complaints.append(str(e)))
        open_notebook(page, url, token, 'mix.ipynb')
        state = run_all(page)
        assert not [e for c in state['cells'] for e in c['errors']]
        page.evaluate("() => { window.jupyterapp.commands.execute('application:toggle-left-area'); }")
        page.wait_for_selector('.cpcdr-picture canvas[data-drawn]', timeout=120_000)
        page.wait_for_timeout(1000)
        yield page, complaints, folder


def screen(page, k):
    "One of the three screens, brought into view: the notebook takes cells that are far away off the page."
    page.evaluate("(k) => { const c = window.jupyterapp.shell.currentWidget.content; c.activeCellIndex = k; c.scrollToItem(k, 'start'); }", k + 1)
    found = page.locator(f'[data-windowed-list-index="{k + 1}"] .lm-Widget.cpcdr')
    found.locator('.cpcdr-picture canvas[data-drawn]').first.wait_for(timeout=60_000)
    found.evaluate('(node) => node.scrollIntoView()')
    page.wait_for_timeout(300)
    return found


def shown(found, k=0): return found.locator('.cpcdr-picture canvas').nth(k).evaluate('(c) => c.toDataURL()')
def asked(page, what): return eval(kernel(page, f'print({what})'))


def pull(page, found, start, to, size=(512, 256), up=True, k=0):
    "Take the picture at one of its pixels and pull it to another."
    box = found.locator('.cpcdr-picture').nth(k).bounding_box()
    place = lambda p: (box['x'] + (p[0] + .5)/size[0]*box['width'], box['y'] + (p[1] + .5)/size[1]*box['height'])
    page.mouse.move(*place(start)); page.mouse.down()
    for i in range(1, 9):
        page.mouse.move(*place([a + (b - a)*i/8 for a, b in zip(start, to)])); page.wait_for_timeout(40)
    if up: page.mouse.up()


def test_a_region_follows_the_hand(mixer):
    page, _, _ = mixer
    found = screen(page, 0)
    before, numbers = shown(found), found.locator('.measures').inner_text()
    pull(page, found, (120, 160), (200, 200), up=False)
    assert wait(page, lambda: shown(found) != before), 'nothing moved while it was pulled'
    assert wait(page, lambda: found.locator('.measures').inner_text() != numbers), 'the numbers did not follow'
    page.mouse.up(); page.wait_for_timeout(1000)
    near = asked(page, '(d.hand.s, d.hand.u)')
    assert near[0] > 1.3 and near[1] > 160, 'down is not nearer'
    a, tx, s, ty = asked(page, 'd.hand.affine().tolist()')
    pull(page, found, (200, 200), (200, 150)); page.wait_for_timeout(1000)
    assert asked(page, 'd.hand.s') < .7*near[0], 'up is not farther'


def test_it_hides_behind_what_is_nearer(mixer):
    page, _, _ = mixer
    found = screen(page, 0)
    kernel(page, 'd.place(distance=12, column=220)')   # between the wall and the box
    page.wait_for_timeout(700)
    assert asked(page, 'd.seen') > .9
    foot = asked(page, '(d.hand.affine()[0]*332 + d.hand.affine()[1], d.hand.affine()[2]*165 + d.hand.affine()[3])')
    pull(page, found, foot, (332, foot[1])); page.wait_for_timeout(1000)   # behind the box that stands there, 6 m away
    assert asked(page, 'd.seen') < .1 and asked(page, 'd.hand.depth') == pytest.approx(12, rel=.1)
    assert re.search(r'\b[0-9]%', found.locator('.measures').inner_text())
    found.get_by_role('button', name='side by side').click()
    assert wait(page, lambda: found.locator('.cpcdr-picture').nth(1).is_visible())
    page.wait_for_timeout(800)
    assert asked(page, 'd.hand.picture(d.hand.params.replace(move=False, depth_test=False))[1]') == 1   # plain copy-paste hides nothing
    left, right = (found.locator('.cpcdr-picture').nth(k).bounding_box() for k in (0, 1))
    assert left['y'] == right['y'] and left['width'] == right['width'] and right['x'] >= left['x'] + left['width']
    found.get_by_role('button', name='with depth').click()


def test_pulling_clears_nothing_and_the_latest_place_wins(mixer):
    page, _, _ = mixer
    found = screen(page, 0)
    kernel(page, 'd.place(distance=6, column=120)'); page.wait_for_timeout(700)
    page.evaluate("""() => { window.gone = 0; new MutationObserver((all) => { for (const m of all) for (const n of m.removedNodes) if (n.querySelector?.('canvas') || n.tagName === 'CANVAS') window.gone++; })
        .observe(document.querySelector('.cpcdr'), {childList: true, subtree: true}); }""")
    canvas = found.locator('.cpcdr-picture canvas').first
    n, place = int(canvas.get_attribute('data-drawn')), found.locator('.cpcdr-picture').first.bounding_box()
    canvas.evaluate("""(c) => { const b = c.parentNode, f = b.getBoundingClientRect(); const at = (k) => ({bubbles: true, button: 0, pointerId: 1, clientX: f.x + f.width*(.3 + k/400), clientY: f.y + f.height*.6});
        b.setPointerCapture = () => {}; b.dispatchEvent(new PointerEvent('pointerdown', at(0))); for (let k = 0; k <= 100; k++) b.dispatchEvent(new PointerEvent('pointermove', at(k))); b.dispatchEvent(new PointerEvent('pointerup', at(100))); delete b.setPointerCapture; }""")
    page.wait_for_timeout(3000)
    assert 1 <= int(canvas.get_attribute('data-drawn')) - n <= 6   # a hundred places, a handful of pictures
    assert asked(page, 'd.hand.u') == pytest.approx(120 + 512*.25, abs=2)
    assert page.evaluate('() => window.gone') == 0 and found.locator('.cpcdr-picture').first.bounding_box() == place


def test_the_distance_slider_and_a_click_on_the_source(mixer):
    page, _, _ = mixer
    found = screen(page, 0)
    before, s = shown(found), asked(page, 'd.hand.s')
    slider = found.locator('.cpcdr-sliders input[type=range][aria-label=distance]')
    slider.focus()
    for _ in range(12): slider.press('PageUp')
    assert wait(page, lambda: shown(found) != before) and wait(page, lambda: asked(page, 'd.hand.s') < s)
    box = found.locator('.cpcdr-picture').nth(2).bounding_box()
    page.mouse.click(box['x'] + box['width']*.1, box['y'] + box['height']*.2)   # the wall on the left
    assert wait(page, lambda: asked(page, 'int(d.hand.homes.names_of[d.hand.region])') == 3), 'another region was not taken'


def test_a_mix_grows_paste_by_paste(mixer):
    page, _, _ = mixer
    found = screen(page, 1)
    home = shown(found)
    press = lambda text: found.locator('button', has_text=text).first.click()
    press('\u25b6')
    assert wait(page, lambda: 'Paste 1 of' in found.locator('.card').inner_text())
    press('all')
    assert wait(page, lambda: re.search(r'Paste (\d+) of \1\b', found.locator('.card').inner_text())) and wait(page, lambda: shown(found) != home)
    assert asked(page, 'bool((t.scene.film(t.m).canvas.ids == t.scene.mixed.ids[t.m]).all())')
    for _ in range(asked(page, 't.k')): press('\u25c0'); page.wait_for_timeout(60)
    assert wait(page, lambda: asked(page, 't.k') == 0) and wait(page, lambda: shown(found) == home), 'all the way back is not the home'
    found.locator('.widget-play button').first.click()
    assert wait(page, lambda: asked(page, 't.k') >= 2), 'play does not play'
    found.locator('.widget-play button').first.click()


def test_a_constant_changes_the_mix_and_is_kept(mixer):
    page, _, folder = mixer
    found = screen(page, 1)
    found.locator('button', has_text='all').first.click(); page.wait_for_timeout(1200)
    before = shown(found)
    found.locator('.cpcdr-sliders [data-name=depth_test] input').uncheck()
    assert wait(page, lambda: shown(found) != before), 'the picture did not change'
    assert asked(page, 't.params.depth_test') is False
    found.locator('.cpcdr-sliders [data-name=move] input').uncheck()
    assert wait(page, lambda: found.locator('.cpcdr-sliders input[type=range][aria-label=smallest]').is_disabled())
    found.get_by_role('button', name='Save', exact=True).click()
    assert wait(page, (folder/'mix.toml').is_file), found.locator('.say').inner_text()
    assert MixParams.load(folder/'mix.toml') == MixParams(images=3, width=384, height=192, depth_test=False, move=False)
    found.locator('.cpcdr-sliders [data-name=depth_test] input').check(); found.locator('.cpcdr-sliders [data-name=move] input').check()
    assert wait(page, lambda: asked(page, 't.params.depth_test and t.params.move'))


def test_lines_lead_to_partners(mixer):
    page, _, _ = mixer
    found = screen(page, 2)
    lines = lambda: found.locator('polyline.line').count()
    assert wait(page, lambda: lines() > 1) and lines() == asked(page, "sum(w['state'] not in ('outside', 'not made') for w in q.found['views']) - 1")
    assert found.locator('polyline.line.firm').count() == asked(page, "sum(w['state'] == 'seen' for w in q.found['views']) - 1")
    at = asked(page, 'q.at')
    box = found.locator('.cpcdr-picture').bounding_box()
    page.mouse.click(box['x'] + box['width']*.1, box['y'] + box['height']*.4)   # the road of the first tile
    assert wait(page, lambda: asked(page, 'q.at') != at), 'a click did nothing'
    m, u, v = asked(page, 'q.at')
    assert asked(page, f"q.found['region'] == int(q.scene.mixed.ids[{m}, {v}, {u}])//q.scene.mixed.views") and asked(page, "q.error is None")
    assert found.locator('circle.pin').count() == lines() + 1 and 'Region' in found.locator('.card').inner_text()


def test_the_console_stays_silent_and_the_notebook_holds_no_state(mixer):
    page, complaints, folder = mixer
    assert not complaints
    page.evaluate("() => { window.jupyterapp.commands.execute('docmanager:save'); }")
    page.wait_for_timeout(2500)
    assert 'application/vnd.jupyter.widget-state+json' not in (folder/'mix.ipynb').read_text()


@pytest.mark.parametrize('name', ['00_tour', '80_explore_regions', '81_explore_copypaste'])
def test_the_notebook_runs_clean(browser, root, tmp_path, name):
    assert (root/'nbs'/f'{name}.ipynb').is_file(), f'nbs/{name}.ipynb is not there'
    shutil.copy(root/'nbs'/f'{name}.ipynb', tmp_path)
    with lab_server(tmp_path) as (url, token), fresh_page(browser) as page:
        open_notebook(page, url, token, f'{name}.ipynb')
        state = run_all(page, seconds=300)
        assert not [e for c in state['cells'] for e in c['errors']]
        page.wait_for_timeout(1500)
        assert page.locator('.jp-Dialog').count() == 0
        assert not re.search('Error displaying widget|Failed to load', page.content())
