"""Run the notebooks from a fresh kernel and keep them clean.

    python tools/notebooks.py run [NOTEBOOK ...]     run, keep text and small pictures, print seconds
    python tools/notebooks.py clean [NOTEBOOK ...]   take out what git must not hold, without running
    python tools/notebooks.py check [NOTEBOOK ...]   exit 1 where one carries what git must not hold
"""
import argparse
import base64
import io
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
KEPT = ('text/plain', 'text/html', 'text/markdown', 'image/png', 'image/jpeg')
PICTURES = {'image/png', 'image/jpeg'}
MOST_KB, MOST_PICTURE_KB = 300, 120
SKIPPED_FLAGS = ('slow', 'cuda')


def notebooks(names):
    return [Path(n).resolve() for n in names] or sorted((ROOT / 'nbs').glob('*.ipynb'))


def is_skipped(cell):
    "Whether a full run leaves the cell out: it exports, is flagged slow, or needs a GPU."
    flags = [line[2:].strip() for line in cell.source.splitlines() if line.startswith('#|')]
    return 'nbdev_export()' in cell.source or any(f in SKIPPED_FLAGS for f in flags)


def clean_output(out):
    "The output without widgets, plotly scripts and big pictures; None if nothing stays."
    if out.output_type in ('stream', 'error'):
        return None if out.get('name') == 'stderr' else out
    out.data = {k: v for k, v in out.data.items() if k in KEPT}
    html = out.data.get('text/html', '')
    if 'plotly' in html.lower() or len(html) > 20_000: out.data.pop('text/html', None)
    # a picture's repr says nothing and changes from run to run
    if (PICTURES | {'text/html'}) & out.data.keys(): out.data.pop('text/plain', None)
    if 'image/png' in out.data: out.data.pop('image/jpeg', None)
    if ' at 0x' in out.data.get('text/plain', ''): out.data.pop('text/plain')
    out.metadata = {}
    if 'execution_count' in out: out.execution_count = None
    return out if out.data else None


def smaller(data, scale):
    "The picture again as a JPEG, scaled: photographs take a fifth of what they take as PNG."
    raw = data.pop('image/png', None) or data.pop('image/jpeg')
    image = Image.open(io.BytesIO(base64.b64decode(raw))).convert('RGB')
    image = image.resize([max(1, round(s * scale)) for s in image.size], Image.Resampling.LANCZOS)
    with io.BytesIO() as f:
        image.save(f, 'jpeg', quality=80, optimize=True)
        data['image/jpeg'] = base64.b64encode(f.getvalue()).decode()


def fit_pictures(nb):
    "Make the largest pictures smaller, first as JPEG, then in size, until each and the notebook fit."
    datas = [o.data for c in nb.cells if c.cell_type == 'code' for o in c.outputs if PICTURES & o.get('data', {}).keys()]
    kb = lambda d: len(d.get('image/png') or d['image/jpeg']) / 1024
    room = .98 * MOST_KB - len(nbformat.writes(nb).encode()) / 1024 + sum(map(kb, datas))
    while datas:
        largest = max(datas, key=kb)
        # base64 makes three bytes four letters
        if kb(largest) <= MOST_PICTURE_KB / .75 and sum(map(kb, datas)) <= room or kb(largest) < 4: break
        smaller(largest, 1 if 'image/png' in largest else .85)
    return nb


def clean(nb):
    nb.metadata = {k: v for k, v in nb.metadata.items() if k == 'kernelspec'}
    for cell in nb.cells:
        cell.metadata = {}
        if cell.cell_type == 'code':
            cell.execution_count = None
            cell.outputs = [o for o in map(clean_output, cell.outputs) if o]
    return fit_pictures(nb)


def run(path):
    "Execute in a fresh kernel at the notebook's folder; returns the cleaned notebook and the seconds."
    nb, start = nbformat.read(path, 4), time.time()
    cells = nb.cells
    nb.cells = [c for c in cells if not is_skipped(c)]
    nb.metadata.kernelspec = {'name': 'python3', 'display_name': 'python3', 'language': 'python'}
    NotebookClient(nb, timeout=600, resources={'metadata': {'path': str(path.parent)}}).execute()
    nb.cells = cells
    return clean(nb), time.time() - start


def faults(path):
    "What the notebook carries that git must not hold, as lines."
    text, nb = path.read_text(), nbformat.read(path, 4)
    found = []
    if len(text) > MOST_KB * 1024: found.append(f'{len(text) // 1024} kB, {MOST_KB} at most')
    for mime in ('application/vnd.jupyter.widget', 'application/vnd.plotly'):
        if mime in text: found.append(f'carries {mime}')
    if any(c.get('execution_count') for c in nb.cells): found.append('carries execution counts')
    if nbformat.writes(clean(nb)).rstrip() != text.rstrip(): found.append('is not clean')
    mend = {'is not clean': 'clean'}
    return [f'{path.relative_to(ROOT)}: {f} (mend: python tools/notebooks.py {mend.get(f, "run")} {path.relative_to(ROOT)})' for f in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=('run', 'clean', 'check'))
    parser.add_argument('notebook', nargs='*')
    args = parser.parse_args()
    os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    if args.what == 'check':
        lines = [line for path in notebooks(args.notebook) for line in faults(path)]
        print('\n'.join(lines) or 'notebooks are clean')
        return bool(lines)
    for path in notebooks(args.notebook):
        nb, seconds = run(path) if args.what == 'run' else (clean(nbformat.read(path, 4)), 0)
        path.write_text(nbformat.writes(nb).rstrip() + '\n')
        print(f'{path.name}: {seconds:.1f} s', flush=True)


if __name__ == '__main__':
    sys.exit(main())
