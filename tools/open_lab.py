"""Open JupyterLab on the tour and print the address. Runs in .venv/; further words go to JupyterLab."""
import os
import signal
import subprocess
import sys
import time
import webbrowser
from pathlib import Path

from jupyter_server.serverapp import list_running_servers

ROOT = Path(__file__).resolve().parent.parent
PAGE = 'lab/tree/nbs/00_tour.ipynb'


def has_browser():
    "Whether a browser window can open here."
    if sys.platform.startswith('linux') and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')): return False
    try: webbrowser.get()
    except webbrowser.Error: return False
    return True


def command(words):
    line = [sys.executable, '-m', 'jupyterlab', '--ServerApp.root_dir', str(ROOT), '--LabApp.default_url', '/' + PAGE,
            '--log-level', 'WARN', *words]
    if hasattr(os, 'geteuid') and os.geteuid() == 0: line.append('--allow-root')
    if not has_browser(): line.append('--no-browser')
    return line


def address(process):
    "Waits until the server answers, then gives its address; None if it ended."
    while process.poll() is None:
        for server in list_running_servers():
            if server['pid'] == process.pid: return f'{server["url"]}{PAGE}?token={server["token"]}'
        time.sleep(.2)


def main(words):
    env = os.environ | {'JUPYTER_PREFER_ENV_PATH': '1'}
    process = subprocess.Popen(command(words), cwd=ROOT, env=env)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's: it asks, and ends by itself
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    url = address(process)
    if url: print(f'\n    JupyterLab is open at  {url}\n    (Ctrl-C, then y, ends it)\n', flush=True)
    return process.wait()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
