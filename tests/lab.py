"JupyterLab in a real Chromium, for the browser tests and the latency benchmark."
import json, os, shutil, subprocess, sys, tempfile, time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ['--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader']


def chromium():
    "Where Chromium is, or None."
    names = os.environ.get('CPCDR_CHROMIUM'), 'chromium', 'chromium-browser', 'google-chrome'
    return next((found for n in names if n and (found := shutil.which(n))), None)


@contextmanager
def lab_server(folder, seconds=60):
    "A JupyterLab server over `folder` with settings of its own; yields its address and token."
    folder, home = Path(folder), Path(tempfile.mkdtemp(prefix='cpcdr-lab-'))
    env = os.environ | {'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]),
                        'JUPYTER_CONFIG_DIR': str(home/'config'), 'JUPYTER_RUNTIME_DIR': str(home/'runtime'),
                        'JUPYTERLAB_SETTINGS_DIR': str(home/'settings'), 'JUPYTERLAB_WORKSPACES_DIR': str(home/'workspaces'),
                        'IPYTHONDIR': str(home/'ipython')}
    words = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ServerApp.port=0', f'--ServerApp.root_dir={folder}',
             '--LabApp.expose_app_in_browser=True', '--LabApp.news_url=None']
    with open(home/'log', 'w') as log:
        server = subprocess.Popen(words, env=env, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(seconds*10):
            found = list((home/'runtime').glob('jpserver-*.json'))
            if found and found[0].stat().st_size: break
            if server.poll() is not None: raise RuntimeError((home/'log').read_text()[-2000:])
            time.sleep(.1)
        else: raise RuntimeError('JupyterLab did not start:\n' + (home/'log').read_text()[-2000:])
        about = json.loads(found[0].read_text())
        yield about['url'], about['token']
    finally:
        server.terminate()
        try: server.wait(10)
        except subprocess.TimeoutExpired: server.kill()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def real_browser():
    "A headless Chromium; one a process, since Playwright allows no second one beside it."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def fresh_page(browser, width=1280, height=800):
    "A page that no visit before has touched."
    page = browser.new_page(viewport=dict(width=width, height=height))
    yield page
    page.close()


STATE = """() => { const p = window.jupyterapp?.shell.currentWidget; if (!p?.content?.widgets) return null;
  const k = p.sessionContext?.session?.kernel;
  return {status: k?.status ?? 'none', cells: p.content.widgets.filter(w => w.model.type == 'code').map(w => ({
    count: w.model.executionCount, state: w.model.executionState ?? '', source: w.model.sharedModel.getSource(),
    errors: w.model.outputs.toJSON().filter(o => o.output_type == 'error').map(o => o.ename + ': ' + o.evalue)}))}; }"""


def open_notebook(page, url, token, name, seconds=60):
    "Open the notebook and wait until its kernel is idle."
    page.goto(f'{url}lab/tree/{name}?token={token}&reset')
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'", timeout=seconds*1000)


def command(page, name):
    "Start a JupyterLab command without waiting for its promise."
    page.evaluate("name => { window.jupyterapp.commands.execute(name); }", name)


def write_notebook(path, cells):
    "A notebook of these code cells."
    import nbformat
    nb = nbformat.v4.new_notebook(metadata={'kernelspec': {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}})
    nb.cells = [nbformat.v4.new_code_cell(c) for c in cells]
    nbformat.write(nb, path)


def run_all(page, seconds=180, cells='all'):
    "Run all cells, or the last one; returns the state of every code cell once the kernel is idle."
    if cells == 'last':
        page.evaluate("() => { const c = window.jupyterapp.shell.currentWidget.content; c.activeCellIndex = c.widgets.length - 1; }")
        command(page, 'notebook:run-cell')
        page.wait_for_timeout(1000)
    else: command(page, 'notebook:run-all-cells')
    end = time.time() + seconds
    while time.time() < end:
        page.wait_for_timeout(200)
        state = page.evaluate(STATE)
        done = [c for c in state['cells'] if c['source'].strip()]
        errors = [e for c in done for e in c['errors']]
        if errors or (state['status'] == 'idle' and all(c['count'] for c in done)): return state
    raise TimeoutError(f'the notebook did not finish in {seconds} s: {state}')
