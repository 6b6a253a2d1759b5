"Warps agree with the town's exact depth and poses; the error with slow versions; minimum and masks with their definitions; the hand-made gradients with torch's."
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cpcdr.frame import Camera
from cpcdr.monodepth import (EYE, FAULT, DepthNet, PoseNet, best_source, betrayed, camera_row, depth_loss, invert_motion, motion_matrix, off_road, photometric_error, ray_map,
                             reproject, road_under, smoothness, ssim, standing_error, stands_on, taught_error, warp)
from cpcdr.town import drive


def tensor(image): return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope='module')
def pair():
    "Two frames of a drive, exact inverse depth of the first, and the motion from the first camera to the second."
    a, b = list(drive(3, 2, 192, 96, fps=8.))
    T = torch.from_numpy(np.linalg.inv(b.pose) @ a.pose).float()[None]
    return a, b, torch.from_numpy(np.maximum(a.disp, 1/2000))[None, None], T, camera_row(a.camera)[None]


def test_exact_depth_and_motion_fetch_the_same_picture(pair):
    a, b, disp, T, K = pair
    uv, inside = reproject(disp, T, K)
    still = a.instances == 0
    good = torch.from_numpy(still & (a.disp > 1/100))[None, None] & inside
    error = lambda x: float((x - tensor(a.image)).abs().mean(1, keepdim=True)[good].mean())
    right, stood = error(warp(tensor(b.image), uv)), error(tensor(b.image))
    wrong = error(warp(tensor(b.image), reproject(torch.full_like(disp, 1/12), T, K)[0]))
    backwards = error(warp(tensor(b.image), reproject(disp, invert_motion(T), K)[0]))
    assert right < .75*stood and right < .75*wrong and right < .6*backwards


def test_exact_points_land_where_geometry_says(pair):
    a, b, disp, T, K = pair
    points = a.camera.unproject(1/disp[0, 0].numpy()).reshape(-1, 3).astype(float)
    there = points @ T[0, :3, :3].double().numpy().T + T[0, :3, 3].double().numpy()
    ahead = there[:, 2] > .5
    uv = reproject(disp, T, K)[0].reshape(-1, 2).numpy()
    assert np.abs(uv - b.camera.project(there))[ahead].max() < .05


def test_pixels_that_leave_the_picture_are_told():
    disp, K = torch.full((1, 1, 8, 12), .5), torch.tensor([[10., 10, 5.5, 3.5]])
    T = torch.eye(4)[None].clone(); T[0, 0, 3] = 1.                     # 10 px * 1 m / 2 m = 5 columns to the right
    uv, inside = reproject(disp, T, K)
    assert torch.allclose(uv[0, :, :, 0], torch.arange(12.) + 5, atol=1e-4) and inside[0, 0].sum() == 8*7
    T[0, :3, 3] = torch.tensor([0, 0, -3.])
    assert not reproject(disp, T, K)[1].any()                           # behind the source camera


def test_the_camera_follows_resize_crop_and_mirror():
    c = Camera(300., 310., 130., 60., 256, 128)
    rays = lambda cam: ray_map(camera_row(cam)[None], cam.height, cam.width)[0]
    r = rays(c)
    assert torch.allclose(rays(c.crop(10, 20, 100, 50)), r[:, 20:70, 10:110], atol=1e-6)
    assert torch.allclose(rays(c.flip())[0], -r[0].flip(-1), atol=1e-6)
    assert torch.allclose(rays(c.resize(128, 64)), F.avg_pool2d(r[None], 2)[0], atol=1e-6)


def slow_ssim(x, y):
    C, H, W = x.shape
    out = np.zeros((C, H - 2, W - 2))
    for c in range(C):
        for v in range(H - 2):
            for u in range(W - 2):
                a, b = x[c, v:v+3, u:u+3], y[c, v:v+3, u:u+3]
                co = ((a - a.mean())*(b - b.mean())).mean()
                out[c, v, u] = (2*a.mean()*b.mean() + 1e-4)*(2*co + 9e-4)/((a.mean()**2 + b.mean()**2 + 1e-4)*(a.var() + b.var() + 9e-4))
    return out


def test_ssim_by_hand():
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 3, 9, 11)); y = .5*x + .5*y
    got = ssim(torch.from_numpy(x)[None], torch.from_numpy(y)[None])[0].numpy()
    assert np.allclose(got, slow_ssim(x, y), atol=1e-9)
    assert torch.allclose(ssim(torch.ones(1, 1, 5, 5), torch.ones(1, 1, 5, 5)), torch.ones(1, 1, 3, 3))
    same = torch.from_numpy(x)[None].float()
    assert photometric_error(same, same).abs().max() < 1e-4


def test_ssim_beside_kornia():
    from kornia.metrics import ssim as theirs
    g = torch.Generator().manual_seed(0)
    x = F.avg_pool2d(torch.rand(1, 3, 48, 48, generator=g), 3, 1, 1)
    y = (x + .1*torch.randn(x.shape, generator=g)).clamp(0, 1)
    a, b = ssim(x, y).flatten(), theirs(x, y, 3)[..., 1:-1, 1:-1].flatten() # theirs weighs the window by a Gaussian
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > .98 and abs(a.mean() - b.mean()) < .03


def test_minimum_and_mask():
    errors = torch.tensor([[.3, .2, FAULT, .1], [.1, .4, FAULT, FAULT]]).view(2, 1, 1, 1, 4)
    standing = torch.tensor([[.2, .1, .5, .2], [.3, .3, .5, .2]]).view(2, 1, 1, 1, 4)
    least, keep = best_source(errors, standing)
    assert least.flatten().tolist() == pytest.approx([.1, .2, FAULT, .1]) and keep.flatten().tolist() == [True, False, False, True]
    assert best_source(errors, None)[1].flatten().tolist() == [True, True, False, True]


def test_what_stands_still_is_left_out():
    "A picture whose half moves along with the camera teaches by the other half only."
    g = torch.Generator().manual_seed(1)
    wide = F.avg_pool2d(torch.rand(1, 3, 40, 90, generator=g), 3, 1, 1)
    a, b = wide[..., 4:84].clone(), wide[..., :80].clone()
    b[..., 40:] = a[..., 40:]
    disp, K, T = torch.full((1, 1, 40, 80), .5, requires_grad=True), torch.tensor([[16., 16, 40, 20]]), torch.eye(4).view(1, 1, 4, 4).clone()
    T[..., 0, 3] = .5                       # four columns at disparity .5
    loss, parts = depth_loss([disp], a, b[None], T, K, smooth=0.)
    loss.backward()
    assert disp.grad[..., 44:].abs().max() == 0 and disp.grad[..., 8:32].abs().max() > 0 and .3 < parts['kept'] < .55


def test_smoothness_forgives_steps_of_colour():
    disp = torch.ones(1, 1, 8, 8); disp[..., 4:] = 2.
    image = torch.zeros(1, 3, 8, 8); image[..., 4:] = 1.
    assert smoothness(disp, image) < .5*smoothness(disp, torch.zeros_like(image))
    assert torch.allclose(smoothness(disp, image), smoothness(7*disp, image))   # a video has no metre
    assert smoothness(torch.ones_like(disp), image) == 0


def test_motion_is_rigid_and_turns_back():
    g = torch.Generator().manual_seed(0)
    six = torch.cat([torch.zeros(1, 6), torch.randn(5, 6, generator=g), 1e-5*torch.randn(2, 6, generator=g)]).double()
    T = motion_matrix(six)
    R = T[:, :3, :3]
    assert torch.allclose(R @ R.transpose(1, 2), torch.eye(3).double().expand_as(R), atol=1e-6) and torch.allclose(torch.linalg.det(R), torch.ones(8).double(), atol=1e-6)
    assert torch.allclose(invert_motion(T) @ T, torch.eye(4).double().expand_as(T), atol=1e-6)
    quarter = motion_matrix(torch.tensor([[0., np.pi/2, 0, 0, 0, 0]]))[0, :3, :3]
    assert torch.allclose(quarter @ torch.tensor([0., 0, 1]), torch.tensor([1., 0, 0]), atol=1e-6)   # ahead becomes right
    six = torch.zeros(1, 6, requires_grad=True)
    motion_matrix(six).sum().backward()
    assert torch.isfinite(six.grad).all()


@pytest.mark.parametrize('mask', [True, False])
def test_hand_made_gradients_are_those_of_torch(mask):
    torch.manual_seed(0)
    B, S, H, W = 2, 2, 40, 64
    blur = lambda x: F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode='reflect'), 5, 1)
    target = blur(torch.rand(B, 3, H, W))
    sources = torch.stack([.03*blur(torch.rand(B, 3, H, W)) + .97*target.roll(s, 3) for s in (1, -1)])
    K, T0, q0 = torch.tensor([[70., 72, 31, 19], [60, 61, 30, 22]]), motion_matrix(.02*torch.randn(S*B, 6)).view(S, B, 4, 4), torch.rand(B, 1, H, W)*.5 + .2
    standing, stats = standing_error(target, sources, .85, mask)
    if mask: assert torch.allclose(standing, torch.stack([photometric_error(s, target) for s in sources]).min(0).values, atol=1e-4)
    found = []
    for by_hand in (True, False):
        q, T = q0.clone().requires_grad_(), T0.clone().requires_grad_()
        if by_hand: error, share = taught_error(q, T, K, target, sources, standing, stats)
        else:
            uv, inside = reproject(q.repeat(S, 1, 1, 1), T.flatten(0, 1), K.repeat(S, 1))
            errors = photometric_error(warp(sources.flatten(0, 1), uv), target.repeat(S, 1, 1, 1)).where(inside, FAULT)
            least, keep = best_source(errors.view(S, B, 1, H, W), standing[None])
            error, share = least.where(keep, standing*(standing < FAULT/2)).mean(), keep.float().mean()
        error.backward()
        found.append((error.detach(), share, q.grad, T.grad))
    a, b = found
    assert torch.allclose(a[0], b[0], atol=1e-5) and abs(a[1] - b[1]) < 2e-3 and a[1] > .05
    away = (a[2] - b[2]).abs() > 1e-3*b[2].abs().max()      # where a coordinate falls on a whole number the slope has two values
    assert away.float().mean() < 2e-3 and (a[3] - b[3]).abs().max() < 5e-3*b[3].abs().max()


def test_gradients_reach_every_weight():
    depth, pose = DepthNet(), PoseNet()
    g = torch.Generator().manual_seed(0)
    x = F.avg_pool2d(torch.rand(3, 2, 3, 66, 98, generator=g).flatten(0, 1), 3, 1).view(3, 2, 3, 64, 96)
    K = torch.tensor([[100., 100, 47.5, 31.5]]*2)
    rays = ray_map(K, 64, 96)
    disps = depth(x[0], rays)
    assert [tuple(d.shape[-2:]) for d in disps] == [(32, 48), (16, 24), (8, 12), (4, 6)] and all((d > .01).all() and (d < 10).all() for d in disps)
    T = torch.stack([motion_matrix(pose(x[0], s, rays)) for s in x[1:]])
    depth_loss(disps, x[0], x[1:], T, K, smooth=.1)[0].backward()
    for name, w in [*depth.named_parameters(), *pose.named_parameters()]:
        assert w.grad is not None and torch.isfinite(w.grad).all() and w.grad.abs().max() > 0, name


def test_wrong_shapes_are_named():
    K = torch.ones(1, 4)
    with pytest.raises(ValueError, match='disp'): reproject(torch.ones(1, 8, 8), torch.eye(4)[None], K)
    with pytest.raises(ValueError, match='T'): reproject(torch.ones(1, 1, 8, 8), torch.eye(3)[None], K)
    with pytest.raises(ValueError, match='K'): ray_map(torch.ones(4), 8, 8)


def test_least_squares_finds_the_motion(pair):
    from cpcdr.monodepth import motion_numbers, refine_motion
    a, b, disp, T, K = pair
    x, y = tensor(a.image), tensor(b.image)[None]
    start = motion_matrix(motion_numbers(T) + torch.tensor([[.002, -.002, .001, .05, .02, .3]]))
    off = lambda M: (motion_numbers(M) - motion_numbers(T))[0].abs().numpy()
    found = refine_motion(disp, start[None], K, x, y, steps=10)[0]
    assert off(found)[:3].max() < .0012 and np.linalg.norm(off(found)[3:]) < .12*float(T[0, :3, 3].norm())
    lost = refine_motion(disp, start[None], K, torch.zeros_like(x), torch.zeros_like(y))[0]
    assert torch.allclose(lost, start, atol=1e-5)                        # pictures that say nothing change nothing
    for six in (torch.tensor([[.1, -.2, .3, 1., 2, 3]]), torch.zeros(1, 6), torch.tensor([[0., 2.5, 0, 0, 0, 0]])):
        assert torch.allclose(motion_numbers(motion_matrix(six)), six, atol=1e-5)


def test_a_flat_road_pulls_what_is_near_it_and_nothing_lies_under_it():
    rays, horizon = ray_map(torch.tensor([[100., 100, 31.5, 11.5]]), 32, 64), torch.tensor([.05])
    down, floor = road_under(rays, horizon)
    assert torch.allclose(down[0, 0, :, 7], (torch.arange(32) - 16.5)/100) and torch.allclose(floor[..., 26:, :], down[..., 26:, :]/EYE)
    assert off_road(floor, down, floor).max() == 0
    house, sky, hole, rough = floor.clone(), floor.clone(), floor.clone(), floor*1.1
    house[..., 20:, 20:40], sky[..., :17, :], hole[..., 20:, 20:40] = 3., 1e-3, .01
    assert off_road(house, down, floor).max() == 0 and off_road(sky, down, floor).max() == 0
    assert off_road(hole, down, floor)[..., 20:, 20:40].min() > .4 and torch.allclose(off_road(rough, down, floor)[..., 20:, :], torch.tensor(1.1).log(), atol=1e-5)


def test_what_drives_along_is_betrayed_by_its_foot():
    "A road of noise and before us a box that stays where it is in all three pictures."
    K, g = torch.tensor([[100., 100, 47.5, 15.5]]), torch.Generator().manual_seed(3)
    down, floor = road_under(ray_map(K, 48, 96), torch.zeros(1))
    target, box = (F.avg_pool2d(torch.rand(1, 3, 50, 98, generator=g), 3, 1) for _ in range(2))
    T = torch.stack([motion_matrix(torch.tensor([[0., 0, 0, 0, 0, z]])) for z in (.1, -.1)])
    sources = torch.stack([warp(target, reproject(floor, invert_motion(t), K)[0]) for t in T]) # a plane that slides along itself
    for x in (target, *sources): x[..., 8:34, 36:60] = box[..., 8:34, 36:60]
    foot = betrayed(down, floor, T, K, target, sources)
    assert foot[..., 26:32, 40:56].float().mean() > .8 and foot[..., 38:46, 4:92].float().mean() < .1 and not foot[..., :20, :].any()


def test_what_stands_on_a_foot_gets_its_distance():
    down, floor = road_under(ray_map(torch.tensor([[100., 100, 47.5, 15.5]]), 48, 96), torch.zeros(1))
    foot, box = torch.zeros_like(floor, dtype=torch.bool), torch.zeros_like(floor, dtype=torch.bool)
    foot[..., 21:33, 40:56], box[..., 6:34, 40:56] = True, True
    seen = floor.where(~box, .5) # a box that the network sees at half the inverse depth of its foot, up to row 6
    mask, goal = stands_on(seen, foot, down, floor)
    assert mask[..., 6:33, 40:56].all() and not mask[..., :6, :].any()    # up to its top, no further,
    assert not mask[..., 35:, :].any() and not mask[..., :36].any()       # neither the road before it nor what is beside it
    assert torch.allclose(goal[0, 0, 6:33, 45:50], floor[0, 0, 33, 45:50].expand(27, 5)) # as near as the road where it stands
    torn = seen.clone(); torn[..., :15, :] *= .5                          # depth jumps at row 15: another thing behind it
    assert not stands_on(torn, foot, down, floor)[0][..., :15, :].any()
    assert not stands_on(seen, foot & False, down, floor)[0].any()
