"The installer and the Lab starter, without installing: what they would do, and what they say."
import json
import re
import shlex
from configparser import ConfigParser
from importlib.metadata import distributions
from pathlib import Path
from types import SimpleNamespace

import install
import open_lab
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent
OLDEST = '3.11.2' # Debian 12


@pytest.fixture
def calls(monkeypatch):
    "Commands that the installer would run."
    made = []
    def run(command, **kwargs):
        made.append(' '.join(map(str, command)))
        return SimpleNamespace(returncode=0, stdout='')
    monkeypatch.setattr(install.subprocess, 'run', run)
    return made


@pytest.fixture
def venv(tmp_path, monkeypatch):
    "An environment folder of its own."
    for name, path in dict(VENV=tmp_path, STAMPS=tmp_path / 'stamps', PYTHON=tmp_path / 'bin/python').items(): monkeypatch.setattr(install, name, path)
    return tmp_path


def test_without_root_one_line_tells_what_to_type(monkeypatch, calls):
    monkeypatch.setattr(install, 'missing_packages', lambda tests: ['libgl1', 'chromium'])
    monkeypatch.setattr(install, 'is_root', lambda: False)
    monkeypatch.setattr(install.shutil, 'which', lambda name: '/usr/bin/apt-get')
    with pytest.raises(SystemExit) as stop: install.install_system(True)
    assert stop.value.code == 'cpcdr setup: first type: sudo apt-get install -y --no-install-recommends libgl1 chromium'
    assert calls == []


def test_with_root_it_installs(monkeypatch, calls):
    found = iter([['libgl1'], []])
    monkeypatch.setattr(install, 'missing_packages', lambda tests: next(found))
    monkeypatch.setattr(install, 'is_root', lambda: True)
    monkeypatch.setattr(install.shutil, 'which', lambda name: '/usr/bin/apt-get')
    install.install_system(False)
    assert calls[-1] == 'apt-get install -y --no-install-recommends libgl1'


def test_nothing_missing_nothing_done(monkeypatch, calls):
    monkeypatch.setattr(install, 'missing_packages', lambda tests: [])
    install.install_system(True)
    assert calls == []


def test_only_tests_need_a_browser(monkeypatch):
    monkeypatch.setattr(install, 'missing_libraries', lambda: [])
    monkeypatch.setattr(install, 'has_browser', lambda: False)
    monkeypatch.setattr(install.sys, 'platform', 'linux')
    assert install.missing_packages(False) == []
    assert 'chromium' in install.missing_packages(True)


def test_an_interrupted_install_starts_from_a_clean_environment(venv, calls):
    install.PYTHON.parent.mkdir()
    install.PYTHON.write_text('')
    install.make_venv()
    assert [c for c in calls if '--clear' in c] == []
    install.mark('installing', '')
    install.make_venv()
    assert '-m venv --clear' in calls[-1]


def test_steps_are_done_once(venv):
    assert not install.is_done('packages', 'abc')
    install.mark('packages', 'abc')
    assert install.is_done('packages', 'abc') and not install.is_done('packages', 'abd')


def test_lab_settings_keep_what_others_wrote(venv, calls):
    page = venv / 'etc/jupyter/labconfig/page_config.json'
    install.update_json(page, {'other': 1})
    install.configure_lab()
    assert json.loads(page.read_text()) == {'other': 1, 'buildCheck': False}
    news = json.loads((venv / 'share/jupyter/lab/settings/overrides.json').read_text())
    assert news['@jupyterlab/apputils-extension:notification']['fetchNews'] == 'false'


def test_lab_without_a_browser_and_as_root(monkeypatch):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'): monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(open_lab.sys, 'platform', 'linux')
    monkeypatch.setattr(open_lab.os, 'geteuid', lambda: 0)
    words = open_lab.command(['--port', '9000'])
    assert '--no-browser' in words and '--allow-root' in words and '9000' in words
    assert '/lab/tree/nbs/00_tour.ipynb' in words


# versions --------------------------------------------------------------------------------------------------------

def plain(name): return re.sub(r'[-_.]+', '-', name).lower()


def constraints():
    lines = [line for line in (ROOT / 'constraints.txt').read_text().splitlines() if line and line[0] != '#']
    assert all(re.fullmatch(r'[a-z0-9-]+==[\w.]+', line) for line in lines)
    return dict(line.split('==') for line in lines)


def test_every_requirement_has_its_version():
    parser, held = ConfigParser(delimiters=['='], interpolation=None), constraints()
    parser.read(ROOT / 'settings.ini')
    for key in [k for k in parser['DEFAULT'] if k.endswith('requirements')]:
        for requirement in map(Requirement, shlex.split(parser['DEFAULT'][key])):
            if requirement.marker and not requirement.marker.evaluate(): continue
            assert requirement.specifier.contains(held[plain(requirement.name)]), requirement


def test_versions_suit_the_oldest_python():
    "A package that asks for a later 3.11 than Debian's cannot be installed there."
    held = constraints()
    late = [f'{d.name} {d.version} {r}' for d in distributions() if held.get(plain(d.name)) == d.version and (r := d.metadata['Requires-Python']) and not SpecifierSet(r).contains(OLDEST)]
    assert not late
