"""Make .venv/ ready: system libraries, Python packages, Lab's settings, compiled code. Only what is missing is done.

    python3 tools/install.py            what the lab and the command need
    python3 tools/install.py --tests    and what the tests need: a browser

Runs on the system's own Python 3.11 or later, with nothing installed. Stopped in the middle, it goes on at the next call.
"""
import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from cpcdr.doctor import can_load, has_browser, missing_libraries  # noqa: E402  it needs nothing but Python

VENV = ROOT / '.venv'
STAMPS = VENV / 'cpcdr-setup'
PYTHON = VENV / 'bin/python'


def stop(line):
    sys.exit(f'cpcdr setup: {line}')


def say(line):
    print(f'cpcdr setup: {line}', flush=True)


def is_root():
    return hasattr(os, 'geteuid') and os.geteuid() == 0


def has_venv():
    try: import ensurepip, venv  # noqa: E401,F401
    except ImportError: return False
    return True


def missing_packages(tests):
    "Debian packages that this machine still needs."
    found = [] if has_venv() else ['python3-venv']
    found += missing_libraries()
    if not tests or sys.platform != 'linux': return found
    if not can_load('libatomic.so.1'): found.append('libatomic1')  # what drives the browser needs it
    return found if has_browser() else found + ['chromium', 'fonts-dejavu-core']


def install_system(tests):
    "With root and apt: install. Otherwise say what to type."
    missing = missing_packages(tests)
    if not missing: return
    line = f'apt-get install -y --no-install-recommends {" ".join(missing)}'
    if not shutil.which('apt-get'):
        stop(f'this system lacks what Debian calls {", ".join(missing)}; install that and call make again')
    if not is_root(): stop(f'first type: sudo {line}')
    say(f'system packages: {" ".join(missing)}')
    env = os.environ | {'DEBIAN_FRONTEND': 'noninteractive'}
    quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    subprocess.run(['dpkg', '--configure', '-a'], **quiet)  # an earlier install may have been cut off
    subprocess.run(['apt-get', 'update', '-qq'], **quiet)
    done = subprocess.run(line.split(), **quiet)
    if done.returncode: stop(f'apt-get failed ({" ".join(done.stdout.split()[-20:])}); try: {line}')
    if missing_packages(tests): stop(f'still missing: {", ".join(missing_packages(tests))}')


def digest(*paths):
    "One word for the contents of files."
    h = hashlib.sha256(sys.version.encode())
    for path in paths:
        h.update(path.name.encode())
        h.update(path.read_bytes())
    return h.hexdigest()[:16]


def is_done(step, state):
    stamp = STAMPS / step
    return stamp.exists() and stamp.read_text() == state


def mark(step, state):
    STAMPS.mkdir(exist_ok=True)
    (STAMPS / step).write_text(state)


def make_venv():
    "A fresh .venv/, also where an interrupted install left one that cannot be trusted."
    broken = (STAMPS / 'installing').exists() or not PYTHON.exists()
    if not broken:
        broken = subprocess.run([PYTHON, '-m', 'pip', '--version'], capture_output=True).returncode != 0
    if not broken: return
    say('new environment in .venv/')
    subprocess.run([sys.executable, '-m', 'venv', '--clear', VENV], check=True)


held = [] # open files that carry the lock


def take_turns():
    "One setup at a time; a pip whose parent was killed still holds the lock, and is waited for."
    import fcntl
    held.append(os.open(ROOT / 'Makefile', os.O_RDONLY))
    try: fcntl.flock(held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say('another setup is running here: waiting for it')
        fcntl.flock(held[0], fcntl.LOCK_EX)
    except OSError: pass # no locks on this disk


def run_quietly(command, log):
    "Run with all output in a file, the seconds ticking in a terminal; on failure its complaints are shown. The exit code."
    start = time.time()
    with open(log, 'w') as out:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, pass_fds=held)
        try:
            while process.poll() is None:
                if sys.stdout.isatty(): print(f'\r    {time.time() - start:.0f} s ', end='', flush=True)
                time.sleep(.5)
        finally: process.terminate()
    if sys.stdout.isatty(): print('\r', end='')
    if process.returncode: print(*[line for line in log.read_text().splitlines() if line.startswith('ERROR')][-5:], sep='\n')
    return process.returncode


def install_packages():
    state = digest(*(ROOT / name for name in ('settings.ini', 'setup.py', 'pyproject.toml', 'constraints.txt')))
    if is_done('packages', state): return
    say('Python packages (2 to 5 minutes the first time)')
    mark('installing', '')
    command = [PYTHON, '-m', 'pip', '--disable-pip-version-check', 'install', '--no-compile', '-c', 'constraints.txt', '-e', '.[dev]']
    log = STAMPS / 'pip.log'
    if run_quietly(command, log): stop(f'pip could not install the packages; {log.relative_to(ROOT)} tells all; mend that and call make again')
    # pip compiles on one core only
    subprocess.run([PYTHON, '-m', 'compileall', '-q', '-j', '0', VENV / 'lib'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (STAMPS / 'installing').unlink()
    mark('packages', state)


def update_json(path, values):
    "Set keys of a JSON file, keeping the others."
    path.parent.mkdir(parents=True, exist_ok=True)
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(old | values, indent=1) + '\n')


def configure_lab():
    "No dialog when Lab opens (rebuild, news), and the kernel named python3 is this environment."
    if is_done('lab', '2'): return
    update_json(VENV / 'etc/jupyter/labconfig/page_config.json', {'buildCheck': False})
    news = {'fetchNews': 'false', 'checkForUpdates': False}
    update_json(VENV / 'share/jupyter/lab/settings/overrides.json', {'@jupyterlab/apputils-extension:notification': news})
    subprocess.run([PYTHON, '-m', 'ipykernel', 'install', '--sys-prefix', '--name', 'python3', '--display-name', 'python3'],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    mark('lab', '2')


def compile_code():
    "Numba compiles at first use and keeps the result: use it once now, so that the first slider is quick."
    state = digest(*sorted((ROOT / 'cpcdr').glob('*.py')))
    if is_done('compiled', state): return
    say('compiling')
    if subprocess.run([VENV / 'bin/cpcdr', 'doctor', '--warm'], cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
        stop('the command does not run; ask it why: .venv/bin/cpcdr doctor')
    mark('compiled', state)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tests', action='store_true')
    args = parser.parse_args()
    if sys.version_info < (3, 11): stop(f'Python 3.11 or later is needed, this is {sys.version.split()[0]}; name one: make PYTHON=python3.11')
    start = time.time()
    take_turns()
    install_system(args.tests)
    make_venv()
    install_packages()
    configure_lab()
    compile_code()
    if time.time() - start > 5: say(f'ready after {time.time() - start:.0f} s')


if __name__ == '__main__':
    try: main()
    except KeyboardInterrupt: stop('stopped; call make again to go on')
