"Contrast: each function against a slow version written by hand, gradients, ids that never meet, and batches with little in them."
import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from cpcdr.contrast import (ContrastParams, Rows, _balance, _kernel, contrast_loss, dense_ids, draw_places, draw_rows,
                            find_views, mean_codes, pixel_rows, region_rows, rows_loss, sinkhorn, swapped_loss, view_means)
from cpcdr.copypaste import MixParams
from cpcdr.core import make_rng
from cpcdr.encoder import Encoder, EncoderParams
from cpcdr.frame import Frame
from cpcdr.mixdata import Item, MixData, collate, find_partners

PARAMS = ContrastParams(pixels=200, regions=200)


def chance(seed=0): return torch.Generator().manual_seed(seed)


def sphere(n, d, seed=0, dtype=torch.float32): return normalize(torch.randn(n, d, generator=chance(seed), dtype=dtype), dim=1)


def maps(b, d, h, w, seed=0, dtype=torch.float32): return normalize(torch.randn(b, d, h, w, generator=chance(seed), dtype=dtype), dim=1)


def cells_of(z): return z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def street(seed, width=96, height=48):
    "Ground, wall and six boxes; regions are what they are."
    rng = make_rng(seed, 'contrast')
    y, x = np.mgrid[:height, :width]
    disp = np.clip((y - height/2)/width/.75, 1/80, 1)
    ids = np.where(disp > 1/80, 0, 1 + (y < height*.25))
    for k in range(6):
        near = rng.uniform(.02, .3)
        half, tall, foot = near*width*rng.uniform(.2, .8), near*width*rng.uniform(.4, 2), height/2 + near*width*.75
        m = (abs(x - rng.uniform(0, width)) < half) & (y < foot) & (y > foot - tall) & (near > disp)
        disp[m], ids[m] = near, 3 + k
    image = rng.integers(30, 220, (9, 3))[ids] + rng.normal(0, 12, (height, width, 1))
    return Frame(f'{seed:06}', image.clip(0, 255).astype(np.uint8), disp=disp.astype(np.float32), regions=ids.astype(np.int32))


@pytest.fixture(scope='module')
def items():
    params = MixParams(images=2, width=96, height=48, min_height=4, min_width=3, min_side=6, margin=4, least=3, jitter=4)
    data = MixData([street(s) for s in range(6)], params)
    return [data[k] for k in range(3)]


@pytest.fixture(scope='module')
def batch(items): return collate(items)


def page(views=2):
    "Two pictures of 8x16: ground, wall, and a car that moved by seven columns."
    ids = np.zeros((2, 8, 16), np.int32)
    ids[0, :4], ids[1, :4], ids[1, 4:] = views, views + 1, 1
    ids[0, 2:6, 2:7], ids[1, 2:6, 9:14] = 2*views, 2*views + 1
    matrix, image = np.tile(np.eye(3), (3, views, 1, 1)), np.full((3, views), -1, np.int32)
    image[:, :2], matrix[2, 1, 0, 2] = [0, 1], 7
    found = dict(rgb=np.zeros((2, 3, 8, 16), np.float32), ids=ids, image=image, matrix=matrix, item=np.zeros(3, np.int32))
    return dict({k: torch.from_numpy(v) for k, v in found.items()}, views=views, keys=[0])


# --- Sinkhorn

def sinkhorn_by_hand(scores, eps, iterations):
    "SwAV's loop with Python's own numbers."
    Q = [[math.exp(float(s)/eps) for s in row] for row in scores]
    N, K = len(Q), len(Q[0])
    for _ in range(iterations):
        for k in range(K):
            total = sum(Q[i][k] for i in range(N))
            for i in range(N): Q[i][k] /= total*K
        for i in range(N):
            total = sum(Q[i])
            for k in range(K): Q[i][k] /= total*N
    return torch.tensor([[q*N for q in row] for row in Q])


@pytest.mark.parametrize('n, k', [(20, 6), (3, 11), (1, 4), (7, 2)])
@pytest.mark.parametrize('iterations', [1, 3, 10])
def test_sinkhorn_by_hand(n, k, iterations):
    scores = sphere(n, 5) @ sphere(k, 5, 1).T
    torch.testing.assert_close(sinkhorn(scores, .05, iterations), sinkhorn_by_hand(scores, .05, iterations), rtol=1e-4, atol=1e-6)


def test_sinkhorn_ends_where_it_should():
    codes = sinkhorn(sphere(40, 5) @ sphere(8, 5, 1).T, .2, 500)
    torch.testing.assert_close(codes.sum(1), torch.ones(40), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(codes.sum(0), torch.full((8,), 5.), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('eps', [.001, .005, .05, 1.])
def test_sinkhorn_is_steady(eps):
    scores = torch.cat([sphere(30, 4) @ sphere(9, 4, 1).T, torch.full((2, 9), -1.), torch.ones(2, 9)])
    codes = sinkhorn(scores, eps, 20)
    assert codes.isfinite().all() and (codes >= 0).all()
    torch.testing.assert_close(codes.sum(1), torch.ones(34))


def test_sinkhorn_knows_no_order_and_no_zero():
    scores, turn = sphere(20, 5) @ sphere(6, 5, 1).T, torch.randperm(20, generator=chance())
    torch.testing.assert_close(sinkhorn(scores[turn]), sinkhorn(scores)[turn], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(sinkhorn(scores + 3), sinkhorn(scores), rtol=1e-3, atol=1e-5)
    assert sinkhorn(scores[:0]).shape == (0, 6)
    assert not sinkhorn(scores.requires_grad_()).requires_grad
    with pytest.raises(ValueError, match=r'scores: expected shape \(N K\)'): sinkhorn(torch.zeros(3))


@pytest.mark.parametrize('eps', [.02, .05, .2])
def test_a_row_that_counts_three_times(eps):
    "Weighted balancing is balancing with the rows written out."
    z, p, weights = sphere(30, 6), sphere(7, 6, 1), torch.randint(0, 4, (30,), generator=chance())
    kernel = _kernel(z, p, eps)
    codes = kernel*_balance(kernel, weights.to(kernel.dtype), 3)
    codes = (codes/codes.sum(1, keepdim=True)).float()
    written = torch.arange(30).repeat_interleave(weights)
    torch.testing.assert_close(codes[written], sinkhorn((z @ p.T)[written], eps, 3), rtol=1e-3, atol=1e-5)


# --- mean codes and the swapped loss

def test_mean_codes_by_hand():
    codes, ids = torch.rand(9, 4, generator=chance()), torch.tensor([7, 2, 7, 2_000_000_000, 0, 2, 7, -3, 0])
    by_hand = torch.stack([codes[ids == i].mean(0) for i in ids])
    torch.testing.assert_close(mean_codes(codes, ids), by_hand)
    dense, n = dense_ids(ids)
    assert n == 5 and dense.max() == 4 and all((dense == dense[k]).eq(ids == ids[k]).all() for k in range(9))


def loss_by_hand(scores, ids, temperature, eps, iterations):
    codes, total = sinkhorn_by_hand(scores, eps, iterations).tolist(), 0
    for i, row in enumerate(scores.tolist()):
        mine = [j for j in range(len(ids)) if ids[j] == ids[i]]
        lse = math.log(sum(math.exp(s/temperature) for s in row))
        for k, s in enumerate(row): total -= sum(codes[j][k] for j in mine)/len(mine)*(s/temperature - lse)
    return total/len(ids)


@pytest.mark.parametrize('n, k, ids', [(12, 5, 4), (6, 20, 3), (5, 3, 1), (2, 2, 2)])
def test_swapped_loss_by_hand(n, k, ids):
    scores, which = sphere(n, 6) @ sphere(k, 6, 1).T, torch.arange(n) % ids
    assert swapped_loss(scores, which).item() == pytest.approx(loss_by_hand(scores, which, .1, .05, 3), rel=1e-4)
    assert swapped_loss(scores, which, .3, .2, 7).item() == pytest.approx(loss_by_hand(scores, which, .3, .2, 7), rel=1e-4)


def test_targets_are_held_still():
    scores = (sphere(8, 5) @ sphere(4, 5, 1).T).requires_grad_()
    ids = torch.arange(8)//2
    swapped_loss(scores, ids).backward()
    target = mean_codes(sinkhorn(scores.detach()), ids)
    torch.testing.assert_close(scores.grad, (torch.softmax(scores.detach()/.1, 1) - target)/(8*.1), rtol=1e-4, atol=1e-6)


def test_no_rows_no_loss():
    scores = torch.zeros(0, 5, requires_grad=True)
    loss = swapped_loss(scores, torch.zeros(0))
    loss.backward()
    assert loss == 0
    with pytest.raises(ValueError, match='ids: expected one for each of 4 rows'): swapped_loss(torch.zeros(4, 5), torch.zeros(3))


# --- every feature once

def plain(z, prototypes, levels, p=PARAMS):
    cells = cells_of(z)
    return sum(w*swapped_loss(cells[rows.cells] @ prototypes.T, rows.ids, p.temperature, p.eps, p.iterations) for rows, w in levels.values())


def some_levels(n, m, cells, seed=0):
    draw = lambda most, k, s: torch.randint(0, most, (k,), generator=chance(seed + s))
    return dict(pixel=(Rows(draw(cells, n, 0), draw(max(1, n//3), n, 1)), .5), region=(Rows(draw(cells, m, 2), 10**6 + draw(5, m, 3)), .3))


@pytest.mark.parametrize('params', [PARAMS, PARAMS.replace(eps=.01), PARAMS.replace(eps=.3, temperature=.07), PARAMS.replace(iterations=1), PARAMS.replace(iterations=8), PARAMS.replace(iterations=100, eps=.2)])
@pytest.mark.parametrize('k', [3, 40, 600])
def test_rows_loss_is_the_plain_loss(params, k):
    z, p = maps(2, 16, 6, 10).requires_grad_(), sphere(k, 16, 1).requires_grad_()
    levels = some_levels(150, 90, 120)
    loss, parts = rows_loss(z, p, levels, params)
    loss.backward()
    found, z.grad, p.grad = (z.grad.clone(), p.grad.clone()), None, None
    slow = plain(z, p, levels, params)
    slow.backward()
    assert loss.item() == pytest.approx(slow.item(), rel=1e-4)
    assert loss.item() == pytest.approx(.5*parts['pixel'].item() + .3*parts['region'].item(), rel=1e-5)
    for a, b in zip(found, (z.grad, p.grad)): assert (a - b).abs().max() < 2e-4*b.abs().max()


def test_blocks_do_not_show():
    "More rows than one block holds."
    z, p = maps(2, 8, 40, 40), sphere(1000, 8, 1)
    levels = some_levels(4000, 3000, 3200)
    assert rows_loss(z, p, levels)[0].item() == pytest.approx(plain(z, p, levels).item(), rel=1e-4)


def test_gradient_by_differences():
    """The targets depend on the features, too, and are held still: so the check is made where they do not move,
    with one id for all rows and so many rounds of balancing that each prototype gets its share whatever happens."""
    z0, p0 = maps(1, 4, 3, 4, dtype=torch.float64), sphere(3, 4, 1, dtype=torch.float64)
    levels = dict(all=(Rows(torch.tensor([0, 3, 3, 7, 9, 11]), torch.zeros(6, dtype=torch.long)), 1.))
    params = PARAMS.replace(eps=.3, temperature=.2, iterations=1000)
    z, p = z0.clone().float().requires_grad_(), p0.clone().float().requires_grad_()
    rows_loss(z, p, levels, params)[0].backward()
    def slow(z, p): # the mean code of all rows is 1/K then
        s = cells_of(z)[levels['all'][0].cells] @ p.T
        return -torch.log_softmax(s/.2, 1).mean()
    assert gradcheck(slow, (z0.requires_grad_(), p0.requires_grad_()))
    slow(z0, p0).backward()
    torch.testing.assert_close(z.grad.double(), z0.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(p.grad.double(), p0.grad, rtol=1e-3, atol=1e-5)


def test_swapped_loss_gradcheck():
    "Against differences, the targets being those of the point itself."
    scores, ids = (sphere(6, 5, dtype=torch.float64) @ sphere(4, 5, 1, dtype=torch.float64).T).requires_grad_(), torch.tensor([0, 0, 1, 1, 1, 2])
    target = mean_codes(sinkhorn(scores.detach()), ids).double()
    fixed = lambda s: -(target*torch.log_softmax(s/.1, 1)).sum(1).mean()
    assert gradcheck(fixed, (scores,))
    fixed(scores).backward()
    wanted, scores.grad = scores.grad.clone(), None
    swapped_loss(scores, ids).backward()
    torch.testing.assert_close(scores.grad, wanted, rtol=1e-4, atol=1e-7)


def test_half_precision_stays_near():
    z, p = maps(2, 16, 6, 10).requires_grad_(), sphere(40, 16, 1).requires_grad_()
    levels, found = some_levels(150, 90, 120), []
    for half in (False, True):
        z.grad = p.grad = None
        with torch.autocast('cpu', torch.bfloat16, enabled=half): loss, _ = rows_loss(z, p, levels)
        loss.backward()
        found.append((loss.item(), z.grad.clone(), p.grad.clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5) # the number itself is worked out in full
    for a, b in zip(*(f[1:] for f in found)): assert (a - b).norm() < .01*a.norm()


def test_the_same_bits_twice(batch):
    z, p = maps(len(batch['rgb']), 16, 12, 24), sphere(50, 16, 1)
    losses = {rows_loss(z, p, draw_rows(batch, (12, 24), PARAMS, chance(3)), PARAMS)[0].item() for _ in range(3)}
    assert len(losses) == 1


# --- rows

def test_views_are_those_of_the_mix(items, batch):
    as_one = Item(*(batch[k].numpy() for k in ('rgb', 'ids', 'image', 'matrix')), None, None, None)
    M, H, W = batch['ids'].shape
    place = torch.randint(0, M*H*W, (3000,), generator=chance())
    to, u, v, seen = find_views(batch, place)
    image, uv, same = find_partners(as_one, place//(H*W), place % W, place//W % H)
    assert (seen.numpy() == same).all() and same.any()
    for a, b in ((to, image), (u, np.floor(uv[..., 0] + .5)), (v, np.floor(uv[..., 1] + .5))): assert (a.numpy()[same] == b[same]).all()
    own = (to == (place//(H*W))[:, None]) & (u == (place % W)[:, None]) & (v == (place//W % H)[:, None]) & seen
    assert own.any(1).all() # every pixel is among its own views


def test_pixel_rows_by_hand():
    rows = pixel_rows(page(), (8, 16), 20, generator=chance(1))
    batch, by_id = page(), {}
    for c, i in zip(*(x.tolist() for x in rows)): by_id.setdefault(i, []).append(np.unravel_index(c, (2, 8, 16)))
    assert len(by_id) > 20
    for views in by_id.values():
        (m, v, u), (n, y, x) = views
        region = [int(batch['ids'][w])//2 for w in views]
        assert (m, n) == (0, 1) and v == y and region[0] == region[1] and x - u == (7 if region[0] == 2 else 0)


def cell_by_hand(m, v, u):
    "Two rows of four cells a picture, each of 4x4 pixels."
    for row in range(2):
        for column in range(4):
            if 4*row <= v < 4*row + 4 and 4*column <= u < 4*column + 4: return 8*m + 4*row + column


def rows_by_hand(batch, places):
    "Pixel rows and region rows of these pixels, one by one: the car moved by seven columns, all else stays."
    pixel, region = [], []
    for k, place in enumerate(places):
        m, v, u = (int(x) for x in np.unravel_index(place, (2, 8, 16)))
        what = int(batch['ids'][m, v, u])//2
        region.append((cell_by_hand(m, v, u), what))
        x = u if what != 2 else u + 7 if m == 0 else u - 7
        views = {m: (v, u)} | ({1 - m: (v, x)} if int(batch['ids'][1 - m, v, x])//2 == what else {})
        if len(views) == 2: pixel += [(cell_by_hand(n, *views[n]), k) for n in (0, 1)]
    return pixel, region


@pytest.mark.parametrize('draw', ['uniform', 'balanced'])
def test_rows_at_a_quarter_by_hand(draw):
    batch, pairs = page(), lambda rows: list(zip(*(x.tolist() for x in rows)))
    pixel, region = rows_by_hand(batch, draw_places(batch, 120, draw, chance(4)).tolist())
    assert pairs(pixel_rows(batch, (2, 4), 60, draw, chance(4))) == pixel
    assert pairs(region_rows(batch, (2, 4), 60, draw, chance(4))) == region
    assert len(pixel) < 240 and {c for c, _ in region} == set(range(16))     # some are hidden in the other picture; every cell has its turn


def test_views_that_were_not_made_are_not_seen():
    wide = page(views=5)
    assert find_views(wide, torch.arange(2*8*16))[3][:, 2:].sum() == 0
    assert torch.bincount(pixel_rows(wide, (8, 16), 50, generator=chance()).ids).max() == 2


@pytest.mark.parametrize('draw', ['uniform', 'balanced'])
def test_ids_never_meet(items, batch, draw):
    "All rows of an id lie in pictures of one item, and in views of one region."
    M, h, w = len(batch['rgb']), 12, 24
    per = M//len(items)
    for rows in (pixel_rows(batch, (h, w), 300, draw, chance()), region_rows(batch, (h, w), 300, draw, chance())):
        lies = rows.cells//(h*w)//per
        for i in rows.ids.unique(): assert len(lies[rows.ids == i].unique()) == 1
        assert len(lies.unique()) == len(items)
    assert (batch['item'][rows.ids] == lies).all()
    alone = [region_rows(collate([i]), (h, w), 300, draw, chance()).ids.unique() for i in items]
    assert len(region_rows(batch, (h, w), 5000, draw, chance()).ids.unique()) >= max(len(a) for a in alone)


def test_pixel_ids_have_two_rows_at_least(batch):
    rows = pixel_rows(batch, (12, 24), 300, generator=chance())
    many = torch.bincount(rows.ids)
    assert (many != 1).all() and many.max() <= batch['views'] and (rows.ids.diff() >= 0).all()
    assert rows.cells.min() >= 0 and rows.cells.max() < len(batch['rgb'])*12*24


@pytest.mark.parametrize('shape', [(48, 96), (24, 48), (12, 24), (13, 25)])
def test_region_rows_lie_in_their_region(batch, shape):
    rows = region_rows(batch, shape, 200, generator=chance())
    assert len(rows.ids) == 200*len(batch['rgb'])
    if shape == (48, 96): assert (batch['ids'].reshape(-1)[rows.cells]//batch['views'] == rows.ids).all()


def test_draws():
    batch, n = page(), 60_000
    batch['ids'] = batch['ids'].clone()
    region = lambda d: torch.bincount(batch['ids'].reshape(-1)[draw_places(batch, n, d, chance())]//2, minlength=3)/n
    area = torch.bincount(batch['ids'].reshape(-1)//2)/256
    torch.testing.assert_close(region('uniform'), area, rtol=0, atol=.01)
    torch.testing.assert_close(region('balanced'), torch.full((3,), 1/3), rtol=0, atol=.01)
    inside = draw_places(batch, n, 'balanced', chance())
    counts = torch.bincount(inside[batch['ids'].reshape(-1)[inside]//2 == 2], minlength=256)
    assert (counts > 0).sum() == 40 and counts.max() < 2*n/3/40 # every pixel of the car, about as often


def test_regions_seen_once_are_left_out():
    batch = page()
    batch['ids'][1][batch['ids'][1] == 5] = 3 # no car in the second picture
    places = draw_places(batch, 500, 'uniform', chance())
    assert not (batch['ids'].reshape(-1)[places] == 4).any()


def test_view_means_by_hand(batch):
    z = maps(len(batch['rgb']), 8, 12, 24)
    means, ids = view_means(z, batch)
    small = batch['ids'][:, 2::4, 2::4].reshape(-1)
    cells, T, wanted = cells_of(z), batch['views'], []
    for r in range(len(batch['image'])):
        seen = [k for k in range(T) if (small == r*T + k).any()]
        if len(seen) > 1: wanted += [(r, normalize(cells[small == r*T + k].mean(0), dim=0)) for k in seen]
    assert ids.tolist() == [r for r, _ in wanted]
    torch.testing.assert_close(means, torch.stack([m for _, m in wanted]))
    assert gradcheck(lambda z: view_means(z, page())[0], (maps(2, 3, 4, 8, dtype=torch.float64).requires_grad_(),), fast_mode=True)


# --- the loss of a batch

@pytest.fixture(scope='module')
def encoder(): return Encoder(EncoderParams.preset('tiny'))


@pytest.mark.parametrize('rows', ['pixels', 'means'])
def test_loss_of_a_batch(encoder, batch, rows):
    params = PARAMS.replace(region_rows=rows)
    encoder.zero_grad()
    loss, parts = contrast_loss(encoder, batch, params, chance())
    assert loss.item() == pytest.approx(.5*float(parts['pixel']) + .5*float(parts['region']), rel=1e-5)
    assert parts['pixel_rows'] > 400 and parts['region_rows'] > 10
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    again, _ = contrast_loss(encoder, batch, params, chance())
    other, _ = contrast_loss(encoder, batch, params, chance(1))
    assert again.item() == loss.item() != other.item()


@pytest.mark.parametrize('one', ['pixel', 'region'])
def test_one_of_two_losses(encoder, batch, one):
    other = 'region' if one == 'pixel' else 'pixel'
    loss, parts = contrast_loss(encoder, batch, PARAMS.replace(**{f'{one}_weight': 2., f'{other}_weight': 0.}), chance())
    assert set(parts) == {one, f'{one}_rows'} and loss.item() == pytest.approx(2*float(parts[one]), rel=1e-5)


def test_one_region_only(encoder):
    "Two views of one region: pixels have partners, and all region rows one id."
    batch = {**page(), 'rgb': torch.randn(2, 3, 8, 16, generator=chance())}
    batch['ids'] = torch.arange(2, dtype=torch.int32)[:, None, None].repeat(1, 8, 16)
    loss, parts = contrast_loss(encoder, batch, PARAMS.replace(pixels=6, regions=6), chance()) # 32 prototypes, 16 cells
    assert loss.isfinite() and parts['pixel_rows'] == 24 and parts['region_rows'] == 12


@pytest.mark.parametrize('rows', ['pixels', 'means'])
def test_nothing_to_compare(encoder, rows):
    batch = {**page(), 'rgb': torch.randn(2, 3, 8, 16, generator=chance())}
    batch['ids'] = batch['ids']*0 # one view of one region
    encoder.zero_grad()
    loss, parts = contrast_loss(encoder, batch, PARAMS.replace(region_rows=rows), chance())
    loss.backward()
    assert loss == 0 and parts == dict(pixel_rows=0, region_rows=0)
    assert all(p.grad is None or (p.grad == 0).all() for p in encoder.parameters())


def test_no_rows_wanted(encoder, batch):
    loss, parts = contrast_loss(encoder, batch, PARAMS.replace(pixels=0, regions=0))
    assert loss == 0 and not parts


def test_a_few_steps_agree_more(batch):
    "Views of one thing come nearer to each other than to other things."
    encoder, draws = Encoder(EncoderParams.preset('tiny'), seed=1), chance()
    def apart():
        encoder.eval()
        with torch.no_grad(): z = cells_of(encoder(batch['rgb']))
        rows = pixel_rows(batch, (12, 24), 300, generator=chance(9))
        first = torch.cat([torch.ones(1, dtype=torch.bool), rows.ids.diff() > 0])
        a, b = z[rows.cells[first]], z[rows.cells[torch.roll(first, 1)]]
        return float((a*b).sum(1).mean() - (a @ b.T).mean())
    before, optimiser = apart(), torch.optim.AdamW(encoder.parameters(), 3e-3)
    encoder.train()
    for _ in range(12):
        encoder.train()
        loss, _ = contrast_loss(encoder, batch, PARAMS, draws)
        optimiser.zero_grad(); loss.backward(); optimiser.step()
        encoder.normalise_prototypes()
    assert apart() > before


def test_parameters_are_held_to_their_limits(tmp_path):
    with pytest.raises(ValueError, match='eps: expected a number from 0.005'): ContrastParams(eps=0.)
    with pytest.raises(ValueError, match='pixel_draw: expected one of uniform, balanced'): ContrastParams(pixel_draw='inverse')
    ContrastParams.preset('small').save(tmp_path/'c.toml')
    assert ContrastParams.load(tmp_path/'c.toml') == ContrastParams.preset('small')
