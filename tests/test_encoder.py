"The encoder: sizes by pencil, shapes for any picture, files that are whole, and what is refused."
import numpy as np
import pytest
import torch

from cpcdr import mixdata
from cpcdr.core import DataError, read_weights
from cpcdr.encoder import (MEAN, RESNETS, STD, Encoder, EncoderParams, Head, Pyramid, calibrate_batch_norm, count_parameters,
                           feature_strides, load_encoder, make_backbone, normalise, resnet_config, save_encoder,
                           with_maps)

TINY = EncoderParams.preset('tiny')


@pytest.fixture(scope='module')
def encoder(): return Encoder(TINY).eval()


def pictures(n=2, height=64, width=96, seed=0): return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(seed))


def resnet_by_hand(depths, deep, widths=(64, 128, 256, 512)):
    "Parameters of a ResNet without its classifier (He et al. 2016, table 1): convolutions without bias, two numbers a channel for each norm."
    conv = lambda i, o, k: i*o*k*k + 2*o
    total, c = conv(3, 64, 7), 64
    for stage, (n, w) in enumerate(zip(depths, widths)):
        for block in range(n):
            out = 4*w if deep else w
            total += conv(c, w, 1) + conv(w, w, 3) + conv(w, out, 1) if deep else conv(c, w, 3) + conv(w, w, 3)
            if c != out: total += conv(c, out, 1)
            c = out
    return total


@pytest.mark.parametrize('name', ['resnet10', 'resnet16', 'resnet18', 'resnet50'])
def test_backbone_has_the_published_size(name):
    with torch.device('meta'): backbone = make_backbone(EncoderParams(backbone=name))
    assert sum(p.numel() for p in backbone.parameters()) == resnet_by_hand(RESNETS[name], name == 'resnet50')
    assert feature_strides(backbone) == [4, 8, 16, 32]


def test_paper_has_28_6_million():
    with torch.device('meta'): found = count_parameters(Encoder())
    assert found == dict(backbone=23_508_032, pyramid=3_344_384, head=1_623_808, projector=33_152, prototypes=128_000, all=28_637_376)
    assert round(found['all']/1e6, 1) == 28.6


def test_counts_are_all_there_is(encoder):
    assert count_parameters(encoder)['all'] == sum(p.numel() for p in encoder.parameters())
    with torch.device('meta'): assert 1.7e6 < count_parameters(Encoder(EncoderParams.preset('small')))['all'] < 3e6


@pytest.mark.parametrize('height, width', [(64, 96), (65, 97), (37, 130), (32, 32), (8, 9)])
def test_a_quarter_of_any_size(encoder, height, width):
    with torch.no_grad():
        features = encoder.dense(pictures(1, height, width))
        z = encoder(pictures(1, height, width))
    assert features.shape == (1, TINY.head, -(-height//4), -(-width//4))
    assert z.shape[2:] == features.shape[2:] and z.dtype == torch.float32
    torch.testing.assert_close(z.norm(dim=1), torch.ones_like(z[:, 0]))


def test_head_adds_what_each_level_says():
    "Without convolutions the head is nothing but doubling and adding."
    head = Head(8, 8, [4, 8, 16, 32])
    for tower in head.towers:
        for i in range(len(tower)): tower[i] = torch.nn.Identity()
    levels = [torch.full((1, 8, 64//s, 96//s), float(k)) for k, s in enumerate((4, 8, 16, 32))]
    torch.testing.assert_close(head(levels, (64, 96)), torch.full((1, 8, 16, 24), 6.))


def test_pyramid_tells_downwards_only():
    torch.manual_seed(0)
    pyramid = Pyramid([4, 4, 4], 8)
    quiet = [torch.zeros(1, 4, 16//s, 16//s) for s in (1, 2, 4)]
    for k in range(3):
        loud = [q + (i == k) for i, q in enumerate(quiet)]
        heard = [bool((a != b).any()) for a, b in zip(pyramid(loud), pyramid(quiet))]
        assert heard == [i <= k for i in range(3)]


def test_every_weight_is_used():
    encoder = Encoder(TINY)
    z = encoder(pictures())
    (encoder.scores(z)*torch.randn(TINY.prototypes)[:, None, None]).sum().backward()
    idle = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not idle


def test_the_seed_decides_and_nothing_else():
    state = torch.random.get_rng_state()
    a, b, c = Encoder(TINY, seed=3), Encoder(TINY, seed=3), Encoder(TINY, seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters()))
    assert not torch.equal(a.prototypes, c.prototypes)


def test_scores_are_cosines(encoder):
    with torch.no_grad():
        z = encoder(pictures())
        maps, rows = encoder.scores(z), encoder.scores(z[0, :, 2].T)
    by_hand = [[float(z[0, :, 2, u] @ p) for p in encoder.prototypes] for u in range(3)]
    torch.testing.assert_close(rows[:3], torch.tensor(by_hand), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(maps[0, :, 2].T, rows, rtol=1e-4, atol=1e-6)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16): assert encoder.scores(encoder(pictures())).dtype == torch.float32


def test_prototypes_come_back_to_the_sphere():
    encoder = Encoder(TINY)
    with torch.no_grad(): encoder.prototypes *= torch.rand(TINY.prototypes, 1) + .5
    direction = torch.nn.functional.normalize(encoder.prototypes.detach())
    encoder.normalise_prototypes()
    torch.testing.assert_close(encoder.prototypes.detach(), direction)
    assert encoder.prototypes.requires_grad


def test_normalise():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    x = normalise(images)
    by_hand = (images[1, 2, 3]/255 - MEAN)/STD
    np.testing.assert_allclose(x[1, :, 2, 3].numpy(), by_hand, rtol=1e-5, atol=1e-6)
    assert torch.equal(normalise(images[0]), x[:1])
    np.testing.assert_allclose(mixdata.MEAN, MEAN), np.testing.assert_allclose(mixdata.STD, STD) # training items are made with the same
    with pytest.raises(ValueError, match='expected uint8, got float'): normalise(images/255)
    with pytest.raises(ValueError, match=r'expected shape \(B H W 3\)'): normalise(images[..., :2])


def test_calibration_is_the_mean_over_batches():
    encoder = Encoder(TINY).train()
    weights = {k: v.clone() for k, v in encoder.named_parameters()}
    batches = [pictures(3, seed=k) for k in range(2)]
    calibrate_batch_norm(encoder, batches)
    first = encoder.backbone.embedder.embedder
    x = [first.convolution(b) for b in batches]
    torch.testing.assert_close(first.normalization.running_mean, sum(y.mean((0, 2, 3)) for y in x)/2, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(first.normalization.running_var, sum(y.var((0, 2, 3)) for y in x)/2, rtol=1e-3, atol=1e-5)
    assert encoder.training and all(m.momentum == .1 for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert all(torch.equal(v, weights[k]) for k, v in encoder.named_parameters())
    with pytest.raises(ValueError, match='at least one'): calibrate_batch_norm(encoder, [])


def test_channels_last_gives_the_same(encoder):
    with torch.no_grad():
        z = encoder(pictures())
        last = Encoder(TINY).eval().to(memory_format=torch.channels_last)(pictures().to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, z, rtol=1e-3, atol=1e-4)


def test_saved_and_loaded(encoder, tmp_path):
    save_encoder(encoder, tmp_path/'new'/'run')
    assert sorted(p.name for p in (tmp_path/'new'/'run').iterdir()) == ['encoder.toml', 'model.safetensors']
    again = load_encoder(tmp_path/'new'/'run')
    assert again.params == TINY and not again.training
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in encoder.state_dict().items())
    with torch.no_grad(): assert torch.equal(again(pictures()), encoder(pictures()))


def test_half_the_bytes_say_nearly_the_same(encoder, tmp_path):
    save_encoder(encoder, tmp_path/'whole')
    save_encoder(encoder, tmp_path/'half', half=True)
    sizes = [(tmp_path/d/'model.safetensors').stat().st_size for d in ('whole', 'half')]
    assert sizes[1] < .6*sizes[0]
    x = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(): torch.testing.assert_close(load_encoder(tmp_path/'half')(x), load_encoder(tmp_path/'whole')(x), atol=.01, rtol=0)


def test_channels_last_can_be_saved(tmp_path):
    save_encoder(Encoder(TINY).to(memory_format=torch.channels_last), tmp_path)
    assert torch.equal(load_encoder(tmp_path).prototypes, Encoder(TINY).prototypes)


@pytest.mark.parametrize('cut', [0, 5, 1000, -1])
def test_cut_weights_are_refused(encoder, tmp_path, cut):
    save_encoder(encoder, tmp_path)
    path = tmp_path/'model.safetensors'
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match='model.safetensors: is cut or damaged') as e: load_encoder(tmp_path)
    assert '\n' not in str(e.value)


def test_what_does_not_belong_together_is_refused(encoder, tmp_path):
    save_encoder(encoder, tmp_path)
    TINY.replace(prototypes=99).save(tmp_path/'encoder.toml')
    with pytest.raises(DataError, match='other parameters than encoder.toml'): load_encoder(tmp_path)
    from safetensors.torch import save_file
    save_file(read_weights(tmp_path/'model.safetensors')[0], tmp_path/'model.safetensors') # by somebody else: says nothing of its shape
    with pytest.raises(DataError, match='does not fit encoder.toml'): load_encoder(tmp_path)
    (tmp_path/'model.safetensors').unlink()
    with pytest.raises(DataError, match='model.safetensors: is not there'): load_encoder(tmp_path)
    (tmp_path/'encoder.toml').unlink()
    with pytest.raises(DataError, match='encoder.toml'): load_encoder(tmp_path)


def test_nothing_is_left_of_a_save_that_failed(encoder, tmp_path, monkeypatch):
    import safetensors.torch
    def full(weights, about): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(safetensors.torch, 'save', full)
    with pytest.raises(DataError, match='no space left'): save_encoder(encoder, tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_families(tmp_path):
    from transformers import ConvNextConfig, Dinov2Config
    for config, strides in ((ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1]*4), [4, 8, 16, 32]),
                            (Dinov2Config(hidden_size=16, num_hidden_layers=8, num_attention_heads=2, intermediate_size=32), [16]*4)):
        encoder = Encoder(TINY.replace(backbone=config.model_type), config=with_maps(config)).eval()
        assert feature_strides(encoder.backbone) == strides
        with torch.no_grad(): z = encoder(pictures(1, 70, 84))
        assert z.shape == (1, TINY.projection, 18, 21)
        save_encoder(encoder, tmp_path/config.model_type)
        with torch.no_grad(): assert torch.equal(load_encoder(tmp_path/config.model_type)(pictures(1, 70, 84)), z)


def test_layers_are_taken_evenly():
    from transformers import Dinov2Config
    assert with_maps(Dinov2Config(num_hidden_layers=12)).out_features == ['stage3', 'stage6', 'stage9', 'stage12']


def test_widths_are_multiples_of_eight():
    config = resnet_config('resnet18', .3)
    assert config.embedding_size == 16 and config.hidden_sizes == [16, 40, 80, 152]


@pytest.mark.parametrize('name, pretrained, words', [('resnet51', False, 'is no backbone that is known'), ('resnet50', True, 'no weights of its own'), ('convnext', True, 'no weights of its own')])
def test_unknown_backbones(name, pretrained, words):
    with pytest.raises(ValueError, match=words): Encoder(EncoderParams(backbone=name, pretrained=pretrained))


def test_a_hub_that_cannot_be_reached(monkeypatch):
    from transformers import AutoConfig
    def refuse(*a, **k): raise OSError("We couldn't connect\nand more")
    monkeypatch.setattr(AutoConfig, 'from_pretrained', refuse)
    with pytest.raises(DataError, match="some/name: cannot be had as a backbone") as e: Encoder(EncoderParams(backbone='some/name'))
    assert '\n' not in str(e.value)


def test_pictures_of_the_wrong_shape(encoder):
    with pytest.raises(ValueError, match=r'x: expected shape \(B 3 H W\)'): encoder(torch.zeros(1, 4, 32, 32))
