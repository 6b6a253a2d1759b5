"The notebooks hold nothing that git must not, and cpcdr/ is what nbdev_export writes."
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import notebooks
import pytest

ROOT = Path(__file__).resolve().parent.parent
PATHS = notebooks.notebooks([])
MOST_LINES = 40


@pytest.mark.parametrize('path', PATHS, ids=lambda p: p.stem)
def test_notebook_is_clean(path):
    assert notebooks.faults(path) == []


@pytest.mark.parametrize('path', PATHS, ids=lambda p: p.stem)
def test_exported_cells_are_short(path):
    exported = [c.source for c in nbformat.read(path, 4).cells if c.source.startswith('#| export')]
    cells = [[line for line in source.splitlines()[1:] if line.strip()] for source in exported]
    long = {lines[0]: len(lines) for lines in cells if len(lines) > MOST_LINES}
    assert not long, f'over {MOST_LINES} lines: {long}'


def test_faults_are_seen(tmp_path, monkeypatch):
    "The check itself: widget state, plotly output, counts."
    monkeypatch.setattr(notebooks, 'ROOT', tmp_path)
    data = {'application/vnd.plotly.v1+json': {}, 'application/vnd.jupyter.widget-view+json': {}, 'text/plain': 'x'}
    cell = nbformat.v4.new_code_cell('1', outputs=[nbformat.v4.new_output('execute_result', data)], execution_count=3)
    path = tmp_path / 'x.ipynb'
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    found = ' '.join(notebooks.faults(path))
    for word in ('plotly', 'widget', 'execution counts', 'not clean'): assert word in found


def test_package_is_what_the_notebooks_export(tmp_path):
    for name in ('settings.ini', 'pyproject.toml'): shutil.copy(ROOT / name, tmp_path)
    for name in ('nbs', 'cpcdr'): shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    code = 'from nbdev.doclinks import nbdev_export; nbdev_export()'
    subprocess.run([sys.executable, '-c', code], cwd=tmp_path, check=True, capture_output=True)
    files = {p.name for p in (ROOT / 'cpcdr').glob('*.py')} | {p.name for p in (tmp_path / 'cpcdr').glob('*.py')}
    different = [n for n in sorted(files) if not (ROOT / 'cpcdr' / n).exists()
                 or (ROOT / 'cpcdr' / n).read_bytes() != (tmp_path / 'cpcdr' / n).read_bytes()]
    assert not different, f'make export would change {different}'
    assert (ROOT / 'pyproject.toml').read_text() == (tmp_path / 'pyproject.toml').read_text()


def test_readme_is_what_the_index_says():
    import readme
    stale = [p.name for p, data in readme.render().items() if not p.exists() or p.read_bytes() != data]
    assert not stale, f'python tools/readme.py would change {stale}'
