"PiCIE: moves by hand, k-means by hand, the loss by hand, and a training that repeats."
import json
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from cpcdr.core import DataError, make_rng
from cpcdr.encoder import Encoder, load_encoder
from cpcdr.frame import Frame
from cpcdr.mixdata import draw_cuts
from cpcdr.picie import PicieParams, find_clusters, picie_loss, picie_step, sphere_means, train_picie, two_views, warp
from cpcdr.training import KeptFrames, TrainParams, make_optimiser

BRIEF = TrainParams.preset('tiny').replace(steps=4, mix=dict(width=96, height=48, images=2), encoder=dict(prototypes=6), precision='float32')
QUICK = PicieParams(refresh=2, samples=500, rounds=3)


def frames(n=3): return [Frame(f'{k}', np.random.default_rng(k).integers(0, 256, (48, 96, 3), np.uint8)) for k in range(n)]


def sphere(n, d, seed=0): return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_moves_by_hand():
    "A ramp shows where each pixel came from."
    cuts = draw_cuts(make_rng(0, 'cuts'), 4, BRIEF.mix)
    v, u = torch.meshgrid(torch.arange(48.), torch.arange(96.), indexing='ij')
    moved = warp(torch.stack([u, v]).expand(4, -1, -1, -1), cuts, (48, 96))
    for b, (a, tx, s, ty) in enumerate(cuts):
        for y, x in ((5, 9), (30, 80), (20, 50)):
            home = min(max((x - tx)/a, 0), 95), min(max((y - ty)/s, 0), 47)
            assert moved[b, :, y, x].tolist() == pytest.approx(home, abs=1e-3)


def test_features_move_as_pictures_do():
    "Averaging over 4x4 blocks is a network that is equivariant, but for the borders of blocks: a ramp has none."
    cuts = draw_cuts(make_rng(1, 'cuts'), 3, BRIEF.mix)
    ramp = torch.arange(96.).expand(3, 1, 48, 96).contiguous()
    small = torch.nn.functional.avg_pool2d(ramp, 4)
    inside = np.s_[:, :, 2:-2, 3:-3]
    torch.testing.assert_close(warp(small, cuts, (48, 96))[inside], torch.nn.functional.avg_pool2d(warp(ramp, cuts, (48, 96)), 4)[inside], rtol=0, atol=.6)


def test_views_differ_in_colour_alone_where_nothing_moves():
    images = np.stack([f.image for f in frames()])
    plain = BRIEF.replace(mix=dict(zoom=1., whole_flip=0., whole_color=0., whole_blur=0., whole_grey=0.))
    x1, x2, _ = two_views(images, plain, make_rng(0, 'a'))
    torch.testing.assert_close(x1, x2, rtol=1e-3, atol=1e-3)
    x1, x2, _ = two_views(images, plain.replace(mix=dict(whole_color=1.)), make_rng(0, 'a'))
    assert (x1 - x2).abs().mean() > .05


def test_sphere_means_by_hand():
    z, start = sphere(60, 4), sphere(5, 4, 1)
    centres, many = sphere_means(z, start, 1)
    which = [max(range(5), key=lambda k: float(x @ start[k])) for x in z]
    for k in range(5):
        mine = z[[i for i, w in enumerate(which) if w == k]]
        if len(mine): torch.testing.assert_close(centres[k], normalize(mine.sum(0), dim=0))
    assert many.sum() == 60


def test_no_centre_stays_empty():
    z = sphere(60, 4)
    many = sphere_means(z, z[:1].repeat(8, 1), 15)[1]
    assert (many > 0).all()


def test_loss_by_hand():
    z1, z2, mu1, mu2, w1, w2 = sphere(7, 5), sphere(7, 5, 1), sphere(3, 5, 2), sphere(3, 5, 3), torch.rand(3) + .5, torch.rand(3) + .5
    def told(z, mu, y, w):
        total = 0
        for i in range(7):
            s = [float(z[i] @ m)/.1 for m in mu]
            total += float(w[y[i]])*(math.log(sum(map(math.exp, s))) - s[y[i]])
        return total/sum(float(w[k]) for k in y)
    y1, y2 = ([max(range(3), key=lambda k: float(x @ mu[k])) for x in z] for z, mu in ((z1, mu1), (z2, mu2)))
    within, across = told(z1, mu1, y1, w1) + told(z2, mu2, y2, w2), told(z1, mu2, y2, w2) + told(z2, mu1, y1, w1)
    loss, agree = picie_loss(z1, z2, mu1, mu2, w1, w2, PicieParams(across=.3))
    assert loss.item() == pytest.approx((.7*within + .3*across)/2, rel=1e-4)
    assert agree.item() == pytest.approx(sum(max(range(3), key=lambda k: float(x @ mu2[k])) == y for x, y in zip(z1, y2))/7)


def test_training_repeats(tmp_path):
    a, b = (train_picie(frames(), tmp_path/k, BRIEF, QUICK, quiet=True) for k in 'ab')
    assert a['loss'] == b['loss'] and a['finished']
    x, y = (load_encoder(tmp_path/k) for k in 'ab')
    assert all(torch.equal(v, y.state_dict()[k]) for k, v in x.state_dict().items())
    torch.testing.assert_close(x.prototypes.detach().norm(dim=1), torch.ones(6))
    assert train_picie(frames(), tmp_path/'a', BRIEF, QUICK, quiet=True)['seconds'] == a['seconds']
    with pytest.raises(DataError, match='was trained otherwise'): train_picie(frames(), tmp_path/'a', BRIEF.replace(lr=.5), QUICK, quiet=True)


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    from cpcdr import picie
    recipe, step = BRIEF.replace(steps=5, save_every=2), picie.picie_step
    train_picie(frames(), tmp_path/'straight', recipe, QUICK, quiet=True)
    def stops(encoder, optimiser, kept, k, *rest):
        if k == 3: raise KeyboardInterrupt
        return step(encoder, optimiser, kept, k, *rest)
    monkeypatch.setattr(picie, 'picie_step', stops)
    with pytest.raises(KeyboardInterrupt): train_picie(frames(), tmp_path/'cut', recipe, QUICK, quiet=True)
    with pytest.raises(DataError, match='was trained otherwise'): train_picie(frames(), tmp_path/'cut', recipe.replace(lr=.5), QUICK, quiet=True)
    seen = []
    monkeypatch.setattr(picie, 'picie_step', lambda *a: seen.append(a[3]) or step(*a))
    report = train_picie(frames(), tmp_path/'cut', recipe, QUICK, quiet=True)
    assert seen == [2, 3, 4] and report['finished']
    a, b = (load_encoder(tmp_path/d).state_dict() for d in ('cut', 'straight'))
    assert all(torch.equal(a[k], b[k]) for k in b) and a.keys() == b.keys()
    assert {k: report[k] for k in ('loss', 'agree')} == pytest.approx({k: x for k, x in train_picie(frames(), tmp_path/'straight', recipe, QUICK, quiet=True).items() if k in ('loss', 'agree')})


@pytest.fixture
def short(tmp_path):
    "A finished run with a checkpoint."
    train_picie(frames(), tmp_path/'run', BRIEF.replace(save_every=2), QUICK, quiet=True)
    return tmp_path/'run'


def again(run, made=None, params=BRIEF.replace(save_every=2)): return train_picie(made or frames(), run, params, QUICK, quiet=True)


@pytest.mark.parametrize('lose', [lambda p: p.write_bytes(p.read_bytes()[:200]), lambda p: p.unlink()])
def test_what_was_lost_is_made_anew(short, lose):
    before, report = load_encoder(short).state_dict(), again(short)
    lose(short/'report.json')
    with pytest.raises(DataError, match='params.lr 0.001, now 0.5'): again(short, params=BRIEF.replace(save_every=2, lr=.5))
    assert {k: v for k, v in again(short).items() if k != 'seconds'} == {k: v for k, v in report.items() if k != 'seconds'}
    lose(short/'model.safetensors')
    again(short)
    assert all(torch.equal(v, before[k]) for k, v in load_encoder(short).state_dict().items())


def test_other_data_are_noticed(short):
    made = frames()
    made[2] = made[2].replace(image=255 - made[2].image)
    with pytest.raises(DataError, match='other image of 2 2'): again(short, made)
    with pytest.raises(DataError, match='data.frames 3, now 2'): again(short, frames(2))


def test_runs_whose_reports_knew_less(short):
    "Those of older versions are what they were: finished."
    path = short/'report.json'
    new = json.loads(path.read_text())
    recipe = new.pop('recipe')
    path.write_text(json.dumps(new | dict(params=BRIEF.replace(save_every=2, regions='whole', mix=dict(depth_test=False)).to_dict(), picie=recipe['picie'], frames=3)))
    (short/'data.json').unlink()
    before = (short/'model.safetensors').stat().st_mtime_ns
    assert again(short)['finished'] and (short/'model.safetensors').stat().st_mtime_ns == before
    with pytest.raises(DataError, match='data.frames 3, now 2'): again(short, frames(2))
    with pytest.raises(DataError, match='params.lr'): again(short, params=BRIEF.replace(lr=.5))


@pytest.mark.parametrize('clip', [0., .01])
def test_no_step_is_longer_than_the_clip(clip):
    params = BRIEF.replace(optimiser='sgd', momentum=0., weight_decay=0., warmup=0., lr=.5, clip=clip, mix=dict(depth_test=False), regions='whole')
    kept, encoder = KeptFrames(frames(), range(3), params), Encoder(params.encoder)
    clusters = find_clusters(encoder, kept, 0, params, QUICK)
    before = [p.detach().clone() for p in encoder.parameters()]
    picie_step(encoder, make_optimiser(encoder, params), kept, 0, 4, params, QUICK, clusters, torch.float32)
    step = torch.cat([(p.detach() - b).flatten() for p, b in zip(encoder.parameters(), before)]).norm().item()
    assert step == pytest.approx(.5*clip, rel=1e-3) if clip else step > .5*.01*2


def test_more_clusters_than_features(tmp_path):
    with pytest.raises(ValueError, match='prototypes: 90000 clusters cannot be found'):
        train_picie(frames(1), tmp_path, BRIEF.replace(encoder=dict(prototypes=90000)), QUICK, quiet=True)
    assert not (tmp_path/'model.safetensors').exists()
