"""Choose the constants of the `street` preset on train towns and show what they give on held-out ones.

    python benchmarks/tune_street.py --rounds 300           search, starting from the preset as it stands; prints the best as TOML
    python benchmarks/tune_street.py --rounds 0             only the held-out table

The search only proposes. The preset was settled after a look at real frames with stereo disparity, where shadows and smooth matches are
harder than anything rendered: there the ground had to weigh more and small regions less than the towns alone would have it.

Train towns are seeds 1000, 1001, ...; held-out towns are seeds 2000, 2001, ...: the search never sees them. Every frame comes three
times: with exact disparity, with noise as of a stereo matcher, and with noise as of a network.
"""
import argparse
import json
import time

import numpy as np

from cpcdr.affinity import TERMS
from cpcdr.core import make_rng
from cpcdr.regions import RegionFinder, RegionParams, boundary_f, measures, truth_segments
from cpcdr.town import Town, degrade, render

NOISES = ('exact', 'stereo', 'network')
TRAIN, HELD_OUT, APART = 1000, 2000, 12. # first seeds; seconds between frames of one town
# what the search may change: weights and other positive numbers by a factor, the rest by a difference; a normal step has this spread
FACTORS = dict(distance=.5, jump=.4, plane=.4, ground=.3, colour=.3, support=.5, threshold=.15, noise=.4, tolerance=.3, filled=.5)
DIFFERENCES = dict(bias=.5, go_on=.03)
WEAK = dict(distance=5., jump=5., plane=20., ground=1., colour=3., support=1.)   # what a term comes back with
RIVAL = .12   # the best threshold of the simple rival with the weights of `street`, among .05 .08 .12 .16 on the train towns


def scenes(first, towns, frames, size):
    "Frames of several towns, each with its disparity exact and degraded."
    for seed in range(first, first + towns):
        town = Town(seed)
        for k in range(frames):
            frame = render(town, APART*k, *size)
            for noise in NOISES:
                disp = frame.disp if noise == 'exact' else degrade(frame.disp, seed=seed*100 + k, kind=noise)
                yield noise, frame.replace(name=f'{seed}-{k}-{noise}', disp=disp, depth=None)


class Judge:
    "One frame, ready to be scored in milliseconds: what measures need is counted once per superpixel and edge."
    def __init__(self, frame, params, radius=2):
        self.finder, self.truth, self.radius = RegionFinder(frame), truth_segments(frame.labels, frame.instances), radius
        self.prepare(self.finder.superpixels(params))

    def prepare(self, sp):
        self.sp, known = sp, self.truth >= 0
        n = int(self.truth.max()) + 1
        key, self.count = np.unique(sp.labels[known].astype(np.int64)*n + self.truth[known], return_counts=True)
        self.row, self.segment, self.segments = key // n, key % n, n

    def score(self, params):
        r = self.finder(params)
        if r.superpixels is not self.sp: self.prepare(r.superpixels)
        pairs = lambda x: float((x.astype(float)*(x - 1.)).sum() / 2)
        key = r.groups[self.row].astype(np.int64)*self.segments + self.segment
        cell = np.bincount(np.unique(key, return_inverse=True)[1], self.count)
        both, a, b, total = pairs(cell), pairs(np.bincount(r.groups[self.row], self.count)), pairs(np.bincount(self.segment, self.count)), self.count.sum()
        chance = a*b / (total*(total - 1.)/2)
        return (both - chance) / ((a + b)/2 - chance), boundary_f(r.labels, self.truth, self.radius)


def quality(judges, params):
    "Mean of ARI and boundary F over all frames."
    return float(np.mean([judge.score(params) for judge in judges]))


def neighbour(params, rng):
    "The parameters with one to three of them moved a step; a weight may vanish and come back."
    idle = 'go_on' if params.engine in ('threshold', 'linkage') else 'threshold'
    names = [n for n in (*FACTORS, *DIFFERENCES) if n != idle]
    change = {}
    for name in rng.choice(names, rng.integers(1, 4), replace=False):
        value = getattr(params, name)
        if name in DIFFERENCES: value += rng.normal(0, DIFFERENCES[name])
        elif name in TERMS and rng.random() < .1: value = 0.
        else: value = (value or WEAK.get(name, .1)) * np.exp(rng.normal(0, FACTORS[name]))
        change[name] = float(f'{value:.3g}')
    return params.replace(**change)


def search(judges, params, rounds, seed=0):
    "Hill climbing: keep a step whenever it helps."
    rng, best, start = make_rng(seed, 'tune'), quality(judges, params), time.time()
    print(f'start {best:.4f}')
    for k in range(rounds):
        try: trial = neighbour(params, rng)
        except ValueError: continue   # stepped out of range
        score = quality(judges, trial)
        if score > best:
            changed = {f: getattr(trial, f) for f in (*FACTORS, *DIFFERENCES) if getattr(trial, f) != getattr(params, f)}
            best, params = score, trial
            print(f'{k:4d} {time.time() - start:6.0f} s  {best:.4f}  {changed}', flush=True)
    return params


def table(rows, settings):
    "Mean measures of every setting on every kind of disparity: list of dicts."
    out = []
    for name, params in settings.items():
        got = [(noise, measures(RegionFinder(frame)(params))) for noise, frame in rows]
        for noise in NOISES:
            mine = [m for n, m in got if n == noise]
            out.append(dict(params=name, disparity=noise, frames=len(mine), **{k: float(np.mean([m[k] for m in mine])) for k in ('count', 'purity', 'boundary_f', 'ari')}))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=60, help='steps tried [60]')
    parser.add_argument('--towns', type=int, default=8, help='towns to train on, and as many to hold out [8]')
    parser.add_argument('--frames', type=int, default=2, help='frames of each town [2]')
    parser.add_argument('--size', default='1024x512', help='WxH [1024x512]')
    parser.add_argument('--engine', default='linkage', help='linkage, mapequation or threshold [linkage]')
    parser.add_argument('--start', default='street', help='preset or TOML file to start from [street]')
    parser.add_argument('--json', action='store_true', help='print the table as JSON')
    args = parser.parse_args()
    size = tuple(map(int, args.size.split('x')))
    street = RegionParams.choose(args.start).replace(engine=args.engine)
    if args.rounds:
        judges = [Judge(f, street) for _, f in scenes(TRAIN, args.towns, args.frames, size)]
        street = search(judges, street, args.rounds)
        print(street.to_toml())
    settings = {'paper': RegionParams.choose('paper'), 'street': street, 'map equation': street.replace(engine='mapequation'),
                'threshold': street.replace(engine='threshold', threshold=RIVAL)}
    rows = table(list(scenes(HELD_OUT, args.towns, args.frames, size)), settings)
    if args.json: print(json.dumps(rows, indent=1)); return
    print(f'{"":14}{"disparity":10}{"regions":>9}{"purity":>9}{"boundary F":>12}{"ARI":>8}')
    for r in rows: print(f'{r["params"]:14}{r["disparity"]:10}{r["count"]:9.0f}{r["purity"]:9.3f}{r["boundary_f"]:12.3f}{r["ari"]:8.3f}')


if __name__ == '__main__': main()
