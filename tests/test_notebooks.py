"Every notebook runs from a fresh kernel, top to bottom."
import notebooks
import pytest

PATHS = notebooks.notebooks([])
SLOWEST = 240 # seconds, on a busy machine that compiles for the first time; 30 is what a lesson should take


@pytest.mark.parametrize('path', PATHS, ids=lambda p: p.stem)
def test_notebook_runs(path):
    _, seconds = notebooks.run(path)
    assert seconds < SLOWEST
