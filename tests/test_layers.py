"Who may import whom: the table in CONTRIBUTING.md, held against the imports of every module."
import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(p for p in (ROOT / 'cpcdr').glob('*.py') if not p.stem.startswith('_'))
SCREEN = {'matplotlib', 'plotly', 'ipywidgets', 'anywidget', 'IPython', 'ipyevents', 'dash', 'voila'}
SCREEN_MODULES = {'show', 'widgets', 'mixwidgets', 'featureview', 'ablation'}
TORCH_MODULES = {'checkpoints', 'encoder', 'contrast', 'training', 'picie', 'segment', 'monodepth', 'selfdepth'}  # what others import only inside functions
HEAVY = SCREEN | {'torch', 'open3d', 'skimage', 'sklearn', 'cv2', 'kornia', 'transformers', 'infomap', 'av', 'nbdev', 'fastcore'}


def allowed():
    "Module -> what it may import, read from the table; None means anything."
    rows = {}
    for line in (ROOT / 'CONTRIBUTING.md').read_text().splitlines():
        cells = [c.strip() for c in line.strip('|').split('|')]
        if len(cells) != 4 or not re.match(r'\d\d_', cells[0]) or cells[1] == '–': continue
        words = set(re.findall(r'\w+', cells[3]))
        rows[cells[1]] = words
    everything = set(rows)
    for name, words in rows.items():
        if 'everything' in words: rows[name] = everything - words - {name}
    return rows


ALLOWED = allowed()


def test_the_table_names_every_notebook_once_in_order():
    named = re.findall(r'^\| (\d\d_\w+) \|', (ROOT / 'CONTRIBUTING.md').read_text(), re.M)
    assert named == sorted(p.stem for p in (ROOT / 'nbs').glob('[0-9]*.ipynb'))


def imported(nodes):
    "Names of modules that the statements import: ('cpcdr', 'core') for our own, ('numpy', '') for others."
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names: yield from split(alias.name, [])
        elif isinstance(node, ast.ImportFrom):
            name = f'cpcdr.{node.module or ""}'.rstrip('.') if node.level else node.module
            yield from split(name, [a.name for a in node.names])


def split(name, names):
    package, _, rest = name.partition('.')
    if package != 'cpcdr': yield package, ''
    elif rest: yield package, rest.split('.')[0]
    else:
        for n in names: yield package, n if n in ALLOWED else ''


def outside_functions(tree):
    "Statements that run when the module is imported."
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)): continue
        yield node
        todo += ast.iter_child_nodes(node)


def test_table_names_modules_in_order():
    assert {'core', 'frame', 'regions', 'cli'} <= set(ALLOWED)
    for name, words in ALLOWED.items(): assert words <= set(ALLOWED), f'{name}: {words - set(ALLOWED)} stand in no row'


@pytest.mark.parametrize('path', MODULES, ids=lambda p: p.stem)
def test_module_keeps_to_its_row(path):
    assert path.stem in ALLOWED, f'{path.stem} has no row in the table of CONTRIBUTING.md'
    ours = {n for p, n in imported(ast.walk(ast.parse(path.read_text()))) if p == 'cpcdr' and n}
    assert ours <= ALLOWED[path.stem], f'{path.stem} may not import {sorted(ours - ALLOWED[path.stem])}'


@pytest.mark.parametrize('path', MODULES, ids=lambda p: p.stem)
def test_only_the_screen_knows_the_screen(path):
    if path.stem in SCREEN_MODULES: return
    used = {p for p, _ in imported(ast.walk(ast.parse(path.read_text())))}
    assert not used & SCREEN, f'{path.stem} imports {sorted(used & SCREEN)}'


@pytest.mark.parametrize('path', MODULES, ids=lambda p: p.stem)
def test_heavy_packages_wait_until_used(path):
    if path.stem in SCREEN_MODULES: return
    names = set(imported(outside_functions(ast.parse(path.read_text()))))
    used = {n if p == 'cpcdr' and n in TORCH_MODULES else p for p, n in names}
    if path.stem in TORCH_MODULES: used -= TORCH_MODULES | {'torch'}
    assert not used & (HEAVY | TORCH_MODULES), f'{path.stem} imports {sorted(used & (HEAVY | TORCH_MODULES))} at the top; import it in the function that uses it'


def test_doctor_needs_nothing():
    "It runs before anything is installed."
    used = {p for p, _ in imported(ast.walk(ast.parse((ROOT / 'cpcdr/doctor.py').read_text())))}
    assert used <= {*sys.stdlib_module_names, 'cpcdr'}


def test_the_check_sees_what_it_should():
    code = 'from .show import x\nfrom cpcdr import core\ndef f():\n    import torch.nn\n'
    assert set(imported(ast.walk(ast.parse(code)))) == {('cpcdr', 'show'), ('cpcdr', 'core'), ('torch', '')}
    assert ('torch', '') not in set(imported(outside_functions(ast.parse(code))))
