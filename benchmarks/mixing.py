"""Mixing on one core beside the forward pass of a ResNet-50 with a feature pyramid, both in turns in one run.

    python -m benchmarks.mixing [--rounds 9] [--data FOLDER] [--workers 2] [--json mixing.json]

An item is 8 images to 16 mixed ones at 384x768 with the `paper` preset, read from PNG files of 1024x512 with disparity and regions:
streets of the town, disparity as a stereo camera would see it, regions by the `street` preset (90 to 140 a frame). Measured limits:
at most 0.9 of the forward pass (2x3x192x384, no grad, one thread), at most 600 MB a worker, imports included.
The processor's time is told beside the clock's: on a busy machine only the former says what the work costs.
"""
from benchmarks.timing import all_cores, machine, one_core, one_thread, table, take_turns

one_thread()
import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZE, MOST_RATIO, MOST_MB = (1024, 512), .9, 600


def make_streets(out, n=8):
    "Streets of the town with regions, as a data folder."
    from cpcdr.data import FolderWriter
    from cpcdr.regions import RegionParams, find_regions
    from cpcdr.town import Town, degrade, render
    writer = FolderWriter(out)
    for seed in range(n):
        frame = render(Town(seed), 0., *SIZE, name=f'{seed:06}')
        frame = frame.replace(disp=degrade(frame.disp, seed))
        writer.write(frame.replace(regions=find_regions(frame, RegionParams.preset('street')).labels), {'image', 'disp', 'regions', 'camera'})


def network():
    "ResNet-50, pyramid of 256, semantic head of 128 at stride 4, projector, 1000 prototypes; weights at random."
    from torch import nn
    from torch.nn.functional import interpolate
    from transformers import ResNetConfig, ResNetModel

    def head(k):
        up = lambda i: [nn.Conv2d(256 if i == 0 else 128, 128, 3, padding=1, bias=False), nn.GroupNorm(32, 128), nn.ReLU()]
        return nn.Sequential(*(m for i in range(max(1, k)) for m in up(i) + [nn.Upsample(scale_factor=2, mode='bilinear')]*(k > 0)))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = ResNetModel(ResNetConfig())
            self.side = nn.ModuleList(nn.Conv2d(c, 256, 1) for c in (256, 512, 1024, 2048))
            self.out = nn.ModuleList(nn.Conv2d(256, 256, 3, padding=1) for _ in range(4))
            self.heads = nn.ModuleList(head(k) for k in range(4))
            self.project = nn.Sequential(nn.Conv2d(128, 128, 1), nn.BatchNorm2d(128), nn.ReLU(), nn.Conv2d(128, 128, 1))
            self.prototypes = nn.Linear(128, 1000, bias=False)

        def forward(self, x):
            levels, above, total = self.body(x, output_hidden_states=True).hidden_states[1:], None, 0
            for k in (3, 2, 1, 0):
                here = self.side[k](levels[k])
                above = here if above is None else here + interpolate(above, scale_factor=2)
                total = total + self.heads[k](self.out[k](above))
            return self.project(total)
    return Network().eval()


def stages(data):
    "An item and its parts; each call makes the next one."
    from itertools import count
    from cpcdr.copypaste import carry_out, make_homes, plan_pastes
    from cpcdr.core import make_rng
    from cpcdr.mixdata import finish
    folder, kept, key = data.frames, {}, count()
    def item(): data[next(key)]
    def read(): kept['frames'] = [folder.frame(folder.names[i], {'disp', 'regions'}) for i in data.partners(next(key))]
    def home(): kept['homes'] = make_homes(kept['frames'], data.params)
    def plan(): kept['plan'] = plan_pastes(kept['homes'], data.params, make_rng(0, next(key)))
    def paste(): kept['mixed'] = carry_out(kept['homes'], kept['plan'], data.params)
    def touch(): finish(kept['mixed'], data.params, make_rng(0, next(key)))
    return {'an item': item, '  read 8 frames': read, '  to one size': home, '  plan': plan, '  paste': paste, '  last touch': touch}, kept


def worker_memory(folder):
    "Peak memory in MB of a fresh process that makes ten items and holds a batch, as a loader's worker does; None where it cannot be told."
    # not getrusage: its peak begins with that of the process that starts this one
    code = ('import re, sys; from cpcdr.data import open_folder; from cpcdr.mixdata import MixData, collate; d = MixData(open_folder(sys.argv[1]))\n'
            'for k in range(10): batch = collate([d[k]])\nprint(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024)')
    if not Path('/proc/self/status').exists(): return None
    return float(subprocess.run([sys.executable, '-c', code, str(folder)], capture_output=True, text=True, check=True).stdout)


def items_a_second(data, workers, items=24):
    "Items a loader delivers in a second, by the clock."
    from torch.utils.data import DataLoader
    from cpcdr.mixdata import collate
    loader = iter(DataLoader(data, batch_size=1, sampler=range(items), collate_fn=collate, num_workers=workers))
    for _ in range(2*workers): next(loader)
    start = time.perf_counter()
    return sum(1 for _ in loader) / (time.perf_counter() - start)


def step_seconds(net, device, images, height, width, steps=4):
    "Forward, backward and step of the optimiser: seconds by the clock and, on a CPU, of the processor."
    import torch
    net, x = net.to(device).train(), torch.randn(images, 3, height, width, device=device)
    optimiser = torch.optim.SGD(net.parameters(), 1e-4)
    def step():
        with torch.autocast(device, torch.bfloat16, enabled=device == 'cuda'): net.prototypes(net(x).movedim(1, -1)).square().mean().backward()
        optimiser.step(); optimiser.zero_grad()
        if device == 'cuda': torch.cuda.synchronize()
    step()
    start = time.perf_counter(), time.process_time()
    for _ in range(steps): step()
    clock, cpu = (time.perf_counter() - start[0])/steps, (time.process_time() - start[1])/steps
    return clock, clock if device == 'cuda' else cpu


def measure_mixing(rounds=9, data='', workers=2, cores=None):
    "Times, memory and throughput, as told on the screen and as one dict."
    import torch
    from cpcdr.copypaste import pasteable
    from cpcdr.data import open_folder
    from cpcdr.mixdata import MixData
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        if not data: make_streets(made)
        mixes = MixData(open_folder(data or made))
        works, kept = stages(mixes)
        net, x = network(), torch.randn(2, 3, 192, 384)
        def forward():
            with torch.no_grad(): net(x)
        times = take_turns({'forward pass': forward, **works}, rounds)
        homes = kept['homes']
        result = dict(times=times, regions=len(homes.boxes), pasted=int(pasteable(homes.boxes, mixes.params).sum()), pastes=len(kept['plan']), parameters=sum(p.numel() for p in net.parameters()))
        print(f'mixing on one core: 8 frames with {result["regions"]/8:.0f} regions each, {result["pastes"]} pastes of {result["pasted"]} regions; '
              f'network of {result["parameters"]/1e6:.1f} M; medians of {rounds} rounds; x = multiple of the forward pass')
        table(times, {'an item': MOST_RATIO})
        if mb := worker_memory(mixes.frames.path):
            result['worker_mb'] = mb
            print(f'peak memory of a worker: {mb:.0f} MB   at most {MOST_MB}: {"kept" if mb <= MOST_MB else "NOT KEPT"}')
        all_cores(cores)
        result['items_a_second'] = items_a_second(mixes, workers)
        step = ('cuda', 16, 384, 768) if torch.cuda.is_available() else ('cpu', 2, 192, 384)
        clock, cpu = step_seconds(net, *step)
        result |= dict(step=step, steps_a_second=1/clock, free=dict(items_a_second=1000*workers/times['an item']['cpu_ms'], steps_a_second=1/cpu))
        print(f'{workers} workers against training on {step[0]}, {step[1]} images of {step[2]}x{step[3]} a step; an item is 16 images of 384x768')
        for name, x in {'by the clock, as busy as it is': result, 'by processor time, cores free': result['free']}.items():
            print(f'{name:34}{x["items_a_second"]:7.2f} items{x["steps_a_second"]:8.2f} steps a second: {x["items_a_second"]/x["steps_a_second"]:.1f} items a step')
    return result


def main():
    parser = argparse.ArgumentParser(prog='python -m benchmarks.mixing', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=9, help='measured rounds')
    parser.add_argument('--data', default='', help='a folder with disparity and regions; default: 8 streets of the town')
    parser.add_argument('--workers', type=int, default=2, help='processes of the loader')
    parser.add_argument('--json', default='mixing.json', help='where the figures go')
    args = parser.parse_args()
    cores = one_core()
    result = dict(machine=machine(), **measure_mixing(args.rounds, args.data, args.workers, cores))
    with open(args.json, 'w') as f: json.dump(result, f, indent=1)
    print(f'figures: {args.json}')


if __name__ == '__main__': main()
