"From features to label maps: each step against a slow version, and what cannot be done said in one line."
import numpy as np
import pytest
import torch

from cpcdr.core import DataError
from cpcdr.data import FolderWriter, open_folder
from cpcdr.encoder import Encoder, EncoderParams
from cpcdr.frame import Frame
from cpcdr.score import AS_CLASSES, ONE_TO_ONE
from cpcdr.segment import (Clusters, cluster_means, cluster_pixels, cluster_prototypes, cluster_region_means, cluster_scores, encoder_features, evaluate,
                           fit_linear, label_map, linear_probe, linked, means_of, network_size, nearest_centers, region_means, rival_features, rivals, unit)

RNG = np.random.default_rng(0)


@pytest.fixture(scope='module')
def encoder():
    return Encoder(EncoderParams.preset('tiny'), seed=1).eval()


@pytest.fixture(scope='module')
def blocks(tmp_path_factory):
    "Eight pictures of coloured blocks; the class of a block is its colour, its region is itself."
    out = tmp_path_factory.mktemp('blocks')
    writer, colours = FolderWriter(out), np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250], [240, 240, 10]])
    for k in range(8):
        labels = np.kron(np.random.default_rng(k).integers(0, 4, (4, 6)), np.ones((16, 16), int))
        noise = np.random.default_rng(k).normal(0, 6, (*labels.shape, 3))
        writer.write(Frame(f'b/{k:06}', np.clip(colours[labels] + noise, 0, 255).astype(np.uint8), labels=labels.astype(np.uint8),
                           regions=np.kron(np.arange(24).reshape(4, 6), np.ones((16, 16))).astype(np.int32)))
    return open_folder(out)


def test_best_centre_of_each_cluster_by_loops():
    x, c = RNG.normal(size=(3, 4, 5)).astype(np.float32), RNG.normal(size=(7, 5)).astype(np.float32)
    owner, bias = np.array([2, 0, 1, 1, 0, 2, 2]), RNG.normal(size=7)
    got = cluster_scores(x, Clusters('toy', c, owner, bias))
    for i in range(3):
        for j in range(4):
            for k in range(3): assert np.isclose(got[i, j, k], max(x[i, j] @ c[m] + bias[m] for m in range(7) if owner[m] == k), atol=1e-5)


def test_paper_rule_is_argmax_prototype_then_its_cluster(encoder):
    clusters = cluster_prototypes(encoder, 5)
    z = unit(RNG.normal(size=(6, 8, 32))).astype(np.float32)
    with torch.no_grad(): best = encoder.scores(torch.from_numpy(z).permute(2, 0, 1)[None]).argmax(1)[0].numpy()
    assert np.array_equal(cluster_scores(z, clusters).argmax(-1), clusters.owner[best])


@pytest.mark.parametrize('size', [(32, 48), (33, 50), (8, 12), (5, 7)])
def test_label_map_is_bilinear_then_argmax(size):
    x, clusters = RNG.normal(size=(8, 12, 4)).astype(np.float32), Clusters('toy', np.eye(4, dtype=np.float32), np.arange(4))
    slow = torch.nn.functional.interpolate(torch.from_numpy(x).permute(2, 0, 1)[None], size=size, mode='bilinear').argmax(1)[0].numpy()
    got = label_map(x, clusters, size[1], size[0])
    assert got.shape == size and got.dtype == np.uint8 and (got == slow).mean() > .999


def test_one_cell_one_cluster():
    assert (label_map(np.ones((1, 1, 2), np.float32), Clusters('toy', np.ones((1, 2)), np.zeros(1, int)), 5, 3) == 0).all()


def test_average_linkage_against_scipy():
    from scipy.cluster.hierarchy import fcluster, linkage
    x = unit(RNG.normal(size=(40, 6)))
    slow = fcluster(linkage(x, 'average', 'cosine'), 7, 'maxclust')
    got = linked(x, 7)
    assert len(np.unique(got)) == 7 and np.array_equal(got[:, None] == got[None], slow[:, None] == slow[None])
    assert got[0] == 0 and list(np.unique(got, return_index=True)[1]) == sorted(np.unique(got, return_index=True)[1])


def test_region_means_by_loops():
    x, regions = RNG.normal(size=(3, 5, 4)).astype(np.float32), RNG.integers(0, 6, (12, 20)).astype(np.int32)
    slow = np.stack([np.mean([x[v//4, u//4] for v, u in zip(*np.nonzero(regions == r))], 0) for r in range(6)])
    assert np.allclose(region_means(x, regions), unit(slow), atol=1e-5)


def test_too_few_of_everything(encoder, blocks):
    with pytest.raises(ValueError, match='32 prototypes, got 33'): cluster_prototypes(encoder, 33)
    one = blocks[0].replace(regions=np.zeros((64, 96), np.int32))
    with pytest.raises(ValueError, match='there are 1 regions'): cluster_region_means(encoder, [one], 4)
    with pytest.raises(DataError, match='has no regions'): cluster_region_means(encoder, [blocks[0].replace(regions=None)], 4)
    with pytest.raises(ValueError, match='at least one frame'): means_of(rival_features, [])
    with pytest.raises(ValueError, match='finite'): Clusters('bad', np.full((2, 2), np.nan), np.arange(2))


def test_draws_differ_and_repeat(encoder, blocks):
    draw = lambda: cluster_region_means(encoder, blocks, 4, draws=3, most=60)
    a, b = draw(), draw()
    assert all(np.array_equal(x.centers, y.centers) for x, y in zip(a, b))
    assert not np.array_equal(a[0].centers, a[1].centers)


@pytest.mark.parametrize('size', [(64, 64), (70, 45), (20, 20)])
def test_network_of_any_size(encoder, size):
    x = encoder_features(encoder, Frame('a', RNG.integers(0, 255, (*size[::-1], 3)).astype(np.uint8)))
    w, h = network_size(size, 0)
    assert x.shape == (h//4, w//4, 32) and np.allclose(np.linalg.norm(x, axis=-1), 1, atol=1e-4)


def test_mode_of_the_network_is_kept(encoder):
    encoder.train()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    encoder_features(encoder, Frame('a', np.zeros((32, 32, 3), np.uint8)), 'dense')
    assert encoder.training and all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    encoder.eval()


def test_colour_blocks_are_found(blocks):
    "Four colours, four classes: clusters without labels, and a linear layer with, get nearly all pixels."
    for clusters in (cluster_pixels(rival_colour, blocks, 4), nearest_centers('means', np.stack([means_of(rival_colour, blocks, False)[i] for i in first_of_each(blocks)]))):
        r = evaluate(rival_colour, clusters, blocks, 'cityscapes19')
        assert r['pixel_accuracy'] > .9 and r['matching'] == ONE_TO_ONE
    probe = linear_probe(rival_colour, blocks[:4], blocks[4:], 'cityscapes19')
    assert probe['pixel_accuracy'] > .9 and probe['matching'] == AS_CLASSES and 'many_to_one' not in probe


def rival_colour(frame): return rival_features(frame, 'colour')
def first_of_each(blocks):
    classes = np.concatenate([f.labels[8::16, 8::16].ravel() for f in blocks])
    return [int(np.argmax(classes == c)) for c in range(4)]


def test_result_is_complete_json(encoder, blocks):
    import json
    r = evaluate(encoder, cluster_region_means(encoder, blocks, 19, draws=2), blocks, config={'a': 1}, seed=3)
    assert json.loads(json.dumps(r)) == r
    assert {'miou', 'pixel_accuracy', 'per_class', 'protocol', 'data', 'version', 'config', 'seed', 'each', 'spread', 'frames', 'clustering', 'many_to_one'} <= set(r)
    assert r == evaluate(encoder, cluster_region_means(encoder, blocks, 19, draws=2), blocks, config={'a': 1}, seed=3)


def test_rivals_with_and_without_regions(blocks):
    full = rivals(blocks, blocks, seeds=[0], k=4)
    assert [n for n in full if n.startswith('regions')] == [f'regions of {w}, best linkage' for w in ('colour', 'colour + position', 'colour + (|x|, y)')]
    assert full['k-means on colour']['pixel_accuracy'] > .9
    bare = rivals([f.replace(regions=None) for f in blocks], blocks, seeds=[0], k=4)
    assert list(bare) == [n for n in full if n.startswith('k-means')]


def test_mirrored_position_is_the_same_on_both_sides():
    x = rival_features(Frame('a', np.zeros((32, 64, 3), np.uint8)))
    assert np.allclose(x, x[:, ::-1])
    assert not np.allclose(rival_features(Frame('a', np.zeros((32, 64, 3), np.uint8)), 'colour + position'), x)


def test_linear_layer_finds_the_least_loss():
    X = RNG.normal(size=(300, 3)) * [1, 10, .1] + [5, 0, 1]
    y = (X @ np.array([[1, -.2, 5], [-1, 0, 9], [.1, .3, -8]]).T + [-5, 0, 18]).argmax(1)
    ours = fit_linear(X.astype(np.float32), y, 4)          # class 3 never occurs
    assert ours.k == 4 and ((X @ ours.centers.T + ours.bias).argmax(1) == y).mean() > .95
    assert np.array_equal(fit_linear(X.astype(np.float32), y, 4).centers, ours.centers)
