"""Write README.md from nbs/index.ipynb, and its pictures into nbs/pictures/.

    python tools/readme.py            write
    python tools/readme.py --check    exit 1 where README.md is not what the notebook says
"""
import base64
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / 'nbs' / 'pictures'


def shown(source):
    "The cell's code without directives; nothing where the cell says `#| echo: false` or `#| hide`."
    lines = source.splitlines()
    if any(line.strip() in ('#| echo: false', '#| hide') for line in lines): return ''
    return '\n'.join(line for line in lines if not line.startswith('#|')).strip()


def output(out, name, alt):
    "Markdown and the files one output needs."
    data = out.get('data', {})
    for kind, suffix in (('image/png', 'png'), ('image/jpeg', 'jpg')):
        if kind in data: return f'![{alt}](nbs/pictures/{name}.{suffix})', {PICTURES / f'{name}.{suffix}': base64.b64decode(data[kind])}
    if 'text/markdown' in data: return data['text/markdown'], {}
    text = out.get('text') or data.get('text/plain', '')
    return (f'```\n{text.rstrip()}\n```' if text.strip() else ''), {}


def render():
    "README.md's text and the pictures it shows, as {path: bytes}."
    parts, files = [], {}
    for i, cell in enumerate(nbformat.read(ROOT / 'nbs' / 'index.ipynb', 4).cells):
        if cell.cell_type == 'markdown': parts.append(cell.source)
        elif cell.cell_type == 'code' and not cell.source.startswith('#| hide'):
            if code := shown(cell.source): parts.append(f'```python\n{code}\n```')
            alt = next((line[7:].strip() for line in cell.source.splitlines() if line.startswith('#| alt:')), 'picture')
            for j, out in enumerate(cell.outputs):
                text, more = output(out, f'index_{i}_{j}' if j else f'index_{i}', alt)
                parts.append(text)
                files.update(more)
    text = '<!-- written by tools/readme.py from nbs/index.ipynb -->\n\n' + '\n\n'.join(p for p in parts if p) + '\n'
    return {ROOT / 'README.md': text.encode(), **files}


def main():
    files = render()
    stale = [p for p, data in files.items() if not p.exists() or p.read_bytes() != data]
    if '--check' in sys.argv:
        for p in stale: print(f'{p.relative_to(ROOT)} is not what nbs/index.ipynb says; mend: python tools/readme.py')
        return bool(stale)
    for old in PICTURES.glob('index_*'): old.unlink()
    for p, data in files.items():
        p.parent.mkdir(exist_ok=True)
        p.write_bytes(data)
    print('\n'.join(str(p.relative_to(ROOT)) for p in files))


if __name__ == '__main__':
    sys.exit(main())
