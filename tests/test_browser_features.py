"The feature explorer in JupyterLab in real Chromium."
import pytest
from lab import fresh_page, lab_server, open_notebook, run_all, write_notebook
from streets import street
from test_browser import browser, wait  # noqa: F401

from cpcdr.data import FolderWriter

pytestmark = pytest.mark.xdist_group('browser')
CELLS = ["from cpcdr.data import open_folder\nfrom cpcdr.featureview import explore\nfrom cpcdr.segment import rival_features\n",
         "e = explore(open_folder('street'), rival_features, others=2)\ne"]
PICTURES = "() => [...document.querySelectorAll('.cpcdr-picture canvas')].map(c => c.toDataURL())"


@pytest.fixture(scope='module')
def explorer(browser, tmp_path_factory):  # noqa: F811
    "The page with a running explorer."
    home = tmp_path_factory.mktemp('features')
    writer = FolderWriter(home/'street')
    for name in 'abc': writer.write(street(name, 256, 128))
    write_notebook(home/'features.ipynb', CELLS)
    with lab_server(home) as (url, token), fresh_page(browser) as page:
        complaints = []
        page.on('pageerror', lambda e: complaints.append(str(e)))
        page.goto(f'{url}lab?token={token}'); page.wait_for_timeout(3000)
        open_notebook(page, url, token, 'features.ipynb')
        assert not [e for c in run_all(page)['cells'] for e in c['errors']]
        assert wait(page, lambda: page.locator('.cpcdr-picture canvas[data-drawn]').count() == 3, 60)
        page.evaluate("() => document.querySelector('.cpcdr').scrollIntoView()")
        page.wait_for_timeout(500)
        yield page, complaints


def click(page, number, x, y):
    "Click a picture at a share of its width and height."
    box = page.locator('.cpcdr-picture').nth(number).bounding_box()
    page.mouse.click(box['x'] + x*box['width'], box['y'] + y*box['height'])


def test_a_click_warms_all_pictures_and_fills_the_card(explorer):
    page, _ = explorer
    before = page.evaluate(PICTURES)
    click(page, 0, .4, .9)
    assert wait(page, lambda: all(a != b for a, b in zip(page.evaluate(PICTURES), before))), 'a picture did not change'
    assert wait(page, lambda: 'Pixel (102, 115) of a' in page.locator('.cpcdr .card').first.inner_text())
    assert 'road' in page.locator('.cpcdr .card').first.inner_text()
    assert page.locator('.cpcdr-picture').first.locator('circle.pin').count() == 1


def test_a_click_in_a_small_picture_brings_it_up(explorer):
    page, _ = explorer
    page.locator('.cpcdr-picture').nth(2).scroll_into_view_if_needed()
    click(page, 2, .5, .1)
    assert wait(page, lambda: 'of c' in page.locator('.cpcdr .card').first.inner_text())
    assert page.locator('.cpcdr select').first.evaluate('s => s.selectedOptions[0].text') == 'c'
    assert 'sky' in page.locator('.cpcdr .card').first.inner_text()


def test_views_change_and_nothing_complains(explorer):
    page, complaints = explorer
    before = page.evaluate(PICTURES)
    page.get_by_role('button', name='directions').click()
    assert wait(page, lambda: all(a != b for a, b in zip(page.evaluate(PICTURES), before)))
    assert not complaints
    widths = page.evaluate("() => [...document.querySelectorAll('.cpcdr-picture')].map(p => p.getBoundingClientRect()).map(b => [b.left, b.right])")
    assert all(left >= 0 and right <= 1280 for left, right in widths) and widths[1][1] <= widths[2][0] + 1
