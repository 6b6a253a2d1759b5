"Promises of cpcdr.core that would bore in the notebook: properties, processes, failing disks."
import errno
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from cpcdr import core
from cpcdr.core import (PART, DataError, Params, atomic_path, check_range, check_shape, fingerprint, make_rng, param,
                        write_bytes, write_json, write_text)


@dataclass(frozen=True)
class Knobs(Params):
    count: int = param(3, 'how many "things"', 0, 1000, group='first')
    weight: float = param(.5, 'how much', -10, 10, unit='m', group='first')
    on: bool = param(True, 'whether')
    word: str = param('a', 'which', choices=('a', 'b # c'), group='second')


knobs = st.builds(Knobs, st.integers(0, 1000), st.floats(-10, 10), st.booleans(), st.sampled_from(['a', 'b # c']))


@given(knobs)
def test_parameters_survive_toml(k):
    assert Knobs.from_toml(k.to_toml()) == k


@given(knobs, knobs)
def test_fingerprints_tell_parameters_apart(a, b):
    assert (a.fingerprint() == b.fingerprint()) == (repr(a) == repr(b))


@given(st.text(max_size=200))
def test_any_text_is_parameters_or_one_line_of_error(text):
    try: Knobs.from_toml(text, 'x.toml')
    except DataError as e: assert '\n' not in str(e) and str(e).startswith('x.toml: ')


@pytest.mark.parametrize('text, words', [
    ('count = 2000', '0 to 1000'), ('count = "3"', 'expected int'), ('count = true', 'expected int'),
    ('weight = nan', 'weight'), ('weight = inf', 'weight'), ('[first]\ncuont = 1', "did you mean 'count'"),
    ('kind = "Other"', 'holds Other'), ('format = 2', 'another version'), ('word = 1', 'expected str'), ('a = ', 'not TOML')])
def test_wrong_parameters_are_named(text, words):
    with pytest.raises(DataError, match=words): Knobs.from_toml(text, 'x.toml')


def test_parameters_load_and_say_what_is_wrong(tmp_path):
    Knobs(count=9).save(tmp_path / 'k.toml')
    assert Knobs.load(tmp_path / 'k.toml').count == 9
    (tmp_path / 'bin.toml').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(DataError, match='not a text file'): Knobs.load(tmp_path / 'bin.toml')
    with pytest.raises(DataError, match='directory'): Knobs.load(tmp_path)


@given(st.integers(0, 2**31), st.text(max_size=20))
def test_streams_repeat_and_differ(seed, key):
    assert make_rng(seed, key).random() == make_rng(seed, key).random()
    assert make_rng(seed, key).random() != make_rng(seed, key, 1).random()


def test_streams_and_fingerprints_are_the_same_in_another_process():
    code = "from cpcdr.core import *; print(make_rng(5, 'trees', 2).integers(1 << 60), fingerprint({'b': 1, 'a': [2.5, 'x']}))"
    env = {**os.environ, 'PYTHONHASHSEED': '77'}
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env, check=True).stdout
    assert out.split() == [str(make_rng(5, 'trees', 2).integers(1 << 60)), fingerprint({'a': [2.5, 'x'], 'b': 1})]


def test_data_errors_cross_processes():
    e = pickle.loads(pickle.dumps(DataError('a.png', 'is empty', 'copy it again')))
    assert (str(e), e.path, e.mend) == ('a.png: is empty; copy it again', 'a.png', 'copy it again')


@pytest.mark.parametrize('fail', [RuntimeError('stop'), KeyboardInterrupt(), OSError(errno.ENOSPC, 'No space left on device')])
def test_nothing_half_written_stays(tmp_path, fail):
    target = tmp_path / 'deep' / 'a.txt'
    write_text(target, 'old')
    with pytest.raises((RuntimeError, KeyboardInterrupt, DataError)):
        with atomic_path(target) as part:
            part.write_text('new but ha')
            raise fail
    assert target.read_text() == 'old' and [p.name for p in target.parent.iterdir()] == ['a.txt']


def test_full_disk_is_told_in_words(tmp_path, monkeypatch):
    def full(*_): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(DataError, match='a.bin: no space left on device; free some space'): write_bytes(tmp_path / 'a.bin', b'x')
    assert not list(tmp_path.iterdir())


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(DataError, match='no such file'):
        with atomic_path(tmp_path / 'a.txt'): pass


def test_unfinished_files_keep_their_suffix_and_are_marked(tmp_path):
    with atomic_path(tmp_path / 'a.png') as part:
        assert part.suffix == '.png' and PART in part.name and part.parent == tmp_path
        part.write_bytes(b'x')


def test_json_takes_numpy(tmp_path):
    write_json(tmp_path / 'a.json', dict(x=np.float32(.5), y=np.arange(2), z=[np.int64(1)]))
    assert '0.5' in (tmp_path / 'a.json').read_text()


@given(st.lists(st.integers(0, 4), min_size=0, max_size=4))
def test_any_shape_fits_its_own_pattern(shape):
    x = np.zeros(shape)
    assert check_shape('x', x, ' '.join(map(str, shape))) == {}
    assert len(check_shape('x', x, '... ' + ' '.join(f'a{i}' for i in range(len(shape))))) == len(shape)
    with pytest.raises(ValueError, match='x: expected shape'): check_shape('x', x, ' '.join(map(str, [*shape, 1])))


def test_ranges_refuse_nan_and_accept_nothing():
    check_range('x', np.array([]), 0, 1)
    with pytest.raises(ValueError): check_range('x', np.nan, 0, 1)


def test_bars_of_a_part_are_hidden(capfd):
    with core.hidden_bars():
        with core.hidden_bars(): assert list(core.progress(range(3), 'within')) == [0, 1, 2]
        assert core.progress([], 'still').disable
    assert not core.progress([], 'again').disable and core.progress([], 'no', disable=True).disable
    assert 'within' not in capfd.readouterr().err


def test_a_kernel_compiled_into_another_is_not_used_when_old(tmp_path):
    "numba alone would go on adding one: it looks at the outer kernel's file only."
    (tmp_path / 'pack').mkdir()
    kernel = '@numba.njit(cache=True)\ndef {}\n'
    (tmp_path / 'pack/__init__.py').write_text('from cpcdr.core import forget_stale_kernels\nforget_stale_kernels(__path__[0])\n')
    (tmp_path / 'pack/outer.py').write_text('import numba\nfrom .inner import inner\n' + kernel.format('outer(x): return inner(x)'))
    def says(body):
        (tmp_path / 'pack/inner.py').write_text('import numba\n' + kernel.format(f'inner(x): return {body}'))
        done = subprocess.run([sys.executable, '-c', 'from pack.outer import outer; print(outer(1), outer.stats.cache_hits)'], cwd=tmp_path, capture_output=True, text=True,
                              env={**{k: v for k, v in os.environ.items() if k != 'NUMBA_CACHE_DIR'}, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{Path(core.__file__).parent.parent}'})
        return done.stdout.split() or done.stderr
    assert says('x + 1') == ['2', 'Counter()'] and says('x + 1')[0] == '2' and 'Counter()' not in says('x + 1')
    assert says('x + 2') == ['3', 'Counter()']
