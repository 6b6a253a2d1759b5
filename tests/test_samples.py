"data_samples/: small, complete, and what `make samples` would write today."
import json
import re

import numpy as np
import pytest
import samples as recipe
from PIL import Image

from cpcdr.data import open_folder


@pytest.fixture(scope='module')
def scenes(root): return open_folder(root / 'data_samples' / 'scenes')


@pytest.fixture(scope='module')
def clip(root): return open_folder(root / 'data_samples' / 'clip')


def size_of(folder): return sum(p.stat().st_size for p in folder.rglob('*') if p.is_file())


def test_frames_take_at_most_six_megabytes_and_a_network_twenty(root):
    assert sum(size_of(root / 'data_samples' / part) for part in ('scenes', 'clip', 'params')) <= 6e6
    networks = [p for p in (root / 'data_samples' / 'networks').iterdir() if p.is_dir()]
    assert networks and all(size_of(p) <= 20e6 for p in networks)


def test_the_network_of_the_samples_knows_more_than_colour_and_place(root, scenes):
    from functools import partial
    from cpcdr.cli_learn import seen_height
    from cpcdr.encoder import load_encoder
    from cpcdr.segment import cluster_prototypes, encoder_features, evaluate, linear_probe, rival_features
    run = root / 'data_samples' / 'networks' / 'features'
    encoder = load_encoder(run)
    see = partial(encoder_features, encoder, height=seen_height(run))
    found = evaluate(see, cluster_prototypes(encoder, 19), scenes)
    assert found['miou'] > .12 and found['per_class']['sky'] > .5
    assert linear_probe(partial(see, what='dense'), scenes, scenes)['miou'] > linear_probe(rival_features, scenes, scenes)['miou'] + .05


def test_the_depth_network_of_the_samples_knows_more_than_a_road(root, scenes):
    "It must beat the floor and wall that an untrained network answers with, on every street."
    from cpcdr.judge import depth_errors, true_depth
    from cpcdr.selfdepth import DepthModel, load_depth, make_nets, predict
    model = load_depth(root / 'data_samples' / 'networks' / 'depth')
    untrained = DepthModel(make_nets(model.params), model.params, model.size, model.scale)
    error = lambda m, f: depth_errors(1/predict(m, f), true_depth(f), scale='median')['abs_rel']
    assert all(error(model, f) < error(untrained, f) for f in scenes) and np.mean([error(model, f) for f in scenes]) < .35


def test_scenes_are_whole(scenes):
    assert len(scenes) == len(recipe.SCENES)
    seen = np.zeros(256, int)
    for f in scenes:
        assert f.size == (1024, 512) and f.camera.width == 1024
        assert f.disp.min() > 0 and f.labels is not None
        np.testing.assert_array_equal(f.instances > 0, np.isin(f.labels, list(f.classes.things)))
        seen += np.bincount(f.labels.ravel(), minlength=256)
    assert (seen[:19] > 0).all() and seen[255] < .03 * seen.sum()


def test_clip_is_whole(clip):
    assert len(clip) == recipe.CLIP['frames']
    for f in clip:
        assert f.size == (256, 128) and f.pose is not None and f.right is not None
        assert f.baseline == pytest.approx(.22)
    steps = np.diff([f.pose[2, 3] for f in clip])
    assert (steps > .1).all() and (steps < 3).all()


def close(new, old):
    "Equal but for what another processor may round otherwise."
    if old.disp is not None: assert np.mean(np.abs(new.disp - old.disp) > .01*old.disp + 1/65535) < .005
    if old.labels is not None: assert np.mean(new.labels != old.labels) < .005
    if old.instances is not None: assert np.mean(new.instances != old.instances) < .005
    np.testing.assert_allclose(new.pose, old.pose, atol=1e-6)
    assert new.camera == old.camera
    # the file is a JPEG
    assert np.abs(new.image.astype(int) - old.image).mean() < 6


def test_a_scene_made_again_is_the_same(scenes):
    close(next(recipe.scenes()), scenes[0])


def test_a_clip_frame_made_again_is_the_same(clip):
    new = next(recipe.clip())
    close(new, clip[0])
    assert np.abs(new.right.astype(int) - clip[0].right).mean() < 6


def test_pictures_are_what_the_readme_says(root):
    base = root / 'data_samples'
    text = (base / 'README.md').read_text()
    for part in ('scenes', 'clip'):
        camera = json.loads((base / part / 'camera.json').read_text())
        assert set(camera) - {'baseline'} == {'fx', 'fy', 'cx', 'cy', 'width', 'height'}
        for folder in (p.name for p in (base / part).iterdir() if p.is_dir()): assert re.search(rf'`{folder}/', text), folder
    assert Image.open(next((base / 'scenes/disp').glob('*.png'))).mode.startswith('I')
    assert Image.open(next((base / 'scenes/label').glob('*.png'))).mode in ('L', 'P')
