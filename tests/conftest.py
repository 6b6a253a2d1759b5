"What all tests share: the package of this tree, real frames where somebody has them."
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# how long one example takes says more of the machine than of the code
settings.register_profile('cpcdr', deadline=None)
settings.load_profile('cpcdr')

ROOT = Path(__file__).resolve().parent.parent
# this tree's package, here and in every process that a test starts
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]
os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])


@pytest.fixture(scope='session')
def root():
    return ROOT


@pytest.fixture(scope='session')
def real():
    "Folder of real KITTI frames; they are not part of the project."
    folder = os.environ.get('CPCDR_REAL')
    if not folder: pytest.skip('CPCDR_REAL names no folder of real frames')
    return Path(folder)
