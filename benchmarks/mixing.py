"""Mixing on one core beside the forward pass of a ResNet-50 with a feature pyramid, both in turns in one run.

    python -m benchmarks.mixing [--rounds 9] [--data FOLDER] [--workers 2] [--json mixing.json]

An item is 8 images to 16 mixed ones at 384x768 with the `paper` preset, read from PNG files of 1024x512 with disparity and
regions. Measured limits: at most 0.9 of the forward pass (2x3x192x384, no grad, one thread), at most 600 MB a worker.
The processor's time is told beside the clock's: on a busy machine only the former says what the work costs.
"""
import os

for _threads in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'NUMBA_NUM_THREADS'): os.environ[_threads] = '1'
import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

SIZE, MOST_RATIO, MOST_MB = (1024, 512), .9, 600


def make_streets(out, n=16):
    "Streets of the town with regions, as a data folder."
    from cpcdr.data import FolderWriter
    from cpcdr.regions import RegionParams, find_regions
    from cpcdr.town import Town, degrade, render
    writer = FolderWriter(out)
    for seed in range(n):
        frame = render(Town(seed), 0., *SIZE, name=f'{seed:06}')
        frame = frame.replace(disp=degrade(frame.disp, seed))
        writer.write(frame.replace(regions=find_regions(frame, RegionParams()).labels), {'image', 'disp', 'regions', 'camera'})


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


def take_turns(works, rounds):
    "Milliseconds by the clock and of the processor, by name: every round runs all works once, after one unmeasured round."
    spans = {name: [] for name in works}
    for r in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter(), time.process_time()
            work(r)
            if r: spans[name].append(((time.perf_counter() - start[0])*1000, (time.process_time() - start[1])*1000))
    return {name: dict(clock_ms=statistics.median(a for a, _ in s), cpu_ms=statistics.median(b for _, b in s)) for name, s in spans.items()}


def stages(folder):
    "The parts of one item, each with a new one every round."
    from cpcdr.copypaste import MixParams, carry_out, make_homes, plan_pastes
    from cpcdr.core import make_rng
    from cpcdr.mixdata import MixData, finish
    data, kept = MixData(folder, MixParams()), {}
    names = lambda k: [folder.names[i] for i in data.partners(k)]
    def read(k): kept['frames'] = [folder.frame(n, {'disp', 'regions'}) for n in names(k)]
    def home(k): kept['homes'] = make_homes(kept['frames'], data.params)
    def plan(k): kept['plan'] = plan_pastes(kept['homes'], data.params, make_rng(0, k))
    def paste(k): kept['mixed'] = carry_out(kept['homes'], kept['plan'], data.params)
    def touch(k): finish(kept['mixed'], data.params, make_rng(0, k))
    return data, {'an item': lambda k: data[k], '  read 8 frames': read, '  to one size': home, '  plan': plan, '  paste': paste, '  last touch': touch}, kept


def measure_worker(folder):
    "Peak memory in MB of a process that makes ten items and holds a batch, as a loader's worker does."
    import subprocess
    # not getrusage: its peak begins with that of the process that starts this one
    code = ('import re, sys; from cpcdr.data import open_folder; from cpcdr.mixdata import MixData, collate; d = MixData(open_folder(sys.argv[1]))\n'
            'for k in range(10): batch = collate([d[k]])\nprint(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024)')
    return float(subprocess.run([sys.executable, '-c', code, str(folder)], capture_output=True, text=True, check=True).stdout)


def items_a_second(data, workers, items=24):
    "Items a loader delivers in a second, by the clock."
    from torch.utils.data import DataLoader
    from cpcdr.mixdata import collate
    loader = iter(DataLoader(data, batch_size=1, sampler=range(items), collate_fn=collate, num_workers=workers))
    for _ in range(2*workers): next(loader)
    start = time.perf_counter()
    return sum(1 for _ in loader) / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(prog='python -m benchmarks.mixing', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=9, help='measured rounds')
    parser.add_argument('--data', default='', help='a folder with disparity and regions; default: 16 streets of the town')
    parser.add_argument('--workers', type=int, default=2, help='processes of the loader')
    parser.add_argument('--json', default='mixing.json', help='where the figures go')
    args = parser.parse_args()
    import torch
    from cpcdr.data import open_folder
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        if not args.data: make_streets(made)
        folder = open_folder(args.data or made)
        data, works, kept = stages(folder)
        net, x = network(), torch.randn(2, 3, 192, 384)
        def forward(_):
            with torch.no_grad(): net(x)
        times = take_turns({'forward pass': forward, **works}, args.rounds)
        result = dict(times=times, pastes=len(kept['plan']), regions=len(kept['homes'].boxes), parameters=sum(p.numel() for p in net.parameters()))
        print(f'one core; {result["regions"]} regions in 8 frames, {result["pastes"]} pastes, network of {result["parameters"]/1e6:.1f} M; x = multiple of the forward pass')
        for name, t in times.items():
            t['ratio'], t['cpu_ratio'] = (t[k]/times['forward pass'][k] for k in ('clock_ms', 'cpu_ms'))
            word = '' if name != 'an item' else f'   at most {MOST_RATIO}: {"kept" if t["cpu_ratio"] <= MOST_RATIO else "NOT KEPT"}'
            print(f'{name:18}{t["clock_ms"]:9.1f} ms{t["ratio"]:8.3f} x   processor {t["cpu_ms"]:9.1f} ms{t["cpu_ratio"]:8.3f} x{word}')
        result['worker_mb'] = measure_worker(Path(folder.path))
        print(f'peak memory of a worker: {result["worker_mb"]:.0f} MB   at most {MOST_MB}: {"kept" if result["worker_mb"] <= MOST_MB else "NOT KEPT"}')
        result['items_a_second'] = items_a_second(data, args.workers)
        print(f'{args.workers} workers: {result["items_a_second"]:.2f} items ({16*result["items_a_second"]:.0f} images) a second')
    with open(args.json, 'w') as f: json.dump(result, f, indent=1)
    print(f'figures: {args.json}')


if __name__ == '__main__': main()
