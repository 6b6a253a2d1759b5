"""One step of training beside the bare forward pass of a ResNet-50 with a feature pyramid, in turns in one run.

    python -m benchmarks.train_step [--rounds 5] [--json train_step.json]

The `paper` network, 2 pictures of 192x384, 14950 pixel rows and 14400 region rows, 1000 prototypes, one thread. A step is
forward, both losses, backward, SGD and the prototypes' way back onto the sphere. Measured limits: a step as it is trained
(bfloat16 where the processor has it, as the `cpu` preset does) at most 3.2 of the forward pass in float32; 1.2 GB at its peak.
The step in float32 is told beside it, and so are its parts. Processor time counts: a busy machine changes it less.
"""
from benchmarks.timing import machine, one_core, one_thread, table, take_turns

one_thread()
import argparse
import json
import re
import statistics
import subprocess
import sys
import time

PICTURES, HEIGHT, WIDTH, PIXEL_ROWS, REGION_ROWS, REGIONS, VIEWS = 2, 192, 384, 14950, 14400, 60, 4
MOST_RATIO, MOST_MB = 3.2, 1200


def make_rows():
    "Rows as a batch gives them: each pixel in about four views, and pixels of sixty regions."
    import torch
    from cpcdr.contrast import Rows
    draw = torch.Generator().manual_seed(0)
    cells = lambda n: torch.randint(0, PICTURES*(HEIGHT//4)*(WIDTH//4), (n,), generator=draw)
    regions = torch.randint(0, REGIONS, (REGION_ROWS,), generator=draw)
    return dict(pixel=(Rows(cells(PIXEL_ROWS), torch.arange(PIXEL_ROWS)//VIEWS), .5), region=(Rows(cells(REGION_ROWS), regions), .5))


class Step:
    "A model with its optimiser, and the seconds of each part of its steps."
    def __init__(self, half):
        import torch
        from cpcdr.encoder import Encoder
        self.half, self.rows, self.spans, last = half, make_rows(), [], dict(memory_format=torch.channels_last)
        self.model, self.x = Encoder().to(**last), torch.randn(PICTURES, 3, HEIGHT, WIDTH).to(**last)
        self.optimiser = torch.optim.SGD(self.model.parameters(), .1, momentum=.9, weight_decay=1e-4)

    def __call__(self):
        import torch
        from cpcdr.contrast import rows_loss
        times = [time.process_time()]
        with torch.autocast('cpu', torch.bfloat16, enabled=self.half):
            z = self.model(self.x)
            times.append(time.process_time())
            loss, _ = rows_loss(z, self.model.prototypes, self.rows)
            times.append(time.process_time())
        loss.backward()
        times.append(time.process_time())
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.model.normalise_prototypes()
        times.append(time.process_time())
        self.spans.append([b - a for a, b in zip(times, times[1:])])


def has_bfloat16():
    "Whether this processor multiplies bfloat16 by itself."
    import torch
    from cpcdr.core import pick_precision
    return pick_precision('auto', torch.device('cpu')) == torch.bfloat16


def peak_memory(half):
    "MB of a fresh process that makes three steps."
    code = (f'from benchmarks.train_step import Step; import torch, re; torch.set_num_threads(1); s = Step({half}); s(); s(); s()\n'
            'print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])/1024)')
    return float(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout)


def measure_step(rounds=5):
    "Times and memory, as told on the screen and as one dict."
    import torch
    from benchmarks.mixing import network
    torch.set_num_threads(1)
    net, x = network(), torch.randn(PICTURES, 3, HEIGHT, WIDTH)
    def forward():
        with torch.no_grad(): net(x)
    steps = {'step, float32': Step(False)} | ({'step, bfloat16': Step(True)} if has_bfloat16() else {})
    times, trained = take_turns({'forward pass': forward, **steps}, rounds), list(steps)[-1]
    print(f'training on one core: {PICTURES} pictures of {WIDTH}x{HEIGHT}, {PIXEL_ROWS} + {REGION_ROWS} rows; medians of {rounds} rounds; x = multiple of the forward pass')
    table(times, {trained: MOST_RATIO})
    for name, step in steps.items():
        parts = times[name]['parts_ms'] = {k: statistics.median(s)*1000 for k, s in zip(('forward', 'losses', 'backward', 'optimiser'), zip(*step.spans[1:]))}
        times[name]['peak_mb'] = peak = peak_memory(step.half)
        told = ', '.join(f'{k} {v:.0f} ms' for k, v in parts.items())
        print(f'{name}: {told}; peak memory {peak:.0f} MB' + ('' if name != trained else f'   at most {MOST_MB}: {"kept" if peak <= MOST_MB else "NOT KEPT"}'))
    return dict(times=times)


def main():
    parser = argparse.ArgumentParser(prog='python -m benchmarks.train_step', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=5, help='measured rounds')
    parser.add_argument('--json', default='train_step.json', help='where the figures go')
    args = parser.parse_args()
    one_core()
    result = dict(machine=machine(), **measure_step(args.rounds))
    with open(args.json, 'w') as f: json.dump(result, f, indent=1)
    print(f'figures: {args.json}')


if __name__ == '__main__': main()
