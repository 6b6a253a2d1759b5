"The package's metadata, read from settings.ini (nbdev 2 keeps it there)."
import shlex
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

parser = ConfigParser(delimiters=['='], interpolation=None)
parser.read('settings.ini', encoding='utf-8')
settings = parser['DEFAULT']
readme = Path('README.md')
extras = {name: shlex.split(settings[f'{name}_requirements']) for name in ('stereo', 'video', 'tensorboard', 'infomap', 'cluster')}
# whoever works on the project gets what the lessons compare with, too
extras['dev'] = shlex.split(settings['dev_requirements']) + extras['stereo'] + extras['video'] + extras['infomap'] + extras['tensorboard']

setup(
    name=settings['lib_name'],
    version=settings['version'],
    description=settings['description'],
    long_description=readme.read_text(encoding='utf-8') if readme.exists() else '',
    long_description_content_type='text/markdown',
    keywords=settings['keywords'].split(),
    author=settings['author'],
    author_email=settings['author_email'],
    license='Apache-2.0',
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Education',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
    ],
    packages=find_packages(include=['cpcdr', 'cpcdr.*']),
    package_data={'cpcdr': ['screen/*']},
    include_package_data=True,
    python_requires='>=' + settings['min_python'],
    install_requires=shlex.split(settings['requirements']),
    extras_require=extras,
    entry_points={
        'console_scripts': settings['console_scripts'].split(),
        'nbdev': [f'{settings["lib_name"]}={settings["lib_path"]}._modidx:d'],
    },
    zip_safe=False,
)
