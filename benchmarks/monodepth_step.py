"""One step of depth training on video beside the same networks' bare forward and backward pass, in turns in one run.

    python -m benchmarks.monodepth_step [--rounds 9] [--preset cpu] [--json monodepth_step.json]

The preset's networks, batch and size on the sample clip, one thread. The base is depth of the targets and motion of both pairs,
the plain mean of what comes out, and the way back, in the same precision. A step is all that training does: read the batch, mirror, enlarge
and colour it, networks (of the motions one only, where corners know both), warps, similarity at every scale, masks, road and traffic, smoothness, the way back, clipping, AdamW and the running mean.
Measured limit: at most 1.6 of the base. Processor time counts: a busy machine changes it less.
"""
from benchmarks.timing import machine, one_core, one_thread, table, take_turns

one_thread()
import argparse
import json
from itertools import count

MOST_RATIO = 1.6


def measure_depth_step(rounds=9, preset='cpu'):
    "Times, as told on the screen and as one dict."
    import torch
    from cpcdr.data import samples
    from cpcdr.monodepth import depth_loss
    from cpcdr.selfdepth import Clip, Learner, SelfDepthParams, run_nets, source_motions, take_batch
    torch.set_num_threads(1)
    params = SelfDepthParams.preset(preset).replace(device='cpu', mask_from=0, warmup=0)
    clip, learner, numbers = Clip(samples('clip'), params), Learner(params), count()
    bare, batch = Learner(params), take_batch(clip, 0)
    pairs = {k: v for k, v in batch.items() if k != 'told'}

    def networks():
        disps, six = run_nets(bare.nets, pairs, params.scales, bare.dtype)
        bare.opt.zero_grad(set_to_none=True)
        (sum(d.mean() for d in disps) + six.mean()).backward()

    found = [x.detach() for x in run_nets(bare.nets, pairs, params.scales, bare.dtype)[0]]
    T = source_motions(run_nets(bare.nets, pairs, params.scales, bare.dtype)[1].detach())
    def loss():
        disps, motion = [d.clone().requires_grad_() for d in found], T.clone().requires_grad_()
        depth_loss(disps, batch['target'], batch['sources'], motion, batch['K'], params.alpha, params.smooth, params.mask, params.levels, params.still)[0].backward()

    works = {'networks there and back': networks, 'training step': lambda: learner.learn(take_batch(clip, next(numbers))),
             '  batch': lambda: take_batch(clip, next(numbers)), '  loss there and back': loss}
    times = take_turns(works, rounds)
    size, weights = 'x'.join(map(str, clip.size)), sum(w.numel() for w in bare.nets.parameters())
    print(f'depth from video on one core, preset {preset}: {params.batch} triplets of {size}, {weights/1e6:.1f} M weights, '
          f'{str(bare.dtype)[6:]}; medians of {rounds} rounds; x = multiple of the networks')
    table(times, {'training step': MOST_RATIO})
    return dict(times=times, batch=params.batch, size=clip.size, weights=weights, preset=preset)


def main():
    parser = argparse.ArgumentParser(prog='python -m benchmarks.monodepth_step', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=9, help='measured rounds')
    parser.add_argument('--preset', default='cpu', help='tiny, cpu or paper')
    parser.add_argument('--json', default='monodepth_step.json', help='where the figures go')
    args = parser.parse_args()
    one_core()
    result = dict(machine=machine(), **measure_depth_step(args.rounds, args.preset))
    with open(args.json, 'w') as f: json.dump(result, f, indent=1)
    print(f'figures: {args.json}')


if __name__ == '__main__': main()
