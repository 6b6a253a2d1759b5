"Pretrained networks: fed as the library feeds them, read as they mean it, found or asked for in one line. All are tiny and random, none is fetched."
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from cpcdr import pretrained
from cpcdr.core import DataError
from cpcdr.frame import Camera, Frame
from cpcdr.pretrained import (answer_to_maps, find_model, fit_inverse, fitted_maps, input_recipe, input_size, load_network, output_meaning, prepare, pretrained_depth,
                              raw_answer)

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')
STAGES = ['stage1', 'stage2', 'stage3', 'stage4']


def dino(): return transformers.Dinov2Config(hidden_size=24, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2, image_size=56, patch_size=14, out_features=STAGES, reshape_hidden_states=False)


def build(kind, **more):
    t = transformers
    if kind == 'depth_anything':
        return t.DepthAnythingForDepthEstimation(t.DepthAnythingConfig(backbone_config=dino(), patch_size=14, reassemble_hidden_size=24, neck_hidden_sizes=[8]*4, fusion_hidden_size=8, head_hidden_size=8, **more))
    if kind == 'dpt':
        return t.DPTForDepthEstimation(t.DPTConfig(hidden_size=24, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=64, patch_size=16, backbone_out_indices=[0, 1, 2, 3],
                                                   neck_hidden_sizes=[8]*4, fusion_hidden_size=8, neck_ignore_stages=[], is_hybrid=False))
    if kind == 'glpn': return t.GLPNForDepthEstimation(t.GLPNConfig(depths=[1]*4, hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8, max_depth=80))
    beit = t.BeitConfig(hidden_size=24, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=64, patch_size=16, out_features=STAGES, reshape_hidden_states=False)
    return t.ZoeDepthForDepthEstimation(t.ZoeDepthConfig(backbone_config=beit, neck_hidden_sizes=[8]*4, fusion_hidden_size=8, bottleneck_features=8, num_relative_features=8, num_attractors=[4, 2, 2, 1],
                                                         bin_embedding_dim=8, bin_configurations=[dict(n_bins=8, min_depth=.001, max_depth=80., name='kitti')]))


def save(folder, kind='depth_anything', given=None, **more):
    torch.manual_seed(1)
    transformers.utils.logging.disable_progress_bar()
    net = build(kind, **more)
    with torch.no_grad():
        for p in net.head.parameters() if hasattr(net, 'head') else []: p.normal_(0, .5)
    net.save_pretrained(folder)
    if given is not None: (folder / 'preprocessor_config.json').write_text(json.dumps(given))
    return folder


def picture(height=60, width=100, seed=0): return np.random.default_rng(seed).integers(0, 256, (height//4, width//4, 3)).repeat(4, 0).repeat(4, 1).astype(np.uint8)


@pytest.mark.parametrize('kind, name, options', [
    ('dpt', 'DPTImageProcessorPil', {}), ('dpt', 'DPTImageProcessorPil', dict(size=dict(height=48, width=80), image_mean=[.1, .2, .3], image_std=[.4, .5, .6])),
    ('depth_anything', 'DPTImageProcessorPil', dict(size=dict(height=56, width=56), keep_aspect_ratio=True, ensure_multiple_of=14, image_mean=[.485, .456, .406], image_std=[.229, .224, .225])),
    ('glpn', 'GLPNImageProcessorPil', {}), ('zoedepth', 'ZoeDepthImageProcessorPil', dict(size=dict(height=96, width=128), ensure_multiple_of=32)),
    ('zoedepth', 'ZoeDepthImageProcessorPil', dict(size=dict(height=96, width=128), ensure_multiple_of=32, do_pad=False, keep_aspect_ratio=False))])
@pytest.mark.parametrize('size', [(60, 100), (120, 64)])
def test_pictures_are_prepared_as_the_library_does(kind, name, options, size, tmp_path):
    theirs = getattr(transformers, name, None)
    if theirs is None: pytest.skip(f'this transformers has no {name}')
    theirs = theirs(**options)
    theirs.save_pretrained(tmp_path)
    image = picture(*size)
    want = theirs(image, return_tensors='pt')['pixel_values']
    got = prepare(image, input_recipe(dict(model_type=kind), json.loads((tmp_path / 'preprocessor_config.json').read_text())))
    assert got.shape == want.shape and (got - want).abs().max() < .04, (got.shape, want.shape, (got - want).abs().max()) # the library rounds to whole grey levels in between


@given(st.sampled_from(['depth_anything', 'dpt', 'glpn', 'zoedepth']), st.integers(1, 3000), st.integers(1, 3000))
def test_sizes_suit_the_patches(kind, width, height):
    recipe = input_recipe(dict(model_type=kind), {})
    step = dict(depth_anything=14, dpt=16, glpn=32, zoedepth=32)[kind]
    assert all(n > 0 and n % step == 0 for n in input_size(recipe, width, height))


@pytest.mark.parametrize('kind, meaning', [('depth_anything', 'relative'), ('dpt', 'relative'), ('glpn', 'metric'), ('zoedepth', 'metric')])
def test_each_family_answers_in_the_size_of_the_picture(kind, meaning, tmp_path):
    given = dict(depth_anything=dict(size=dict(height=56, width=56)), dpt=dict(size=dict(height=64, width=64)), glpn={}, zoedepth=dict(size=dict(height=64, width=96)))[kind]
    network = load_network(save(tmp_path / kind, kind, given))
    assert network.meaning == meaning and kind in repr(network)
    answer = raw_answer(network, picture())
    assert answer.shape == (60, 100) and np.isfinite(answer).all()
    found = answer_to_maps(answer if meaning == 'metric' else answer + .1, meaning)
    assert ('depth' in found) == (meaning == 'metric') and found['disp'].shape == (60, 100) and 0 < found['disp'].min() <= found['disp'].max() <= 1


def test_relative_and_metric_by_configuration(tmp_path):
    frame = Frame('a', picture(), depth=np.ones((60, 100), np.float32), camera=Camera.guess(100, 60))
    small = dict(size=dict(height=56, width=56))
    relative = pretrained_depth(frame, load_network(save(tmp_path / 'r', given=small)))
    assert relative.depth is None and relative.disp.max() == 1 # the depth that was there is not the network's
    metric = pretrained_depth(frame, load_network(save(tmp_path / 'm', given=small, depth_estimation_type='metric', max_depth=80)))
    assert metric.depth.max() <= 81 and np.allclose(metric.disp, np.clip(1/metric.depth, 1/65535, 1))
    forced = load_network(tmp_path / 'r', 'metric')
    assert forced.meaning == 'metric' and np.allclose(pretrained_depth(frame, forced).depth, np.maximum(raw_answer(forced, frame.image), 0))
    with pytest.raises(ValueError, match='meaning: expected auto'): load_network(tmp_path / 'r', 'feet')


def test_depth_pro_knows_the_camera():
    class Out: predicted_depth, field_of_view = torch.full((1, 8, 8), .5), torch.tensor([90.])
    class Net:
        device = 'cpu'
        def __call__(self, pixel_values): return Out
    network = pretrained.DepthNetwork('x', Net(), input_recipe(dict(model_type='depth_pro'), dict(size=8)), 'depth_pro')
    assert np.allclose(raw_answer(network, picture()), .5 * 100 / 50) # 90 degrees: focal length 50
    assert np.allclose(raw_answer(network, picture(), fx=200), .25)
    assert np.allclose(pretrained_depth(Frame('a', picture(), camera=Camera(200, 200, 50, 30, 100, 60)), network).depth, 4)


@pytest.mark.parametrize('config, meaning', [(dict(model_type='dpt'), 'relative'), (dict(model_type='dpt', backbone_config=dict(model_type='dinov2')), 'metric'), (dict(model_type='glpn'), 'metric'),
                                             (dict(model_type='depth_pro'), 'depth_pro'), (dict(model_type='depth_anything', depth_estimation_type=None), 'relative'), (dict(), ''), (dict(model_type='chmv2'), '')])
def test_meanings(config, meaning): assert output_meaning(config) == meaning


def test_offline_it_says_which_folder_it_wants(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, '_is_online', lambda: False)
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    with pytest.raises(DataError) as e: find_model('somebody/some-model')
    assert '\n' not in str(e.value) and 'cannot be reached' in str(e.value) and 'preprocessor_config.json' in str(e.value)
    for bad in ('nowhere', str(tmp_path / 'none'), './a/b', 'a/b/c'):
        with pytest.raises(DataError, match='is not there'): find_model(bad)
    (tmp_path / 'file').touch()
    with pytest.raises(DataError, match='is no folder'): find_model(str(tmp_path / 'file'))
    with pytest.raises(DataError, match='config.json'): find_model(str(tmp_path))
    assert not monkeypatch.undo() and (os.environ.__setitem__('HF_HUB_OFFLINE', '1') or not pretrained._is_online())


def test_spoiled_folders_are_one_line(tmp_path):
    good = save(tmp_path / 'good', given={})
    spoil = dict(weights=lambda f: (f / 'model.safetensors').write_bytes((f / 'model.safetensors').read_bytes()[:-900]), gone=lambda f: (f / 'model.safetensors').unlink(),
                 config=lambda f: (f / 'config.json').write_text('{"model_type": '), other=lambda f: (f / 'config.json').write_text('{"model_type": "bert"}'),
                 unknown=lambda f: (f / 'config.json').write_text('{"model_type": "x-y"}'), recipe=lambda f: (f / 'preprocessor_config.json').write_text('no'))
    import shutil
    for name, do in spoil.items():
        bad = tmp_path / name
        shutil.copytree(good, bad)
        do(bad)
        with pytest.raises(DataError) as e: load_network(bad)
        assert '\n' not in str(e.value) and str(bad) in str(e.value), name


def test_missing_weights_are_refused_not_invented(tmp_path):
    from safetensors.torch import load_file, save_file
    folder = save(tmp_path / 'a', given={})
    weights = load_file(folder / 'model.safetensors')
    weights.pop(next(k for k in weights if 'neck' in k))
    save_file(weights, folder / 'model.safetensors', dict(format='pt'))
    with pytest.raises(DataError, match='lacks 1 of its weights'): load_network(folder)


def test_mute_networks_say_so():
    for x, meaning in ((np.zeros((4, 4)), 'relative'), (-np.ones((4, 4)), 'metric'), (np.full((4, 4), np.nan), 'relative')):
        with pytest.raises(ValueError, match='nothing to say'): answer_to_maps(x, meaning)
    x = np.ones((4, 4)); x[0, 0] = np.nan
    assert answer_to_maps(x, 'relative')['disp'][0, 0] == 0 and answer_to_maps(x, 'metric')['depth'][0, 0] == 0 and answer_to_maps(x, 'metric')['disp'][0, 0] == 0


@given(st.floats(.001, 5), st.floats(-.004, .01), st.integers(0, 9))
@settings(max_examples=30)
def test_the_line_is_found_through_wild_dots(factor, shift, seed):
    rng = np.random.default_rng(seed)
    inverse = rng.uniform(.0125, .3, (30, 40))
    answer = (inverse - shift) / factor
    depth = np.where(rng.random(inverse.shape) < .3, 1/inverse, 0)
    wild = rng.random(inverse.shape) < .05
    depth[wild] = rng.uniform(2, 80, wild.sum())
    a, b = fit_inverse(answer, depth)
    assert abs(a/factor - 1) < .05 and abs(b - shift) < .004
    back = fitted_maps(answer, depth)
    assert np.median(abs(back['depth']*inverse - 1)) < .03
    with pytest.raises(ValueError, match='depth instead'): fitted_maps(-answer, depth)
