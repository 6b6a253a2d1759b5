"""From a slider's input event to the changed picture on the screen, in real Chromium.

    python benchmarks/browser_latency.py [--steps 60] [--folder DATA] [--json FILE]

The time starts at the slider's `input` event and ends in the frame after the one in which the new picture was drawn: by then the
browser has painted it. Also told: the kernel's own share (regions, overlay, JPEG), and a whole drag of many events.
"""
import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tests'))
from lab import fresh_page, lab_server, open_notebook, real_browser, run_all, write_notebook

CELL = """import time
from cpcdr.data import open_folder, samples
from cpcdr import widgets
from cpcdr.widgets import tune
folder = {folder!r}
t = tune((open_folder(folder) if folder else samples())[0].resize(1024, 512))
spans, inner = [], widgets.refresh
def timed(*args):
    start = time.perf_counter(); inner(*args); spans.append((time.perf_counter() - start) * 1000)
widgets.refresh = timed
t"""

# a step is what a mouse does to a slider: its value changes and an input event fires
STEP = """([name, place]) => new Promise((done) => {
  const slider = document.querySelector(`.cpcdr-sliders input[type=range][aria-label=${name}]`), canvas = document.querySelector('.cpcdr-picture canvas');
  const start = performance.now();
  canvas.addEventListener('drawn', () => requestAnimationFrame(() => { const c = new MessageChannel(); c.port1.onmessage = () => done(performance.now() - start); c.port2.postMessage(0); }), {once: true});
  slider.value = place; slider.dispatchEvent(new Event('input', {bubbles: true})); setTimeout(() => done(null), 5000); })"""

# forty events in a second, as a quick hand makes them; how many pictures came, and when the last value was on the screen
DRAG = """(name) => new Promise((done) => {
  const slider = document.querySelector(`.cpcdr-sliders input[type=range][aria-label=${name}]`), canvas = document.querySelector('.cpcdr-picture canvas');
  let drawn = 0, last = 0, n = 0; const count = () => { drawn++; last = performance.now(); }; canvas.addEventListener('drawn', count);
  const move = setInterval(() => { slider.value = 300 + n*10; slider.dispatchEvent(new Event('input', {bubbles: true}));
    if (++n === 40) { clearInterval(move); const end = performance.now(); setTimeout(() => { canvas.removeEventListener('drawn', count); done([drawn, last - end]); }, 400); } }, 25); })"""


def percentile(x, p):
    return sorted(x)[min(len(x) - 1, int(len(x) * p / 100))]


def measure(steps=60, folder='', name='plane', width=1280, height=800):
    "Latencies in ms, the kernel's share, and one drag."
    with tempfile.TemporaryDirectory() as home, lab_server(home) as (url, token), real_browser() as browser, fresh_page(browser, width, height) as page:
        write_notebook(Path(home) / 'bench.ipynb', [CELL.format(folder=folder and str(Path(folder).resolve())), 'print(json.dumps(spans)) if (json := __import__("json")) else None'])
        open_notebook(page, url, token, 'bench.ipynb')
        run_all(page)
        page.wait_for_selector('.cpcdr-picture canvas[data-drawn]')
        page.evaluate("() => document.querySelector('.cpcdr').scrollIntoView()")
        page.wait_for_timeout(4000)
        spans = []
        for k in range(steps + 5):
            spans.append(page.evaluate(STEP, [name, 250 + (k * 137) % 500]))
            page.wait_for_timeout(120)   # shorter than the time after which a slider counts as at rest
        page.wait_for_timeout(3000)
        drawn, late = page.evaluate(DRAG, name)
        spans = [s for s in spans[5:] if s is not None]
        page.wait_for_timeout(2000)
        run_all(page, cells='last')
        kernel = json.loads(page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.filter(w => w.model.type == 'code').at(-1).model.outputs.toJSON()[0].text"))
        return dict(steps=len(spans), median_ms=round(statistics.median(spans), 1), p95_ms=round(percentile(spans, 95), 1), kernel_median_ms=round(statistics.median(kernel), 1),
                    drag_events=40, drag_pictures=drawn, last_value_after_ms=round(late, 1), load=os.getloadavg()[0], cpus=os.cpu_count())


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--steps', type=int, default=60)
    parser.add_argument('--folder', default='', help='frames to tune; default: data_samples')
    parser.add_argument('--json', default='', help='write the figures to this file too')
    args = parser.parse_args()
    found = measure(args.steps, args.folder)
    print(json.dumps(found))
    if args.json: Path(args.json).write_text(json.dumps(found) + '\n')
